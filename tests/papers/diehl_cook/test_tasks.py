"""Tasks of unsupervised learning: labels reach nothing but names, resuming, read-outs, figures, options."""

import dataclasses
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikeloom.data.spike_trains import SpikeTrains, raster
from spikeloom.encoding.events import sequence_of
from spikeloom.errors import ConfigError
from spikeloom.layers.lateral import som_inhibition
from spikeloom.papers.diehl_cook import figures, nmnist, ntidigits, readout, stdp_mnist, stmnist, training
from spikeloom.papers.diehl_cook.options import THESIS, STDPOptions
from spikeloom.papers.diehl_cook.presentation import present_
from spikeloom.papers.diehl_cook.readout import answers
from spikeloom.papers.diehl_cook.samples import Splits, from_images, from_trains, hold_out
from spikeloom.papers.diehl_cook.setup import lateral, network
from spikeloom.train.run import Run

DATA = Path(os.environ.get("SPIKELOOM_DATA", "/nonexistent")) / "mnist"
needs_mnist = pytest.mark.skipif(not DATA.is_dir(), reason="not in $SPIKELOOM_DATA: mnist")
SMALL = STDPOptions(n_neurons=7, n_train=23, intervals=5, total=0.3, growth=1.5, pattern_time=60.0)


def change(options: STDPOptions = SMALL, **values: Any) -> STDPOptions:
    return dataclasses.replace(options, **values)


def new_run(folder: Path, seed: int = 0) -> Run:
    return Run(folder, "stdp", "small", seed, quiet=True)


def bars(options: STDPOptions = SMALL) -> Splits:
    """Three bars on 6 x 6 pixels, with noise: samples [30] and [12]."""
    sources = []
    for count, seed in ((30, 0), (12, 1)):
        labels = torch.arange(count) % 3
        images = 20 * torch.rand(count, 6, 6, generator=torch.Generator().manual_seed(seed))
        images[torch.arange(count), 2 * labels] = 255.0
        sources.append(from_images(images, labels, 120.0, 30.0, options))
    return Splits(sources[0], sources[1], (6, 6), ("top", "middle", "bottom"), [])


def trained(options: STDPOptions, folder: Path, splits: Splits | None = None) -> Run:
    run = new_run(folder)
    training.train(options, run, splits or bars(options))
    return run


def test_held_out_samples_teach_nothing_and_take_the_place_of_the_test(tmp_path: Path) -> None:
    options = change(n_train=0, held_out=7)
    whole, splits = bars(options), hold_out(options, bars(options))
    together = torch.cat([splits.training.labels, splits.test.labels])
    assert len(splits.test.labels) == 7
    assert together.sort().values.tolist() == whole.training.labels.sort().values.tolist()
    noise = torch.tensor([[5, 0]])
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    for source, place in ((splits.test, order[:7]), (splits.training, order[7:])):
        shown, same = source.events(torch.tensor([3]), 0, noise), whole.training.events(place[3:4], 0, noise)
        assert torch.equal(shown.unit, same.unit)
        assert source.labels[3] == whole.training.labels[place[3]]
    values = readout.evaluate(options, trained(options, tmp_path, splits).fresh(), splits)
    assert values["samples_with_labels"] == 23
    assert values["test_samples"] == 7


def test_bars_are_told_apart(tmp_path: Path) -> None:
    options = change(n_train=0, epochs=8, ngram=2)
    run = trained(options, tmp_path)
    values = readout.evaluate(options, run.fresh(), bars(options))
    assert values == readout.evaluate(options, run.fresh(), bars(options))
    assert values["accuracy"] == values["accuracy_all"]
    for name in ("all", "proportion", "soft", "logistic", "2_gram"):
        assert values[f"accuracy_{name}"] > 0.8, name
    assert values["presentations"] == 240
    assert values["samples_with_labels"] == 30
    counts = np.array(run.read_json("confusion.json"))
    assert counts.shape == (3, 4)
    assert counts.sum() == 12
    assert np.trace(counts) / 12 == pytest.approx(values["accuracy"])
    layers = run.read_json("activity.json")["layers"]
    assert [layer["synapses"] for layer in layers] == [36 * 7 + 42, 7]
    assert layers[0]["rate_hz"] * 7 * 0.06 == pytest.approx(values["spikes_per_sample"])
    run.write_json("result.json", {"test": values})
    figures.draw(options, run.fresh(), bars(options), {"chance": 1 / 3})
    drawn = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert drawn == {
        "receptive_fields", "assignments", "accuracy", "spikes_per_neuron", "confusion", "training_confusion",
        *(f"{kind}_{number}" for kind in ("input", "spikes", "voltages") for number in (1, 2, 3)),
    }  # fmt: skip


