"""A network with a Hebbian memory that reads stories of any length and answers questions about them.

    i[e]   = input_gain sum_p position[p, e] embedding[word_p, e]     a sentence, held for the time of an item
    spikes = LIF(i)                                                   statements, one after the other, then the query
    HebbianWrite(statements); HebbianRead(query) -> spike counts -> logits

Stories of a batch begin together and end when they end: nothing is simulated for those that are over. An answer is that
of the story alone, and empty sentences before a story, which make no spikes, change nothing.
Source: Limbacher, Özdenizci, Legenstein, 2022 (arXiv:2205.11276).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from ..core import State, map_state
from ..errors import ShapeError, check_positive
from ..layers.memory import xavier_
from .memory import MemoryCore, Recollection, constant_current, counts


class Sentences(nn.Module):
    """Sentences as currents, by the first equation above. The number 0 is no word: its embedding stays zero.

    Shapes: words int64 [*N, P] -> currents [*N, E].

    Args:
        words: V; numbers are 0 to V.
        slots: P.
        size: E.
        input_gain: factor of the currents.
        learn_positions: the weights of positions, at first all 1, are learned.
        fixed_last: but not those of the last one, where time words stand.
        generator: draws the embedding.

    Raises:
        ConfigError: a size is not positive.
        ShapeError: sentences of another length.

    >>> sentences = Sentences(5, 3, 4, generator=torch.Generator().manual_seed(0))
    >>> sentences(torch.tensor([[2, 1, 0], [0, 0, 0]])).count_nonzero(1).tolist()
    [4, 0]
    """

    def __init__(
        self, words: int, slots: int, size: int, *, input_gain: float = 1.0, learn_positions: bool = True,
        fixed_last: bool = False, generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        check_positive("Sentences", words=words, slots=slots, size=size, input_gain=input_gain)
        self.input_gain, self.fixed_last = input_gain, fixed_last
        self.embedding = nn.Parameter(xavier_(torch.empty(words + 1, size), generator))
        with torch.no_grad():
            self.embedding[0] = 0.0
        self.position = nn.Parameter(torch.ones(slots, size), requires_grad=learn_positions)

    def forward(self, words: Tensor) -> Tensor:
        if words.dim() == 0 or words.shape[-1] != len(self.position):
            raise ShapeError(f"Sentences have {len(self.position)} slots for words, but got {list(words.shape)}.")
        position: Tensor = self.position
        if self.fixed_last:
            position = torch.cat([position[:-1], position[-1:].detach()])
        return self.input_gain * (position * embedding(words, self.embedding, padding_idx=0)).sum(-2)


class Answers(NamedTuple):
    """What a network said to a batch, and how much it fired."""

    logits: Tensor  # [B, C]
    memory: Tensor  # [B, M, M]
    layers: dict[str, Tensor]  # of each population: spikes per step, over the time of each story, [B, N]


class StoryNetwork(nn.Module):
    """The network above.

    Shapes: statements int64 [sum of lengths, P], story after story; lengths int64 [B]; query int64 [B, P] -> Answers.

    Args:
        sentences: from words to E currents.
        core: the memory, for items and queries of E currents.
        classes: C.
        readout_scale: factor of the weights of the readout at the start.
        generator: draws the weights of the readout.

    Raises:
        ShapeError: statements, lengths and query do not fit, or a story has no statement.
    """

    def __init__(
        self, sentences: Sentences, core: MemoryCore, classes: int, *, readout_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.sentences, self.core = sentences, core
        bound = readout_scale * core.read.size**-0.5
        self.readout = nn.Parameter(torch.empty(classes, core.read.size).uniform_(-bound, bound, generator=generator))

    def forward(self, statements: Tensor, lengths: Tensor, query: Tensor) -> Answers:
        if len(lengths) != len(query) or int(lengths.sum()) != len(statements) or not bool((lengths > 0).all()):
            raise ShapeError(
                f"StoryNetwork got {len(statements)} statements, lengths {list(lengths.shape)} that sum up to "
                f"{int(lengths.sum())} and queries {list(query.shape)}. Every query needs the length of its story, at "
                "least 1, and as many statements."
            )
        core = self.core
        order = lengths.argsort(descending=True, stable=True)
        encoder, written, memory = self._store(self.sentences(statements), lengths, order)
        asked, _ = core.neuron(constant_current(self.sentences(query[order]).unsqueeze(0), core.steps))
        read, _ = core.read(asked, core.read.begin(memory))
        logits = counts(read[..., core.read.size :], core.window) @ self.readout.T
        layers = {"storage encoder": encoder, "recall encoder": asked.mean(0)}
        for name, both in (("write", written), ("read", read.mean(0))):
            layers[f"{name} keys"], layers[f"{name} values"] = both.chunk(2, -1)
        back = order.argsort()
        return Answers(logits[back], memory[back], {name: part[back] for name, part in layers.items()})

    def _store(self, currents: Tensor, lengths: Tensor, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Write all stories: spikes per step of the encoder, of keys and values, and the memory, in this order.

        `order` is by length, longest first: the first few stories go on where the others are over.
        """
        core, first = self.core, (lengths.cumsum(0) - lengths)[order]
        lengths = lengths[order]
        silent = currents.new_zeros(len(lengths), currents.shape[1])
        state = core.neuron.initial_state(silent), core.write.initial_state(silent)
        fired = silent, currents.new_zeros(len(lengths), 2 * core.write.size)
        finished, done = [], 0
        for end in torch.unique(lengths).tolist():
            going, left = int((lengths >= end).sum()), int((lengths > end).sum())
            state, fired = part((state, fired), 0, going)
            rows = first[:going] + torch.arange(done, end, device=first.device).unsqueeze(1)
            encoder, encoding = core.neuron(constant_current(currents[rows], core.steps), state[0])
            written, writing = core.write(encoder, state[1])
            state = encoding, writing
            fired = fired[0] + encoder.sum(0), fired[1] + written.sum(0)
            time = float(end * core.steps)
            finished.append(part((fired[0] / time, fired[1] / time, writing.memory), left, going))
            done = end
        found: tuple[Tensor, Tensor, Tensor] = map_state(lambda *parts: torch.cat(parts), *reversed(finished))
        return found

    def recollect(self, statements: Tensor, query: Tensor) -> Recollection:
        """The same for stories of one length, [S, B, P] and [B, P], with every spike."""
        found: Recollection = self.core(self.sentences(statements), self.sentences(query))
        return found._replace(logits=found.logits @ self.readout.T)


def part(state: State, start: int, end: int) -> State:
    """The state of some samples."""
    return map_state(lambda tensor: tensor[start:end], state)
