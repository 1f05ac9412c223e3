"""Spike trains as lists of events, and binned rasters.

    bin = floor(t / window)   or   ceil(t / window)          raster[bin, sample, unit] += 1

Events are stored in three flat arrays, 6 bytes per event for SHD; units of more than 65,536 channels take 4 bytes
instead of 2. Batches are binned on demand.
Shorter samples are padded with zeros; `Batch.lengths` has their lengths. Two units firing in one bin are two cells, one
unit firing twice is a count of two: the sum of a raster is the number of events.
"""

from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..arguments import explained
from ..errors import USUAL, ConfigError, DataError, ShapeError, as_number, check_count, check_generator, check_positive

Array = NDArray[Any]
Rounding = Literal["floor", "ceil"]

LONGEST = 60_000.0
"""Maximum time in ms, longer than any spoken word; protects against forged times."""


LATEST = 1e12
"""Maximum time in ms of spike trains of any source, so that a bin index is always exact."""
MOST_CELLS = 1 << 40
"""Maximum number of cells of a raster."""

_CHANGED = (
    "A time, a unit or a label of these spike trains is out of range: their arrays were changed after they had been "
    "checked. Make them anew with SpikeTrains.of."
)


@dataclass(frozen=True)
class SpikeTrains:
    """Samples of events, concatenated: sample k owns events first[k] to first[k + 1].

    Validated on construction: times are in order within a sample, units and labels are in range.

    Shapes: times and units [E], first [samples + 1], labels and speakers [samples].
    Units: times in ms.

    Raises:
        DataError: lengths differ; a time is negative, no number, above 1e12 ms or before its predecessor; a unit or
            label is out of range; an array is not of numbers.

    >>> trains = SpikeTrains.of([[1.0, 2.5], [0.5]], [[0, 3], [2]], labels=[1, 0], channels=4, classes=("no", "yes"))
    >>> len(trains), trains.select([1]).times
    (2, array([0.5]))
    """

    times: Array  # float32 or float64 [E], ms, sorted within a sample
    units: Array  # integer [E], 0 to channels - 1
    first: Array  # int64 [samples + 1]
    labels: Array  # int64 [samples]
    speakers: Array  # int64 [samples], -1 where unknown
    channels: int
    classes: tuple[str, ...]
    source: InitVar[str] = "SpikeTrains"
    """Name for error messages; not stored."""

    def __post_init__(self, source: str) -> None:
        self._check(source)

    @classmethod
    @explained
    def of(
        cls,
        times: Sequence[Any],
        units: Sequence[Any],
        labels: Sequence[int] | Array,
        channels: int,
        classes: tuple[str, ...],
        speakers: Sequence[int] | Array | None = None,
    ) -> "SpikeTrains":
        """Create spike trains from one list of times [ms] and one of units per sample.

        Raises:
            DataError: as for the class; a sample has different numbers of times and units, or a unit, label or speaker
                is not a whole number.

        >>> SpikeTrains.of([[5, 1]], [[0, 1]], labels=[0], channels=2, classes=("a",))
        Traceback (most recent call last):
        spikeloom.errors.DataError: SpikeTrains.of: event 1 of sample 0 has the time 1.0, which is not at least ...
        """
        source = "SpikeTrains.of"
        for name, samples in (("times", times), ("units", units)):
            if not isinstance(samples, Sequence | np.ndarray | Tensor) or isinstance(samples, str | bytes):
                raise DataError(
                    f"{source} needs a list of {name} for every sample, but got {type(samples).__name__}. Pass lists "
                    "of lists, such as [[1.0, 2.5], [0.5]]."
                )
        lists = [_as_array(sample, f"{source}: times of sample {number}") for number, sample in enumerate(times)]
        addresses = [whole(sample, f"{source}: units of sample {number}") for number, sample in enumerate(units)]
        sizes = [[sample.shape for sample in samples] for samples in (lists, addresses)]
        if sizes[0] != sizes[1] or any(len(shape) != 1 for shape in sizes[0]):
            pairs = enumerate(zip_longest(*sizes))
            number, (a, b) = next((n, pair) for n, pair in pairs if pair[0] != pair[1] or len(pair[0]) != 1)
            raise DataError(
                f"{source}: sample {number} has times of shape {a and list(a)} and units of shape {b and list(b)}, but "
                "one list of as many times as units was expected for every sample. Pass a time and a unit per event."
            )
        first = np.zeros(len(lists) + 1, np.int64)
        np.cumsum([len(sample) for sample in lists], out=first[1:])
        joined = np.concatenate(lists or [np.zeros(0)])
        where = np.concatenate(addresses or [np.zeros(0, np.int64)])
        if joined.dtype.kind in "iuf" and joined.dtype not in (np.float32, np.float64):
            joined = joined.astype(np.float64)
        known = np.full(len(lists), -1) if speakers is None else whole(speakers, f"{source}: speakers")
        return cls(
            joined,
            narrowed(where, channels),
            first,
            whole(labels, f"{source}: labels").astype(np.int64),
            known.astype(np.int64),
            channels,
            classes,
            source,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Sequence[int] | Array | Tensor) -> "SpikeTrains":
        """Return the samples with the given indices, in this order.

        Raises:
            ConfigError: an index is not a whole number or out of range.
        """
        chosen = self._chosen(indices)
        events, counts = self.events(chosen)
        first = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        return SpikeTrains(
            self.times[events],
            self.units[events],
            first,
            self.labels[chosen],
            self.speakers[chosen],
            self.channels,
            self.classes,
        )

    def check(self, source: str, empty: bool = False) -> "SpikeTrains":
        """Return self; raise DataError for times beyond a minute and, unless `empty`, for samples without events.

        `source` is the name for error messages.

        Raises:
            DataError: a time is beyond a minute, or a sample has no event.
        """
        counts, ends = np.diff(self.first), self.durations
        if not empty and len(counts) and counts.min() <= 0:
            number = int(np.argmin(counts))
            raise DataError(f"{source}: sample {number} has no events. Leave it out, or download the file again.")
        if ends.max(initial=0.0) > LONGEST:
            number = int(np.argmax(ends > LONGEST))
            raise DataError(
                f"{source}: event {counts[number] - 1} of sample {number} has the time {ends[number]}, which is "
                f"not 0 to {LONGEST:,.0f} ms. Correct this sample, or download the file again."
            )
        return self

    def _check(self, source: str) -> None:
        """Raise DataError unless all arrays are valid."""
        if not isinstance(self.channels, int | np.integer) or self.channels < 1:
            raise DataError(f"{source} has {self.channels!r} channels, but a whole number of at least 1 was expected.")
        if not isinstance(self.classes, tuple) or not all(isinstance(name, str) for name in self.classes):
            raise DataError(f"{source} has the classes {self.classes!r}, but a tuple of names was expected.")
        for name, kinds in (("times", "f"), ("units", "iu"), ("first", "iu"), ("labels", "iu"), ("speakers", "iu")):
            array = getattr(self, name)
            right = isinstance(array, np.ndarray) and array.ndim == 1 and array.dtype.isnative
            if not right or array.dtype.kind not in kinds or (kinds == "f" and array.dtype.itemsize not in (4, 8)):
                is_array = isinstance(array, np.ndarray)
                found = f"{array.dtype} {list(array.shape)}" if is_array else type(array).__name__
                raise DataError(
                    f"{source} has {name} of {found}, but a flat array of "
                    f"{'float32 or float64' if kinds == 'f' else 'whole'} numbers was expected. Convert them first."
                )
        times, samples, events = self.times, len(self.labels), len(self.times)
        sizes = len(self.units), len(self.first) - 1, len(self.speakers)
        if sizes != (events, samples, samples) or self.first[0] != 0 or self.first[-1] != events:
            raise DataError(
                f"{source} holds {events:,} times and {sizes[0]:,} units, {samples:,} labels, {sizes[1]:,} samples and "
                f"{sizes[2]:,} speakers, but they must belong together. Write or download the file again."
            )
        falling = self.first[1:] < self.first[:-1]
        if falling.any():
            number = int(np.argmax(falling))
            raise DataError(
                f"{source}: sample {number} begins at event {self.first[number]} and ends at {self.first[number + 1]}, "
                "but the events of a sample end where they begin or later. Correct `first`."
            )
        self._refuse(source, "time", times, ~((times >= 0) & (times <= LATEST)), f"0 to {LATEST:,.0f} ms")
        back = np.zeros(events, bool)
        back[1:] = times[1:] < times[:-1]
        back[self.first[:-1][np.diff(self.first) > 0]] = False
        self._refuse(source, "time", times, back, "at least the time before it; sort the events of a sample by time")
        outside = (self.units < 0) | (self.units >= self.channels)
        self._refuse(source, "unit", self.units, outside, f"0 to {self.channels - 1}")
        wrong = (self.labels < 0) | (self.labels >= len(self.classes))
        if wrong.any():
            number = int(np.argmax(wrong))
            raise DataError(
                f"{source}: sample {number} has the label {self.labels[number]}, but labels are 0 to "
                f"{len(self.classes) - 1}. Use the file of the right data set, or correct the label."
            )

    def _refuse(self, source: str, what: str, values: Array, wrong: NDArray[np.bool_], expected: str) -> None:
        if wrong.any():
            event = int(np.argmax(wrong))
            sample = int(np.searchsorted(self.first, event, side="right")) - 1
            raise DataError(
                f"{source}: event {event - self.first[sample]} of sample {sample} has the {what} {values[event]}, "
                f"which is not {expected}. Correct this sample, or download the file again."
            )

    def _chosen(self, indices: Sequence[int] | Array | Tensor) -> Array:
        try:
            chosen = _as_array(indices.cpu() if isinstance(indices, Tensor) else indices, "indices").reshape(-1)
        except (DataError, NotImplementedError) as error:
            raise ConfigError(f"indices are a list of whole numbers, but: {error}") from error
        if len(chosen) and chosen.dtype.kind not in "iu":
            raise ConfigError(
                f"indices are whole numbers, but got {chosen.dtype}. Of a mask, pass the places of what is true: "
                "numpy.flatnonzero(mask)."
            )
        if len(chosen) and not (chosen.min() >= 0 and chosen.max() < len(self)):
            raise ConfigError(
                f"Indices run from {chosen.min()} to {chosen.max()}, but there are {len(self):,} samples, 0 to "
                f"{len(self) - 1}. Draw them from this data set."
            )
        return chosen.astype(np.int64)

    @property
    def durations(self) -> Array:
        """Time of the last event of each sample, float64 [samples] in ms; 0 without events."""
        ends = np.zeros(len(self))
        some = np.diff(self.first) > 0
        ends[some] = self.times[self.first[1:][some] - 1]
        return ends

    def events(self, chosen: Array) -> tuple[Array, Array]:
        """Return the positions of the events of the given samples, and the number of events per sample."""
        first, counts = self._owned(chosen)
        before = np.cumsum(counts) - counts
        return np.repeat(first - before, counts) + np.arange(counts.sum()), counts

    def _owned(self, chosen: Array) -> tuple[Array, Array]:
        """Return the first event and the number of events of the given samples."""
        first, counts = self.first[chosen], self.first[chosen + 1] - self.first[chosen]
        size = min(len(self.times), len(self.units))
        if len(chosen) and not (first.min() >= 0 and counts.min() >= 0 and (first + counts).max() <= size):
            raise DataError(f"A sample owns events beyond the {size:,} there are: `first` was changed. Make them anew.")
        return first, counts


