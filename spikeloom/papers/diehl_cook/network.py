"""The network of Diehl & Cook: plastic input synapses, and lateral inhibition that makes neurons compete.

    current[t] = gain W s_in[t-1] + lateral[t]
    one layer    lateral[t] = -inhibit (spikes of the others)[t-1]
    two layers   lateral[t] = -inhibit (inhibitory spikes of the others)[t-1];  each inhibitory neuron receives input
                 from its excitatory partner: excite s[t-1]
    in training, after each step:  W <- rule(W, s_in[t], s[t])

An inhibition matrix (`layers.som_inhibition`) can replace -inhibit. Every connection has a delay of one step. Weights
and homeostasis are in the state, shared by the samples of a batch; `consolidate(state)` writes them back to the module.

The step in torch is the definition. On the CPU, a compiled event-driven loop gives the same results; if an excitatory
spike always makes its partner fire one step later, the inhibitory layer reduces to a delay of two steps.
Sources: Diehl and Cook, 2015; the network for N-MNIST by Lopez Gordillo, 2021.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...arguments import explained
from ...core import State, Stateful, constant, map_state, scan
from ...encoding.events import Events, events_of, sequence_of
from ...errors import ConfigError, ShapeError, check_like, check_positive, check_sequence, check_state
from ...kernels import engine_for
from ...kernels.noise import keys
from ...neurons.diehl_cook import DiehlCook, DiehlCookState, MembraneLIF, MembraneLIFState
from ...neurons.neuron import check_noise
from ...rules import normalise
from ...rules.stdp import SOFT_BOUNDS, STDP, STDPTraces


class NetworkState(NamedTuple):
    """State of a `DiehlCookNetwork`."""

    weight: Tensor  # [N, I]
    traces: STDPTraces
    inputs: Tensor  # [B, I], spikes of the previous step
    neurons: DiehlCookState
    spikes: Tensor  # [B, N], of the previous step
    inhibitory: MembraneLIFState | tuple[()]
    inhibited: Tensor | tuple[()]  # [B, N], spikes of the inhibitory layer in the previous step
    gain: Tensor  # [B], factor of the input currents
    spiked: Tensor  # [B, N], 1 if a neuron spiked since the start of the sample; weights of others are unchanged


class Fired(NamedTuple):
    """Spikes as a list, ordered by time."""

    steps: Tensor  # int64 [E]
    samples: Tensor
    neurons: Tensor


@explained
class DiehlCookNetwork(Stateful):
    """Competing excitatory neurons with plastic input synapses, and inhibitory neurons or direct inhibition.

    Weights and homeostasis adapt in train() mode and are constant in eval() mode.
    Shapes: spikes or counts of the inputs [T, B, I] -> spikes [T, B, N].
    Units: weights, `excite` and `inhibit` in mV per spike.

    Args:
        n_in: number of inputs I.
        neurons: the excitatory layer.
        rule: learning rule of the input synapses; None: they do not learn.
        inhibitory: the inhibitory layer; None: excitatory neurons inhibit each other directly.
        excite: weight from an excitatory neuron to its inhibitory partner.
        inhibit: strength of the inhibition of all other neurons.
        lateral: weights [N, N] instead of `inhibit`, 0 or below.
        total: sum of the weights of each neuron after `normalise_`, and initially; 0: no normalisation.
        scale: factor of the input currents, for weights in other units.
        w_init: initial weights are uniform from 0, or w_min of the rule if that is higher, to this value.
        generator: source of the weights.

    Raises:
        ConfigError: sizes, strengths, bounds or time steps do not fit, a lateral weight is positive, or an input is
            negative or not finite.
        ShapeError: input or state has a wrong shape, dtype or device.

    >>> from spikeloom.rules import post_stdp
    >>> net = DiehlCookNetwork(4, DiehlCook(3), post_stdp(), scale=10.0, generator=torch.Generator().manual_seed(0))
    >>> spikes, state = net(torch.ones(20, 1, 4))
    >>> spikes.shape, state.weight.shape
    (torch.Size([20, 1, 3]), torch.Size([3, 4]))
    """

    def __init__(
        self,
        n_in: int,
        neurons: DiehlCook,
        rule: STDP | None,
        *,
        inhibitory: MembraneLIF | None = None,
        excite: float = 22.5,
        inhibit: float = 17.5,
        lateral: Tensor | None = None,
        total: float = 0.0,
        scale: float = 1.0,
        w_init: float = 0.3,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_positive("DiehlCookNetwork", n_in=n_in, scale=scale)
        if not all(0.0 <= value < math.inf for value in (inhibit, excite, total, w_init)):
            raise ConfigError(
                f"DiehlCookNetwork needs excite, inhibit, total and w_init >= 0 and finite, but got {excite}, "
                f"{inhibit}, {total} and {w_init}. Inhibition is a positive strength."
            )
        size = neurons.size
        parts = {"inhibitory": inhibitory, "rule": rule}
        if not isinstance(rule, STDP | None):
            raise ConfigError(f"DiehlCookNetwork needs rule as STDP or None, but got {rule!r}. Pass post_stdp().")
        for name, part in parts.items():
            if part is not None and part.dt != neurons.dt:
                raise ConfigError(f"The neurons have steps of {neurons.dt} ms, but {name} has {part.dt}. Use one dt.")
        if inhibitory is not None and inhibitory.size != size:
            raise ConfigError(f"Each of the {size} neurons needs a partner, but there are {inhibitory.size}.")
        self.n_in, self.neurons, self.rule, self.inhibitory = n_in, neurons, rule, inhibitory
        self.excite, self.inhibit, self.total, self.scale = excite, inhibit, total, scale
        self.weight: Tensor
        w_min, w_max = self._bounds
        lowest = max(w_min, 0.0)
        if not total and not lowest <= w_init <= w_max:
            raise ConfigError(
                f"Weights start between {lowest:g} and w_init, which is {w_init:g}, but the rule keeps them from "
                f"{w_min:g} to {w_max:g}. Change w_init or the bounds, or let total normalise the weights."
            )
        weight = lowest + (w_init - lowest) * torch.rand(n_in, size, generator=generator).T
        if total:
            weight = normalise(weight, total, *self._bounds)
        self.register_buffer("weight", weight)
        self.lateral: Tensor | None
        self.register_buffer("lateral", None, persistent=False)
        if lateral is not None:
            self.set_lateral(lateral)

    def set_lateral(self, lateral: Tensor | None) -> None:
        """Set the lateral weights [N, N]; None: uniform inhibition by `inhibit`.

        Raises:
            ConfigError: a weight is positive, or a weight from a neuron to itself is not 0.
            ShapeError: the shape is not [N, N].
        """
        if lateral is not None:
            size = self.neurons.size
            if tuple(lateral.shape) != (size, size):
                raise ShapeError(
                    f"Lateral inhibition of {size} neurons needs [{size}, {size}], got {list(lateral.shape)}."
                )
            if bool((lateral > 0).any()) or bool(lateral.diagonal().any()):
                raise ConfigError("Lateral weights must be 0 or below, and 0 from a neuron to itself.")
            lateral = lateral.to(self.weight)
        self.lateral = lateral

    @property
    def exact(self) -> bool:
        """Whether each inhibitory neuron repeats the spikes of its partner exactly, one step later."""
        return self._exact(self.weight.dtype)

    def _exact(self, dtype: torch.dtype) -> bool:
        """Whether `exact` holds in this dtype: rounding matters if `excite` just reaches the threshold."""
        other = self.inhibitory
        if other is None:
            return False
        kind = np.float32 if dtype == torch.float32 else np.float64
        rest, excite, threshold = np.array([other.rest, self.excite, other.threshold], kind)
        fires = bool(rest + excite >= threshold) and other.rest <= other.reset
        return fires and self.neurons.refractory > other.refractory and other.lowest <= other.rest

    def structure(self) -> dict[str, float | str | bool | None]:
        two = self.inhibitory is not None
        return {"excite": self.excite, "inhibit": self.inhibit, "scale": self.scale, "two_layers": two}

    def initial_state(self, x: Tensor, gain: float = 1.0, noise: torch.Generator | None = None) -> NetworkState:
        """Return the initial state, with the weights and the homeostasis of the module.

        Winners are drawn by keys from `noise`, or from the generator of the neurons if it is None.
        """
        if x.dim() != 2 or x.shape[1] != self.n_in:
            raise ShapeError(f"DiehlCookNetwork has {self.n_in} inputs, but a slice of its input is {list(x.shape)}.")
        if x.dtype not in (torch.float32, torch.float64):
            raise ShapeError(
                f"DiehlCookNetwork needs input of torch.float32 or float64, but got {x.dtype}. Call .float() on it."
            )
        silent = x.new_zeros(len(x), self.neurons.size)
        neurons = self.neurons.initial_state(silent)
        if noise is not None:
            neurons = neurons._replace(noise=keys(len(x), x.device, noise))
        weight = self.weight.T.to(x).clone(memory_format=torch.contiguous_format).T  # memory layout [I, N]
        return self._at_rest(x, weight, neurons, gain)

    def _at_rest(self, x: Tensor, weight: Tensor, neurons: DiehlCookState, gain: float) -> NetworkState:
        check_positive("DiehlCookNetwork", gain=gain)
        silent = torch.zeros_like(neurons.voltage)
        inhibitory, inhibited = (
            ((), ()) if self.inhibitory is None else (self.inhibitory.initial_state(silent), silent.clone())
        )
        traces = STDPTraces(torch.zeros_like(x), torch.zeros_like(silent), torch.zeros_like(silent))
        gains = silent.new_full((len(x),), gain)
        spiked = torch.zeros_like(silent)
        return NetworkState(weight, traces, torch.zeros_like(x), neurons, silent, inhibitory, inhibited, gains, spiked)

    def step(self, x: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        self._check_state(x, state)
        return self._step(x, state._replace(weight=state.weight.clone()))

    def _step(self, x: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        """Like `step`, but update the weight in place: a sequence needs only one."""
        spiking = state.inputs[0] if len(state.inputs) == 1 else state.inputs.any(0)
        active = spiking.nonzero().flatten()  # inputs that spiked: few
        sums = state.inputs.index_select(1, active) @ state.weight.T.index_select(0, active)
        current = (state.gain * constant(self.scale, sums)).unsqueeze(1) * sums
        source = state.spikes if self.inhibitory is None else state.inhibited
        assert isinstance(source, Tensor)
        if source.count_nonzero().item():  # twice as fast as any() for floats
            current = current + self._inhibition(source)
        spikes, neurons = self.neurons.step(current, state.neurons)
        inhibitory, inhibited = state.inhibitory, state.inhibited
        if self.inhibitory is not None:
            assert isinstance(inhibitory, MembraneLIFState)
            inhibited, inhibitory = self.inhibitory.step(state.spikes * constant(self.excite, x), inhibitory)
        traces = state.traces
        if self.training and self.rule is not None:
            traces = self.rule.update_(state.weight, x, spikes, traces)
        spiked = torch.maximum(state.spiked, spikes)
        parts = (state.weight, traces, x, neurons, spikes, inhibitory, inhibited, state.gain, spiked)
        return spikes, NetworkState(*parts)

    def _inhibition(self, source: Tensor) -> Tensor:
        """Return the inhibitory currents of the spikes [B, N] of the previous step."""
        if self.lateral is None:
            return (source.sum(1, keepdim=True) - source) * constant(-self.inhibit, source)
        return source @ self.lateral.to(source).T

    @torch.no_grad()
    def forward(self, xs: Tensor, state: NetworkState | None = None) -> tuple[Tensor, NetworkState]:
        check_sequence("DiehlCookNetwork", xs, self.n_in)
        if xs.is_meta:
            raise ShapeError("DiehlCookNetwork looks at its input, but one on meta has no values. Pass it on the CPU.")
        if xs.numel():
            low, high = (float(value) for value in xs.aminmax())
            if not 0.0 <= low <= high < math.inf:
                raise ConfigError(
                    f"DiehlCookNetwork needs spikes or counts, 0 or above and finite, but its input goes from {low:g} "
                    f"to {high:g}. Give negative inputs units of their own, and leave out what is not a number."
                )
        if state is not None:
            self._check_state(xs[0], state)
        state = self.initial_state(xs[0]) if state is None else copied(state)
        if engine_for(xs) != "numba" or not self._compiled(len(xs[0])) or not len(xs[0]):
            return self._in_steps(xs, state)
        fired = self.advance_(events_of(xs), state)
        spikes = xs.new_zeros(len(xs), *state.spikes.shape)
        spikes[fired.steps, fired.samples, fired.neurons] = 1.0
        return spikes, state

    @torch.no_grad()
    def advance_(self, events: Events, state: NetworkState) -> Fired:
        """Run the network on a list of input events; update `state` in place and return the spikes as a list.

        Raises:
            ConfigError: the count of an event is not positive or not finite.
            ShapeError: events are of another batch size, of units out of range, or out of order.
        """
        batch, size = state.spikes.shape
        self._check_state(state.inputs, state)
        rows = self._check_events(events, batch)
        if engine_for(state.weight) != "numba" or not self._compiled(batch):
            return self._by_definition(events, state)
        self._check_weight(state)
        before = events_of(state.inputs.unsqueeze(0))
        first = torch.cat([before.first, before.first[-1] + events.first[1:]])
        unit = torch.cat([before.unit, events.unit])
        count = torch.cat([before.times, events.times]).to(state.weight.dtype)
        two = isinstance(state.inhibitory, MembraneLIFState)
        silent = state.spikes.new_empty(0, 0)
        inhibitory = (*state.inhibitory, state.inhibited) if two else (silent, silent, silent)
        lateral = silent if self.lateral is None else self.lateral.to(state.weight).T.contiguous()
        weight = state.weight.T.contiguous()  # no copy if the layout is that of `initial_state`
        arrays = [
            first, unit, count, weight, state.neurons.homeostasis, state.neurons.voltage,
            state.neurons.refractory, state.neurons.noise, state.gain, state.spikes, *state.traces, *inhibitory,
            lateral,
        ]  # fmt: skip
        steps = rows // batch
        room = steps * batch if self.neurons.one_winner else steps * batch * size
        fired = torch.empty(room, 3, dtype=torch.int64)
        numbers, choices = self._numbers(batch, weight.dtype), self._choices(weight.dtype)
        number = _kernels().compete(*(part.numpy() for part in (*arrays, numbers, choices, fired)))
        if weight.data_ptr() != state.weight.data_ptr():
            state.weight.copy_(weight.T)
        last = events.first[-1 - batch :]
        state.inputs.zero_()
        for b in range(batch):  # no unit occurs twice in a row
            part = slice(int(last[b]), int(last[b + 1]))
            state.inputs[b, events.unit[part].long()] = events.times[part].to(state.inputs)
        state.neurons.noise[:, 1] += steps
        state.spiked.numpy()[tuple(fired[:number, 1:].T.numpy())] = 1.0
        return Fired(*fired[:number].unbind(1))

    def _check_state(self, x: Tensor, state: NetworkState) -> None:
        """Raise ShapeError unless `state` is a state of this network for a slice [B, I] like `x`."""
        name, batch, size = "DiehlCookNetwork", len(x), self.neurons.size
        check_state(name, state, NetworkState)
        check_state(f"{name} (neurons)", state.neurons, DiehlCookState)
        check_state(f"{name} (traces)", state.traces, STDPTraces)
        layer, inputs = (batch, size), (batch, self.n_in)
        shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
            "inputs": (state.inputs, inputs), "spikes": (state.spikes, layer), "spiked": (state.spiked, layer),
            "weight": (state.weight, (size, self.n_in)), "gain": (state.gain, (batch,)),
            "traces.pre": (state.traces[0], inputs), "traces.post": (state.traces[1], layer),
            "traces.slow": (state.traces[2], layer), "voltage": (state.neurons.voltage, layer),
            "refractory": (state.neurons.refractory, layer), "homeostasis": (state.neurons.homeostasis, (size,)),
        }  # fmt: skip
        if self.inhibitory is None:
            check_state(f"{name} without inhibitory neurons (inhibitory)", state.inhibitory, tuple, 0)
        else:
            check_state(f"{name} (inhibitory)", state.inhibitory, MembraneLIFState)
            assert isinstance(state.inhibitory, MembraneLIFState)
            shapes["inhibitory.voltage"] = state.inhibitory.voltage, layer
            shapes["inhibitory.refractory"] = state.inhibitory.refractory, layer
            shapes["inhibited"] = state.inhibited, layer
        for part, (tensor, shape) in shapes.items():
            check_like(name, part, tensor, shape, x)
        check_noise(name, state.neurons.noise, x.unsqueeze(0))
        if self.lateral is not None and tuple(self.lateral.shape) != (size, size):
            raise ShapeError(
                f"Lateral inhibition of {size} neurons needs [{size}, {size}], got {list(self.lateral.shape)}. "
                "Set it with set_lateral."
            )

    def _check_events(self, events: Events, batch: int) -> int:
        """Return the number of rows of the events; raise unless they are valid: the compiled loop does not check."""
        kinds = [part.dtype if isinstance(part, Tensor) else type(part).__name__ for part in events]
        if (
            kinds[0] != torch.int64
            or kinds[1] not in (torch.int32, torch.int64)
            or not isinstance(kinds[2], torch.dtype)
        ):
            raise ShapeError(
                f"Events are first (int64), unit (int32) and times, all tensors, but got {', '.join(map(str, kinds))}. "
                "Make them by events_of or poisson_events."
            )
        first, unit, times = (part.numpy() for part in events)  # faster than tensors for few events
        rows = len(first) - 1
        if rows < 1 or batch < 1 or rows % batch:
            raise ShapeError(f"The events fill {rows} steps and samples, which is not a number of steps of {batch}.")
        if first[0] or not first[-1] == len(unit) == len(times) or bool((first[1:] < first[:-1]).any()):
            raise ShapeError(
                f"The events of a row are those from first[row] to first[row + 1], from 0 up to {len(unit)} units and "
                f"{len(times)} times, but first goes from {first[0]} to {first[-1]} or falls on the way. "
                "Make them by events_of or poisson_events."
            )
        if not len(unit):
            return rows
        low, high = unit.min(), unit.max()
        if low < 0 or high >= self.n_in:
            raise ShapeError(
                f"DiehlCookNetwork has {self.n_in} inputs, but the events are of units {low} to {high}. Units count "
                f"from 0 to {self.n_in - 1}."
            )
        falls = unit[1:] <= unit[:-1]
        falls[first[1:-1][(first[1:-1] > 0) & (first[1:-1] < len(unit))] - 1] = False
        if falls.any():  # not sorted: a unit could occur twice
            where = np.repeat(np.arange(rows), np.diff(first)) * self.n_in + unit
            if len(np.unique(where)) < len(where):
                raise ShapeError(
                    "A unit comes at most once in a step of a sample, but one comes twice. Say how often in `times`, "
                    "or make events by events_of."
                )
        least, most = times.min(), times.max()
        if not 0.0 < least <= most < math.inf:
            raise ConfigError(
                f"An event comes a positive number of times, but these come {least:g} to {most:g} times. Leave out "
                "what does not happen."
            )
        return rows

    def _numbers(self, batch: int, dtype: torch.dtype) -> Tensor:
        """Return the numeric constants of the compiled loop, in the order of `competition`."""
        e, i, rule = self.neurons, self.inhibitory or MembraneLIF(1), self.rule or STDP(dt=self.neurons.dt)
        share = 1.0 / batch if rule.reduction == "mean" else 1.0
        values = [
            e.rest, e.reset, e.threshold, e.refractory, math.exp(-e.dt / e.tau_mem), e.lowest, e.homeostasis_step,
            math.exp(-e.dt / e.tau_homeostasis), e.dt, self.excite, self.inhibit, i.rest, i.reset, i.threshold,
            i.refractory, math.exp(-i.dt / i.tau_mem), i.lowest, rule.lr * share, rule.lr_pre * share, rule.target,
            rule.power, rule.w_min, rule.w_max, 1.0 - rule.decay, *(
                math.exp(-rule.dt / tau) for tau in (rule.tau_pre, rule.tau_post, rule.tau_slow)
            ), self.scale,
        ]  # fmt: skip
        return torch.tensor(values, dtype=dtype)

    def _choices(self, dtype: torch.dtype) -> Tensor:
        """Return the flags of the compiled loop, in the order of `competition`."""
        rule = self.rule
        values: list[int] = [
            self.inhibitory is not None, self.neurons.one_winner, self.training, rule is not None,
            0 if rule is None else SOFT_BOUNDS.index(rule.soft_bound), rule is not None and rule.trace == "add",
            rule is not None and rule.triplet, self._exact(dtype),
            rule is not None and rule.trace_delay == 1,
        ]  # fmt: skip
        return torch.tensor(values, dtype=torch.int64)

    def _by_definition(self, events: Events, state: NetworkState) -> Fired:
        """Run `advance_` step by step in torch, on any device."""
        xs = sequence_of(events, len(state.spikes), self.n_in).to(state.inputs)
        spikes, after = self._in_steps(xs, state)
        map_state(Tensor.copy_, state, after)
        return Fired(*spikes.nonzero(as_tuple=True))

    def _in_steps(self, xs: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        """Run step by step in torch, updating the weight of `state` in place; inference mode is a sixth faster."""
        self._check_weight(state)
        with torch.inference_mode():
            spikes, after = scan(self._step, xs, state)
        return spikes.clone(), copied(after)

    def _check_weight(self, state: NetworkState) -> None:
        """Raise ConfigError unless the weights are finite and, in training, within the bounds of the rule."""
        if self.rule is not None and self.training:
            self.rule.check_weight("DiehlCookNetwork", state.weight)
        elif not bool(state.weight.isfinite().all()):
            raise ConfigError("DiehlCookNetwork got weights that are not finite. Look for what made them so.")

    def _compiled(self, batch: int) -> bool:
        """Whether the compiled loop supports it: not if the order of weight changes within a step matters."""
        rule = self.rule if self.training else None
        if rule is None:
            return True
        crowded = batch > 1 and rule.lr_pre != 0.0 and rule.soft_bound != "none"
        return rule.reduction != "max" and not crowded

    def fresh(self, state: NetworkState, gain: float = 1.0) -> NetworkState:
        """Return the state for the next samples: at rest, with the weights, homeostasis and noise keys of `state`."""
        voltage = torch.full_like(state.neurons.voltage, self.neurons.rest)
        neurons = state.neurons._replace(voltage=voltage, refractory=torch.zeros_like(voltage))
        return self._at_rest(state.inputs, state.weight, neurons, gain)

    @torch.no_grad()
    def normalise_(self, state: NetworkState) -> None:
        """Normalise the weights of each neuron that spiked since the start of the sample to the sum `total`, in place.

        If weights decay, those of all neurons. No effect in eval() mode or if `total` is 0.
        """
        if not (self.total and self.training):
            return
        if self.rule is None or self.rule.decay or state.weight.device.type != "cpu":
            state.weight.copy_(normalise(state.weight, self.total, *self._bounds))
        else:
            columns = state.spiked.any(0).nonzero().flatten()
            _kernels().normalise_columns(state.weight.T.numpy(), self.total, *self._bounds, columns.numpy())

    @property
    def _bounds(self) -> tuple[float, float]:
        return (-math.inf, math.inf) if self.rule is None else (self.rule.w_min, self.rule.w_max)

    @torch.no_grad()
    def consolidate(self, state: NetworkState) -> None:
        """Write the weights and the homeostasis of a state back to the module."""
        self.weight.copy_(state.weight)
        self.neurons.consolidate(state.neurons)


def copied(state: State) -> Any:
    """Return a copy of a state; weights keep their memory layout."""
    return map_state(Tensor.clone, state)


def _kernels() -> Any:
    """Import the compiled loops lazily: numba takes half a second to load."""
    from . import competition

    return competition
