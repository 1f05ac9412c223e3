"""Linear membranes over a whole sequence: two leaky integrators in series, without reset.

    i[t] = a i[t-1] + x[t],              a = decay_syn = exp(-dt / tau_syn)
    v[t] = b v[t-1] + (1 - b) i[t],      b = decay_mem = exp(-dt / tau_mem)

From the state before the first step this is

    v[n] = b^(n+1) v[-1] + a h[n] i[-1] + sum_j h[n-j] x[j],    h[n] = (1 - b) sum_j a^(n-j) b^j,    n = 0 .. T-1

which four methods compute: "loop" is the definition. "scan" splits time into chunks, sums inside a chunk by a
triangular Toeplitz matrix of h and carries the state from chunk to chunk, O(T chunk). "toeplitz" is "scan" with one
chunk, O(T^2), for short sequences. "fft" convolves with h in at least 2 T - 1 points, so that nothing wraps around. In
"scan" and "toeplitz" later inputs add exact zeros to earlier steps; in "fft" they add rounding errors.
Source: Yarga and Wood, Accelerating SNN training with stochastic parallelizable spiking neurons, 2023.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ..core import scan
from ..errors import ConfigError, ShapeError, check_like, check_sequence, check_type
from ..kernels.transforms import without_autocast
from .neuron import full_precision

METHODS = ("scan", "toeplitz", "fft", "loop")


def integrate(
    currents: Tensor,
    syn_current: Tensor,
    voltage: Tensor,
    decay_mem: Tensor,
    decay_syn: Tensor,
    method: str = "scan",
    chunk: int = 50,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return the voltages of all steps, and the synaptic current and voltage after the last.

    Shapes: currents [T, B, *N], syn_current and voltage [B, *N] -> voltages [T, B, *N]; decays broadcast to [*N].

    Args:
        currents: input of the synapse.
        syn_current, voltage: state before the first step.
        decay_mem, decay_syn: 0 to 1, one for all neurons or one each; 0 means no filter. They get gradients.
        method: "scan", "toeplitz", "fft" or "loop".
        chunk: steps per chunk of "scan".

    Raises:
        ConfigError: the method is unknown or `chunk` below 1.
        ShapeError: a tensor has a wrong shape, dtype or device.

    >>> zero, decay = torch.zeros(1, 1), torch.tensor(0.5)
    >>> voltages, state = integrate(torch.ones(3, 1, 1), zero, zero, decay, decay)
    >>> voltages.flatten().tolist(), state[0].item()
    ([0.5, 1.0, 1.375], 1.75)
    """
    owner = "integrate"
    if method not in METHODS:
        raise ConfigError(f"{owner} needs method from {', '.join(METHODS)}, but got {method!r}.")
    if chunk < 1:
        raise ConfigError(f"{owner} needs chunks of at least 1 step, but got chunk={chunk}.")
    check_sequence(owner, currents)
    currents = full_precision(owner, currents)
    for name, part in (("syn_current", syn_current), ("voltage", voltage)):
        check_like(owner, name, part, tuple(currents.shape[1:]), currents)
    for name, decay in (("decay_mem", decay_mem), ("decay_syn", decay_syn)):
        _check_decay(name, decay, currents)
    with without_autocast(currents):
        if method == "loop":
            return _loop(currents, syn_current, voltage, decay_mem, decay_syn)
        steps, batch = currents.shape[:2]
        syn, mem, rest = _groups(decay_syn, decay_mem, currents.shape[2:])
        xs = currents.reshape(steps, batch, len(mem), rest)  # G groups of R neurons that share their decays
        state = torch.stack([syn_current.reshape(xs.shape[1:]), voltage.reshape(xs.shape[1:])])
        if method == "fft" and xs.numel():
            voltages, syn_current = _fft(xs, state, syn, mem)
        else:
            voltages, (syn_current, _) = _chunked(xs, state, syn, mem, chunk if method == "scan" else steps)
        voltages = voltages.reshape(currents.shape)
        return voltages, (syn_current.reshape(voltage.shape), voltages[-1])


