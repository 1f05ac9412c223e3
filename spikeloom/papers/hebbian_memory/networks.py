"""Networks that write pairs into a Hebbian memory and read it with a query, and baselines of equal size without one.

    items, query -> LIF encoders (an item is a constant current) -> HebbianWrite; HebbianRead -> spike counts -> logits

The rate version has one step per item, ReLU instead of spikes, and the same rule for activity.
Source: Limbacher, Özdenizci, Legenstein, 2022 (arXiv:2205.11276).
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ...errors import ConfigError, ShapeError, check_positive
from ...layers.hebbian_memory.layer import HebbianRead, HebbianWrite, xavier_
from ...layers.recurrent import Recurrent
from ...neurons import LIF
from ...rules import Hebbian

Kind = Literal["spiking", "relu", "frozen", "recurrent", "lstm"]
TINY = 1e-8
"""Added to mean squares to avoid a division by zero."""


class Recollection(NamedTuple):
    """Output of a memory network: logits, activity and memory; tensors that a network does not have are empty."""

    logits: Tensor  # [B, C]
    encoder: Tensor  # [S T, B, I]
    written: Tensor  # [S T, B, 2 M], keys first with a memory
    memory: Tensor  # [B, M, M]
    query: Tensor  # [T, B, E]
    read: Tensor  # [T, B, 2 M]

    @property
    def layers(self) -> dict[str, Tensor]:
        """Spikes by population."""
        by_population = {"storage encoder": self.encoder, "recall encoder": self.query}
        for name, spikes in (("write", self.written), ("read", self.read)):
            if not self.memory.numel():
                by_population[f"{name} population"] = spikes
            elif spikes.numel():
                by_population[f"{name} keys"], by_population[f"{name} values"] = spikes.chunk(2, -1)
        return {name: spikes for name, spikes in by_population.items() if spikes.numel()}


def constant_current(values: Tensor, steps: int) -> Tensor:
    """Repeat each value for `steps` steps: [S, *N] -> [S steps, *N].

    >>> constant_current(torch.tensor([[1.0], [2.0]]), 2).flatten().tolist()
    [1.0, 1.0, 2.0, 2.0]
    """
    return values.repeat_interleave(steps, 0)


def counts(spikes: Tensor, window: int) -> Tensor:
    """Count the spikes in the last `window` steps: [T, B, N] -> [B, N]."""
    return spikes[-window:].sum(0)


def normalised(rates: Tensor) -> Tensor:
    """Divide rates [..., N] by their root mean square; zeros stay zeros.

    >>> normalised(torch.tensor([[8.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])).round(decimals=3).tolist()
    [[2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    return rates * torch.rsqrt(rates.square().mean(-1, keepdim=True) + TINY)


class MemoryCore(nn.Module):
    """Hebbian memory of spiking neurons: stores items, and returns the spike counts of the values that a query recalls.

    Shapes: items [S, B, n_in], query [B, n_query] -> Recollection, whose `logits` are the spike counts [B, M].

    Args:
        n_in: currents of an item; the first `n_query` correspond to those of a query.
        n_query: currents of a query.
        size: M, number of keys and of values.
        neuron: LIF neuron of all layers; it has no learned parameters.
        rule: Hebbian rule of the memory; None: the memory stays at zero.
        steps: steps per item and of the query.
        window: number of last steps of the query in which spikes are counted.
        delay: delay of the feedback, in steps.
        recall: see `HebbianWrite`.
        generator: source of the weights.

    Raises:
        ConfigError: a number is not positive, or the window is longer than the query.
    """

    def __init__(
        self, n_in: int, n_query: int, size: int, neuron: LIF, rule: Hebbian | None, *, steps: int, window: int,
        delay: int = 1, recall: float = 0.2, generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        check_positive("MemoryCore", steps=steps, window=window)
        if window > steps:
            raise ConfigError(f"A query of {steps} steps has no last {window} steps. Choose a smaller window.")
        self.neuron, self.steps, self.window = neuron, steps, window
        self.write = HebbianWrite(n_in, size, neuron, rule=rule, recall=recall, generator=generator)
        self.read = HebbianRead(n_query, size, neuron, delay=delay, generator=generator)

    def forward(self, items: Tensor, query: Tensor) -> Recollection:
        encoder, _ = self.neuron(constant_current(items, self.steps))
        query_spikes, _ = self.neuron(constant_current(query.unsqueeze(0), self.steps))
        return self.recollect(encoder, query_spikes)

    def recollect(self, encoder: Tensor, asked: Tensor) -> Recollection:
        """Run the memory on spikes of the encoders, [S T, B, n_in] and [T, B, n_query]."""
        written, state = self.write(encoder)
        read, _ = self.read(asked, self.read.begin(state.memory))
        spike_counts = counts(read[..., self.read.size :], self.window)
        return Recollection(spike_counts, encoder, written, state.memory, asked, read)

    @property
    def weights(self) -> tuple[Tensor, Tensor]:
        """Weights onto keys and values for writing [2 M, n_in], and onto keys for reading [M, n_query + M].

        The last M columns of the latter are the feedback.
        """
        return self.write.weight, self.read.weight


class RateMemory(nn.Module):
    """Rate version of `MemoryCore`: stores k = relu(W_k x), v = relu(W_v x) by the rule; a query recalls W relu(W_r q).

    Shapes: items [S, B, n_in], query [B, n_query] -> Recollection with T = 1; `logits` are the recalled values [B, M].

    Args:
        n_in: size of an item; the first `n_query` inputs correspond to those of a query.
        n_query: size of a query.
        size: M, number of keys and of values.
        rule: Hebbian rule of the memory, with tau_trace=0.
        normalise: divide every key and every value, of an item and of a query, by its root mean square (`normalised`),
            so that activity is around 1 independent of the size of items. The paper does not.
        generator: source of the weights.

    Raises:
        ConfigError: the rule has traces.

    >>> memory = RateMemory(5, 3, 4, Hebbian(potentiation=0.1, depression=0.1, tau_trace=0.0), normalise=True)
    >>> memory(torch.rand(2, 6, 5), torch.rand(6, 3)).logits.shape
    torch.Size([6, 4])
    """

    def __init__(
        self, n_in: int, n_query: int, size: int, rule: Hebbian, *, normalise: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if rule.tau_trace:
            raise ConfigError("RateMemory has no time within an item: give its rule tau_trace=0.")
        self.rule, self.size, self.normalise = rule, size, normalise
        self.write = nn.Parameter(xavier_(torch.empty(2 * size, n_in), generator))
        self.read = nn.Parameter(xavier_(torch.empty(size, n_query), generator))

    def forward(self, items: Tensor, query: Tensor) -> Recollection:
        keys, values = (self._rates(current) for current in (items @ self.write.T).chunk(2, -1))
        memory = items.new_zeros(items.shape[1], self.size, self.size)
        traces = self.rule.initial_traces(keys[0], values[0])
        for key, value in zip(keys, values, strict=True):
            memory, traces = self.rule.update(memory, key, value, traces)
        key = self._rates(query @ self.read.T)
        value = (memory @ key.unsqueeze(2)).squeeze(2)
        written, read = torch.cat([keys, values], -1), torch.cat([key, value], -1).unsqueeze(0)
        return Recollection(value, items, written, memory, query.unsqueeze(0), read)

    def _rates(self, current: Tensor) -> Tensor:
        rates = torch.relu(current)
        return normalised(rates) if self.normalise else rates

    @property
    def weights(self) -> tuple[Tensor, Tensor]:
        """Weights onto keys and values for writing [2 M, n_in], and onto keys for reading [M, n_query]."""
        return self.write, self.read


class RecurrentCore(nn.Module):
    """Recurrent population of LIF neurons instead of the memory: items, then the query, in one sequence.

    Shapes: as `MemoryCore`, but with M neurons instead of 2 M. `written` holds the spikes during the items, `read`
    those during the query.
    """

    def __init__(
        self, n_in: int, n_query: int, size: int, neuron: LIF, *, steps: int, window: int,
        generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.neuron, self.steps, self.window = neuron, steps, window
        self.weight = nn.Parameter(xavier_(torch.empty(size, n_in + n_query), generator))
        synapse = nn.Linear(size, size, bias=False)
        xavier_(synapse.weight, generator)
        self.population = Recurrent(neuron, synapse, autapses=True)

    def forward(self, items: Tensor, query: Tensor) -> Recollection:
        encoder, _ = self.neuron(constant_current(items, self.steps))
        query_spikes, _ = self.neuron(constant_current(query.unsqueeze(0), self.steps))
        n_in = items.shape[2]
        current = torch.cat([encoder @ self.weight[:, :n_in].T, query_spikes @ self.weight[:, n_in:].T])
        spikes, _ = self.population(current)
        written, read = spikes[: len(encoder)], spikes[len(encoder) :]
        return Recollection(counts(spikes, self.window), encoder, written, spikes.new_zeros(0), query_spikes, read)


class LSTMCore(nn.Module):
    """LSTM instead of the memory: one step per item, then the query."""

    def __init__(self, n_in: int, n_query: int, size: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n_in + n_query, size)
        with torch.no_grad():
            for weight in self.lstm.parameters():
                bound = size**-0.5
                weight.uniform_(-bound, bound, generator=generator)

    def forward(self, items: Tensor, query: Tensor) -> Recollection:
        steps, batch, n_in = items.shape
        xs = items.new_zeros(steps + 1, batch, n_in + query.shape[1])
        xs[:-1, :, :n_in], xs[-1, :, n_in:] = items, query
        out, _ = self.lstm(xs)
        none = out.new_zeros(0)
        return Recollection(out[-1], items, none, none, query.unsqueeze(0), none)


class AssociationNetwork(nn.Module):
    """Network that stores vectors with labels and recalls the label of a query vector.

    Shapes: features [S, B, F], labels [S, B], query [B, F] -> Recollection.

    Args:
        core: `MemoryCore`, `RateMemory`, `RecurrentCore` or `LSTMCore` of 2 E and E currents.
        features: F, dimension of the vectors.
        classes: C, number of labels.
        embedding: E, embedding dimension of vectors and of labels.
        width: output size of the core.
        input_gain: factor of the input currents of the encoders.
        rectify: apply ReLU to the embeddings, for cores without spikes.
        readout_scale: factor of the initial weights of the readout.
        generator: source of the weights.

    Raises:
        ShapeError: features, labels and query do not fit.
    """

    def __init__(
        self, core: nn.Module, features: int, classes: int, embedding: int, width: int, *, input_gain: float = 1.0,
        rectify: bool = False, readout_scale: float = 1.0, generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.core, self.input_gain, self.rectify = core, input_gain, rectify
        self.features = nn.Parameter(xavier_(torch.empty(embedding, features), generator))
        self.labels = nn.Parameter(xavier_(torch.empty(classes, embedding), generator))
        bound = readout_scale * width**-0.5
        self.readout = nn.Parameter(torch.empty(classes, width).uniform_(-bound, bound, generator=generator))

    def forward(self, features: Tensor, labels: Tensor, query: Tensor) -> Recollection:
        if features.shape[:2] != labels.shape or features.shape[1:] != query.shape:
            raise ShapeError(
                f"AssociationNetwork got features {list(features.shape)}, labels {list(labels.shape)} and a query "
                f"{list(query.shape)}. They must be [S, B, F], [S, B] and [B, F]."
            )
        items = torch.cat([features @ self.features.T, self.labels[labels]], -1)
        recollection: Recollection = self.core(self._current(items), self._current(query @ self.features.T))
        return recollection._replace(logits=recollection.logits @ self.readout.T)

    def _current(self, embedded: Tensor) -> Tensor:
        embedded = self.input_gain * embedded
        return torch.relu(embedded) if self.rectify else embedded


class OneShotNetwork(nn.Module):
    """Network that stores images, each with its position as its label, and recalls the position of a query image.

    Shapes: images and query, as spikes [S T, B, F] and [T, B, F], as rates [S, B, F] and [B, F] -> Recollection.
    The labels of all samples are 0 to S - 1, in this order, so their encoder runs only once.

    Args:
        core: `MemoryCore` or `RateMemory` of F + E and F currents.
        ways: S, number of images.
        embedding: E, embedding dimension of labels.
        width: output size of the core.
        label_gain: factor of the input currents of the label encoder.
        readout_scale: factor of the initial weights of the readout.
        generator: source of the weights.

    Raises:
        ShapeError: images and query do not fit.
    """

    def __init__(
        self, core: MemoryCore | RateMemory, ways: int, embedding: int, width: int, *, label_gain: float = 1.0,
        readout_scale: float = 1.0, generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.core, self.label_gain = core, label_gain
        self.labels = nn.Parameter(xavier_(torch.empty(ways, embedding), generator))
        bound = readout_scale * width**-0.5
        self.readout = nn.Parameter(torch.empty(ways, width).uniform_(-bound, bound, generator=generator))

    def forward(self, images: Tensor, query: Tensor) -> Recollection:
        current = self.label_gain * self.labels
        if isinstance(self.core, MemoryCore):
            steps = self.core.steps
            expected = (len(current) * steps, query.shape[1], query.shape[-1]), steps
            if (tuple(images.shape), len(query)) != expected:
                raise ShapeError(self._wrong(images, query, "[S T, B, F] and [T, B, F]", len(current) * steps))
            label_spikes, _ = self.core.neuron(constant_current(current.unsqueeze(1), steps))
            items = torch.cat([images, label_spikes.expand(-1, query.shape[1], -1)], -1)
            recollection = self.core.recollect(items, query)
        else:
            if tuple(images.shape) != (len(current), *query.shape):
                raise ShapeError(self._wrong(images, query, "[S, B, F] and [B, F]", len(current)))
            label_spikes = torch.relu(current).unsqueeze(1)
            recollection = self.core(torch.cat([images, label_spikes.expand(-1, len(query), -1)], -1), query)
        return recollection._replace(logits=recollection.logits @ self.readout.T)

    def _wrong(self, images: Tensor, query: Tensor, form: str, first: int) -> str:
        return (
            f"OneShotNetwork got images {list(images.shape)} and a query {list(query.shape)}. They must be {form}, "
            f"with {first} as the first size of images: it knows {len(self.labels)} labels."
        )
