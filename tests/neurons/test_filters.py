"""Integration of a whole sequence: every method gives what the loop gives (P1, P2, P3 and trace A)."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from spikeloom.errors import ConfigError, ShapeError
from spikeloom.neurons.filters import METHODS, integrate

FAST = [name for name in METHODS if name != "loop"]
TAUS = (0.1, 1.0, 20.0, 20.0001, 200.0)
Case = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def decay(tau: float, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(math.exp(-1 / tau), dtype=dtype)


def case(
    steps: int, *neurons: int, taus: tuple[float, float] = (20.0, 5.0), dtype: torch.dtype = torch.float64
) -> Case:
    """Currents, both states and both decays."""
    generator = torch.Generator().manual_seed(steps)
    xs, syn_current, voltage = (
        torch.randn(*lead, 2, *neurons, generator=generator, dtype=dtype) for lead in ((steps,), (), ())
    )
    return xs, syn_current, voltage, decay(taus[0], dtype), decay(taus[1], dtype)


def error(found: tuple[Tensor, tuple[Tensor, Tensor]], wanted: tuple[Tensor, tuple[Tensor, Tensor]]) -> float:
    """The largest difference of voltages and final states."""
    pairs = zip((found[0], *found[1]), (wanted[0], *wanted[1]), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


@pytest.mark.parametrize("method", FAST)
@pytest.mark.parametrize("steps", [1, 2, 7, 8, 50, 100, 1370])
def test_p1_every_method_gives_what_the_loop_gives(steps: int, method: str) -> None:
    for taus in itertools.product(TAUS, TAUS):
        given = case(steps, 3, taus=taus)
        assert error(integrate(*given, method=method), integrate(*given, method="loop")) < 1e-10
        short = case(steps, 3, taus=taus, dtype=torch.float32)
        wanted = integrate(*short, method="loop")
        peak = max(float(part.abs().max()) for part in (wanted[0], *wanted[1]))
        assert error(integrate(*short, method=method), wanted) < 2e-5 * peak


@pytest.mark.parametrize("method", FAST)
@pytest.mark.parametrize("shape", [(1,), (4,), (3, 1), (3, 4), (1, 4)])
def test_decays_of_their_own(shape: tuple[int, ...], method: str) -> None:
    generator = torch.Generator().manual_seed(0)
    xs, syn_current, voltage, mem, syn = case(61, 5, 3, 4)
    own = 0.5 + 0.5 * torch.rand(shape, generator=generator, dtype=torch.float64)
    for decays in ((own, syn), (mem, own), (own, own.sqrt())):
        given = xs, syn_current, voltage, *decays
        assert error(integrate(*given, method=method, chunk=8), integrate(*given, method="loop")) < 1e-12


@pytest.mark.parametrize("method", FAST)
def test_no_synapse_and_no_membrane(method: str) -> None:
    xs, syn_current, voltage, mem, _ = case(30, 3)
    none = torch.zeros((), dtype=torch.float64)
    only_membrane = integrate(xs, syn_current, voltage, mem, none, method)
    assert error(only_membrane, integrate(xs, syn_current, voltage, mem, none, "loop")) < 1e-12
    through, _ = integrate(xs, syn_current, voltage, none, none, method)
    torch.testing.assert_close(through, xs, atol=1e-13, rtol=0)


@pytest.mark.parametrize("chunk", [1, 3, 50, 99, 100, 101, 10_000])
def test_any_length_of_a_chunk(chunk: int) -> None:
    given = case(100, 3)
    assert error(integrate(*given, chunk=chunk), integrate(*given, method="loop")) < 1e-12


@pytest.mark.parametrize("method", METHODS)
def test_chunks_with_carried_state_equal_the_whole(method: str) -> None:
    xs, syn_current, voltage, decay_syn, decay_mem = case(130, 3)
    whole = integrate(xs, syn_current, voltage, decay_syn, decay_mem, method=method)
    state, parts = (syn_current, voltage), []
    for part in torch.split(xs, [1, 49, 3, 77]):
        out, state = integrate(part, *state, decay_syn, decay_mem, method=method)
        assert torch.equal(out[-1], state[1])
        parts.append(out)
    assert error((torch.cat(parts), state), whole) < 1e-12


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("start", [1, 60, 99])
def test_p2_the_future_does_not_change_the_past(start: int, method: str) -> None:
    given = case(100, 3)
    xs, rest = given[0], given[1:]
    changed = xs.clone()
    changed[start:] += 7.0
    before, after = (integrate(x, *rest, method=method)[0] for x in (xs, changed))
    assert not torch.equal(before[start], after[start])
    if method == "fft":
        torch.testing.assert_close(before[:start], after[:start], atol=1e-6, rtol=0)
    else:
        assert torch.equal(before[:start], after[:start])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pair", [(0.9, 0.9), (0.9, 0.9 + 1e-9), (0.9, 0.4), (0.9, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("own", [False, True])
def test_p3_gradients(method: str, pair: tuple[float, float], own: bool) -> None:
    xs, syn_current, voltage, *_ = case(11, 2)
    decays = (torch.full((2,) if own else (), value, dtype=torch.float64) for value in pair)
    leaves = [part.requires_grad_() for part in (xs, syn_current, voltage, *decays)]

    def outputs(
        xs: Tensor, syn_current: Tensor, voltage: Tensor, decay_syn: Tensor, decay_mem: Tensor
    ) -> tuple[Tensor, ...]:
        voltages, state = integrate(xs, syn_current, voltage, decay_syn, decay_mem, method=method, chunk=4)
        return voltages, *state

    assert torch.autograd.gradcheck(outputs, leaves)


@pytest.mark.parametrize("method", FAST)
@pytest.mark.parametrize("taus", [(20.0, 20.0), (20.0, 5.0), (0.1, 200.0)])
def test_p3_gradients_equal_those_of_the_loop(method: str, taus: tuple[float, float]) -> None:
    leaves = case(120, 3, taus=taus)
    for part in leaves:
        part.requires_grad_()
    pull = torch.linspace(-1, 1, leaves[0].numel(), dtype=torch.float64).reshape(leaves[0].shape)

    def gradients(method: str) -> tuple[Tensor, ...]:
        voltages, (syn_current, _) = integrate(*leaves, method=method)
        return torch.autograd.grad((voltages * pull).sum() + syn_current.sum(), leaves)

    for found, wanted in zip(gradients(method), gradients("loop"), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_trace_a(method: str) -> None:
    xs = torch.tensor([1.0, 0, 0, 2, 0, 0, -1, 0], dtype=torch.float64).reshape(8, 1, 1)
    zero = xs.new_zeros(1, 1)
    voltages, (syn_current, _) = integrate(xs, zero, zero, decay(20.0), decay(20.0), method)
    wanted = [0.048771, 0.092784, 0.132388, 0.265450, 0.385218, 0.492672, 0.539958, 0.581460]
    assert voltages.flatten().tolist() == pytest.approx(wanted, abs=6e-7)
    assert syn_current.item() == pytest.approx(1.390920, abs=6e-7)


def wrapped(xs: np.ndarray, tau: float) -> np.ndarray:
    """Three sequences convolved in 2 T points, as the originals do: too few, the tail falls on the first steps."""
    steps = len(xs)
    powers = np.exp(-np.arange(steps) / tau)
    parts = (xs, powers, (1 - np.exp(-1 / tau)) * powers)
    product = np.prod([np.fft.rfft(part, 2 * steps) for part in parts], 0)
    return np.asarray(np.fft.irfft(product, 2 * steps)[:steps])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("steps", "share"), [(8, 0.1), (20, 0.1), (50, 0.05)])
def test_nothing_wraps_around(steps: int, share: float, method: str) -> None:
    xs = np.random.default_rng(0).random(steps)
    wrong = wrapped(xs, 20.0)
    zero = torch.zeros(1, 1, dtype=torch.float64)
    currents = torch.from_numpy(xs).reshape(-1, 1, 1)
    right = integrate(currents, zero, zero, decay(20.0), decay(20.0), method)[0].flatten().numpy()
    assert np.abs(right - wrong).max() > share * np.abs(right).max()
    assert right[0] == pytest.approx((1 - math.exp(-1 / 20)) * xs[0])


def test_the_wrapped_values_are_those_of_the_originals() -> None:
    found = wrapped(np.array([1.0, 0, 0, 2, 0, 0, -1, 0]), 20.0)
    assert found[:5].tolist() == pytest.approx([0.002708, 0.028669, 0.052091, 0.214529, 0.360999], abs=6e-7)


@pytest.mark.parametrize("method", METHODS)
def test_membranes_stay_long_under_autocast(method: str) -> None:
    given = case(40, 3, dtype=torch.float32)
    xs, rest = given[0], given[1:]
    short = xs.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = integrate(short, *rest, method=method)
    assert found[0].dtype == torch.float32
    assert error(found, integrate(short.float(), *rest, method="loop")) < 1e-5
    with pytest.raises(ShapeError, match="computes in float32 or float64, but got"):
        integrate(short, *rest, method=method)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (
            lambda x, i, v, b, a: integrate(x, i, v, b, a, "magic"),
            ConfigError,
            "from scan, toeplitz, fft, loop, but",
        ),
        (lambda x, i, v, b, a: integrate(x, i, v, b, a, chunk=0), ConfigError, "at least 1 step, but got chunk=0"),
        (lambda x, i, v, b, a: integrate(x[0], i, v, b, a), ShapeError, r"needs input \[T, B, \*N\], time first"),
        (lambda x, i, v, b, a: integrate(x, i[:1], v, b, a), ShapeError, r"whose syn_current has shape \[1, 3\]"),
        (lambda x, i, v, b, a: integrate(x, i, v.float(), b, a), ShapeError, "but voltage of torch.float32"),
        (lambda x, i, v, b, a: integrate(x, i, v, b.float(), a), ShapeError, "decay_mem of torch.float32 on"),
        (lambda x, i, v, b, a: integrate(x, i, v, b, a.expand(4)), ShapeError, r"decay_syn of shape \[4\], but its"),
        (lambda x, i, v, b, a: integrate(x, i, v, b.expand(2, 3), a), ShapeError, r"decay_mem of shape \[2, 3\]"),
    ],
)
def test_errors(change: Callable[..., object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        change(*case(5, 3))