def _loop(
    currents: Tensor, syn_current: Tensor, voltage: Tensor, decay_mem: Tensor, decay_syn: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Compute `integrate` step by step; this is the definition."""

    def step(current: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        syn_current = decay_syn * state[0] + current
        voltage = decay_mem * state[1] + (1 - decay_mem) * syn_current
        return voltage, (syn_current, voltage)

    return scan(step, currents, (syn_current, voltage))


class _Response(NamedTuple):
    """Responses to a unit of input, synaptic current or voltage after n = 0 .. T-1 further steps; all [G, T]."""

    current: Tensor  # a^n, of the input in the synaptic current
    input: Tensor  # h[n], of the input in the voltage
    syn_current: Tensor  # a h[n], of the synaptic current in the voltage
    voltage: Tensor  # b^(n+1), of the voltage in itself


def _response(syn: Tensor, mem: Tensor, steps: int) -> _Response:
    """Return the responses, computed by doubling: g[m+n] = a^m g[n] + b^(n+1) g[m-1] with h = (1 - b) g.

    This needs no difference and no division, so decays may be equal, nearly equal or zero.
    """
    a, b = syn[:, None], mem[:, None]
    exponents = torch.arange(steps + 1, dtype=syn.dtype, device=syn.device)
    powers, leaks = a**exponents, b ** exponents[1:]
    sums = torch.ones_like(a)
    while (known := sums.shape[1]) < steps:
        more = min(known, steps - known)
        later = powers[:, known : known + 1] * sums[:, :more] + leaks[:, :more] * sums[:, -1:]
        sums = torch.cat([sums, later], 1)
    kernel = (1 - b) * sums
    return _Response(powers[:, :steps], kernel, a * kernel, leaks)


def _chunked(xs: Tensor, state: Tensor, syn: Tensor, mem: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """Integrate xs [T, B, G, R] from state [2, B, G, R] in chunks; the last may be shorter."""
    steps = len(xs)
    chunk = min(chunk, steps)
    left = steps % chunk
    if left:
        whole, rest = xs.split_with_sizes([steps - left, left])
        first, state = _chunked(whole, state, syn, mem, chunk)
        last, state = _chunked(rest, state, syn, mem, left)
        return torch.cat([first, last]), state
    _, batch, groups, rest_size = xs.shape
    count, columns = steps // chunk, batch * rest_size
    response = _response(syn, mem, chunk)
    triangle = functional.pad(response.input, (chunk - 1, 0)).unfold(1, chunk, 1).flip(2)  # [G, C, C] of h[t - s]
    to_state = torch.stack([response.current.flip(1), response.input.flip(1)], 1)  # [G, 2, C]
    from_state = torch.stack([response.syn_current, response.voltage], 2)  # [G, C, 2]
    carry = torch.stack([torch.stack([syn**chunk, torch.zeros_like(syn)], 1), from_state[:, -1]], 1)  # [G, 2, 2]
    if groups == 1:  # one product per chunk, on the sequence as it lies in memory
        inputs = xs.reshape(count, chunk, columns)
        triangle, to_state, from_state = (part.expand(count, -1, -1) for part in (triangle, to_state, from_state))
        ends = torch.bmm(to_state, inputs).unsqueeze(1)
    else:  # one product per group, all chunks side by side
        inputs = xs.reshape(count, chunk, batch, groups, rest_size).permute(3, 1, 0, 2, 4)
        inputs = inputs.reshape(groups, chunk, count * columns)
        ends = torch.bmm(to_state, inputs).reshape(groups, 2, count, columns).permute(2, 0, 1, 3)
    start = state.permute(2, 0, 1, 3).reshape(groups, 2, columns)
    starts, end = scan(lambda end, now: (now, torch.baddbmm(end, carry, now)), ends, start)  # [n, G, 2, B R]
    voltages = torch.bmm(triangle, inputs)
    if groups == 1:
        voltages.baddbmm_(from_state, starts[:, 0])
    else:
        voltages.baddbmm_(from_state, starts.permute(1, 2, 0, 3).reshape(groups, 2, count * columns))
        voltages = voltages.reshape(groups, chunk, count, batch, rest_size).permute(2, 1, 3, 0, 4)
    return voltages.reshape(xs.shape), end.reshape(groups, 2, batch, rest_size).permute(1, 2, 0, 3)


def _fft(xs: Tensor, state: Tensor, syn: Tensor, mem: Tensor) -> tuple[Tensor, Tensor]:
    """Integrate xs [T, B, G, R] by FFT; the response to the state [2, B, G, R] is added in closed form."""
    steps, points = len(xs), _fast_length(2 * len(xs) - 1)
    response = _response(syn, mem, steps)
    inputs = xs.permute(2, 1, 3, 0).contiguous()  # [G, B, R, T]: transforms want time last
    spectrum = torch.fft.rfft(inputs, points) * torch.fft.rfft(response.input, points)[:, None, None]
    driven = torch.fft.irfft(spectrum, points)[..., :steps].permute(3, 1, 0, 2)
    held_syn, held = (part.T[:, None, :, None] for part in response[2:])  # [T, 1, G, 1]
    voltages = driven + held_syn * state[0] + held * state[1]
    syn_current = torch.einsum("gt,gbrt->bgr", response.current.flip(1), inputs)
    return voltages, syn_current + syn[:, None] ** steps * state[0]


def _fast_length(least: int) -> int:
    """Return the smallest 2^i 3^j 5^k that is at least `least`: a fast length for an FFT.

    >>> _fast_length(2739)
    2880
    """
    best = 1 << (least - 1).bit_length()
    for odd in (int(3**j * 5**k) for j in range(21) for k in range(14)):
        if odd < best:
            best = min(best, odd << (math.ceil(least / odd) - 1).bit_length())
    return best


def _check_decay(name: str, decay: Tensor, currents: Tensor) -> None:
    """Raise ShapeError unless a decay fits the neurons."""
    neurons = tuple(currents.shape[2:])
    check_type("integrate", name, decay, currents)
    if decay.dim() > len(neurons) or any(
        size not in (1, wanted) for size, wanted in zip(reversed(decay.shape), reversed(neurons), strict=False)
    ):
        raise ShapeError(
            f"integrate got {name} of shape {list(decay.shape)}, but its neurons have shape {list(neurons)}. "
            "Pass one number, or a tensor that broadcasts to the neurons."
        )


def _groups(syn: Tensor, mem: Tensor, neurons: torch.Size) -> tuple[Tensor, Tensor, int]:
    """Return both decays [G], and the number R of adjacent neurons that share them: [*N] is [G, R] in memory."""
    own = [len(neurons) - i for decay in (syn, mem) for i, size in enumerate(reversed(decay.shape)) if size > 1]
    cut = max([0, *own])
    expanded = [*neurons[:cut], *[1] * (len(neurons) - cut)]
    return syn.expand(expanded).reshape(-1), mem.expand(expanded).reshape(-1), math.prod(neurons[cut:])