def test_labels_reach_nothing_but_names(tmp_path: Path) -> None:
    splits = bars()
    shuffled = splits.training._replace(labels=splits.training.labels.roll(1))
    one = trained(SMALL, tmp_path / "one", splits)
    other = trained(SMALL, tmp_path / "other", splits._replace(training=shuffled))
    nets = [network(SMALL, run.fresh(), 36) for run in (one, other)]
    for net, run in zip(nets, (one, other), strict=True):
        run.load_best(network=net)
    assert torch.equal(nets[0].weight, nets[1].weight)
    assert torch.equal(nets[0].neurons.homeostasis, nets[1].neurons.homeostasis)


@pytest.mark.parametrize("options", [{}, {"batch": 4, "reduction": "mean"}, {"inhibition": "growing", "epochs": 2}])
def test_a_run_that_was_killed_ends_with_the_same_bytes(options: dict[str, Any], tmp_path: Path) -> None:
    config = change(**options)
    trained(config, tmp_path / "whole")
    run = new_run(tmp_path / "parts")
    logged = run.log

    def killed(update: int, **values: float) -> None:
        logged(update, **values)
        if update == 3:
            raise KeyboardInterrupt

    run.log = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        training.train(config, run, bars(config))
    trained(config, tmp_path / "parts")
    for name in ("checkpoints/last.pt", "checkpoints/best.pt", "metrics.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        {"n_train": 1}, {"n_train": 29, "intervals": 7}, {"n_train": 5, "intervals": 60}, {"batch": 8, "n_train": 23},
        {"n_neurons": 5, "inhibition": "som"}, {"topology": "one_layer", "inhibition": "two_level", "epochs": 3},
        {"rule": "triplet"}, {"rule": "weight_dependent", "batch": 3}, {"rule": "hebbian"}, {"carry": True},
        {"rule": "post", "soft_bound": "original", "total": 0.0}, {"reduction": "max", "batch": 3, "dt": 0.5},
    ],
)  # fmt: skip
def test_any_number_of_samples_is_shown_exactly(options: dict[str, Any], tmp_path: Path) -> None:
    config = change(**options)
    run = trained(config, tmp_path)
    lines = run.metrics()
    assert lines[-1]["samples"] == config.n_train * config.epochs
    assert len(lines) <= config.intervals
    values = readout.evaluate(config, run.fresh(), bars(config))
    assert 0.0 <= values["accuracy"] <= 1.0


@pytest.mark.parametrize(
    "options",
    [
        {"inhibition": "som"}, {"inhibition": "growing"}, {"inhibition": "two_level"}, {"rule": "pair"},
        {"rule": "triplet"}, {"topology": "one_layer"},
    ],
)  # fmt: skip
def test_the_options_of_the_original_go_with_its_preset(options: dict[str, Any], tmp_path: Path) -> None:
    config = STDPOptions(**{**THESIS, "n_neurons": 7, "n_train": 6, "intervals": 3, "pattern_time": 60.0, **options})
    run = trained(config, tmp_path)
    assert 0.0 <= readout.evaluate(config, run.fresh(), bars(config))["accuracy"] <= 1.0
    unused: dict[str, tuple[str, Any]] = {
        "inhibition": ("inhibit", 33.0),
        "rule": ("soft_bound", "none"),
        "topology": ("excite", 33.0),
    }
    name, value = unused[next(iter(options))]
    if options != {"inhibition": "two_level"}:
        with pytest.raises(ConfigError, match=f"no use for {name}"):
            dataclasses.replace(config, **{name: value})


def test_a_sample_without_events_is_an_error_of_the_network(tmp_path: Path) -> None:
    splits, random = bars(), np.random.default_rng(0)
    times = [np.sort(random.uniform(0, 60, 60)) if count else np.zeros(0) for count in (1, 0, 1, 1, 0)]
    units = [random.integers(0, 36, len(one)) for one in times]
    recorded = from_trains(SpikeTrains.of(times, units, [0, 0, 1, 2, 1], 36, splits.classes), False, SMALL)
    both = splits._replace(training=recorded, test=recorded)
    options = change(n_train=5, batch=2)
    values = readout.evaluate(options, trained(options, tmp_path, both).fresh(), both)
    assert values["silent_samples"] == 2
    assert values["accuracy"] <= 0.6
    run = new_run(tmp_path)
    run.write_json("result.json", {"test": values})
    figures.draw(options, run.fresh(), both, {})
    counts = np.array(run.read_json("confusion.json"))
    assert counts[:, -1].tolist() == [1, 1, 0]