def unit_type(channels: int) -> type[np.unsignedinteger[Any]]:
    """Return the smallest unsigned integer type for units of that many channels.

    >>> unit_type(700).__name__, unit_type(2 * 1280 * 720).__name__
    ('uint16', 'uint32')
    """
    return next((kind for kind in (np.uint16, np.uint32) if channels - 1 <= np.iinfo(kind).max), np.uint64)


def narrowed(units: Array, channels: int) -> Array:
    """Cast units to `unit_type(channels)`, unless that would change a value."""
    narrow = units.astype(unit_type(channels)) if isinstance(channels, int | np.integer) else units
    return narrow if bool((narrow == units).all()) else units


def _as_array(values: Any, what: str) -> Array:
    """Convert to an array; raise DataError if that fails."""
    if isinstance(values, Tensor) and values.requires_grad:
        raise DataError(f"{what} require a gradient, which events cannot have. Pass them with .detach().")
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged list, sparse or meta tensor
        raise DataError(f"{what} cannot be an array: {error}. Pass a flat list or array of numbers.") from error


def whole(values: Any, what: str) -> Array:
    """Return an integer array, int64 unless it is an integer array already; raise DataError if values are not whole."""
    array = _as_array(values, what)
    if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
        raise DataError(f"{what} should be below 2**63, but go up to {array.max():,}. Correct them.")
    if array.dtype.kind in "iu":
        return array
    if not array.size:
        return array.astype(np.int64)
    if array.dtype.kind == "f" and bool((np.rint(array) == array).all()) and float(np.abs(array).max()) < 2**53:
        return array.astype(np.int64)
    raise DataError(f"{what} should be whole numbers, but are {array.dtype}: {array.reshape(-1)[:3]} ... Convert them.")


