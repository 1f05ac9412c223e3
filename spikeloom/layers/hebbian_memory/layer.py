"""Hebbian memory in fast weights: one layer writes it with a Hebbian rule, another reads it, both by spikes.

    write    key[t]   = LIF(i_key[t])                       i = weight x[t], keys first, then values
             value[t] = LIF(i_value[t] + recall W[t-1] key[t])
             W[t]     = rule(W[t-1], key[t], value[t])
    read     key[t]   = LIF(weight x[t] + feedback value[t - delay])
             value[t] = LIF(W key[t])

Every sample has a memory W [size, size] of its own, from keys to values; it is in the state, starts at zero, and
gradients pass through it. Reading does not change it. A sequence runs in one loop that keeps a sample's memory in the
cache of a CPU or in the registers of a GPU, and so does its exact adjoint; the definition runs step by step in torch.
Source: Limbacher, Özdenizci, Legenstein, Memory-enriched computation and learning in spiking neural networks through
Hebbian plasticity, 2022 (arXiv:2205.11276); the constants are those of the authors' code.
"""

import math
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ... import kernels
from ...arguments import explained
from ...core import Stateful, renew_weights, scan
from ...errors import ConfigError, ShapeError, check_count, check_like, check_sequence, check_state
from ...kernels.transforms import without_autocast
from ...neurons import LIF
from ...neurons.lif import LIFState
from ...neurons.neuron import full_precision
from ...rules.fast_weights import Hebbian, HebbianTraces, inverted_oja
from ...rules.local import LocalRule
from ...surrogate import Triangle

RULE = inverted_oja()
"""The rule of the paper."""
LARGEST = 128
"""Maximum size of a memory for the GPU loops; a larger one runs there by the definition."""


@explained
def memory_neuron(
    tau_mem: float = 20.0, threshold: float = 0.1, refractory: float = 3.0, slope: float = 1.0, **options: Any
) -> LIF:
    """Return LIF neurons with the constants of the paper: threshold 0.1, 20 ms, 3 ms refractory, slope 1.

    >>> memory_neuron().threshold
    0.1
    """
    return LIF(tau_mem, threshold, refractory=refractory, surrogate=Triangle(slope), **options)


