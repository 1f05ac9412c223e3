"""Each disease is found in a network made sick on purpose, and nothing is found in healthy ones."""

import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from examples import behaviours, own_neuron
from examples import convert as convert_example
from spikeloom import LSNN, ParallelNetwork, doctor
from spikeloom.convert import convert, percentile
from spikeloom.errors import ShapeError
from spikeloom.inspect import Diagnosis, Symptom, UpdateCost
from spikeloom.inspect.expense import Estimate, LiveTensors, available, duration, size
from spikeloom.layers import Recurrent, Sequential, SignedSparseLinear
from spikeloom.neurons import ALIF, LIF, PSN, LeakyReadout, ParaLIF
from spikeloom.surrogate import FastSigmoid


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def net(inputs: int = 40, **options: Any) -> Sequential:
    """A network that works."""
    torch.manual_seed(0)
    options = {"tau_mem": 20.0, "threshold": 0.2, **options}
    return Sequential(nn.Linear(inputs, 30), LIF(**options), nn.Linear(30, 4), LeakyReadout(20.0))


def batch(steps: int = 60, samples: int = 12, inputs: int = 40) -> tuple[Tensor, Tensor]:
    """Smooth currents, and labels."""
    phase = 6.3 * torch.rand(samples, inputs, generator=seeded(1))
    xs = 1.0 + torch.sin(torch.arange(steps).reshape(-1, 1, 1) / 8 + phase)
    return xs, torch.randint(0, 4, (samples,), generator=seeded(2))


def kinds(network: nn.Module, *inputs: Any, **options: Any) -> list[str]:
    found: Diagnosis = doctor(network, *inputs, **{"measure": False, **options})
    assert all(len(line) <= 80 for line in str(found).splitlines())
    assert found.ok == (not found.findings)
    return found.kinds()


# sick on purpose


def test_a_dead_layer_is_found_and_those_behind_it_are_not_told_again() -> None:
    xs, labels = batch()
    sick = Sequential(nn.Linear(40, 30), LIF(threshold=90.0), nn.Linear(30, 9, bias=False), LIF(), nn.Linear(9, 4))
    (found,) = doctor(sick, xs, labels=labels, measure=False).findings
    assert (found.kind, found.where) == ("silent layer", "layers.1")
    assert "none of its 30 neurons spiked" in found.problem
    assert "its threshold 90; layers.3 behind it is silent too." in found.problem
    assert found.remedy.startswith("Try larger inputs or weights, a lower threshold")


def test_a_saturated_layer_is_found() -> None:
    xs, labels = batch()
    sick = net()
    with torch.no_grad():
        sick[0].bias.fill_(99.0)  # type: ignore[operator]
    (found,) = doctor(sick, xs, labels=labels, measure=False).findings
    assert (found.kind, found.where) == ("saturated layer", "layers.1")
    assert "smaller inputs or weights" in found.remedy


def test_a_gradient_that_vanishes_through_time_is_found() -> None:
    xs, _ = batch(steps=100)
    sick = net(tau_mem=2.0, threshold=0.1)[:3]
    assert kinds(sick, xs, loss=lambda out: out[-1].square().mean()) == ["vanishing gradient"]
    assert kinds(sick, xs, loss=lambda out: out.square().mean()) == []
    slow = net(tau_mem=200.0, threshold=0.1)[:3]
    assert kinds(slow, xs, loss=lambda out: out[-1].square().mean()) == []


def test_a_gradient_that_explodes_through_time_is_found() -> None:
    torch.manual_seed(0)
    synapse = nn.Linear(30, 30, bias=False)
    nn.init.normal_(synapse.weight, std=200.0)
    neuron = LIF(threshold=0.2, surrogate=FastSigmoid(1.0))
    sick = Sequential(nn.Linear(40, 30), Recurrent(neuron, synapse), nn.Linear(30, 4))
    xs, labels = batch()
    assert kinds(sick, xs, labels=labels) == ["exploding gradient"]


def test_a_layer_that_no_gradient_reaches_is_found() -> None:
    sick = net()
    assert kinds(sick, batch()[0], loss=lambda out: out[0].sum() * 0 + sick[2].bias.sum()) == ["no gradient"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "parameter", "said"),
    [
        ("tau_mem", "log_tau_mem", "the learned tau_mem of all neurons is down to 0.135 ms with steps of 1 ms"),
        ("threshold", "raw_threshold", "the learned threshold of all neurons is at its lower bound, 0.0010 times"),
    ],
)
def test_a_learned_constant_at_its_bound_is_found(name: str, parameter: str, said: str) -> None:
    xs, labels = batch()
    sick = net(learn=name)
    assert kinds(sick, xs, labels=labels) == []
    with torch.no_grad():
        getattr(sick[1], parameter).fill_(math.log(0.135 / 20) if name == "tau_mem" else -40.0)
    found = doctor(sick, xs, labels=labels, measure=False).findings[0]
    assert (found.kind, found.where) == ("bound", "layers.1")
    assert said in found.problem


