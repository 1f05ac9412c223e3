"""Events and rasters: the worked trace, counts, both augmentations against their equations, flipped bits."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import Tensor

from spikeloom.data.spike_trains import Array, Augmentation, Batch, SpikeTrains, flip, raster, source
from spikeloom.errors import ConfigError, DataError, ShapeError

CHANNELS = 12


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trains(samples: int = 4, seed: int = 0, events: int = 60, duration: float = 40.0) -> SpikeTrains:
    draws = np.random.default_rng(seed)
    times = [np.sort(draws.uniform(0, draws.uniform(5, duration), events)) for _ in range(samples)]
    units = [draws.integers(0, CHANNELS, events) for _ in range(samples)]
    return SpikeTrains.of(times, units, np.arange(samples) % 2, CHANNELS, ("no", "yes"), np.arange(samples))


def bins_of(seconds: list[float], rounding: str, dtype: type = np.float64) -> list[int]:
    one = SpikeTrains.of([np.array(seconds, dtype) * dtype(1000)], [range(len(seconds))], [0], len(seconds), ("a",))
    return raster(one, [0], rounding=rounding).spikes[:, 0].argmax(dim=0).tolist()  # type: ignore[arg-type]


def test_trace_g_both_roundings() -> None:
    seconds = [0.0, 0.0004, 0.001, 0.0015, 0.01, 0.0101]
    assert bins_of(seconds, "ceil") == [0, 1, 1, 2, 10, 11]
    assert bins_of(seconds, "floor") == [0, 0, 1, 1, 10, 10]


def test_trace_g_short_times_fall_into_the_same_bins() -> None:
    assert np.floor(np.float32(0.01) / np.float32(0.001)) == 9  # the trap: seconds, divided in float32
    seconds = [0.0, 0.0004, 0.001, 0.0015, 0.01, 0.0101]
    assert bins_of(seconds, "floor", np.float32) == [0, 0, 1, 1, 10, 10]
    assert bins_of(seconds, "ceil", np.float32) == [0, 1, 1, 2, 10, 11]


def test_longer_windows_are_exact_multiples() -> None:
    one = SpikeTrains.of([[0.0, 0.1, 7.0, 7.1, 14.0]], [[0, 1, 2, 3, 4]], [0], 5, ("a",))
    assert raster(one, [0], window=7.0, rounding="ceil").spikes[:, 0].argmax(dim=0).tolist() == [0, 1, 1, 2, 2]
    assert raster(one, [0], window=7.0).spikes[:, 0].argmax(dim=0).tolist() == [0, 0, 1, 1, 2]


@given(
    seed=some.integers(0, 1000),
    window=some.floats(0.3, 15.0),
    rounding=some.sampled_from(["floor", "ceil"]),
    events=some.integers(1, 80),
)
@settings(deadline=None, max_examples=50)
def test_the_sum_of_a_raster_is_the_number_of_events(seed: int, window: float, rounding: str, events: int) -> None:
    data = trains(seed=seed, events=events)
    order = [2, 0, 3, 2]
    batch = raster(data, order, window=window, rounding=rounding)  # type: ignore[arg-type]
    assert batch.spikes.sum(dim=(0, 2)).tolist() == [events] * 4
    assert batch.spikes[:, 0].equal(batch.spikes[:, 3])
    assert batch.labels.tolist() == [0, 0, 1, 0]
    assert len(batch.spikes) == batch.lengths.max()
    assert batch.spikes[~batch.valid].sum() == 0
    for sample, length in enumerate(batch.lengths):
        assert batch.spikes[length - 1, sample].sum() > 0  # a sample ends where its last event is


def test_every_event_lands_in_its_cell_and_counts_add_up() -> None:
    one = SpikeTrains.of([[0.2, 0.7, 0.9, 3.0]], [[5, 5, 1, 0]], [0], 6, ("a",))
    expected = torch.zeros(4, 1, 6)
    expected[0, 0, 5], expected[0, 0, 1], expected[3, 0, 0] = 2, 1, 1
    assert raster(one, [0]).spikes.equal(expected)
    assert raster(one, torch.tensor([0]), steps=9, dtype=torch.float64).spikes[:4].equal(expected.double())


def test_samples_without_events_are_one_silent_step() -> None:
    batch = raster(SpikeTrains.of([[], [2.0]], [[], [1]], [0, 0], 2, ("a",)), [0, 1])
    assert batch.lengths.tolist() == [1, 3]
    assert SpikeTrains.of([[], [2.0]], [[], [1]], [0, 0], 2, ("a",)).durations.tolist() == [0.0, 2.0]
    assert batch.spikes.sum() == 1


def test_a_selection_is_the_same_samples() -> None:
    data = trains()
    chosen = data.select(torch.tensor([3, 1]))
    assert raster(chosen, [0, 1]).spikes.equal(raster(data, [3, 1]).spikes)
    assert (len(chosen), chosen.speakers.tolist(), chosen.labels.tolist()) == (2, [3, 1], [1, 1])
    assert len(data.select([])) == 0


def moved_image(image: Array, scale: float, shift: float) -> Array:
    """The equation of the image domain, cell by cell, in plain Python."""
    steps, width = image.shape
    out = np.zeros_like(image)
    for y in range(steps):
        for x in range(width):
            x_in = round((x + 0.5 - width / 2 - shift) / scale + width / 2 - 0.5)  # Python rounds halves to even
            y_in = round((y + 0.5 - steps / 2) / scale + steps / 2 - 0.5)
            if 0 <= x_in < width and 0 <= y_in < steps:
                out[y, x] = image[y_in, x_in]
    return out


def test_the_worked_example_of_the_image_domain() -> None:
    assert source(10, 1.25, 2.0).tolist() == [-1, 0, 1, 2, 2, 3, 4, 5, 6, 6]
    assert source(6, 1.25, 0.0).tolist() == [0, 1, 2, 3, 4, 4]


@pytest.mark.parametrize("rounding", ["floor", "ceil"])
@pytest.mark.parametrize("seed", range(6))
def test_an_augmented_image_follows_its_equation(seed: int, rounding: str) -> None:
    data, augment = trains(seed=seed, duration=17.0 + seed), Augmentation("image", shift=0.3, scale=0.6)
    plain = raster(data, range(4), rounding=rounding)  # type: ignore[arg-type]
    shifts, scales = augment.draw(4, CHANNELS, seeded(seed))
    batch = raster(data, range(4), rounding=rounding, augment=augment, generator=seeded(seed))  # type: ignore[arg-type]
    assert batch.lengths.equal(plain.lengths)
    for sample, length in enumerate(plain.lengths):
        expected = moved_image(plain.spikes[:length, sample].numpy(), scales[sample], shifts[sample])
        assert batch.spikes[:length, sample].numpy().tolist() == expected.tolist()
        assert batch.spikes[length:, sample].sum() == 0
    assert not batch.spikes.equal(plain.spikes)


@pytest.mark.parametrize("seed", range(6))
def test_augmented_events_follow_their_equation(seed: int) -> None:
    data, augment = trains(seed=seed), Augmentation("event", shift=0.3, scale=0.6)
    lengths = raster(data, range(4)).lengths
    shifts, scales = augment.draw(4, CHANNELS, seeded(seed))
    batch = raster(data, range(4), augment=augment, generator=seeded(seed))
    expected = torch.zeros_like(batch.spikes)
    for sample in range(4):
        middle = float(lengths[sample]) / 2
        for event in range(data.first[sample], data.first[sample + 1]):
            time = scales[sample] * (data.times[event] - middle) + middle
            unit = round(scales[sample] * (data.units[event] - CHANNELS / 2) + CHANNELS / 2 + shifts[sample])
            if 0 <= time < lengths[sample] and 0 <= unit < CHANNELS:
                expected[int(time), sample, unit] += 1
    assert batch.spikes.equal(expected)
    assert batch.lengths.equal(lengths)


@pytest.mark.parametrize("domain", ["event", "image"])
def test_no_shift_and_no_scale_change_nothing(domain: str) -> None:
    data, nothing = trains(), Augmentation(domain, shift=0.0, scale=0.0)  # type: ignore[arg-type]
    for rounding in ("floor", "ceil"):
        plain = raster(data, range(4), rounding=rounding)
        moved = raster(data, range(4), rounding=rounding, augment=nothing, generator=seeded())
        assert moved.spikes.equal(plain.spikes)


def test_shifts_and_scales_fill_their_range_and_follow_the_seed() -> None:
    augment = Augmentation(shift=0.1, scale=0.3)
    shift, scale = augment.draw(2000, 700, seeded())
    assert (shift.min(), shift.max()) == (-70, 70)
    assert (shift == np.rint(shift)).all()
    assert 0.7 <= scale.min() < 0.71 < 1.29 < scale.max() <= 1.3
    assert abs(scale.mean() - 1.0) < 0.02
    again = augment.draw(2000, 700, seeded())
    assert (again[0] == shift).all()
    assert (again[1] == scale).all()


@pytest.mark.parametrize("domain", ["event", "image"])
def test_samples_lose_different_shares_of_their_events(domain: str) -> None:
    times = [np.linspace(0.0, 99.0, 2000)] * 200
    data = SpikeTrains.of(times, [np.arange(2000) % 20] * 200, [0] * 200, 20, ("a",))
    augment = Augmentation(domain, 0.0, 0.0, drop=0.4)  # type: ignore[arg-type]
    made = [raster(data, range(200), augment=augment, generator=seeded()) for _ in range(2)]
    assert made[0].spikes.equal(made[1].spikes)
    assert made[0].lengths.equal(raster(data, range(200)).lengths)
    lost = 1 - made[0].spikes.sum((0, 2)) / 2000
    assert 0.18 < float(lost.mean()) < 0.22
    assert float(lost.min()) < 0.03
    assert 0.37 < float(lost.max()) < 0.44


def noisy_raster() -> tuple[Tensor, Tensor]:
    """Samples of two lengths and of two activities."""
    spikes = (torch.rand(400, 20, 30, generator=seeded()) < torch.tensor([0.05, 0.15]).repeat(10)[:, None]).float() * 3
    lengths = torch.full((20,), 400)
    lengths[:10] = 200
    spikes[200:, :10] = 0
    return spikes, lengths


def test_flipped_bits_have_the_stated_share_inside_the_samples() -> None:
    spikes, lengths = noisy_raster()
    noisy = flip(spikes, 10.0, seeded(1), lengths)
    changed = (noisy > 0) != (spikes > 0)
    for sample, length in enumerate(lengths.tolist()):
        cells = length * 30
        share = float(spikes[:, sample].sum()) / cells / 10 ** (10 / 20)
        assert abs(float(changed[:, sample].sum()) - cells * share) < 4 * (cells * share) ** 0.5
        assert not changed[length:, sample].any()
    assert noisy[changed & (spikes == 0)].eq(1).all()
    assert noisy[changed & (spikes > 0)].eq(0).all()
    assert noisy[~changed].equal(spikes[~changed])
    assert flip(spikes, 10.0, seeded(1), lengths).equal(noisy)
    assert flip(spikes, 300.0, seeded(1)).equal(spikes)


def test_flipped_bits_do_not_depend_on_the_batch() -> None:
    spikes, lengths = noisy_raster()
    whole, draws = flip(spikes, 10.0, seeded(1), lengths), seeded(1)
    parts = [flip(spikes[:200, :7], 10.0, draws, lengths[:7]), flip(spikes[:, 7:], 10.0, draws, lengths[7:])]
    assert whole[:200, :7].equal(parts[0])
    assert whole[:, 7:].equal(parts[1])


def test_where_samples_end_is_known_on_every_device() -> None:
    lengths = torch.ones(2, dtype=torch.int64, device="meta")  # a device that every machine has
    valid = Batch(torch.zeros(5, 2, 3, device="meta"), lengths, lengths).valid
    assert (valid.device.type, valid.shape) == ("meta", (5, 2))


@pytest.mark.gpu
def test_a_gpu_flips_the_same_bits() -> None:
    spikes, lengths = noisy_raster()
    there = flip(spikes.cuda(), 10.0, seeded(1), lengths.cuda())
    assert there.device.type == "cuda"
    assert there.cpu().equal(flip(spikes, 10.0, seeded(1), lengths))


wrong_options = {
    "window": ({"window": 0.0}, r"raster needs window > 0 and finite, but got 0.0"),
    "rounding": ({"rounding": "round"}, r'raster needs rounding "floor" or "ceil", but got \'round\''),
    "steps": ({"steps": 2}, r"Sample \d has \d+ steps of 1.0 ms, but steps=2. Pass at least that many"),
    "generator": ({"augment": Augmentation()}, r"drawn at random: pass generator=run.generator"),
}


@pytest.mark.parametrize("name", wrong_options)
def test_wrong_options_are_named(name: str) -> None:
    options, message = wrong_options[name]
    with pytest.raises(ConfigError, match=message):
        raster(trains(), [0, 1], **options)  # type: ignore[arg-type]


def test_wrong_indices_augmentations_and_ratios_are_named() -> None:
    with pytest.raises(ConfigError, match=r"Indices run from 0 to 4, but there are 4 samples, 0 to 3"):
        raster(trains(), [0, 4])
    with pytest.raises(ConfigError, match=r"Indices run from -1 to 0"):
        trains().select([0, -1])
    with pytest.raises(ConfigError, match=r'is "event" or "image", but got \'video\''):
        Augmentation("video")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"0 <= scale < 1 and 0 <= drop < 1, but got 0.1, 1.0 and 0.0"):
        Augmentation(scale=1.0)
    with pytest.raises(ConfigError, match=r"but got 0.1, 0.3 and 1.0"):
        Augmentation(drop=1.0)
    loud = torch.tensor([0.0, 0.5]).expand(3, 2).unsqueeze(-1)
    with pytest.raises(ConfigError, match=r"At snr_db=-40.0 a bit of sample 1 .* would flip with probability 50"):
        flip(loud, -40.0, seeded())
    with pytest.raises(ConfigError, match=r"flip needs snr_db as -1000 to 1000 dB or infinite, but got nan"):
        flip(loud, float("nan"), seeded())


good = ([[0.0, 1.0, 1.0], [2.0]], [[0, 3, 3], [1]])
malformed: dict[str, tuple[Any, Any, str]] = {
    "unsorted": ([[1.0, 0.5], [2.0]], [[0, 1], [1]], "event 1 of sample 0 has the time 0.5, which is not at least the"),
    "negative": (
        [[1.0], [-2.0, 2.0]],
        [[0], [1, 1]],
        r"event 0 of sample 1 has the time -2.0, which is not 0 to 1,000,000,000,000 ms",
    ),
    "nan": ([[float("nan")]], [[0]], "event 0 of sample 0 has the time nan"),
    "infinite": ([[float("inf")]], [[0]], "event 0 of sample 0 has the time inf"),
    "unit": ([[1.0], [2.0]], [[0], [4]], "event 0 of sample 1 has the unit 4, which is not 0 to 3. Correct this"),
    "negative unit": ([[1.0]], [[-1]], "event 0 of sample 0 has the unit -1, which is not 0 to 3"),
    "unit that wraps": ([[1.0]], [[65_536]], "event 0 of sample 0 has the unit 65536, which is not 0 to 3"),
    "unit between": ([[1.0]], [[0.5]], "units of sample 0 should be whole numbers, but are float64"),
    "a mask of units": ([[1.0]], [[True]], "units of sample 0 should be whole numbers, but are bool"),
    "more times": ([[1.0], [1.0, 2.0]], [[0], [1]], r"sample 1 has times of shape \[2\] and units of shape \[1\]"),
    "equal sums": ([[1.0], [2.0, 3.0]], [[0, 1], [1]], r"sample 0 has times of shape \[1\] and units of shape \[2\]"),
    "a sample more": ([[1.0], [2.0]], [[0]], r"sample 1 has times of shape \[1\] and units of shape None"),
    "a table": ([[[1.0, 2.0]]], [[[0, 1]]], r"sample 0 has times of shape \[1, 2\]"),
    "words": ([["a"]], [[0]], r"times of <U1 \[1\], but a flat array of float32 or float64"),
}


@pytest.mark.parametrize("name", malformed)
def test_malformed_trains_are_refused(name: str) -> None:
    times, units, message = malformed[name]
    with pytest.raises(DataError, match=rf"SpikeTrains\.of.*{message}"):
        SpikeTrains.of(times, units, [0] * len(times), 4, ("no", "yes"))


def test_well_formed_trains_pass_and_labels_are_checked() -> None:
    assert len(SpikeTrains.of(*good, [0, 1], 4, ("no", "yes")).check("here")) == 2
    assert len(SpikeTrains.of([[1.0], []], [[0], []], [0, 1], 4, ("no", "yes")).check("here", empty=True)) == 2
    with pytest.raises(DataError, match=r"sample 1 has the label 2, but labels are 0 to 1"):
        SpikeTrains.of(*good, [0, 2], 4, ("no", "yes")).check("here")
    with pytest.raises(DataError, match=r"labels should be whole numbers, but are float64: \[0.5 1. \]"):
        SpikeTrains.of(*good, [0.5, 1], 4, ("no", "yes"))  # type: ignore[list-item]
    with pytest.raises(DataError, match=r"the file: event 0 of sample 0 has the time 60001.0, which is not 0 to 60,"):
        SpikeTrains.of([[60_001.0]], [[0]], [0], 4, ("no",)).check("the file")
    with pytest.raises(DataError, match=r"the file: sample 1 has no events. Leave it out"):
        SpikeTrains.of([[1.0], [], [2.0]], [[0], [], [1]], [0] * 3, 4, ("no",)).check("the file")


def test_whole_numbers_are_times_and_nothing_is_lost() -> None:
    """Case: [5, 1, 3] came out as 2 of 3 events in 4 of 6 steps; in order, all are there."""
    ordered = SpikeTrains.of([[1, 3, 5]], [[1, 0, 0]], [0], channels=2, classes=("a",))
    assert ordered.times.dtype == np.float64
    batch = raster(ordered, [0])
    assert batch.spikes.shape == (6, 1, 2)
    assert batch.spikes.nonzero().tolist() == [[1, 0, 1], [3, 0, 0], [5, 0, 0]]
    with pytest.raises(DataError, match=r"event 1 of sample 0 has the time 1.0, which is not at least the time before"):
        SpikeTrains.of([[5, 1, 3]], [[0, 1, 0]], [0], channels=2, classes=("a",))
    with pytest.raises(DataError, match=r"sample 0 has the label 5, but labels are 0 to 0"):
        SpikeTrains.of([[1.0]], [[0]], [5], channels=2, classes=("a",))


def test_trains_made_directly_are_checked_too() -> None:
    made = SpikeTrains.of(*good, [0, 1], 4, ("no", "yes"))
    with pytest.raises(DataError, match=r"holds 4 times and 3 units, 2 labels"):
        replace(made, units=made.units[1:])
    with pytest.raises(DataError, match=r"sample 0 begins at event 0 and ends at -1"):
        replace(made, first=np.array([0, -1, 4]))
    with pytest.raises(DataError, match=r"units of float64 \[4\], but a flat array of whole numbers"):
        replace(made, units=made.units.astype(np.float64))
    with pytest.raises(DataError, match=r"times of float16 \[4\], but a flat array of float32 or float64"):
        replace(made, times=made.times.astype(np.float16))
    with pytest.raises(DataError, match=r"labels of list"):
        replace(made, labels=[0, 1])  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"has 0 channels"):
        replace(made, channels=0)


@pytest.mark.parametrize("domain", ["event", "image", None])
def test_arrays_that_were_changed_afterwards_are_refused_before_anything_is_written(domain: str | None) -> None:
    """Whatever the arrays hold, the loop writes inside the raster or not at all."""
    augment = None if domain is None else Augmentation(domain, 0.0, 0.0)  # type: ignore[arg-type]
    changes: list[tuple[str, int, float]] = [
        ("units", 0, 60_000),
        ("units", 3, 4),
        ("first", 1, 50),
        ("first", 2, -3),
        ("labels", 1, 7),
    ]
    changes += [("times", 0, value) for value in (-0.5, float("nan"), -1e300)]
    for name, place, value in changes:
        made = SpikeTrains.of(*good, [0, 1], 4, ("no", "yes"))
        getattr(made, name)[place] = value
        with pytest.raises(DataError, match=r"changed"):
            raster(made, [0, 1], augment=augment, generator=seeded())
        if name == "first":
            with pytest.raises(DataError, match=r"changed"):
                made.select([0, 1])


def test_indices_are_whole_numbers_of_samples() -> None:
    data = trains()
    for wrong in ([True, False, True, False], torch.tensor([True, False]), [0.5], [float("nan")]):
        with pytest.raises(ConfigError, match=r"indices are whole numbers, but got (bool|float64)"):
            data.select(wrong)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=r"indices are whole numbers"):
            raster(data, wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"run from 18446744073709551615 to 18446744073709551615"):
        raster(data, np.array([2**64 - 1], np.uint64))


def test_units_of_large_sensors_do_not_wrap() -> None:
    """1280 x 720 cells with two polarities: 1,843,200 units."""
    channels = 2 * 1280 * 720
    made = SpikeTrains.of([[0.0, 0.0, 1.0]], [[0, 65_536, channels - 1]], [0], channels, ("a",))
    assert made.units.dtype == np.uint32
    assert raster(made, [0]).spikes.nonzero().tolist() == [[0, 0, 0], [0, 0, 65_536], [1, 0, channels - 1]]
    with pytest.raises(DataError, match=r"unit 1843200, which is not 0 to 1843199"):
        SpikeTrains.of([[0.0]], [[channels]], [0], channels, ("a",))


def test_rasters_that_cannot_be_are_refused() -> None:
    late = SpikeTrains.of([[0.0, 1e12]], [[0, 1]], [0], 2, ("a",))
    for window in (1.0, 1e-9, 1e-300):
        with pytest.raises(ConfigError, match=r"would have more than 1,099,511,627,776 cells"):
            raster(late, [0], window=window)
    with pytest.raises(ConfigError, match=r"raster needs steps as a whole number of at least 1, but got 0"):
        raster(trains(), [0], steps=0)


@pytest.mark.parametrize(("dtype", "most"), [(torch.uint8, 255), (torch.int8, 127), (torch.bfloat16, 255)])
def test_a_count_that_a_dtype_cannot_hold_is_refused(dtype: torch.dtype, most: int) -> None:
    made = SpikeTrains.of([[0.0] * most, [0.0] * (most + 1)], [[1] * most, [1] * (most + 1)], [0, 0], 2, ("a",))
    for augment in (None, Augmentation("image", 0.0, 0.0)):
        assert raster(made, [0], dtype=dtype, augment=augment, generator=seeded()).spikes[0, 0].tolist() == [0, most]
        with pytest.raises(ConfigError, match=rf"counts {most + 1} events, but {dtype} counts to {most}"):
            raster(made, [1], dtype=dtype, augment=augment, generator=seeded())
    assert raster(made, [1], dtype=torch.bool).spikes[0, 0].tolist() == [False, True]


def test_flips_keep_to_lengths_that_there_are() -> None:
    spikes = torch.ones(3, 2, 4)
    for wrong in (torch.tensor([3, 4]), torch.tensor([-1, 2]), torch.tensor([3]), torch.tensor([1.0, 2.0])):
        with pytest.raises(ShapeError, match=r"flip needs lengths \[2\] of 0 to 3 steps"):
            flip(spikes, 20.0, seeded(), wrong)
    with pytest.raises(
        ShapeError, match=r"flip needs a raster \[T, B, C\] of real numbers, but got torch.float32 \[2, 4\]"
    ):
        flip(spikes[0], 20.0, seeded())
    with pytest.raises(ConfigError, match=r"flip needs generator as a torch.Generator, but got None"):
        flip(spikes, 20.0, None)  # type: ignore[arg-type]


def test_arguments_of_another_kind_are_refused_by_name() -> None:
    data = trains()
    for wrong, message in (
        ({"window": "1"}, "window as a number, but got '1'"),
        ({"steps": 2.5}, "steps as a whole number or None, but got 2.5"),
        ({"dtype": "float32"}, "a dtype of real numbers, such as torch.float32, but got 'float32'"),
        ({"dtype": torch.complex64}, "a dtype of real numbers"),
        ({"augment": "event", "generator": seeded()}, "augment as an Augmentation or None, but got str"),
        ({"generator": 5}, "generator as a torch.Generator or None"),
    ):
        with pytest.raises(ConfigError, match=f"raster needs {message}"):
            raster(data, [0], **wrong)
    with pytest.raises(ConfigError, match=r"raster needs SpikeTrains, but got list"):
        raster([[1.0]], [0])  # type: ignore[arg-type]
    for times, units, found in ((None, [[0]], "times .* got NoneType"), ([[1.0]], "0", "units .* got str")):
        with pytest.raises(DataError, match=rf"SpikeTrains.of needs a list of {found}"):
            SpikeTrains.of(times, units, [0], 2, ("a",))  # type: ignore[arg-type]
    for classes in ("ab", None, ("a", 5)):
        with pytest.raises(DataError, match=r"has the classes .*, but a tuple of names was expected"):
            SpikeTrains.of([[1.0]], [[0]], [0], 2, classes)  # type: ignore[arg-type]


def test_a_raster_beyond_the_memory_is_refused() -> None:
    trains = SpikeTrains.of([[1e9]], [[0]], [0], 700, ("a",))
    with pytest.raises(ConfigError, match=r"more memory than there is\. Pass a longer window"):
        raster(trains, [0])


@pytest.mark.filterwarnings("ignore:.*quantize.*:UserWarning")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"times": [torch.tensor([1.0, 2.0], requires_grad=True), [3.0]]}, "times of sample 0 require a gradient"),
        ({"units": [[0, 1], torch.tensor([1.0], requires_grad=True)]}, "units of sample 1 require a gradient"),
        ({"times": [[1.0, [2.0, 3.0]], [3.0]]}, "times of sample 0 cannot be an array"),
        ({"units": [[1, [2, 3]], [3]]}, "units of sample 0 cannot be an array"),
        ({"times": [torch.tensor([1.0, 2.0]).to_sparse(), [3.0]]}, "times of sample 0 cannot be an array"),
        ({"times": [torch.tensor([1.0, 2.0], device="meta"), [3.0]]}, "times of sample 0 cannot be an array"),
        ({"times": [torch.tensor([1.0, 2.0]).bfloat16(), [3.0]]}, "times of sample 0 cannot be an array"),
        ({"times": [np.array([1.0, np.inf], np.float16), [3.0]]}, "event 1 of sample 0 has the time inf"),
        ({"units": [np.array([1.0, np.inf], np.float16), [3]]}, "units of sample 0 should be whole numbers"),
        ({"speakers": np.array([2**64 - 1, 0], np.uint64)}, r"speakers should be below 2\*\*63"),
    ],
)
def test_samples_of_another_kind_are_named(changes: dict[str, Any], message: str) -> None:
    right = {
        "times": [[1.0, 2.0], [3.0]],
        "units": [[0, 1], [1]],
        "labels": [0, 1],
        "channels": 4,
        "classes": ("a", "b"),
    }
    with pytest.raises(DataError, match=message):
        SpikeTrains.of(**{**right, **changes, "classes": ("a", "b")})


@pytest.mark.parametrize("dtype", [torch.quint8, torch.qint32, torch.bits8, torch.complex64, torch.float8_e8m0fnu])
def test_rasters_are_of_types_that_torch_computes_with(dtype: torch.dtype) -> None:
    with pytest.raises(ConfigError, match="raster needs a dtype of real numbers"):
        raster(trains(), [0], dtype=dtype)


@pytest.mark.parametrize(
    "indices",
    [
        torch.tensor([0]).to_sparse(),
        torch.tensor([0], device="meta"),
        torch.tensor([0.0], requires_grad=True),
        torch.tensor([0.0]).bfloat16(),
        [0, [1]],
        [10**30],
    ],
)
def test_indices_of_another_kind_are_refused(indices: Any) -> None:
    for call in (lambda: raster(trains(), indices), lambda: trains().select(indices)):
        with pytest.raises((ConfigError, ShapeError), match="indices"):
            call()
