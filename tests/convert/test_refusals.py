"""What conversion, presentation and NIR are given by mistake: a sentence, never another error or a wrong number."""

import copy
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spikeloom.convert import (
    QCFS,
    Converted,
    Presented,
    Probe,
    accuracy_curve,
    accuracy_over_steps,
    balance_thresholds,
    convert,
    input_range,
    maximum,
    percentile,
    present,
    report,
    to_spiking,
    verify,
)
from spikeloom.convert.nir import from_nir, read_nir, to_nir, write_nir
from spikeloom.errors import ConfigError, DataError, ExportError, ShapeError, SpikeloomError
from spikeloom.layers import Sequential
from spikeloom.neurons import LIF, LeakyReadout

NAN = float("nan")
X = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
BYTES = (X * 255).byte()


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()


def spiking() -> Converted:
    return to_spiking(convert(model(), example=X)).eval()


def with_value(value: float, path: str = "0.weight") -> nn.Sequential:
    made = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU()).eval()
    made.state_dict()[path].view(-1)[0] = value
    return made


def shown(width: int = 8, batch: int = 3, **options: Any) -> Presented:
    other = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2)).eval()
    return present(to_spiking(convert(other, example=X)).eval(), torch.rand(batch, 4), 3, **options)


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (ConfigError, lambda: convert(with_value(NAN), example=X), r"values that are not finite in 0\.weight"),
        (
            ConfigError,
            lambda: convert(with_value(-1.0, "1.running_var"), example=X),
            r"not finite in 0\.weight, 0\.bias",
        ),
        (
            ConfigError,
            lambda: convert(model(), example=X * NAN),
            r"convert got an input with values that are not finite",
        ),
        (ConfigError, lambda: convert(model(), example=X[:0]), r"example=x, a floating point batch .* \[0, 4\]"),
        (ConfigError, lambda: convert(model(), example=BYTES), r"but got torch\.uint8 \[3, 4\]"),
        (
            ConfigError,
            lambda: convert(model(), example=X, v_init=NAN),
            r'v_init as a finite number, or "uniform", but got',
        ),
        (
            ConfigError,
            lambda: convert(nn.Sequential(nn.Linear(4, 4), LIF()), example=X),
            r"lives in time already \(1\)",
        ),
        (ShapeError, lambda: present(spiking(), BYTES, 3), r"present needs a floating point batch .* got torch\.uint8"),
        (ConfigError, lambda: present(spiking(), X * NAN, 3), r"present got an input with values that are not finite"),
        (ConfigError, lambda: present(spiking(), X, 0), r"present needs steps >= 1, a whole number, but got 0"),
        (ConfigError, lambda: present(spiking(), X, -3), r"present needs steps >= 1"),
        (ShapeError, lambda: present(spiking(), X, 3, after=shown(width=5)), r"voltage has shape \[3, 5\]"),
        (ShapeError, lambda: present(spiking(), X, 3, after=shown(batch=2)), r"voltage has shape \[2, 8\]"),
        (
            ConfigError,
            lambda: present(spiking(), X, 3, probes={"a": Probe("1")}, after=shown()),
            r"goes on with the probes it began with, out, but got a\. Pass the same",
        ),
        (ShapeError, lambda: spiking()(torch.zeros(2, 3, 5)), r"cannot take input \[2, 3, 5\]"),
        (ShapeError, lambda: spiking()(torch.zeros(0, 3, 4)), r"T >= 1, but got \[0, 3, 4\]"),
        (ShapeError, lambda: spiking()(X.expand(2, 3, 4), ()), r"1 layers with a state but got 0 parts"),
        (
            ShapeError,
            lambda: accuracy_curve(spiking(), X, torch.rand(3), 3),
            r"whole numbers \[3\], but got torch\.float",
        ),
        (
            ConfigError,
            lambda: accuracy_curve(spiking(), X, torch.tensor([0, 1, 9]), 3),
            r"labels from 0 to 1, .* 0 to 9",
        ),
        (ConfigError, lambda: accuracy_curve(spiking(), X, torch.ones(3).long(), 3, batch=0), r"batch >= 1"),
        (ShapeError, lambda: accuracy_curve(spiking(), X[:0], torch.ones(0).long(), 3), r"B >= 1, but got .* \[0, 4\]"),
        (ShapeError, lambda: accuracy_over_steps(torch.rand(3, 0, 4), torch.ones(0).long()), r"none of them 0"),
        (ShapeError, lambda: accuracy_over_steps(torch.rand(3, 2, 4), torch.tensor([0])), r"whole numbers \[2\]"),
        (
            ConfigError,
            lambda: accuracy_over_steps(torch.rand(3, 1, 4) * NAN, torch.tensor([0])),
            r"outputs that are not",
        ),
        (
            ConfigError,
            lambda: maximum(convert(model(), example=X), [X, X * NAN]),
            r"Calibration got an input with values",
        ),
        (ConfigError, lambda: percentile(convert(model(), example=X), [X * NAN]), r"Calibration got an input with"),
        (
            ConfigError,
            lambda: balance_thresholds(convert(model(), example=X), [X / 0]),
            r"Calibration got an input with",
        ),
        (
            ShapeError,
            lambda: maximum(convert(model(), example=X), [torch.rand(3, 5)]),
            r"cannot take (the )?input",
        ),
        (
            ConfigError,
            lambda: balance_thresholds(convert(model(), example=X), [X], 2.5),  # type: ignore[arg-type]
            r"needs steps as a whole number",
        ),
        (ConfigError, lambda: input_range(convert(model(), example=X), []), r"input_range got no batch\. Pass a list"),
        (ConfigError, lambda: input_range(convert(model(), example=X), [X * NAN]), r"Calibration got an input with"),
        (ConfigError, lambda: QCFS(levels=2.5), r"QCFS needs levels as a whole number, but got 2\.5"),  # type: ignore[arg-type]
        (
            ShapeError,
            lambda: verify(convert(model(), example=X), model(), BYTES),
            r"verify needs a floating point batch",
        ),
        (ShapeError, lambda: report(convert(model(), example=X), BYTES, 3), r"report needs a floating point batch"),
        (ConfigError, lambda: report(convert(model(), example=X), X, 0), r"report needs steps >= 1"),
    ],
)
def test_mistakes_are_explained(error: type[Exception], call: Callable[[], object], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def network() -> Sequential:
    return Sequential(nn.Linear(4, 3), LIF(20.0), nn.Linear(3, 2), LeakyReadout(20.0))


@pytest.mark.parametrize("shape", [(-4,), (0,), (4.5,), (NAN,), (1 << 40,)])
def test_shapes_that_are_none_are_not_exported(shape: tuple[Any, ...]) -> None:
    with pytest.raises(ExportError, match="A shape is whole numbers above 0, and at most"):
        to_nir(network(), shape)


def test_values_that_are_none_are_not_exported() -> None:
    broken = network()
    broken.state_dict()["layers.0.weight"][0, 0] = NAN
    with pytest.raises(ExportError, match=r"cannot express layers\.0 \(Linear\): its weight holds values that are not"):
        to_nir(broken, (4,))
    with pytest.raises(ExportError, match=r"needs a network, an nn.Module, but got str"):
        to_nir("network", (4,))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("node", "name", "value", "message"),
    [
        ("layers.1", "tau", None, r"layers\.1 \(LIF\): its tau should hold real numbers, but is None"),
        ("layers.1", "tau", np.zeros(3), r"its tau holds values that are not above 0"),
        ("layers.1", "tau", np.ones(2), r"its tau has shape \[2\], but it is for \[3\]"),
        ("layers.1", "r", np.full(3, NAN), r"its r holds values that are not finite"),
        ("layers.1", "r", np.full(3, 1j), r"its r should hold real numbers"),
        ("layers.1", "r", np.ones((3, 3)), r"its r has shape \[3, 3\], but it is for \[3\]"),
        ("layers.1", "r", [], r"its r has shape \[0\]"),
        ("layers.1", "v_threshold", -np.ones(3), r"its v_threshold holds values that are not above 0"),
        ("layers.1", "v_threshold", "one", r"its v_threshold should hold real numbers, but is 'one'"),
        ("layers.1", "v_leak", np.full(3, np.inf), r"its v_leak holds values that are not finite"),
        ("layers.1", "metadata", {"reset": "half"}, r"its metadata say reset 'half', and only"),
        ("layers.1", "input_type", None, r"A node of the graph has no shape"),
        ("layers.1", "input_type", {}, r"A node of the graph has no shape"),
        ("layers.0", "weight", None, r"layers\.0 \(Affine\): its weight should hold real numbers"),
        ("layers.0", "weight", np.full((3, 4), NAN), r"its weight holds values that are not finite"),
        ("layers.0", "weight", np.ones((3, 5)), r"layers\.0 \(Affine\)"),
        ("layers.0", "bias", np.full(3, NAN), r"its bias holds values that are not finite"),
        ("layers.0", "bias", np.ones(2), r"layers\.0 \(Affine\)"),
        ("input", "input_type", None, r"A node of the graph has no shape"),
        ("input", "input_type", {"input": np.array([NAN])}, r"A shape is whole numbers above 0"),
        ("input", "input_type", {"input": np.array([4.5])}, r"A shape is whole numbers above 0"),
        ("input", "input_type", {"input": np.array([1 << 62])}, r"A shape is whole numbers above 0"),
        ("output", "input_type", {"input": np.array([5])}, r"output \(Output\): it is for \[5\], but gets \[2\]"),
    ],
)
def test_nodes_that_are_none_are_not_run(node: str, name: str, value: Any, message: str) -> None:
    graph = copy.deepcopy(to_nir(network(), (4,)))
    setattr(graph.nodes[node], name, value)
    with pytest.raises(ExportError, match=message):
        from_nir(graph)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        (None, r"edges of a graph are pairs of names of nodes, but one is None"),
        ([("input", "layers.0", "layers.1")], r"edges of a graph are pairs of names of nodes, but one is \('input'"),
        ([], r"it leads to nothing"),
        ([("input", "gone")], r"input -> gone \(edge\): no such node"),
        (
            [
                ("input", "output"), ("layers.0", "layers.1"), ("layers.1", "layers.2"), ("layers.2", "layers.3"),
                ("layers.3", "layers.0"),
            ],
            r"not on the way from the input",
        ),
    ],
)  # fmt: skip
def test_edges_that_are_none_are_not_followed(edges: Any, message: str) -> None:
    graph = copy.deepcopy(to_nir(network(), (4,)))
    graph.edges = edges
    with pytest.raises(ExportError, match=message):
        from_nir(graph)