def test_other_bounds_are_found() -> None:
    xs, labels = batch()
    long = net(tau_mem=nn.Parameter(torch.full((30,), 20.0)))
    with torch.no_grad():
        long[1].tau_mem[3] = 1e6  # type: ignore[operator]
    (found,) = doctor(long, xs, labels=labels, measure=False).findings
    assert "the learned tau_mem of 1 of 30 neurons is up to 1e+06 ms, but the sequence lasts 60 ms" in found.problem
    ended = ParaLIF("T", threshold=nn.Parameter(torch.tensor(0.5)))
    with torch.no_grad():
        ended.threshold.fill_(-0.5)
    found = doctor(Sequential(nn.Linear(40, 3), ended), xs, measure=False).findings[0]
    assert "the learned threshold of all neurons is not above 0" in found.problem
    assert kinds(Sequential(nn.Linear(40, 3), LIF(tau_mem=1e6, threshold=1e-5)), xs) == []  # not learned


def test_an_input_scaled_twice_is_found() -> None:
    pictures = torch.randint(0, 256, (8, 784), generator=seeded()).float()
    torch.manual_seed(0)
    network = Sequential(nn.Linear(784, 50), LIF(threshold=0.1), nn.Linear(50, 10))
    once = (pictures / 255).expand(30, 8, 784)
    labels = torch.arange(8)
    assert kinds(network, once, labels=labels) == []
    found = doctor(network, once / 255, labels=labels, measure=False)
    (scale,) = (one for one in found.findings if one.kind == "input scale")
    assert "its largest value is 0.0039" in scale.problem
    assert "whose threshold is 0.1" in scale.problem
    assert "Bytes divided by 255 twice look like this" in scale.remedy
    small = Sequential(nn.Linear(784, 50, bias=False), LIF(threshold=1e-4), nn.Linear(50, 10))
    assert kinds(small, once / 255, labels=labels) == []  # small numbers, small thresholds


def test_time_and_batch_exchanged_is_found_by_labels_by_the_loss_and_by_the_numbers() -> None:
    xs, labels = batch()
    turned = xs.transpose(0, 1).contiguous()
    assert kinds(net(), xs, labels=labels) == []
    assert kinds(net(), turned, labels=labels) == ["time and batch"]
    entropy = lambda out: cross_entropy(out.mean(0), labels)  # noqa: E731
    assert kinds(net(), xs, loss=entropy) == []
    assert kinds(net(), turned, loss=entropy) == ["time and batch"]
    assert kinds(net(), xs) == []
    (found,) = doctor(net(), turned, measure=False).findings
    assert "its shape [12, 60, 40] looks like [B, T, ...]: neighbours along its second axis" in found.problem
    assert found.remedy == "Sequences are [T, B, ...], time first: pass xs.transpose(0, 1)."
    (found,) = doctor(net(), turned, labels=labels, measure=False).findings
    assert "there are 12 labels, which is its first size; the second, that of the samples, is 60" in found.problem


@pytest.mark.parametrize("samples", [4, 12, 300])
def test_no_axes_are_said_to_be_exchanged_in_usual_batches(samples: int) -> None:
    xs, _ = batch(samples=samples)
    noise = (torch.rand(60, samples, 40, generator=seeded(3)) < 0.1).float()
    rates = torch.rand(samples, 40, generator=seeded(4))
    ordered = rates.sort(0).values
    onset = (torch.arange(60.0).reshape(-1, 1, 1) > 20).float()
    for healthy in (
        xs, noise, rates.expand(60, -1, -1), (torch.rand(60, samples, 40) < 0.3 * rates).float(),
        (torch.rand(60, samples, 40) < 0.3 * ordered).float(), onset * (1 + noise), torch.ones(60, samples, 40),
    ):  # fmt: skip
        assert "time and batch" not in kinds(net(), healthy)