@pytest.fixture
def recordings(example_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up recordings of all data sets, read without what is cached of the real ones."""
    monkeypatch.setenv("SPIKELOOM_DATA", str(example_data))
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize("task", [nmnist, ntidigits, stmnist])
def test_a_presentation_may_start_later(task: Any) -> None:
    smoke = task.PRESETS["smoke"]
    shown = [dataclasses.replace(smoke, t0=t0, pattern_time=50.0) for t0 in (0.0, 20.0)]
    early, late = (task.splits(config).training.events(torch.arange(3), 0, torch.zeros(3, 2)) for config in shown)
    for step in (20, 35):  # 20 ms later in the one is now in the other
        one = early.unit[int(early.first[3 * step]) : int(early.first[3 * step + 3])]
        other = late.unit[int(late.first[3 * step - 60]) : int(late.first[3 * step - 57])]
        assert torch.equal(one, other)
    with pytest.raises(ConfigError, match="--t0 must be a finite number of at least 0, but is -1"):
        dataclasses.replace(smoke, t0=-1.0)
    with pytest.raises(ConfigError, match="A window needs"):
        dataclasses.replace(smoke, t0=1e9)


def test_recordings_are_shown_to_their_end() -> None:
    config = dataclasses.replace(nmnist.PRESETS["smoke"], t0=20.0)
    assert nmnist.whole(config).pattern_time == 85.0
    assert nmnist.whole(dataclasses.replace(config, saccade="all")).pattern_time == 295.0


@pytest.mark.usefixtures("recordings")
def test_taxels_and_the_split_can_be_chosen() -> None:
    smoke = stmnist.PRESETS["smoke"]
    base, half, seed, columns = (
        stmnist.splits(dataclasses.replace(smoke, **options))
        for options in ({}, {"test_share": 0.5}, {"split_seed": 3}, {"order": "columns"})
    )
    assert (len(base.test.labels), len(half.test.labels), len(seed.test.labels)) == (6, 15, 6)

    def units(splits: Splits) -> torch.Tensor:
        return splits.test.events(torch.arange(6), 0, torch.zeros(6, 2)).unit

    assert not torch.equal(units(base), units(seed))
    turned = units(columns)
    assert torch.equal((turned % 10 * 10 + turned // 10).bincount(minlength=100), units(base).bincount(minlength=100))


@pytest.mark.parametrize("task", [stdp_mnist, nmnist, ntidigits, stmnist])
def test_every_option_stands_in_the_reference(task: Any) -> None:
    page = (Path(__file__).parents[3] / "spikeloom/papers/diehl_cook/README.md").read_text()
    told = set(re.findall(r"--([a-z0-9-]+)", page))
    assert {field.name.replace("_", "-") for field in dataclasses.fields(task.Config)} - told == set()


def test_captions_say_what_is_drawn() -> None:
    assert figures.about_fields(100).endswith("corner: what it answers to.")
    assert figures.about_fields(101) == "The weights onto each neuron."


def test_what_is_shown_does_not_depend_on_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, splits = trained(SMALL, tmp_path), bars()
    monkeypatch.setattr(readout, "TEST_BATCH", 5)
    found = []
    for threads in (1, 4):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        net = network(SMALL, run.fresh(), 36)
        found.append(answers(SMALL, net, splits.training, torch.arange(30), run.fresh(), "test").counts)
    assert torch.equal(*found)


def test_few_labels_are_enough_to_name_neurons(tmp_path: Path) -> None:
    options = change(n_train=0, epochs=8, label_share=0.01)
    values = readout.evaluate(options, trained(options, tmp_path).fresh(), bars(options))
    assert values["samples_with_labels"] == 3
    assert values["accuracy"] > 0.5


def test_test_samples_are_drawn_from_all_classes(tmp_path: Path) -> None:
    options = change(n_test=6)
    run = trained(options, tmp_path)
    readout.evaluate(options, run.fresh(), bars(options))
    assert min(sum(row) for row in run.read_json("confusion.json")) > 0


def test_the_second_level_is_uniform_and_growing_gets_stronger(tmp_path: Path) -> None:
    options = change(inhibition="two_level", n_neurons=10)
    assert lateral(options, 0.05) is not None
    assert lateral(options, 0.1) is None
    run = Run(tmp_path, "stdp", "small", 0, quiet=True)
    after, before = network(options, run, 36, done=0.1), network(options, run, 36, done=0.05)
    each = torch.eye(10)  # row k: neuron k spiked
    torch.testing.assert_close(after._inhibition(each), -120.0 * (1 - each), rtol=0.0, atol=0.0)
    assert float(after._inhibition(each).diagonal().abs().max()) == 0.0
    torch.testing.assert_close(before._inhibition(each), som_inhibition(10).T)
    growing = change(inhibition="growing", n_neurons=10)
    found = [lateral(growing, done) for done in (0.0, 0.3, 0.6, 1.0)]
    sums = [float(one.sum()) for one in found if one is not None]
    assert len(sums) == 4
    assert sums == sorted(sums, reverse=True)


@pytest.mark.parametrize("dt", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("counts", [False, True])
def test_recorded_spikes_fall_into_their_steps(dt: float, counts: bool) -> None:
    random = np.random.default_rng(0)
    times = [np.sort(random.uniform(0, 50, 200)) for _ in range(4)]
    units = [random.integers(0, 9, 200) for _ in range(4)]
    trains = SpikeTrains.of(times, units, [0, 1, 0, 1], 9, ("a", "b"))
    options = change(pattern_time=40.0, dt=dt)
    source, chosen = from_trains(trains, counts, options), torch.tensor([2, 0, 3])
    found = sequence_of(source.events(chosen, 0, torch.zeros(3, 2, dtype=torch.int64)), 3, 9)
    wanted = raster(trains, chosen, window=dt, steps=round(60 / dt)).spikes[: options.steps]
    assert torch.equal(found, wanted if counts else wanted.clamp(max=1.0))
    if counts:
        assert float(found.sum()) == sum(int((times[k] < 40.0).sum()) for k in (2, 0, 3))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n_neurons": 0}, "--n-neurons must be a whole number of at least 1, but is 0"),
        ({"pattern_time": 0.0}, "--pattern-time must be"),
        ({"n_train": 31}, "there are 30"),
        ({"n_train": -1}, "--n-train must be a whole number of at least 0"),
        ({"label_share": 0.0}, "--label-share must be a finite number above 0 and at most 1"),
        ({"alpha": 2.0}, "--alpha must be"),
        ({"lr_end": -0.1}, "--lr-end must be"),
        ({"max_repeats": 0}, "--max-repeats must be"),
        ({"rule": "post", "soft_bound": "hard"}, "--soft-bound must be one of none, post, both, original"),
        ({"som_start": 5.0, "inhibition": "som"}, "--som-start must be a finite number at most 0"),
        ({"n_test": 13}, "--n-test is 13"),
        ({"gain_test": -1.0}, "--gain-test must be"),
        ({"ngram": 30}, "too many 30-grams"),
        ({"dt": 7.0}, "--pattern-time must be a whole number of steps"),
        ({"gain": 1e9, "growth": 1e9}, "reach a gain of"),
        ({"reset": -50.0}, "below the threshold"),
        ({"w_min": 2.0}, "w_min < w_max"),
        ({"target": 0.1}, "no use for target"),
        ({"inhibit": 20.0, "inhibition": "som"}, "no use for inhibit"),
        ({"excite": 20.0, "topology": "one_layer"}, "no use for excite"),
    ],
)
def test_wrong_options(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        trained(change(**options), tmp_path)


def test_held_out_must_leave_something() -> None:
    with pytest.raises(ConfigError, match="--held-out must be below the 30 training samples"):
        hold_out(change(held_out=30), bars())


def test_learning_rates_fall_along_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options, seen = change(lr=0.02, lr_pre=0.001, lr_end=0.2, n_train=20), list[tuple[float, float]]()
    shown = present_

    def present(net: Any, *rest: Any) -> Any:
        seen.append((net.rule.lr, net.rule.lr_pre))
        return shown(net, *rest)

    monkeypatch.setattr(training, "present_", present)
    trained(options, tmp_path)
    factors = np.repeat([1.0, 0.84, 0.68, 0.52, 0.36], 4)
    assert np.allclose(seen, np.outer(factors, [0.02, 0.001]))


def test_two_processes_are_refused(tmp_path: Path) -> None:
    run = Run(tmp_path, "stdp", "small", 0, rank=0, world=2, quiet=True)
    with pytest.raises(ConfigError, match="in one process"):
        training.train(SMALL, run, bars())


def test_decaying_weights_are_normalised_all(tmp_path: Path) -> None:
    options = change(n_train=0, epochs=8, weight_decay=1e-3)
    run = trained(options, tmp_path)
    net = network(options, run.fresh(), 36)
    run.load_best(network=net)
    torch.testing.assert_close(net.weight.sum(1), torch.full((7,), 0.3 * 36), rtol=0, atol=1e-4)


@pytest.mark.parametrize("intervals", [1, 4, 60])
def test_the_level_changes_within_an_interval(intervals: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options, seen = change(inhibition="two_level", epochs=2, intervals=intervals), list[bool]()
    shown = present_

    def present(net: Any, *rest: Any) -> Any:
        seen.append(net.lateral is None)
        return shown(net, *rest)

    monkeypatch.setattr(training, "present_", present)
    trained(options, tmp_path)
    assert seen == [False] * 5 + [True] * 41  # the first tenth of 46 samples


@pytest.mark.gpu
def test_a_gpu_learns_too(tmp_path: Path) -> None:
    run = Run(tmp_path, "stdp", "small", 0, torch.device("cuda"), quiet=True)
    options = change(n_train=0, epochs=8)
    training.train(options, run, bars())
    assert readout.evaluate(options, run.fresh(), bars())["accuracy"] > 0.8


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize("task", [nmnist, ntidigits, stmnist])
def test_files_of_the_exact_format_end_to_end(task: Any, tmp_path: Path) -> None:
    config = task.PRESETS["smoke"]
    run = new_run(tmp_path)
    task.train(config, run)
    values = task.evaluate(config, run.fresh())
    assert values["accuracy"] > 0.6
    run.write_json("result.json", {"test": values})
    task.plot(config, run.fresh())
    assert (tmp_path / "figures" / "receptive_fields.png").is_file()


@needs_mnist
def test_digits(tmp_path: Path) -> None:
    config = stdp_mnist.PRESETS["smoke"]
    run = new_run(tmp_path)
    stdp_mnist.train(config, run)
    assert (tmp_path / "figures" / "receptive_fields.png").is_file()  # while learning
    values = stdp_mnist.evaluate(config, run.fresh())
    assert values["samples_with_labels"] == 24
    assert values["test_samples"] == 10


@pytest.mark.parametrize("change_of", [{"max_rate": -1.0}, {"boost": -1.0}, {"max_rate": float("inf")}])
def test_rates_below_zero(change_of: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must be a finite number of at least 0"):
        dataclasses.replace(stdp_mnist.PRESETS["smoke"], **change_of)  # type: ignore[arg-type]


def test_a_camera_is_not_stabilised() -> None:
    with pytest.raises(ConfigError, match="--stabilize"):
        dataclasses.replace(nmnist.PRESETS["default"], stabilize=True)
    with pytest.raises(ConfigError, match=r"not from 5.0 ms on. Set --t0 0"):
        dataclasses.replace(nmnist.PRESETS["default"], t0=5.0)


def digits(seed: int, options: STDPOptions) -> tuple[STDPOptions, Callable[[], Splits]]:
    """The 8 x 8 digits of scikit-learn, a fifth of each class for testing."""
    datasets = pytest.importorskip("sklearn.datasets")
    images, labels = datasets.load_digits(return_X_y=True)
    images, labels = torch.from_numpy(images).float() * (255 / 16), torch.from_numpy(labels).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    held = torch.cat([order[labels[order] == k][: int((labels == k).sum()) // 5] for k in range(10)])
    kept = order[~torch.isin(order, held)]

    def splits() -> Splits:
        sources = [from_images(images[part], labels[part], 128.0, 32.0, options) for part in (kept, held)]
        return Splits(sources[0], sources[1], (8, 8), tuple("0123456789"), [])

    return options, splits


@pytest.mark.slow
def test_small_digits_without_a_teacher(tmp_path: Path) -> None:
    found, started = [], time.process_time()
    for seed in range(3):
        options, splits = digits(seed, STDPOptions(n_neurons=100, epochs=3, total=0.25))
        run = Run(tmp_path / str(seed), "stdp", "digits", seed, quiet=True)
        training.train(options, run, splits())
        values = readout.evaluate(options, run.fresh(), splits())
        found.append((values["accuracy_all"], values["accuracy_logistic"]))
    assert time.process_time() - started < 60.0
    everyone, linear = np.mean(found, axis=0)
    assert everyone >= 0.78
    assert linear >= 0.86