def test_dtypes_in_which_no_neuron_computes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"needs dtype torch\.float32 or torch\.float64, but got torch\.float16"):
        from_nir(to_nir(network(), (4,)), dtype=torch.float16)


def test_files_with_changed_bytes_are_read_or_refused(tmp_path: Path) -> None:
    path, changed = tmp_path / "whole.nir", tmp_path / "changed.nir"
    write_nir(to_nir(network(), (4,)), path)
    whole, draw = path.read_bytes(), random.Random(0)
    for content in (b"", b"text" * 99, whole[:-1], whole[: len(whole) // 2]):
        changed.write_bytes(content)
        with pytest.raises(DataError, match=r"damaged|as an HDF5 file"):
            read_nir(changed)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(draw.choice((1, 2, 8))):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        changed.write_bytes(damaged)
        with suppress(SpikeloomError):  # and nothing else
            from_nir(read_nir(changed))
    with pytest.raises(ExportError, match="write_nir needs a NIRGraph, but got NoneType"):
        write_nir(None, path)
    assert path.read_bytes() == whole


def test_a_learned_threshold_that_left_its_range_is_an_error() -> None:
    staircase = QCFS(levels=4)
    staircase.neuron.get_parameter("threshold").data.fill_(-1.0)
    with pytest.raises(ConfigError, match=r"RateNeuron needs threshold > 0 and finite, but it is -1\.0 now"):
        staircase(X)