@explained
@dataclass(frozen=True)
class Augmentation:
    """Random shift along the channels and random scale of both axes, for training.

    For each sample: a shift of rint(U(-shift, shift) channels) and a scale s of U(1 - scale, 1 + scale).

        event:   u' = rint(s (u - channels / 2) + channels / 2 + shift),   t' = s (t - middle) + middle
        image:   cell (y, x) copies the cell   x_in = rint((x + 0.5 - channels / 2 - shift) / s + channels / 2 - 0.5),
                                               y_in = rint((y + 0.5 - T / 2) / s + T / 2 - 0.5)

    Before that, each event of a sample is dropped with a probability drawn from U(0, drop) per sample.
    Events outside the original extent of the sample are dropped; rint rounds halves to even; the middle is that of the
    sample. "event" moves events (so counts are preserved inside); "image" moves cells of the raster as the original
    implementations do, so that enlarging duplicates events and shrinking loses some.

    Raises:
        ConfigError: the domain is unknown, shift is not in 0 .. 1, or scale or drop is not in 0 .. 1 (1 excluded).
    """

    domain: Literal["event", "image"] = "event"
    shift: float = 0.1
    """Maximum shift, as a fraction of the channels."""
    scale: float = 0.3
    """Maximum relative change of the scale."""
    drop: float = 0.0
    """Maximum fraction of events that are dropped from a sample."""

    def __post_init__(self) -> None:
        if self.domain not in ("event", "image"):
            raise ConfigError(f'The domain of an augmentation is "event" or "image", but got {self.domain!r}.')
        if not (0.0 <= self.shift <= 1.0 and 0.0 <= self.scale < 1.0 and 0.0 <= self.drop < 1.0):
            raise ConfigError(
                f"An augmentation needs 0 <= shift <= 1, 0 <= scale < 1 and 0 <= drop < 1, but got {self.shift}, "
                f"{self.scale} and {self.drop}. All are shares: 0.1 shifts by up to a tenth of the channels."
            )

    def draw(self, samples: int, channels: int, generator: torch.Generator) -> tuple[Array, Array]:
        """Sample a shift in channels and a scale for each sample."""
        both = torch.rand(2, samples, generator=generator, dtype=torch.float64, device=generator.device).cpu().numpy()
        shift = np.rint((2 * both[0] - 1) * self.shift * channels)
        return shift, 1 - self.scale + 2 * self.scale * both[1]

    def kept(self, counts: Array, generator: torch.Generator) -> Array:
        """Sample a mask of the events to keep, bool [events], for samples with the given counts."""
        chance = self.drop * torch.rand(len(counts), generator=generator, dtype=torch.float64, device=generator.device)
        draws = torch.rand(int(counts.sum()), generator=generator, device=generator.device).cpu().numpy()
        kept: Array = draws >= np.repeat(chance.cpu().numpy(), counts)
        return kept