@explained
def xavier_(weight: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Fill a weight [post, pre] in place with uniform numbers in +-sqrt(2) sqrt(6 / (pre + post))."""
    if weight.dim() != 2 or not sum(weight.shape) or not weight.is_floating_point():
        raise ShapeError(f"xavier_ needs a weight [post, pre], but got {weight.dtype} {list(weight.shape)}.")
    bound = math.sqrt(2.0) * math.sqrt(6.0 / sum(weight.shape))
    with torch.no_grad():
        return weight.uniform_(-bound, bound, generator=generator)


class WriteState(NamedTuple):
    """State of a `HebbianWrite`."""

    memory: Tensor  # [B, N, N], value neurons by key neurons
    key: LIFState
    value: LIFState
    traces: Any  # of the rule: HebbianTraces, each [B, N]


class ReadState(NamedTuple):
    """State of a `HebbianRead`."""

    memory: Tensor  # [B, N, N], does not change
    key: LIFState
    value: LIFState
    history: Tensor  # [delay, B, N], value spikes of the last steps, oldest first


class _MemoryLayer(Stateful):
    """Base class of both layers: a neuron model for keys and values, and an input weight."""

    def __init__(self, n_in: int, size: int, neuron: LIF | None, rows: int, columns: int, generator: Any) -> None:
        super().__init__()
        check_count(type(self).__name__, n_in=n_in, size=size)
        self.n_in, self.size = n_in, size
        self.neuron = memory_neuron() if neuron is None else neuron
        if not isinstance(self.neuron, LIF):
            raise ConfigError(f"{type(self).__name__} needs neuron as LIF, but got {neuron!r}. Pass memory_neuron().")
        self.weight = nn.Parameter(xavier_(torch.empty(rows, columns), generator))

    def _prepared(self, xs: Tensor) -> Tensor:
        """Return the input after a check, in full precision."""
        name = type(self).__name__
        check_sequence(name, xs, self.n_in)
        if xs.dim() != 3:
            raise ShapeError(f"{name} needs spikes [T, B, {self.n_in}], but got {list(xs.shape)}.")
        xs = full_precision(name, xs)
        check_like(name, "weight", self.weight, tuple(self.weight.shape), xs)
        return xs

    def _check_state(self, xs: Tensor, state: Any, kind: type) -> None:
        """Raise ShapeError unless a state is of this kind and its memory and neurons fit input [T, B, n_in]."""
        name = type(self).__name__
        check_state(name, state, kind)
        memory, expected = state.memory, (xs.shape[1], self.size, self.size)
        if not isinstance(memory, Tensor) or tuple(memory.shape) != expected or memory.dtype != xs.dtype:
            actual = f"{list(memory.shape)} of {memory.dtype}" if isinstance(memory, Tensor) else type(memory).__name__
            raise ShapeError(
                f"{name} got a memory {actual}, but its input {list(xs.shape)} of {xs.dtype} needs {list(expected)}. "
                "Every sample has a memory of its own."
            )
        check_like(name, "memory", memory, expected, xs)
        for population, cells in (("key", state.key), ("value", state.value)):
            check_state(f"{name} ({population})", cells, LIFState)
            for part in ("voltage", "spikes", "refractory"):
                check_like(name, f"{population}.{part}", getattr(cells, part), expected[:2], xs)

    def _currents(self, xs: Tensor, weight: Tensor) -> Tensor:
        """Return the currents of all steps, [T, B, rows of the weight]."""
        current = xs.flatten(0, 1) @ weight.T
        return full_precision(type(self).__name__, current.view(*xs.shape[:2], len(weight)))

    def _split(self, state: Tensor) -> tuple[LIFState, LIFState, tuple[Tensor, ...]]:
        """Split stacked parts [B, parts, N] into the states of keys and values, and the rest."""
        parts = state.unbind(1)
        return self.neuron.pack(*parts[:3]), self.neuron.pack(*parts[3:6]), parts[6:]

    def _cells(self, parts: tuple[Tensor, ...]) -> tuple[LIFState, LIFState]:
        """Return the states of keys and values from the results of a compiled loop; steps left have no gradient."""
        pack = self.neuron.pack
        return pack(*parts[:2], parts[2].detach()), pack(*parts[3:5], parts[5].detach())


@explained
class HebbianWrite(_MemoryLayer):
    """Layer that writes a memory: the rule associates the spikes of its keys with those of its values.

    Shapes: spikes [T, B, n_in] -> spikes [T, B, 2 size], keys first; weight [2 size, n_in]; memory [B, size, size].

    Args:
        n_in: number of inputs.
        size: number of key neurons, and of value neurons.
        neuron: `LIF` model of both; by default `memory_neuron()`.
        rule: a `LocalRule` for weights of each sample; by default `inverted_oja()`. With None the memory is constant.
        recall: strength of the current into values that the memory recalls for the present key.
        generator: random generator of the weight.

    Raises:
        ConfigError: a size is not positive, or time steps of neuron and rule differ.
        ShapeError: input or state of a wrong shape or dtype.

    >>> layer = HebbianWrite(4, 3, generator=torch.Generator().manual_seed(0))
    >>> spikes, state = layer(torch.ones(50, 2, 4))
    >>> spikes.shape, state.memory.shape
    (torch.Size([50, 2, 6]), torch.Size([2, 3, 3]))
    """

    def __init__(
        self,
        n_in: int,
        size: int,
        neuron: LIF | None = None,
        *,
        rule: LocalRule | None = RULE,
        recall: float = 0.2,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(n_in, size, neuron, 2 * size, n_in, generator)
        if not math.isfinite(recall):
            raise ConfigError(f"HebbianWrite needs a finite recall, but got {recall}.")
        if rule is not None and (isinstance(rule, type) or not callable(getattr(rule, "update", None))):
            raise ConfigError(f"HebbianWrite needs a rule such as inverted_oja(), or None, but got {rule!r}.")
        if isinstance(rule, Hebbian) and rule.dt != self.neuron.dt:
            raise ConfigError(f"The neurons have steps of {self.neuron.dt} ms, but the rule has {rule.dt}. Use one dt.")
        self.rule, self.recall = rule, recall

    def initial_state(self, x: Tensor) -> WriteState:
        """Return a state with a memory of zeros and neurons at rest."""
        silent = x.new_zeros(len(x), self.size)
        traces = () if self.rule is None else self.rule.initial_traces(silent, silent)
        memory = x.new_zeros(len(x), self.size, self.size)
        return WriteState(memory, self.neuron.initial_state(silent), self.neuron.initial_state(silent), traces)

    def structure(self) -> dict[str, float | str | bool | None]:
        if isinstance(self.rule, Hebbian):
            return {"recall": self.recall, **{f"rule.{name}": value for name, value in asdict(self.rule).items()}}
        return {"recall": self.recall, "rule": None if self.rule is None else type(self.rule).__name__}

    def step(self, x: Tensor, state: WriteState) -> tuple[Tensor, WriteState]:
        renew_weights(self)
        (x,) = xs = self._prepared(x.unsqueeze(0))
        self._check_write(xs, state)
        return self._step(x @ self.weight.T, state)

    def _step(self, current: Tensor, state: WriteState) -> tuple[Tensor, WriteState]:
        key_current, value_current = current.chunk(2, -1)
        keys, key = self.neuron.step(key_current, state.key)
        recalled = (state.memory @ keys.unsqueeze(2)).squeeze(2)
        values, value = self.neuron.step(value_current + self.recall * recalled, state.value)
        memory, traces = state.memory, state.traces
        if self.rule is not None:
            memory, traces = self.rule.update(memory, keys, values, traces)
        return torch.cat([keys, values], -1), WriteState(memory, key, value, traces)

    def _check_write(self, xs: Tensor, state: WriteState) -> None:
        self._check_state(xs, state, WriteState)
        if isinstance(self.rule, Hebbian):
            check_state("HebbianWrite (traces)", state.traces, HebbianTraces)
            for part in ("pre", "post"):
                check_like("HebbianWrite", f"traces.{part}", getattr(state.traces, part), (xs.shape[1], self.size), xs)

    def forward(self, xs: Tensor, state: WriteState | None = None) -> tuple[Tensor, WriteState]:
        xs = self._prepared(xs)
        state = self.initial_state(xs[0]) if state is None else state
        self._check_write(xs, state)
        current = self._currents(xs, self.weight)
        if not self._fused(xs):
            return self._scan(current, state)
        traces = state.traces if self.rule is not None else state.key[:2]  # without a rule there are none
        parts = [*state.key[:3], *state.value[:3], *traces]
        out, memory, after = _kernels().write_sequence(
            current, state.memory, parts, self.neuron, self.rule, self.recall, self._definition
        )
        key, value = self._cells(after)
        return out, WriteState(memory, key, value, () if self.rule is None else HebbianTraces(*after[6:]))

    def _scan(self, current: Tensor, state: WriteState) -> tuple[Tensor, WriteState]:
        """Run the definition over currents."""
        with without_autocast(current):
            return scan(self._step, current, state)

    def _definition(self, current: Tensor, memory: Tensor, parts: Tensor) -> list[Tensor]:
        """Compute the results of the compiled loop by the definition."""
        key, value, traces = self._split(parts)
        held = () if self.rule is None else HebbianTraces(*traces)
        with kernels.use("torch"):
            out, after = self._scan(current, WriteState(memory, key, value, held))
        traces = traces if self.rule is None else after.traces
        return [out, after.memory, torch.stack([*after.key[:3], *after.value[:3], *traces], 1)]

    def _fused(self, xs: Tensor) -> bool:
        """Return whether the compiled loop supports rule and neuron, and the rule's minima have no effect on spikes."""
        rule = self.rule
        known = rule is None or (isinstance(rule, Hebbian) and rule.potentiation + rule.depression <= 1.0)
        return known and compiled(self.neuron, xs, self.size)


@explained
class HebbianRead(_MemoryLayer):
    """Layer that reads a memory; value spikes are fed back to the keys after a delay.

    Shapes: spikes [T, B, n_in] -> spikes [T, B, 2 size], keys first; weight [size, n_in + size], feedback last.

    Args:
        n_in: number of inputs.
        size: number of key neurons, and of value neurons.
        neuron: `LIF` model of both; by default `memory_neuron()`.
        delay: steps from a value spike to its effect on keys, >= 1.
        generator: random generator of the weight.

    Raises:
        ConfigError: a size or the delay is not positive.
        ShapeError: input or state of a wrong shape or dtype.

    >>> layer = HebbianRead(4, 3, delay=2, generator=torch.Generator().manual_seed(0))
    >>> spikes, state = layer(torch.ones(50, 2, 4), layer.begin(torch.rand(2, 3, 3)))
    >>> spikes.shape, state.history.shape
    (torch.Size([50, 2, 6]), torch.Size([2, 2, 3]))
    """

    def __init__(
        self,
        n_in: int,
        size: int,
        neuron: LIF | None = None,
        *,
        delay: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(n_in, size, neuron, size, n_in + size, generator)
        if not isinstance(delay, int) or delay < 1:
            raise ConfigError(f"HebbianRead needs a delay of at least one step, a whole number, but got {delay}.")
        self.delay = delay

    def begin(self, memory: Tensor) -> ReadState:
        """Return a state with this memory [B, size, size] and neurons at rest."""
        if memory.dim() != 3 or tuple(memory.shape[1:]) != (self.size, self.size):
            raise ShapeError(
                f"HebbianRead of size {self.size} reads a memory [B, {self.size}, {self.size}], but got "
                f"{list(memory.shape)}. Pass the memory that a HebbianWrite of this size left."
            )
        silent = memory.new_zeros(len(memory), self.size)
        history = memory.new_zeros(self.delay, *silent.shape)
        return ReadState(memory, self.neuron.initial_state(silent), self.neuron.initial_state(silent), history)

    def initial_state(self, x: Tensor) -> ReadState:
        """Return a state with an empty memory; use `begin` for one that was written."""
        return self.begin(x.new_zeros(len(x), self.size, self.size))

    def structure(self) -> dict[str, float | str | bool | None]:
        return {"delay": self.delay}

    def step(self, x: Tensor, state: ReadState) -> tuple[Tensor, ReadState]:
        renew_weights(self)
        (x,) = xs = self._prepared(x.unsqueeze(0))
        self._check_read(xs, state)
        return self._step(x @ self.weight[:, : self.n_in].T, self.weight[:, self.n_in :], state)

    def _step(self, current: Tensor, feedback: Tensor, state: ReadState) -> tuple[Tensor, ReadState]:
        fed_back = state.history[0] @ feedback.T
        keys, key = self.neuron.step(current + fed_back, state.key)
        recalled = (state.memory @ keys.unsqueeze(2)).squeeze(2)
        values, value = self.neuron.step(recalled, state.value)
        history = torch.cat([state.history[1:], values.unsqueeze(0)])
        return torch.cat([keys, values], -1), ReadState(state.memory, key, value, history)

    def _check_read(self, xs: Tensor, state: ReadState) -> None:
        self._check_state(xs, state, ReadState)
        actual = list(state.history.shape) if isinstance(state.history, Tensor) else type(state.history).__name__
        if actual != [self.delay, xs.shape[1], self.size]:
            raise ShapeError(
                f"HebbianRead with a delay of {self.delay} needs a history [{self.delay}, {xs.shape[1]}, {self.size}], "
                f"but got {actual}. Begin with `begin(memory)`."
            )
        check_like("HebbianRead", "history", state.history, tuple(state.history.shape), xs)

    def forward(self, xs: Tensor, state: ReadState | None = None) -> tuple[Tensor, ReadState]:
        xs = self._prepared(xs)
        state = self.initial_state(xs[0]) if state is None else state
        self._check_read(xs, state)
        current = self._currents(xs, self.weight[:, : self.n_in])
        if not compiled(self.neuron, xs, self.size):
            return self._scan(current, self.weight[:, self.n_in :], state)
        parts = [*state.key[:3], *state.value[:3]]
        out, after = _kernels().read_sequence(
            current, self.weight[:, self.n_in :], state.memory, parts, state.history, self.neuron, self._definition
        )
        history = torch.cat([state.history, out[..., self.size :]])[-self.delay :]
        return out, ReadState(state.memory, *self._cells(after), history)

    def _scan(self, current: Tensor, feedback: Tensor, state: ReadState) -> tuple[Tensor, ReadState]:
        """Run the definition over currents, with the weight of the feedback."""
        with without_autocast(current):
            return scan(lambda x, state: self._step(x, feedback, state), current, state)

    def _definition(
        self, current: Tensor, feedback: Tensor, memory: Tensor, parts: Tensor, history: Tensor
    ) -> list[Tensor]:
        """Compute the results of the compiled loop by the definition."""
        key, value, _ = self._split(parts)
        with kernels.use("torch"):
            out, after = self._scan(current, feedback, ReadState(memory, key, value, history))
        return [out, torch.stack([*after.key[:3], *after.value[:3]], 1)]


def compiled(neuron: LIF, xs: Tensor, size: int) -> bool:
    """Return whether a loop supports this neuron (constant values, surrogate `Triangle`) and the size of the memory."""
    numbers = all(isinstance(getattr(neuron, name), float) for name in neuron.values)
    room = {"numba": True, "triton": size <= LARGEST, "torch": False}[kernels.engine_for(xs)]
    return room and numbers and not torch.compiler.is_compiling() and isinstance(neuron.program.surrogate, Triangle)


@explained
def align_(write: HebbianWrite, read: HebbianRead, features: int) -> None:
    """Initialise both layers with aligned keys: the first `features` inputs get the same weights to the keys of both.

    The weights from other inputs to the keys of `write`, from the features to its values (unless there are no other
    inputs), and from values to the keys of `read` are set to zero; all can still be learned. `read` has `features`
    inputs. Without this, training must first discover that the keys have to agree, which takes hundreds of updates
    instead of tens.

    Raises:
        ShapeError: the layers do not fit together.

    >>> write, read = HebbianWrite(6, 3), HebbianRead(4, 3)
    >>> align_(write, read, 4)
    >>> torch.equal(write.weight[:3, :4], read.weight[:, :4])
    True
    """
    if write.size != read.size or read.n_in != features or write.n_in < features:
        raise ShapeError(
            f"align_ needs layers of one size, `read` with the {features} features as inputs, `write` with them first, "
            f"but got sizes {write.size} and {read.size}, inputs {write.n_in} and {read.n_in}."
        )
    align_weights_(write.weight, read.weight, features)


@torch.no_grad()
def align_weights_(write: Tensor, read: Tensor, features: int) -> None:
    """Align weights as `align_` does, of spiking or rate layers: write [2 M, I], keys first; read [M, features + any].

    >>> write, read = torch.rand(6, 5), torch.rand(3, 4)
    >>> align_weights_(write, read, 4)
    >>> torch.equal(write[:3, :4], read), write[:3, 4:].count_nonzero().item(), write[3:, :4].count_nonzero().item()
    (True, 0, 0)
    """
    size = len(read)
    read[:, :features] = write[:size, :features]
    read[:, features:] = 0.0
    write[:size, features:] = 0.0
    if write.shape[1] > features:
        write[size:, :features] = 0.0


@torch.no_grad()
def centre_(*weights: Tensor) -> None:
    """Centre the weights [N, I] of every neuron in place: they sum to zero, so that activity common to all inputs has
    no effect. Spike patterns are all positive, so without it the keys of different patterns are similar.

    >>> weight = torch.tensor([[1.0, 3.0], [0.0, 4.0]])
    >>> centre_(weight)
    >>> weight.tolist()
    [[-1.0, 1.0], [-2.0, 2.0]]
    """
    for weight in weights:
        weight -= weight.mean(1, keepdim=True)


def _kernels() -> Any:
    """Return the module of compiled loops, imported late: numba takes half a second to load."""
    from . import autograd

    return autograd


__all__ = [
    "HebbianRead", "HebbianTraces", "HebbianWrite", "ReadState", "WriteState", "align_", "memory_neuron", "xavier_",
]  # fmt: skip
