"""Network with a Hebbian memory that reads stories of any length and answers questions about them.

    i[e]   = input_gain sum_p position[p, e] embedding[word_p, e]     a sentence, held for the time of an item
    spikes = LIF(i)                                                   statements, one by one, then the query
    HebbianWrite(statements); HebbianRead(query) -> spike counts -> logits

The stories of a batch start together; a story that has ended is not simulated further. A story with several questions
is written once: each question reads the memory after the statements before it, and does not affect other answers.
Empty sentences before a story cause no spikes and have no effect.
Source: Limbacher, Özdenizci, Legenstein, 2022 (arXiv:2205.11276).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from ...core import map_state
from ...errors import ConfigError, ShapeError, check_positive
from ...layers.hebbian_memory.layer import xavier_
from .networks import MemoryCore, Recollection, constant_current, counts


class Sentences(nn.Module):
    """Embedding of sentences as currents, by the first equation above. Word 0 is padding: its embedding is zero.

    Shapes: words int64 [*N, P] -> currents [*N, E].

    Args:
        words: V, size of the vocabulary; word numbers are 0 to V.
        slots: P, words per sentence.
        size: E, number of currents.
        input_gain: factor of the currents.
        learn_positions: train the position weights.
        fixed_last: do not train those of the last position, which holds time words.
        spread: initial position weights are uniform from 1 - spread to 1 + spread. With 0, sentences do not represent
            the order of words until training has made the weights differ.
        generator: source of the embedding, then of the position weights.

    Raises:
        ConfigError: a size is not positive, or the spread is negative.
        ShapeError: the length of the sentences is not `slots`.

    >>> sentences = Sentences(5, 3, 4, generator=torch.Generator().manual_seed(0))
    >>> sentences(torch.tensor([[2, 1, 0], [0, 0, 0]])).count_nonzero(1).tolist()
    [4, 0]
    """

    def __init__(
        self, words: int, slots: int, size: int, *, input_gain: float = 1.0, learn_positions: bool = True,
        fixed_last: bool = False, spread: float = 0.0, generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        check_positive("Sentences", words=words, slots=slots, size=size, input_gain=input_gain)
        if spread < 0:
            raise ConfigError(f"Sentences need a spread of at least 0, but got {spread}.")
        self.input_gain, self.fixed_last = input_gain, fixed_last
        self.embedding = nn.Parameter(xavier_(torch.empty(words + 1, size), generator))
        with torch.no_grad():
            self.embedding[0] = 0.0
        position = torch.ones(slots, size)
        if spread:
            position.uniform_(1.0 - spread, 1.0 + spread, generator=generator)
        self.position = nn.Parameter(position, requires_grad=learn_positions)

    def forward(self, words: Tensor) -> Tensor:
        if words.dim() == 0 or words.shape[-1] != len(self.position):
            raise ShapeError(f"Sentences have {len(self.position)} slots for words, but got {list(words.shape)}.")
        position: Tensor = self.position
        if self.fixed_last:
            position = torch.cat([position[:-1], position[-1:].detach()])
        return self.input_gain * (position * embedding(words, self.embedding, padding_idx=0)).sum(-2)


class StoryAnswers(NamedTuple):
    """Output of a `StoryNetwork` for a batch: logits, memories and activity."""

    logits: Tensor  # [B, C]
    memory: Tensor  # [B, M, M]
    layers: dict[str, Tensor]  # of each population: spikes per step, over the time before each question, [B, N]


class StoryNetwork(nn.Module):
    """Network that reads stories and answers questions, as in the module docstring.

    Shapes: statements int64 [L, P]; lengths int64 [B]; query int64 [B, P]; first int64 [B] -> Answers.

    The story of a question is the `lengths` statements from index `first` on; questions with equal `first` share it.
    Without `first`, every question has its own story, and the stories are concatenated.

    Args:
        sentences: embedding of sentences as E currents.
        core: the memory, for items and queries of E currents.
        classes: C, number of answers.
        readout_scale: factor of the initial weights of the readout.
        generator: source of the weights of the readout.

    Raises:
        ShapeError: statements, lengths, query and first do not fit, or a story has no statement.
    """

    def __init__(
        self, sentences: Sentences, core: MemoryCore, classes: int, *, readout_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.sentences, self.core = sentences, core
        bound = readout_scale * core.read.size**-0.5
        self.readout = nn.Parameter(torch.empty(classes, core.read.size).uniform_(-bound, bound, generator=generator))

    def forward(self, statements: Tensor, lengths: Tensor, query: Tensor, first: Tensor | None = None) -> StoryAnswers:
        if first is None:
            first, total = lengths.cumsum(0) - lengths, int(lengths.sum())
        else:
            total = int((first + lengths).max()) if first.shape == lengths.shape and bool((first >= 0).all()) else -1
        if len(lengths) != len(query) or total != len(statements) or not bool((lengths > 0).all()):
            raise ShapeError(
                f"StoryNetwork got {len(statements)} statements, lengths {list(lengths.shape)} that need {total} and "
                f"queries {list(query.shape)}. Every query needs the length of its story, at least 1, and as many "
                "statements, the first of them at its `first`, if that is given."
            )
        core = self.core
        encoder, written, memory = self._store(self.sentences(statements), lengths, first)
        query_spikes, _ = core.neuron(constant_current(self.sentences(query).unsqueeze(0), core.steps))
        read, _ = core.read(query_spikes, core.read.begin(memory))
        logits = counts(read[..., core.read.size :], core.window) @ self.readout.T
        layers = {"storage encoder": encoder, "recall encoder": query_spikes.mean(0)}
        for name, both in (("write", written), ("read", read.mean(0))):
            layers[f"{name} keys"], layers[f"{name} values"] = both.chunk(2, -1)
        return StoryAnswers(logits, memory, layers)

    def _store(self, currents: Tensor, lengths: Tensor, first: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Write the stories; return spikes per step of encoder, keys and values, and the memory, for each question.

        Stories are sorted by length, longest first, so that those still running are a prefix of the batch.
        """
        core = self.core
        begins, story = torch.unique(first, return_inverse=True)
        longest = torch.zeros_like(begins).scatter_reduce(0, story, lengths, "amax")
        order = longest.argsort(descending=True, stable=True)
        begins, longest, story = begins[order], longest[order], order.argsort()[story]
        silent = currents.new_zeros(len(begins), currents.shape[1])
        state = core.neuron.initial_state(silent), core.write.initial_state(silent)
        spike_counts = silent, currents.new_zeros(len(begins), 2 * core.write.size)
        finished, questions, done = [], list[Tensor](), 0
        for end in torch.unique(lengths).tolist():
            running = int((longest >= end).sum())
            state, spike_counts = map_state(lambda tensor, running=running: tensor[:running], (state, spike_counts))
            rows = begins[:running] + torch.arange(done, end, device=first.device).unsqueeze(1)
            encoder, encoding = core.neuron(constant_current(currents[rows], core.steps), state[0])
            written, writing = core.write(encoder, state[1])
            state = encoding, writing
            spike_counts = spike_counts[0] + encoder.sum(0), spike_counts[1] + written.sum(0)
            questions.append((lengths == end).nonzero().flatten())
            indices, time = story[questions[-1]], float(end * core.steps)
            finished.append((spike_counts[0][indices] / time, spike_counts[1][indices] / time, writing.memory[indices]))
            done = end
        inverse = torch.cat(questions).argsort()
        result: tuple[Tensor, Tensor, Tensor] = map_state(lambda *parts: torch.cat(parts)[inverse], *finished)
        return result

    def recollect(self, statements: Tensor, query: Tensor) -> Recollection:
        """Run stories of equal length, [S, B, P], with queries [B, P], and return all spikes."""
        recollection: Recollection = self.core(self.sentences(statements), self.sentences(query))
        return recollection._replace(logits=recollection.logits @ self.readout.T)
