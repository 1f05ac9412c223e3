"""An agent with a Hebbian memory: it writes each observation, reads with it, and acts on the recalled values.

    observation o -> embedding -> LIF encoders (a constant current) -> HebbianWrite; HebbianRead, on the same spikes
    f = spike counts of the values read, in the last steps
    action   logits = W tanh(W tanh(W f))        value  = W tanh(W tanh(W [o; f]))

The state between observations holds the memory, all neurons, their traces and the delayed spikes; it is reset to zero
at the start of a game. With rates (ReLU for spikes, one step per observation), it is the memory alone.
Source: Limbacher, Özdenizci, Legenstein, Memory-enriched computation and learning in spiking neural networks through
Hebbian plasticity, 2022 (arXiv:2205.11276).
"""

from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ...core import State, Stateful, map_state
from ...errors import ConfigError, ShapeError, check_like, check_positive, check_sequence, check_state
from ...kernels import engine_for
from ...layers.hebbian_memory.layer import HebbianRead, HebbianWrite, ReadState, WriteState, xavier_
from ...neurons import LIF
from ...neurons.lif import LIFState
from ...rules import Hebbian
from .networks import constant_current, counts

Core = Literal["spiking", "relu", "reactive"]


class Choice(NamedTuple):
    """Output of an `Agent`: logits of the actions and expected return."""

    logits: Tensor  # [T, B, actions]
    value: Tensor  # [T, B], expected return


class RecallState(NamedTuple):
    """State of a `SpikingRecall`; the batch is the first dimension of all tensors."""

    encoder: LIFState
    write: WriteState
    key: LIFState
    value: LIFState
    history: Tensor  # [B, delay, M], value spikes read, oldest first


class RateState(NamedTuple):
    """State of a `RateRecall`."""

    memory: Tensor  # [B, M, M], values by keys


class Inside(NamedTuple):
    """Spikes during an observation, [T, B, N]; in `written` and `read`, keys come first."""

    encoder: Tensor
    written: Tensor
    read: Tensor

    @property
    def layers(self) -> dict[str, Tensor]:
        """Spikes by population."""
        by_population = {"encoder": self.encoder}
        for name, spikes in (("write", self.written), ("read", self.read)):
            by_population[f"{name} keys"], by_population[f"{name} values"] = spikes.chunk(2, -1)
        return by_population


def afresh(state: State, begins: Tensor) -> State:
    """Reset the state to zero where a game begins, [B]; the batch is the first dimension of all tensors."""
    if not bool(begins.any()):
        return state
    return map_state(lambda part: part.masked_fill(begins.view(-1, *[1] * (part.dim() - 1)), 0.0), state)


def check_batch(owner: str, state: State, x: Tensor) -> None:
    """Raise ShapeError unless all tensors of a state have the batch size of a slice [B, *N]."""
    for part in state:
        if isinstance(part, tuple):
            check_batch(owner, part, x)
        elif not isinstance(part, Tensor) or part.dim() == 0 or len(part) != len(x):
            found = len(part) if isinstance(part, Tensor) and part.dim() else "no"
            raise ShapeError(
                f"{owner} got a state of {found} samples, but its input {list(x.shape)} has {len(x)}. Pass "
                "state=None to start afresh, or the state of these samples."
            )