class Batch(NamedTuple):
    """Raster of a batch with sample lengths and labels."""

    spikes: Tensor  # [T, B, C], counts
    lengths: Tensor  # int64 [B], steps of each sample
    labels: Tensor  # int64 [B]

    @property
    def valid(self) -> Tensor:
        """Mask of the steps that belong to a sample, bool [T, B]."""
        return torch.arange(len(self.spikes), device=self.lengths.device)[:, None] < self.lengths


@explained
def raster(
    trains: SpikeTrains,
    indices: Sequence[int] | Array | Tensor,
    *,
    window: float = 1.0,
    rounding: Rounding = "floor",
    steps: int | None = None,
    augment: Augmentation | None = None,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """Bin the given samples into a raster, in float64.

    Shapes: spikes [T, B, channels], zero after the end of a sample; lengths and labels [B].
    Units: window in ms.

    Args:
        window: bin width.
        rounding: "floor" puts t in bin floor(t / window); "ceil" in ceil(t / window), so bin 0 holds only t = 0.
        steps: T; by default the length of the longest sample.
        augment: random shift and scale of every sample, drawn from `generator`.

    Raises:
        ConfigError: window is not positive, rounding is unknown, an index is out of range, a sample is longer than
            `steps`, an augmentation has no generator, the raster would have more than 2 to the power of 40 cells, or
            the count of a cell is not exact in `dtype`.
        DataError: the arrays of the trains were modified, and a time or a unit is out of range.

    >>> times, units = [[0.0, 1.5, 3.0], [0.4]], [[1, 0, 0], [1]]
    >>> trains = SpikeTrains.of(times, units, labels=[0, 1], channels=2, classes=("no", "yes"))
    >>> batch = raster(trains, [0, 1])
    >>> batch.spikes.shape, batch.lengths.tolist(), batch.spikes[:, 0, 0].tolist()
    (torch.Size([4, 2, 2]), [4, 1], [0.0, 1.0, 0.0, 1.0])
    """
    if not isinstance(trains, SpikeTrains):
        raise ConfigError(f"raster needs SpikeTrains, but got {type(trains).__name__}. Make them with SpikeTrains.of.")
    check_positive("raster", window=window)
    check_generator("raster", generator)
    if rounding not in ("floor", "ceil"):
        raise ConfigError(f'raster needs rounding "floor" or "ceil", but got {rounding!r}.')
    if dtype not in USUAL:
        raise ConfigError(f"raster needs a dtype of real numbers, such as torch.float32, but got {dtype!r}.")
    if augment is not None and not isinstance(augment, Augmentation):
        raise ConfigError(f"raster needs augment as an Augmentation or None, but got {type(augment).__name__}.")
    if steps is not None:
        check_count("raster", steps=steps)
        steps = int(steps)
    window = float(window)
    if augment is not None and generator is None:
        raise ConfigError("An augmentation is drawn at random: pass generator=run.generator(...) to raster.")
    chosen = trains._chosen(indices)
    first, counts = trains._owned(chosen)
    if augment is not None:  # shifted events may leave the raster, so check the originals first
        places, _ = trains.events(chosen)
        times, units = trains.times[places], trains.units[places]
        if not ((times >= 0) & (units >= 0) & (units < trains.channels)).all():
            raise DataError(_CHANGED)
    labels = trains.labels[chosen]
    if not ((labels >= 0) & (labels < len(trains.classes))).all():
        raise DataError(_CHANGED)
    round_to_bin = np.floor if rounding == "floor" else np.ceil
    lengths = np.ones(len(chosen), np.int64)
    some = counts > 0  # events are sorted, so the last is the latest
    with np.errstate(over="ignore"):
        last = round_to_bin(trains.times[(first + counts)[some] - 1].astype(np.float64) / window)
    width = max(1, len(chosen)) * trains.channels
    if not max(last.max(initial=0.0), steps or 0) * width < MOST_CELLS:
        raise ConfigError(
            f"A raster of {len(chosen):,} samples and {trains.channels:,} channels up to {last.max(initial=0.0):.3g} "
            f"steps of {window} ms would have more than {MOST_CELLS:,} cells. Pass a longer window or fewer samples."
        )
    lengths[some] += last.astype(np.int64)
    if steps is not None and len(lengths) and lengths.max() > steps:
        number = int(np.argmax(lengths))
        raise ConfigError(
            f"Sample {chosen[number]} has {lengths[number]:,} steps of {window} ms, but steps={steps:,}. Pass at least "
            "that many, a longer window, or steps=None."
        )
    kept, shifts, scales = np.zeros(0, bool), np.zeros(0), np.zeros(0)
    if augment is not None and generator is not None:
        if augment.drop:
            kept = augment.kept(counts, generator)
        shifts, scales = augment.draw(len(chosen), trains.channels, generator)
    longest = int(lengths.max(initial=1)) if steps is None else steps
    try:
        spikes = torch.zeros(longest, len(chosen), trains.channels)
    except RuntimeError as error:
        raise ConfigError(
            f"A raster [{longest:,}, {len(chosen):,}, {trains.channels:,}] needs more memory than there is. Pass a "
            "longer window or fewer samples."
        ) from error
    if augment is not None and augment.domain == "image":
        events, sample = places, np.repeat(np.arange(len(chosen)), counts)
        if len(kept):
            sample, events = sample[kept], events[kept]
        bins = round_to_bin(trains.times[events].astype(np.float64) / window).astype(np.int64)
        addresses = trains.units[events]
        inside = (bins >= 0) & (bins < lengths[sample]) & (addresses >= 0) & (addresses < trains.channels)
        if not inside.all():
            raise DataError(_CHANGED)
        rows = [source(int(length), scale, 0.0) for length, scale in zip(lengths, scales, strict=True)]
        bins, copied = _copies(bins, sample, rows)
        sample, units = sample[copied], addresses[copied].astype(np.int64)
        columns = [source(trains.channels, scale, shift) for shift, scale in zip(shifts, scales, strict=True)]
        units, copied = _copies(units, sample, columns)
        sample, bins = sample[copied], bins[copied]
        cells = torch.from_numpy((bins * len(chosen) + sample) * trains.channels + units)
        spikes.view(-1).scatter_add_(0, cells, torch.ones(len(cells)))
        most = float(spikes.max()) if spikes.numel() and _largest(dtype) < _largest(torch.float32) else 0.0
    else:
        from .raster_loop import scatter  # numba is slow to import

        most = scatter(
            spikes.numpy(), trains.times, trains.units, first, counts, kept, lengths, augment is not None, shifts,
            scales, float(window), rounding == "ceil",
        )  # fmt: skip
        if most < 0:
            raise DataError(_CHANGED)
    if most > min(_largest(dtype), _largest(spikes.dtype)):
        raise ConfigError(
            f"A cell of this raster counts {most:,.0f} events, but {dtype} counts to {_largest(dtype):,.0f} without an "
            "error. Pass a wider dtype or a shorter window."
        )
    return Batch(spikes.to(dtype), torch.from_numpy(lengths), torch.from_numpy(labels.astype(np.int64)))


def _largest(dtype: torch.dtype) -> float:
    """Return the largest count up to which all counts are exact; a bool raster marks whether there was an event."""
    if dtype == torch.bool:
        return float("inf")
    return 2.0 / torch.finfo(dtype).eps - 1.0 if dtype.is_floating_point else float(torch.iinfo(dtype).max)


@explained
def source(size: int, scale: float, shift: float) -> Array:
    """Return the source cell of each cell of an axis by the image equation of `Augmentation` (may be out of range).

    >>> source(10, 1.25, 2.0).tolist(), source(6, 1.25, 0.0).tolist()
    ([-1, 0, 1, 2, 2, 3, 4, 5, 6, 6], [0, 1, 2, 3, 4, 4])
    """
    cells: Array = np.rint((np.arange(size) + 0.5 - size / 2 - shift) / scale + size / 2 - 0.5).astype(np.int64)
    return cells


def _copies(cells: Array, sample: Array, sources: list[Array]) -> tuple[Array, Array]:
    """Return, for events in these cells of an axis, every cell that copies one, and the index of the copied event."""
    tables = [np.searchsorted(axis, np.arange(len(axis) + 1)) for axis in sources]  # sources never decrease
    offsets = np.cumsum([0] + [len(table) for table in tables])
    flat = np.concatenate(tables) if tables else np.zeros(1, np.int64)
    place = offsets[sample] + cells
    counts = flat[place + 1] - flat[place]
    copied = np.repeat(np.arange(len(cells)), counts)
    return flat[place][copied] + np.arange(len(copied)) - (np.cumsum(counts) - counts)[copied], copied


@explained
def flip(spikes: Tensor, snr_db: float, generator: torch.Generator, lengths: Tensor | None = None) -> Tensor:
    """Flip random bits of a raster [T, B, C], to measure robustness.

        p = mean(x) / 10^(SNR / 20)

    The mean is taken per sample, and random numbers are drawn sample by sample on the device of the generator, so that
    the flips do not depend on batch size, padding or device.
    Source: the robustness experiment of the ParaLIF repository (Arnaud Yarga and Sean Wood), with one p per batch.

    Args:
        snr_db: signal to noise ratio in dB.
        lengths: [B]; restricts mean and flips to these steps of each sample. By default all steps.

    Raises:
        ConfigError: snr_db is not a number, or so low that p is above 1.
        ShapeError: spikes are not [T, B, C], or lengths not [B], 0 to T.
    """
    if not isinstance(spikes, Tensor) or spikes.dim() != 3 or spikes.is_complex() or spikes.is_meta:
        found = f"{spikes.dtype} {list(spikes.shape)}" if isinstance(spikes, Tensor) else type(spikes).__name__
        raise ShapeError(f"flip needs a raster [T, B, C] of real numbers, but got {found}. Make it with raster.")
    if not isinstance(generator, torch.Generator):
        raise ConfigError(f"flip needs a torch.Generator, but got {type(generator).__name__}. Its draws are random.")
    snr_db = as_number(
        "flip", "snr_db", snr_db, "as -1000 to 1000 dB or infinite", lambda x: abs(x) <= 1000 or x == np.inf
    )
    steps, batch, channels = spikes.shape
    home = generator.device
    if lengths is not None:
        whole_numbers = isinstance(lengths, Tensor) and lengths.dtype not in (
            torch.bool,
            torch.complex64,
            torch.complex128,
        )
        fits = (
            whole_numbers
            and tuple(lengths.shape) == (batch,)
            and not lengths.is_floating_point()
            and not lengths.is_meta
        )
        if not fits or not bool(((lengths >= 0) & (lengths <= steps)).all()):
            raise ShapeError(
                f"flip needs lengths [{batch}] of 0 to {steps} steps, but got {lengths!r}. Pass those of the batch."
            )
    long = torch.full((batch,), steps, device=home) if lengths is None else lengths.to(home)
    valid = torch.arange(steps, device=home) < long[:, None]  # [B, T]
    events = torch.where(valid.T[..., None].to(spikes.device), spikes, 0).sum((0, 2), dtype=torch.float64).to(home)
    chance = events / (long * channels).clamp(min=1) / 10 ** (snr_db / 20)
    if not bool(((chance >= 0) & (chance <= 1)).all()):
        number = int((~((chance >= 0) & (chance <= 1))).to(torch.uint8).argmax())
        raise ConfigError(
            f"At snr_db={snr_db} a bit of sample {number} of this raster would flip with probability "
            f"{float(chance[number]):.3g}. Choose a higher ratio."
        )
    draws = torch.ones(batch, steps, channels, device=home)
    draws[valid] = torch.rand(int(valid.sum()), channels, generator=generator, device=home)
    flipped = (draws < chance[:, None, None]).transpose(0, 1).to(spikes.device)
    return torch.where(flipped, (spikes == 0).to(spikes.dtype), spikes)