def test_what_is_not_finite_is_found_first() -> None:
    xs, labels = batch()
    bad = xs.clone()
    bad[3, 2, 1] = math.nan
    found = doctor(net(), bad, labels=labels)
    assert found.findings[0].problem == f"1 of its {xs.numel():,} values are not finite."
    assert found.update is None
    assert "Not checked: layers, gradients and costs, which need finite values." in str(found)
    sick = net()
    with torch.no_grad():
        sick[0].weight[0, 0] = math.inf  # type: ignore[operator]
    assert doctor(sick, xs, labels=labels).findings[0].where == "layers.0.weight"
    assert kinds(net(), xs, loss=lambda out: out.sum() / 0) == ["value"]
    assert kinds(net(), xs, loss=lambda out: (out * 0).sqrt().sum()) == ["value"]


def test_a_loss_that_cannot_be_computed_is_found() -> None:
    xs, labels = batch()
    (found,) = doctor(net(), xs, loss=lambda out: cross_entropy(out, labels), measure=False).findings
    assert found.kind == "loss"
    assert found.problem.startswith("it cannot be computed from the output [60, 12, 4]: ")
    assert kinds(net(), xs, loss=lambda out: out) == ["loss"]
    assert kinds(net(), xs, loss=lambda out: torch.zeros(())) == ["loss"]
    assert kinds(net(), xs, labels=labels + 9) == ["loss"]


def test_an_update_that_does_not_fit_is_found_and_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    xs, labels = batch()
    monkeypatch.setattr(sys.modules["spikeloom.inspect.examine"], "available", lambda network: 1000.0)
    found = doctor(net(), xs, labels=labels)
    assert found.kinds() == ["memory"]
    assert "but 1,000 B are free. The whole batch was not run" in found.findings[0].problem
    assert found.layers == []


# healthy


def healthy() -> dict[str, Callable[[], tuple[Any, ...]]]:
    def converted() -> tuple[Any, ...]:
        torch.manual_seed(0)
        pictures, _ = convert_example.stripes(20, seeded())
        plain = nn.Sequential(
            nn.Conv2d(1, 8, 5), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 4),
        ).eval()  # fmt: skip
        spiking = convert(plain, max_pool="lead", example=pictures)
        percentile(spiking, [pictures])
        return spiking, pictures.expand(64, *pictures.shape), {}

    def ordinary() -> tuple[Any, ...]:
        torch.manual_seed(0)
        pictures, labels = convert_example.stripes(64, seeded())
        plain = nn.Sequential(nn.Conv2d(1, 8, 5), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 4))
        return plain, pictures, {"labels": labels}

    def own() -> tuple[Any, ...]:
        torch.manual_seed(0)
        network = Sequential(nn.Linear(20, 30), own_neuron.neurons(30), nn.Linear(30, 1))
        target = torch.sin(torch.arange(200) / 20).reshape(-1, 1, 1)
        xs = (torch.rand(200, 16, 20) < 0.1).float()
        return network, xs, {"loss": lambda out: (out - target).square().mean()}

    def sparse() -> tuple[Any, ...]:
        network = nn.Sequential(
            SignedSparseLinear(784, 300, connectivity=0.01, generator=seeded()), nn.ReLU(),
            SignedSparseLinear(300, 10, connectivity=0.3, generator=seeded()),
        )  # fmt: skip
        images = torch.randint(0, 256, (10, 784), generator=seeded()).float() / 255
        return network, images, {"labels": torch.arange(10)}

    def behaviour() -> tuple[Any, ...]:
        current = torch.from_numpy(behaviours.pulse(20, 80, 1.5)).reshape(-1, 1, 1)
        return ParaLIF("T", tau_mem=10.0, tau_syn=None, threshold=1.0), current, {}

    def lsnn() -> tuple[Any, ...]:
        xs = (torch.rand(120, 8, 40, generator=seeded()) < 0.05).float()
        network = LSNN(40, 20, 20, 4, generator=seeded())
        return network, xs, {"loss": lambda out: cross_entropy(out.logits[-20:].mean(0), torch.arange(8) % 4)}

    def parallel() -> tuple[Any, ...]:
        xs = (torch.rand(80, 8, 40, generator=seeded()) < 0.1).float()
        return ParallelNetwork(40, 30, 4, layers=2, generator=seeded()), xs, {}

    return {
        "convert": converted, "ordinary": ordinary, "own_neuron": own, "sparse_mlp": sparse, "behaviours": behaviour,
        "lsnn": lsnn, "parallel": parallel, "small": lambda: (net(), batch()[0], {"labels": batch()[1]}),
    }  # fmt: skip


@pytest.mark.parametrize("name", healthy())
def test_nothing_is_found_in_healthy_networks(name: str) -> None:
    network, xs, options = healthy()[name]()
    found = doctor(network, xs, **options)
    assert found.ok, str(found)
    assert str(found).startswith("nothing to report")
    assert found.update is not None
    assert "(measured)" in str(found)
    assert found._repr_html_().startswith("<p>nothing to report</p>")