class SpikingRecall(Stateful):
    """Core that writes an observation into a Hebbian memory and reads the memory with the same spikes.

    Shapes: xs [T, B, n_in + 1] -> [T, B, size]. The last input is 1 at the start of a game, which resets the state.

    Args:
        n_in: size of an observation.
        embedding: number of currents of an observation, and of LIF encoders.
        size: M, number of keys and of values.
        neuron: LIF neuron of all layers; it has no learned parameters.
        rule: Hebbian rule of the memory.
        steps: steps per observation.
        window: number of last steps in which value spikes are counted.
        delay: delay of the feedback, in steps.
        recall: see `HebbianWrite`.
        input_gain: factor of the currents.
        aligned: equal initial key weights for writing and reading, without feedback.
        generator: source of the weights.

    Raises:
        ConfigError: a number is not positive, or the window is longer than an observation.

    >>> core = SpikingRecall(3, 8, 5, LIF(threshold=0.1), Hebbian(), steps=20, window=10)
    >>> out, state = core(torch.ones(4, 2, 4))
    >>> out.shape, state.write.memory.shape
    (torch.Size([4, 2, 5]), torch.Size([2, 5, 5]))
    """

    def __init__(
        self, n_in: int, embedding: int, size: int, neuron: LIF, rule: Hebbian, *, steps: int, window: int,
        delay: int = 1, recall: float = 0.2, input_gain: float = 1.0, aligned: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        check_positive("SpikingRecall", n_in=n_in, embedding=embedding, steps=steps, window=window)
        if window > steps:
            raise ConfigError(f"An observation of {steps} steps has no last {window} steps. Choose a smaller window.")
        self.n_in, self.size, self.neuron = n_in, size, neuron
        self.steps, self.window, self.input_gain = steps, window, input_gain
        self.embedding = nn.Parameter(xavier_(torch.empty(embedding, n_in), generator))
        self.write = HebbianWrite(embedding, size, neuron, rule=rule, recall=recall, generator=generator)
        self.read = HebbianRead(embedding, size, neuron, delay=delay, generator=generator)
        if aligned:
            with torch.no_grad():
                self.read.weight[:, :embedding] = self.write.weight[:size]
                self.read.weight[:, embedding:] = 0.0

    def initial_state(self, x: Tensor) -> RecallState:
        """Return the state before the first observation."""
        silent = x.new_zeros(len(x), len(self.embedding))
        write = self.write.initial_state(silent)
        read = self.read.begin(write.memory)
        return RecallState(self.neuron.initial_state(silent), write, read.key, read.value, read.history.transpose(0, 1))

    def step(self, x: Tensor, state: RecallState) -> tuple[Tensor, RecallState]:
        inside, state = self.look(x, state)
        return self.recalled(inside), state

    def structure(self) -> dict[str, float | str | bool | None]:
        return {"steps": self.steps, "window": self.window, "input_gain": self.input_gain}

    def recalled(self, inside: Inside) -> Tensor:
        """Count the value spikes of the window, [B, size]."""
        return counts(inside.read[..., self.size :], self.window)

    def look(self, x: Tensor, state: RecallState) -> tuple[Inside, RecallState]:
        """Run `step`, but return all spikes."""
        check_sequence("SpikingRecall", x.unsqueeze(0), self.n_in + 1)
        check_like("SpikingRecall", "embedding", self.embedding, tuple(self.embedding.shape), x)
        check_state("SpikingRecall", state, RecallState)
        check_like("SpikingRecall", "history", state.history, (len(x), self.read.delay, self.size), x)
        check_batch("SpikingRecall", state, x)
        state = afresh(state, x[:, -1] > 0.5)
        current = self.input_gain * (x[:, :-1] @ self.embedding.T)
        spikes, encoder = self.neuron(constant_current(current.unsqueeze(0), self.steps), state.encoder)
        written, write = self.write(spikes, state.write)
        before = ReadState(write.memory, state.key, state.value, state.history.transpose(0, 1))
        read, after = self.read(spikes, before)
        now = RecallState(encoder, write, after.key, after.value, after.history.transpose(0, 1))
        return Inside(spikes, written, read), now


class RateRecall(Stateful):
    """Rate version of `SpikingRecall`: store k = relu(W_k e), v = relu(W_v e), e = relu(W_e o); recall W relu(W_r e).

    On the CPU, all observations of a sequence are processed in one compiled loop.

    Shapes: xs [T, B, n_in + 1] -> [T, B, size]. The last input is 1 at the start of a game, which resets the state.

    Args:
        n_in, embedding, size, aligned, generator: see `SpikingRecall`.
        rule: Hebbian rule of the memory, with tau_trace 0.

    Raises:
        ConfigError: the rule has traces, or a number is not positive.

    >>> core = RateRecall(3, 8, 5, Hebbian(tau_trace=0.0))
    >>> out, state = core(torch.ones(4, 2, 4))
    >>> out.shape, state.memory.shape
    (torch.Size([4, 2, 5]), torch.Size([2, 5, 5]))
    """

    def __init__(
        self, n_in: int, embedding: int, size: int, rule: Hebbian, *, aligned: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        check_positive("RateRecall", n_in=n_in, embedding=embedding, size=size)
        if rule.tau_trace:
            raise ConfigError("RateRecall has no time within an observation: give its rule tau_trace=0.")
        self.n_in, self.size, self.rule = n_in, size, rule
        self.embedding = nn.Parameter(xavier_(torch.empty(embedding, n_in), generator))
        self.write = nn.Parameter(xavier_(torch.empty(2 * size, embedding), generator))
        self.read = nn.Parameter(xavier_(torch.empty(size, embedding), generator))
        if aligned:
            with torch.no_grad():
                self.read.copy_(self.write[:size])

    def initial_state(self, x: Tensor) -> RateState:
        """Return an empty memory, with the memory layout of the loop: contiguous by key."""
        return RateState(x.new_zeros(len(x), self.size, self.size).transpose(1, 2))

    def _check(self, x: Tensor, state: RateState) -> None:
        check_state("RateRecall", state, RateState)
        check_like("RateRecall", "memory", state.memory, (len(x), self.size, self.size), x)

    def step(self, x: Tensor, state: RateState) -> tuple[Tensor, RateState]:
        check_sequence("RateRecall", x.unsqueeze(0), self.n_in + 1)
        self._check(x, state)
        (memory,) = afresh(state, x[:, -1] > 0.5)
        key, value, query = self._rates(x).chunk(3, -1)
        memory, _ = self.rule.update(memory, key, value, self.rule.initial_traces(key, value))
        return (memory @ query.unsqueeze(2)).squeeze(2), RateState(memory)

    def forward(self, xs: Tensor, state: RateState | None = None) -> tuple[Tensor, RateState]:
        check_sequence("RateRecall", xs, self.n_in + 1)
        check_like("RateRecall", "write", self.write, tuple(self.write.shape), xs)
        state = self.initial_state(xs[0]) if state is None else state
        self._check(xs[0], state)
        if engine_for(xs) != "numba":
            return super().forward(xs, state)
        (memory,) = state
        from ...layers.hebbian_memory.rates import rate_sequence

        out, memory = rate_sequence(self._rates(xs), xs[..., -1] > 0.5, memory, self.rule)
        return out, RateState(memory)

    def _rates(self, xs: Tensor) -> Tensor:
        """Return keys, values and queries, concatenated."""
        seen = torch.relu(xs[..., :-1].flatten(0, -2) @ self.embedding.T)
        return torch.relu(seen @ torch.cat([self.write, self.read]).T).view(*xs.shape[:-1], 3 * self.size)


class Reactive(Stateful):
    """Core without memory: relu(W o) of the current observation.

    Shapes: xs [T, B, n_in + 1] -> [T, B, size]; the last input is ignored.

    >>> Reactive(3, 5)(torch.ones(4, 2, 4))[0].shape
    torch.Size([4, 2, 5])
    """

    def __init__(self, n_in: int, size: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        check_positive("Reactive", n_in=n_in, size=size)
        self.n_in = n_in
        self.embedding = nn.Parameter(xavier_(torch.empty(size, n_in), generator))

    def initial_state(self, x: Tensor) -> tuple[()]:
        """Return the empty state."""
        return ()

    def step(self, x: Tensor, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        return torch.relu(x[..., :-1] @ self.embedding.T), ()

    def forward(self, xs: Tensor, state: tuple[()] | None = None) -> tuple[Tensor, tuple[()]]:
        check_sequence("Reactive", xs, self.n_in + 1)
        return self.step(xs, ())


class Agent(Stateful):
    """Agent with a core, an actor that receives its output, and a critic that also receives the observation.

    Shapes: xs [T, B, n_in + 1] -> Choice of [T, B, actions] and [T, B].

    Args:
        core: `SpikingRecall`, `RateRecall` or `Reactive`.
        n_in: size of an observation.
        features: output size of the core.
        actions: number of actions.
        hidden: neurons of each hidden layer of actor and critic.
        generator: source of the weights: orthogonal with gain sqrt(2), 0.01 for the logits; biases are 0.

    Raises:
        ConfigError: a number is not positive.

    >>> agent = Agent(Reactive(3, 5), 3, 5, actions=2)
    >>> choice, _ = agent(torch.ones(4, 2, 4))
    >>> choice.logits.shape, choice.value.shape
    (torch.Size([4, 2, 2]), torch.Size([4, 2]))
    """

    def __init__(
        self, core: Stateful, n_in: int, features: int, actions: int, *, hidden: int = 100,
        generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        check_positive("Agent", n_in=n_in, features=features, actions=actions, hidden=hidden)
        self.core = core
        self.actor = _perceptron((features, hidden, hidden, actions), 0.01, generator)
        self.critic = _perceptron((n_in + features, hidden, hidden, 1), 2**0.5, generator)

    def initial_state(self, x: Tensor) -> Any:
        """Return the initial state of the core."""
        return self.core.initial_state(x)

    def step(self, x: Tensor, state: Any) -> tuple[Choice, Any]:
        recalled, state = self.core.step(x, state)
        return self.choose(x, recalled), state

    def forward(self, xs: Tensor, state: Any = None) -> tuple[Choice, Any]:
        recalled, state = self.core(xs, state)
        return self.choose(xs, recalled), state

    def choose(self, seen: Tensor, recalled: Tensor) -> Choice:
        """Return logits and value for observations and the output of the core."""
        shape, recalled = seen.shape[:-1], recalled.flatten(0, -2)
        value = self.critic(torch.cat([seen[..., :-1].flatten(0, -2), recalled], -1))
        return Choice(self.actor(recalled).view(*shape, -1), value.view(shape))


def _perceptron(sizes: tuple[int, ...], last_gain: float, generator: torch.Generator | None) -> nn.Sequential:
    """Return linear layers of these sizes with tanh in between."""
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise(sizes), 2):
        layer, last = nn.Linear(before, after), number == len(sizes)
        nn.init.orthogonal_(layer.weight, last_gain if last else 2**0.5, generator=generator)
        nn.init.zeros_(layer.bias)
        layers += [layer] if last else [layer, nn.Tanh()]
    return nn.Sequential(*layers)


__all__ = ["Agent", "Choice", "RateRecall", "RateState", "Reactive", "RecallState", "SpikingRecall", "afresh"]
