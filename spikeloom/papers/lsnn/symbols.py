"""Sequences of the store-recall task: random bits, commands to store one, and commands to recall it.

    symbols   0, 1 values     2 store     3 recall        one symbol per `symbol_ms`
    Start from i.i.d. fair bits and "last command = recall". Go through the sequence: with probability
    1 / (1 + recall_delay), replace the symbol by the command that is not the last one (store and recall alternate).
    Accept the sequence if it has a store, its last command is a recall, and a value follows every store.

The value that follows a store is presented together with the store; the value symbol after it is then replaced by a new
fair bit, which carries no information. A recall is presented without a value; its target is the value presented with
the last store. After a rejected sequence, the next one starts from "last command = recall" again. The authors' code
does not reset it, which halves the acceptance rate (13 instead of 26 %) but does not change the distribution.

Spikes: four groups of inputs (value 0, value 1, store, recall). Neurons of an active group fire at each step with
probability rate dt, the others never.
Source: Bellec et al., NeurIPS 2018; details from the authors' code.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ...arguments import explained
from ...errors import ConfigError, ShapeError

STORE, RECALL = 2, 3
MAX_ROUNDS = 1000
GROUPS = ("value 0", "value 1", "store", "recall")


class Buffer:
    """Reusable memory for batches of spikes; only the spikes of the last batch are cleared before the next.

    >>> buffer, generator, groups = Buffer(), torch.Generator(), torch.ones(1, 1, 4, dtype=torch.bool)
    >>> first = encode(groups, generator=generator, buffer=buffer)
    >>> encode(groups, generator=generator, buffer=buffer) is first
    True
    """

    def __init__(self) -> None:
        self.spikes: Tensor | None = None
        self.cells = torch.empty(0, dtype=torch.int64)

    def fill(self, shape: tuple[int, int, int], cells: Tensor) -> Tensor:
        """Return the tensor, 1 at the flat indices `cells` and 0 elsewhere."""
        if self.spikes is None or tuple(self.spikes.shape) != shape:
            self.spikes = torch.zeros(shape, device=cells.device)
        else:
            self.spikes.view(-1)[self.cells] = 0.0
        self.cells = cells
        self.spikes.view(-1)[cells] = 1.0
        return self.spikes


class Sequences(NamedTuple):
    """Inputs and targets of a batch of store-recall sequences, per symbol."""

    groups: Tensor  # bool [S, B, 4], active input groups, in the order of GROUPS
    targets: Tensor  # int64 [S, B], the value to output at a recall; 0 elsewhere
    recalls: Tensor  # bool [S, B], True at recalls


@explained
def draw(batch: int, symbols: int = 12, recall_delay: int = 6, *, generator: torch.Generator) -> Sequences:
    """Draw random store-recall sequences.

    Args:
        batch: number of sequences.
        symbols: length of a sequence; recall_delay + 4 < symbols.
        recall_delay: each symbol is a command with probability 1 / (1 + recall_delay).
        generator: source of randomness; the result is on its device.

    Raises:
        ConfigError: batch or recall_delay is below 1, or the delay is too long or too short for the sequence length.

    >>> sequences = draw(5, generator=torch.Generator().manual_seed(1))
    >>> sequences.groups.shape, bool((sequences.recalls.sum(0) >= 1).all())
    (torch.Size([12, 5, 4]), True)
    """
    check_length(symbols, recall_delay)
    if batch < 1:
        raise ConfigError(f"Store-recall needs a batch of at least 1 sequence, but got {batch}.")
    kept: list[Tensor] = []
    missing = batch
    for _ in range(MAX_ROUNDS):
        codes = _walk(4 * missing, symbols, recall_delay, generator)
        kept.append(codes[:, _valid(codes)][:, :missing])
        missing -= kept[-1].shape[1]
        if not missing:
            break
    else:
        raise ConfigError(
            f"In {MAX_ROUNDS} draws hardly any sequence of {symbols} symbols with recall_delay {recall_delay} kept the "
            "rules. Take a longer delay or fewer symbols."
        )
    codes = torch.cat(kept, 1)
    after_store = torch.zeros_like(codes, dtype=torch.bool)
    after_store[1:] = codes[:-1] == STORE
    fresh = torch.randint(2, codes.shape, generator=generator, device=generator.device)
    return _show(codes, torch.where(after_store, fresh, codes))


@explained
def given(codes: Tensor) -> Sequences:
    """Return the sequences of given symbol codes; the value after a store is kept, not replaced.

    Shapes: codes, integers 0 to 3, [S, B].

    Raises:
        ShapeError: codes are not integers [S, B].
        ConfigError: a code is not 0 to 3, or a sequence is not valid by the rules of the module docstring.

    >>> given(torch.tensor([[2], [1], [0], [3]])).targets.flatten().tolist()
    [0, 0, 0, 1]
    """
    if codes.dim() != 2 or codes.is_floating_point() or codes.numel() == 0:
        raise ShapeError(f"given needs integer codes [symbols, batch], but got {codes.dtype} {list(codes.shape)}.")
    codes = codes.long()
    if codes.min() < 0 or codes.max() > RECALL:
        raise ConfigError(f"Codes are 0, 1, 2 (store), 3 (recall), but got values from {codes.min()} to {codes.max()}.")
    broken = (~_valid(codes)).nonzero().flatten().tolist()
    if broken:
        raise ConfigError(
            f"Sequence {broken[0]} is {codes[:, broken[0]].tolist()}. Commands must alternate 2, 3, ..., end with 3, "
            "and a value must follow every 2."
        )
    return _show(codes, codes)


@explained
def encode(
    groups: Tensor,
    n_in: int = 100,
    rate: float = 50.0,
    symbol_ms: float = 200.0,
    dt: float = 1.0,
    *,
    generator: torch.Generator,
    buffer: Buffer | None = None,
) -> Tensor:
    """Draw the spikes of the input groups. The gaps between spikes are drawn, so the cost depends on their number only.

    Shapes: groups bool [S, B, 4] -> float32 0/1 [T, B, n_in], T = S symbol_ms / dt.
    Units: rate in Hz; symbol_ms and dt in ms.

    Args:
        n_in: number of inputs, a multiple of 4.
        rate: firing rate of an active group.
        buffer: memory to reuse; the next call with it overwrites this result.

    Raises:
        ConfigError: n_in is not a multiple of 4, the rate is not between 0 and one spike per step, or a symbol is not a
            whole number of steps.
        ShapeError: groups is not bool [S, B, 4].

    >>> spikes = encode(torch.ones(3, 2, 4, dtype=torch.bool), generator=torch.Generator())
    >>> spikes.shape, round(spikes.mean().item() * 1000)
    (torch.Size([600, 2, 100]), 50)
    """
    steps = symbol_steps(symbol_ms, dt)
    chance = spike_chance(rate, dt)
    if n_in < 4 or n_in % 4:
        raise ConfigError(f"Store-recall has 4 groups of inputs, so n_in must be a multiple of 4, but got {n_in}.")
    if groups.dim() != 3 or groups.shape[-1] != 4 or groups.dtype != torch.bool:
        raise ShapeError(f"encode needs groups bool [symbols, batch, 4], but got {groups.dtype} {list(groups.shape)}.")
    symbols, batch, _ = groups.shape
    size = n_in // 4
    active = groups.nonzero()  # [G, 3]: symbol, sample, group; G steps size cells may fire
    first = (active[:, 0] * steps * batch + active[:, 1]) * n_in + active[:, 2] * size
    cell = _hits(len(active) * steps * size, chance, generator).to(groups.device)
    entry = cell // (steps * size)
    within = cell - entry * (steps * size)
    step = within // size
    cells = first[entry] + step * (batch * n_in) + (within - step * size)
    return (Buffer() if buffer is None else buffer).fill((symbols * steps, batch, n_in), cells)


@explained
def symbol_steps(symbol_ms: float, dt: float) -> int:
    """Return the number of steps per symbol.

    >>> symbol_steps(200.0, 0.5)
    400
    """
    steps = round(symbol_ms / dt) if dt > 0.0 and 0.0 < symbol_ms < dt * 2**31 else 0
    if steps < 1 or abs(steps * dt - symbol_ms) > 1e-6 * symbol_ms:
        raise ConfigError(f"A symbol of {symbol_ms} ms is not a whole number of steps of {dt} ms. Change one of them.")
    return steps


def spike_chance(rate: float, dt: float) -> float:
    """Return the probability of a spike in a step, for a rate in Hz; raise ConfigError unless it is between 0 and 1."""
    chance = rate * dt / 1000.0
    if not 0.0 < chance < 1.0:
        raise ConfigError(
            f"An input rate of {rate} Hz means {chance} spikes in a step of {dt} ms; it must lie between 0 and 1. "
            "Change input_rate or dt."
        )
    return chance


@explained
def check_length(symbols: int, recall_delay: int) -> None:
    """Raise ConfigError unless 1 <= recall_delay < symbols - 4."""
    if recall_delay < 1 or recall_delay + 4 >= symbols:
        raise ConfigError(
            "Store-recall needs recall_delay >= 1 and recall_delay + 4 < symbols, but got recall_delay "
            f"{recall_delay} and symbols {symbols}. Take recall_delay <= {max(symbols - 5, 1)} or "
            f"symbols >= {max(recall_delay, 1) + 5}."
        )


def _walk(count: int, symbols: int, recall_delay: int, generator: torch.Generator) -> Tensor:
    """Draw codes [S, count]. Commands alternate by construction, store first."""
    shape, device = (symbols, count), generator.device
    values = torch.randint(2, shape, generator=generator, device=device)
    commands = torch.rand(shape, generator=generator, device=device) < 1.0 / (1 + recall_delay)
    odd = commands.cumsum(0) % 2 == 1
    return torch.where(commands, torch.where(odd, STORE, RECALL), values)


def _valid(codes: Tensor) -> Tensor:
    """Return True for each valid column of `codes` [S, N]."""
    command, store = codes >= STORE, codes == STORE
    alternates = (~command | (store == (command.cumsum(0) % 2 == 1))).all(0)
    ends_with_recall = (command.sum(0) % 2 == 0) & command.any(0)
    value_follows = ~(store[:-1] & command[1:]).any(0) & ~store[-1]
    return alternates & ends_with_recall & value_follows


def _show(codes: Tensor, presented: Tensor) -> Sequences:
    """Build sequences: `codes` define stored values and targets, `presented` the values shown at value symbols."""
    store, recall = codes == STORE, codes == RECALL
    following = codes.roll(-1, 0)
    value = torch.where(store, following, presented)
    groups = torch.stack((~recall & (value == 0), ~recall & (value == 1), store, recall), -1)
    position = torch.arange(len(codes), device=codes.device)[:, None]
    last_store = torch.where(store, position, 0).cummax(0).values
    targets = torch.where(recall, following.gather(0, last_store), 0)
    return Sequences(groups, targets, recall)


def _hits(cells: int, chance: float, generator: torch.Generator) -> Tensor:
    """Draw `cells` independent events of probability `chance`; return the sorted indices of those that happen.

    They are cumulative sums of geometric gaps.
    """
    expected = cells * chance
    count = int(expected + 6.0 * expected**0.5) + 16
    position = torch.tensor(-1, device=generator.device)
    pieces = [position.new_empty(0)]
    while position < cells - 1:
        gaps = torch.empty(count, dtype=torch.int64, device=generator.device).geometric_(chance, generator=generator)
        gaps = torch.where(gaps < 1, cells + 1, gaps).clamp_(max=cells + 1)  # 1 / chance may exceed 64 bits
        pieces.append(gaps.cumsum(0) + position)
        position = pieces[-1][-1]
    hits = torch.cat(pieces)
    return hits[: int(torch.searchsorted(hits, cells))]
