"""Cross-modal recall: resuming, every kind of network and encoder, figures, options, errors of a drawing."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeloom import cli
from spikeloom.errors import CheckpointError, ConfigError, DataError
from spikeloom.layers.hebbian_memory.layer import memory_neuron
from spikeloom.papers.hebbian_memory import cross_modal
from spikeloom.papers.hebbian_memory.cross_modal import (
    PRESETS,
    answer,
    errors_of,
    mean_digits,
    nearest,
    network,
    pairs_of_the_test,
    target,
)
from spikeloom.papers.hebbian_memory.cross_modal_options import Config, Senses, WordsAndPictures, load, perceive
from spikeloom.papers.hebbian_memory.digit_pairs import DigitPairs, Pairs
from spikeloom.papers.hebbian_memory.encoders import ConvEncoder, SpikingConvEncoder, pixel_rates
from spikeloom.papers.hebbian_memory.pretraining import Schedule, phase, pretrain_classes
from spikeloom.train.run import Run

SMOKE = PRESETS["smoke"]
SMALL = {
    name: getattr(SMOKE, name) for name in (
        "images", "channels", "words_updates", "pictures_updates", "pretrain_batch", "calibration_batches",
        "calibration_batch", "validation_share", "item_ms", "memory_size", "hidden", "batch", "updates",
        "validation_samples", "validate_every", "test_samples", "checkpoint_every",
    )
}  # fmt: skip
BALANCED = {"conversion": "balanced", "dt": 5.0, "delay": 5.0, "refractory": 5.0}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "spiking": ("smoke", {}),
    "balanced": ("smoke", BALANCED | {"threshold_share": 0.6, "redraw": 0.0}),
    "fine-tuned": ("paper", BALANCED | {"stored": 12, "learn_thresholds": True}),
    "untrained": ("paper", BALANCED | {"stored": 0, "pretraining": "none", "conv_bias": True}),
    "frozen memory": ("frozen", {}),
    "rates": ("relu", {}),
    "rates of encoders that learn": ("relu", {"freeze_encoders": False}),
    "rates of the paper": ("paper_relu", {}),
}


def change(config: Config = SMOKE, **options: Any) -> Config:
    return dataclasses.replace(config, **options)


def new_run(folder: Path, seed: int = 0) -> Run:
    return Run(folder, "cross_modal", "smoke", seed, quiet=True)


def kind(name: str, **options: Any) -> Config:
    preset, more = KINDS[name]
    return change(PRESETS[preset], **(SMALL | more | options))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, example_data: Path) -> Path:
    """A smoke run."""
    folder = tmp_path_factory.mktemp("runs") / "smoke"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPIKELOOM_DATA", str(example_data))
        assert cli.main(["train", "cross_modal", "--preset", "smoke", "--out", str(folder)]) == 0
    return folder


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"stored": 12, "freeze_encoders": False}, marks=pytest.mark.slow),
        {"model": "relu", "conversion": "balanced", "normalise": True},
    ],
)
def test_a_resumed_run_ends_with_the_same_bytes(options: dict[str, Any], tmp_path: Path) -> None:
    config = change(**options)
    cross_modal.train(config, new_run(tmp_path / "whole"))
    cross_modal.train(change(config, updates=2), new_run(tmp_path / "parts"))
    cross_modal.train(config, new_run(tmp_path / "parts"))
    for name in ("checkpoints/last.pt", "checkpoints/best.pt", "metrics.jsonl", "words/checkpoints/best.pt"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


RASTERS = {"decoding", "encoder_words", "encoder_pictures"}
FIGURES = {"recall", "gallery", "errors", "learning_curves", "writing", "reading", "memory", "memory_weights"}
PRETRAINING = {"pretraining_words", "pretraining_pictures"}


@pytest.mark.parametrize(
    "name", [name if name == "rates" else pytest.param(name, marks=pytest.mark.slow) for name in KINDS]
)
def test_every_network_trains_and_is_drawn(name: str, tmp_path: Path) -> None:
    config, run = kind(name), new_run(tmp_path)
    cross_modal.train(config, run)
    values = cross_modal.evaluate(config, run.fresh())
    assert values == cross_modal.evaluate(config, run.fresh())
    assert {"accuracy", "mse", "mse_sd", "mse_median", "mse_iqr", "mse_other_1", "mse_other_2_iqr"} <= set(values)
    spikes = config.model != "relu"
    assert ("rate_pixels" in values) == spikes
    cross_modal.plot(config, run.fresh())
    drawn = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    trained = PRETRAINING if config.pretraining == "digits" else set()
    assert drawn == FIGURES | (RASTERS if spikes else set()) | trained


def test_a_smoke_run_is_complete(finished: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    assert result["published"] == {}
    assert result["test"]["chance"] == pytest.approx(1 / 3)
    assert result["test"] == cross_modal.evaluate(SMOKE, new_run(finished))
    assert {path.stem for path in (finished / "figures").glob("*.png")} == FIGURES | RASTERS | PRETRAINING
    populations = {layer["name"]: layer for layer in json.loads((finished / "activity.json").read_text())["layers"]}
    assert list(populations) == [
        "words", "pictures", "query", "write keys", "write values", "read keys", "read values", "decoder", "pixels",
    ]  # fmt: skip
    assert populations["pixels"]["synapses"] == 784 * 12
    assert populations["write keys"]["inputs"] == 12
    assert all(layer["rate_hz"] > 0 for layer in populations.values())
    assert (finished / "report.html").exists()


def test_frozen_encoders_stay_and_others_learn(tmp_path: Path) -> None:
    for freeze in (True, False):
        config, run = change(freeze_encoders=freeze), new_run(tmp_path / str(freeze))
        cross_modal.train(config, run)
        model = network(config, run)
        run.load_last(model=model)
        before = ConvEncoder(6, bound=1.0)
        phase(run, "words").load_best(encoder=before)
        after = dict(model.words.named_parameters())
        same = [torch.equal(mine, other) for mine, other in zip(after.values(), before.parameters(), strict=True)]
        assert all(same) == freeze
        assert all(not part.requires_grad for part in after.values()) == freeze


def test_spikes_of_frozen_encoders_are_those_computed_afresh(tmp_path: Path) -> None:
    config, run = SMOKE, new_run(tmp_path)
    _, held, test = load(config, run)
    model = network(config, run)
    pairs = pairs_of_the_test(config, run, test)
    whole, few = perceive(config, run, model, test, "all"), perceive(config, run, model, test, "few", pairs)
    live = perceive(change(freeze_encoders=False), run, model, test, "live")
    for one, other, fresh in zip(whole, few, live, strict=True):
        chosen = pairs.images if one is whole.pictures else pairs.sounds
        assert torch.equal(one(chosen), other(chosen))
        assert one(chosen).shape == (10, 3, 20, 6)
        assert float((fresh(chosen) != one(chosen)).float().mean()) < 1e-3  # currents are summed in another order
    assert len(held.word_labels) == 40


def test_a_sample_does_not_depend_on_its_batch(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    _, _, part = load(SMOKE, run)
    model = network(SMOKE, run)
    pairs = pairs_of_the_test(SMOKE, run, part)
    senses = perceive(SMOKE, run, model, part, "test")
    whole = answer(model, senses, pairs, run.device).picture
    alone = answer(model, senses, Pairs(*(values[..., 7:8] for values in pairs)), run.device).picture
    torch.testing.assert_close(alone[0], whole[7])


def test_words_and_pictures_stand_in_the_order_of_the_pairs(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    _, _, part = load(SMOKE, run)
    model, length = network(SMOKE, run), 10
    pairs = pairs_of_the_test(SMOKE, run, part)
    found = answer(model, perceive(SMOKE, run, model, part, "test"), pairs, run.device)
    words, pictures = model.words, model.pictures
    assert isinstance(words, SpikingConvEncoder)
    assert isinstance(pictures, SpikingConvEncoder)
    for place in range(3):
        at = slice(place * length, (place + 1) * length)
        stored = words.spikes(part.words[pairs.sounds[place]], length).transpose(0, 1)
        assert torch.equal(found.layers["words"][at], stored)
        shown = pictures.spikes(part.pictures[pairs.images[place]], length).transpose(0, 1)
        assert torch.equal(found.layers["pictures"][at], shown)
    assert torch.equal(found.layers["query"], words.spikes(part.words[pairs.query], length).transpose(0, 1))
    assert torch.equal(part.word_labels[pairs.query], part.picture_labels[pairs.target])


class Fixed(nn.Module):
    """Draws the picture that is asked for, darkened."""

    def __init__(self, pictures: Tensor) -> None:
        super().__init__()
        self.pictures = pictures

    def forward(self, words: Tensor, pictures: Tensor, query: Tensor) -> Any:
        chosen = query[0, :, 0].long()
        return dataclasses.make_dataclass("Found", ["picture"])(0.9 * self.pictures[chosen, 0])


def test_errors_are_those_to_the_right_picture_and_to_the_others() -> None:
    draws = torch.Generator().manual_seed(0)
    labels = torch.arange(5).repeat(3)
    pictures = torch.rand(15, 1, 28, 28, generator=draws)
    part = WordsAndPictures(torch.zeros(15, 1, 30, 20), labels, pictures, labels)
    pairs = DigitPairs(labels, labels, range(5), 3).draw(230, True, draws)
    wanted = torch.full((15,), -1)
    wanted[pairs.query] = pairs.target
    pairs = pairs._replace(query=pairs.target)  # the stand-in for a network is asked by the picture itself
    senses = Senses(lambda at: at.float()[None, ..., None], lambda at: at.float()[None, ..., None])
    errors = errors_of(Fixed(pictures), senses, part, pairs, torch.device("cpu"))  # type: ignore[arg-type]
    assert errors.shape == (3, 230)
    for sample in (0, 99, 100, 229):
        drawn = 0.9 * pictures[pairs.target[sample], 0]
        for place in range(3):
            seen = pictures[pairs.images[(pairs.asked[sample] + place) % 3, sample], 0]
            assert float(errors[place, sample]) == pytest.approx(float((drawn - seen).square().mean()), rel=1e-5)
    assert nearest(errors) == 1.0
    assert nearest(errors[[1, 0, 2]]) == 0.0
    assert nearest(torch.tensor([[1.0, 3.0], [2.0, 2.0], [3.0, 4.0]])) == 0.5
    assert nearest(torch.ones(3, 4)) == 0.0  # a tie is not right
    assert torch.equal(target(part, pairs), pictures[pairs.target, 0])


def test_the_mean_digit_knows_only_the_digit() -> None:
    pictures = torch.zeros(20, 1, 28, 28)
    pictures[:10] = 1.0
    part = WordsAndPictures(
        torch.zeros(20, 1, 30, 20), torch.arange(10).repeat(2), pictures, torch.arange(10).repeat(2)
    )
    pairs = DigitPairs(part.word_labels, part.picture_labels, range(10), 3).draw(
        50, True, torch.Generator().manual_seed(0)
    )
    assert mean_digits(part, part, pairs) == pytest.approx(0.25)


def test_training_validation_and_test_share_nothing(tmp_path: Path) -> None:
    parts = load(SMOKE, new_run(tmp_path))
    assert [len(part.word_labels) for part in parts] == [100, 40, 100]
    assert [len(part.picture_labels) for part in parts] == [80, 40, 120]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        for mine, theirs in ((parts[one].words, parts[other].words), (parts[one].pictures, parts[other].pictures)):
            assert float(torch.cdist(mine.flatten(1), theirs.flatten(1)).min()) > 0
    again = load(SMOKE, new_run(tmp_path / "other", seed=0))
    assert torch.equal(parts[1].words, again[1].words)
    assert not torch.equal(parts[1].words, load(SMOKE, new_run(tmp_path, seed=1))[1].words)


def test_digits_to_train_with_are_not_those_to_test_with(tmp_path: Path) -> None:
    config, run = change(train_digits="0,1,2,3,4,5", test_digits="6,7, 9"), new_run(tmp_path)
    cross_modal.train(config, run)
    cross_modal.evaluate(config, run.fresh())
    _, _, part = load(config, run)
    assert torch.unique(part.word_labels[pairs_of_the_test(config, run.fresh(), part).sounds]).tolist() == [6, 7, 9]


def test_the_paper_has_the_sizes_of_the_paper(tmp_path: Path) -> None:
    model = network(PRESETS["paper"], new_run(tmp_path))
    sizes = {name: tuple(part.shape) for name, part in model.named_parameters() if not name.startswith("words")}
    convs = {
        f"pictures.layers.layers.{3 * block + 1}.conv.weight": (64, 64 if block else 1, 3, 3) for block in range(4)
    }
    assert sizes == {
        "core.write.weight": (200, 128), "core.read.weight": (100, 164), "decoder.first": (256, 100),
        "decoder.second": (784, 256), **convs,
    }  # fmt: skip
    assert model.core.read.neuron.threshold == 0.05  # type: ignore[union-attr]
    assert model.core.steps == 100
    rates = network(PRESETS["paper_relu"], new_run(tmp_path))
    assert isinstance(rates.words, ConvEncoder)
    assert rates.words.batch_norm


def test_an_encoder_can_be_borrowed(finished: Path, tmp_path: Path) -> None:
    run = new_run(tmp_path)
    cross_modal.train(change(words_from=str(finished), pictures_from=str(finished)), run)
    for name in ("words", "pictures"):
        nets = [ConvEncoder(6, bound=1.0) for _ in range(2)]
        phase(run, name).load_best(encoder=nets[0])
        phase(new_run(finished), name).load_best(encoder=nets[1])
        assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))
    with pytest.raises(
        ConfigError, match=r"channels is 6 there and 8 here; .*; threshold is 0\.05 there and 0\.2 here"
    ):
        cross_modal.train(
            change(words_from=str(finished), channels=8, conv_bias=True, threshold=0.2), new_run(tmp_path / "other")
        )
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text((finished / "config.json").read_text())
    with pytest.raises(CheckpointError, match=r"pictures/checkpoints/best\.pt is missing"):
        cross_modal.train(change(pictures_from=str(tmp_path / "empty")), new_run(tmp_path / "third"))


def test_a_checkpoint_of_other_options_or_none_is_an_error(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    config = json.loads((folder / "config.json").read_text())
    config["options"] |= {"memory_size": 12, "hidden": 9}
    (folder / "config.json").write_text(json.dumps(config))
    assert cli.main(["evaluate", str(folder)]) == 1
    said = capsys.readouterr().err
    assert all(name in said for name in ("memory_size", "hidden"))
    (folder / "config.json").write_text((finished / "config.json").read_text())
    (folder / "checkpoints" / "best.pt").unlink()
    assert cli.main(["evaluate", str(folder)]) == 1
    assert "best.pt" in capsys.readouterr().err


def test_without_data_it_is_said_where_they_were_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path))
    with pytest.raises(DataError, match=f"there is no {tmp_path / 'fsdd'}"):
        cross_modal.train(SMOKE, new_run(tmp_path / "run"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"length": 11}, "Samples of 11 pairs need as many digits"),
        ({"train_digits": "1,2"}, "Samples of 3 pairs need as many digits"),
        ({"train_digits": "1,2,2"}, "names a digit twice"),
        ({"train_digits": "1,2,10"}, "--train-digits takes digits with commas"),
        ({"test_digits": ""}, "--test-digits takes digits with commas"),
        ({"test_digits": "0,1"}, "Samples of 3 pairs need as many digits"),
        ({"item_ms": 52.0}, "--item-ms must be a whole number of steps"),
        ({"delay": 3.0}, "delay must be a whole number of steps"),
        ({"clip": -1.0}, "--clip must be a finite number of at least 0"),
        ({"white": 0.0}, "--white must be a finite number above 0"),
        ({"frames": 15}, "--frames must be a whole number of at least 16"),
        ({"normalise": True}, "normalise is for relu, whose activity has no bound, not for spiking"),
        ({"batch_norm": True}, "Encoders that normalise cannot spike"),
        ({"conversion": "balanced", "conv_bias": True}, "Balancing knows no biases. Switch conv_bias off"),
        ({"learn_thresholds": True}, "learn_thresholds is for encoders in spikes that are not frozen"),
        ({"model": "relu"}, 'conversion "bounded" is for encoders that spike'),
        ({"pretraining": "none"}, "Frozen encoders that were never trained"),
        ({"validation_share": 0.0}, "--validation-share must be a finite number above 0 and below 1"),
        ({"conversion": "balanced", "calibration_batch": 51}, "Thresholds need 2 batches of 51 images"),
    ],
)
def test_options_without_sense_are_refused(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        cross_modal.train(change(**options), new_run(tmp_path))


def drawing_encoder(folder: Path, updates: int, **options: Any) -> ConvEncoder:
    run = new_run(folder)
    net = ConvEncoder(6, bound=1.0, generator=torch.Generator().manual_seed(0))
    patterns = (torch.rand(4, 1, 1, 16, 16, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    images, labels = patterns.expand(4, 10, 1, 16, 16).flatten(0, 1), torch.arange(4).repeat_interleave(10)
    neuron = memory_neuron(20.0, 0.1, 0.0, dt=5.0)
    pretrain_classes(
        phase(run, "encoder"), net, images, labels, (images, labels), 4, 8, Schedule(updates, 0.01, 0.5, 50, 4, 3),
        redraw=20.0, transform=lambda shown: pixel_rates(neuron, 0.5 * shown, 20), **options,
    )  # fmt: skip
    return net


def test_pretraining_that_draws_resumes_and_learns(tmp_path: Path) -> None:
    drawing_encoder(tmp_path / "whole", 8)
    drawing_encoder(tmp_path / "parts", 4)
    drawing_encoder(tmp_path / "parts", 8)
    for name in ("checkpoints/last.pt", "checkpoints/best.pt", "metrics.jsonl"):
        assert (tmp_path / "whole/encoder" / name).read_bytes() == (tmp_path / "parts/encoder" / name).read_bytes()
    drawing_encoder(tmp_path / "long", 80)
    lines = [line for line in new_run(tmp_path / "long/encoder").metrics() if "validation_error" in line]
    assert lines[-1]["validation_error"] < 0.5 * lines[0]["validation_error"]
    assert lines[-1]["validation_accuracy"] > 0.9
    total = lines[0]["validation_loss"] - 20 * lines[0]["validation_error"]
    assert 0 < total < 3  # cross entropy is the rest
