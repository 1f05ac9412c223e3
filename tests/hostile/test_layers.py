"""Every layer against every input: the definition, or an error of ours that names the layer."""

import itertools
import os
from importlib.util import find_spec
from typing import Any

import pytest
import torch

from spikeloom import kernels

from .judge import close, defined, gradient, leaves, names, outcome, run, untouched
from .layers import INPUTS, LAYERS, VALUES, N, Row, T, valid


def cells() -> list[Any]:
    """Everything on the loops of the CPU, all values by the definition in float32 too."""
    return [
        pytest.param(row, name, engine, id=f"{key}-{name}-{engine}")
        for key, row in LAYERS.items()
        for name in INPUTS
        for engine in (("numba", "torch") if name in VALUES else ("numba",))
    ]


@pytest.mark.filterwarnings("ignore:.*(quantize|nested tensors).*:UserWarning")
@pytest.mark.parametrize(("row", "name", "engine"), cells())
def test_an_input_gives_what_the_definition_gives_or_an_error(row: Row, name: str, engine: str) -> None:
    xs, clean = INPUTS[name](valid(row))
    layer, before = row.make(N), untouched(xs)

    def call() -> Any:
        with kernels.use(engine), torch.set_grad_enabled(name in ("leaf", "parameter")):
            return run(layer, xs)

    found = outcome(call, names(layer))
    if before is not None and not before.is_sparse:
        assert torch.equal(before.nan_to_num(), xs.detach().nan_to_num()), "the call changed its input"
    if name == "meta":  # no values: shapes alone, or refused
        assert found is None or all(part.is_meta for part in leaves(found))
        return
    if clean is None:
        assert found is None, "accepted"
        return
    wanted = defined(row, clean)
    if found is None:
        assert name != "plain"
        return
    assert not isinstance(wanted, Exception), f"accepted, but the definition says: {wanted}"
    extreme = name.lstrip("-") in ("nan", "inf", "1e30")
    close(found, wanted, clean.shape[-2] if clean.dim() > 1 else 0, extreme and row.spreads)
    if name == "nan":
        assert any(bool(part.isnan().any()) for part in leaves(found)), "what is not a number has disappeared"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_synapses_with_delays_pass_an_extreme_value_on_when_it_is_due(value: float) -> None:
    layer, xs = LAYERS["DelayedLinear"].make(N), valid(LAYERS["DelayedLinear"])
    xs[1, 0, 2] = value
    out = layer(xs)[0]
    weight, delay = layer.get_parameter("weight").detach().double(), layer.get_buffer("delay")
    for t, n in itertools.product(range(T), range(4)):
        due = [weight[n, i] * xs[t - int(delay[n, i]), 0, i].double() for i in range(N) if t >= delay[n, i]]
        torch.testing.assert_close(
            out[t, 0, n].double(), sum(due), rtol=1e-4, atol=1e-4, equal_nan=True, check_dtype=False
        )


SHARED = (
    "plain",
    "transposed",
    "sliced",
    "expanded-time",
    "expanded-batch",
    "expanded-neurons",
    "negative-view",
    "one-step",
)


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("key", [key for key, row in LAYERS.items() if row.learns])
def test_gradients_are_those_of_the_definition_however_the_input_is_stored(key: str, name: str) -> None:
    row = LAYERS[key]
    base = INPUTS[name](valid(row))[0].detach()
    layer, exact = row.make(N), row.make(N).double()
    if name == "one-step" and key == "PSN":
        return
    found = gradient(layer, base.requires_grad_())
    with kernels.use("torch"):
        wanted = gradient(exact, base.detach().double().requires_grad_())
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-4 * max(1.0, float(b.abs().max())))


ENGINES = ("LIF", "ALIF", "SynapticLIF", "ParaLIF-D", "Lowpass", "FromEquation", "Recurrent", "Sequential")
HARD = (
    "plain",
    "nan",
    "inf",
    "1e30",
    "denormal",
    "no-samples",
    "one-step",
    "expanded-batch",
    "transposed",
    "int64",
    "meta",
)


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("triton") is None or not (torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"),
    reason="triton is not installed, or was imported as a compiler without a GPU",
)
@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("key", ENGINES)
def test_the_kernels_of_the_gpu_give_the_same(key: str, name: str) -> None:
    test_an_input_gives_what_the_definition_gives_or_an_error(LAYERS[key], name, "triton")
