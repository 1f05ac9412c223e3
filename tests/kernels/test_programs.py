"""Programs and modules are known by what they say, never by the address of a function."""

import gc
import importlib.util
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from spikeloom import kernels
from spikeloom.errors import ConfigError
from spikeloom.kernels import Equation, Program
from spikeloom.kernels.program import _KNOWN, _TRACED, find
from spikeloom.neurons import LIF, FromEquation
from spikeloom.surrogate import Triangle

SQUASHED = """
from spikeloom.vocabulary import {word} as squash

def squashed(current, voltage, decay_mem):
    voltage = decay_mem * voltage + squash(current)
    return voltage{more}, voltage
"""


def squashed(folder: Path, word: str, more: str = "") -> Any:
    """An equation from a file, in which one word of the vocabulary has another name."""
    path = folder / f"{word}.py"
    path.write_text(SQUASHED.format(word=word, more=more))
    spec = importlib.util.spec_from_file_location(f"squashed_by_{word}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.squashed


def test_equations_of_the_same_words_for_other_things_are_not_mixed_up(tmp_path: Path) -> None:
    xs = torch.linspace(-3, 3, 12).view(4, 1, 3)
    for word in ("tanh", "sigmoid"):
        neuron = FromEquation(squashed(tmp_path, word), fires="never", tau_mem=20.0)
        out = neuron(xs)[0]
        with kernels.use("torch"):
            torch.testing.assert_close(out, neuron(xs)[0])


def test_a_program_is_named_by_its_text(tmp_path: Path) -> None:
    first, again = (Equation(squashed(tmp_path, "tanh")) for _ in range(2))
    assert first.function is not again.function
    assert first == again
    assert hash(first) == hash(again)
    assert Program(first, Triangle()).key == Program(again, Triangle()).key
    others = [squashed(tmp_path, "sigmoid"), squashed(tmp_path, "tanh", " - 1")]
    assert (
        len({Program(Equation(function), Triangle()).key for function in others} | {Program(first, Triangle()).key})
        == 3
    )
    assert len({Program(first, Triangle(gain=gain)).key for gain in (0.3, 0.4)}) == 2


def test_what_is_not_in_the_text_is_refused_where_the_equation_is_bound(tmp_path: Path) -> None:
    (tmp_path / "closed.py").write_text("""
def make(k):
    def closed(current, voltage):
        voltage = voltage + k * current
        return voltage, voltage
    return closed
""")
    spec = importlib.util.spec_from_file_location("closed", tmp_path / "closed.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(ConfigError, match=r"closed .line 4. reads `k`, which is neither an argument nor assigned"):
        FromEquation(module.make(2.0))


def test_an_ordinary_call_keeps_no_program(tmp_path: Path) -> None:
    gc.collect()
    before = len(_KNOWN)
    out = LIF(surrogate=Triangle(gain=0.123))(torch.rand(3, 2, 2).requires_grad_())[0]
    out.sum().backward()  # the neuron is gone, its program is not: the graph holds it
    del out
    gc.collect()
    assert len(_KNOWN) == before
    program = LIF(surrogate=Triangle(gain=0.123)).program
    assert find(program) is program
    assert find(program.key) is program
    again = LIF(surrogate=Triangle(gain=0.123)).program
    key = program.key
    del program
    gc.collect()
    assert find(key) == again
    program = again
    copied = pickle.loads(pickle.dumps(program))
    assert copied == program
    assert copied.key == program.key


def test_a_compiled_graph_outlives_its_neuron() -> None:
    neuron = LIF(2.0, surrogate=Triangle(gain=0.321))
    xs = torch.rand(4, 2, 3) * 3
    expected = neuron(xs)[0]
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _: Any) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    torch.compile(neuron, fullgraph=True, backend=keep)(xs)
    torch._dynamo.reset()
    key = neuron.program.key
    del neuron
    gc.collect()
    assert key in _TRACED
    assert torch.equal(graphs[0](xs)[0], expected)