def test_nothing_is_changed_by_examining() -> None:
    xs, labels = batch()
    network = Sequential(nn.Linear(40, 30), ParaLIF("SB", generator=seeded()), nn.BatchNorm1d(30), nn.Linear(30, 4))
    before = {name: part.clone() for name, part in network.state_dict().items()}
    drawn, state = network[1].generator.get_state(), torch.get_rng_state()  # type: ignore[union-attr, operator]
    doctor(network, xs, labels=labels)
    assert network.training
    assert all(torch.equal(part, before[name]) for name, part in network.state_dict().items())
    assert torch.equal(network[1].generator.get_state(), drawn)  # type: ignore[union-attr, operator]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(part.grad is None for part in network.parameters())
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in network.modules())


# time and memory


def test_memory_of_an_update_is_estimated_as_it_is_measured() -> None:
    xs, labels = batch(steps=200, samples=16)
    whole = nn.Sequential(nn.Linear(40, 30), PSN(200), nn.Linear(30, 4))  # it takes sequences of 200 steps only
    for network in (net(), net(memory="lean"), whole):
        found = doctor(network, xs, labels=labels).update
        assert found is not None
        assert found.estimate is not None
        assert found.bytes == pytest.approx(found.estimate.bytes, rel=0.25)
        assert found.bytes > 200 * 16 * 30 * 4
        assert found.estimate.parts == ("8 and 12 of 16 samples" if network is whole else "100 and 150 of 200 steps")
    small = doctor(net(), xs[:5, :3], measure=True).update
    assert small is not None
    assert small.estimate is None
    assert "the batch is too small for an estimate" in str(small)


@pytest.mark.slow
def test_time_of_an_update_is_estimated_within_a_quarter() -> None:
    xs, labels = batch(steps=400, samples=32)
    wrong = []
    for _ in range(3):  # other work on the machine may disturb one of them
        update = doctor(net(), xs, labels=labels).update
        assert update is not None
        assert update.estimate is not None
        wrong.append(abs(update.estimate.seconds / update.seconds - 1))
    assert min(wrong) < 0.25


def test_live_tensors_are_counted_until_they_are_freed() -> None:
    start = torch.zeros(10)
    with LiveTensors([start]) as live:
        one = start + 1
        view = one[2:]
        assert live.now == 40
        two = torch.cat([one, view])
        del one, view, two
    assert (live.now, live.peak) == (0, 40 + 18 * 4)


def test_words_for_time_and_memory() -> None:
    assert (duration(0.0004), duration(0.25), duration(61.0)) == ("0.40 ms", "250 ms", "61.0 s")
    assert (size(12), size(5e8), size(2e10)) == ("12 B", "500.0 MB", "20.0 GB")
    assert available(nn.Linear(2, 2)) > 1e6
    cost = UpdateCost(0.2, 1e9, Estimate(0.1, 5e8, "1 and 2 of 4 steps"))
    assert "estimated from 1 and 2 of 4 steps: 100 ms and 500.0 MB" in str(cost)


# words


def test_a_diagnosis_prints_and_has_html() -> None:
    one = Symptom("bound", "a<b", "x " * 90, "y " * 90)
    both = Diagnosis([one, one])
    assert str(both).startswith("2 findings\n\nbound (a<b): x x")
    assert max(map(len, str(both).splitlines())) <= 80
    assert repr(both) == str(both)
    assert "(a&lt;b)" in both._repr_html_()
    assert both.kinds() == ["bound", "bound"]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (torch.rand(12), r"doctor needs labels as whole numbers \[B\], but got torch.float32 \[12\]"),
        ([1, 2], "doctor needs labels as whole numbers"),
        (torch.zeros(12, dtype=torch.int64, device="meta"), "these are on meta"),
    ],
)
def test_labels_that_are_none_are_refused(labels: Any, said: str) -> None:
    with pytest.raises(ShapeError, match=said):
        doctor(net(), batch()[0], labels=labels)


def test_an_input_without_values_is_refused() -> None:
    with pytest.raises(ShapeError, match="doctor looks at the values of its input"):
        doctor(net(), batch()[0].to("meta"))


def test_adaptive_networks_are_no_false_alarm() -> None:
    torch.manual_seed(0)
    network = Sequential(nn.Linear(40, 30), ALIF(threshold=0.05), nn.Linear(30, 4))
    xs, labels = batch(steps=200)
    assert kinds(network, xs, labels=labels) == []
