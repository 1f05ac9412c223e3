"""Thresholds: what the functions set, that it is saved, and that a QCFS network says the same in spikes."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikeloom.convert.balance import QCFS, balance_thresholds, fraction, input_range, maximum, percentile, qcfs
from spikeloom.convert.conversion import verify
from spikeloom.convert.converted import Converted
from spikeloom.convert.pairs import to_rate, to_spiking
from spikeloom.convert.present import present
from spikeloom.convert.spiking import convert
from spikeloom.errors import ConfigError
from spikeloom.neurons import RateNeuron, ReLUCurve, rate_neurons


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def batches() -> list[Tensor]:
    draw = generator()
    return [torch.rand(size, 6, generator=draw) for size in (20, 10)]


def deep(bias: bool = True) -> nn.Sequential:
    torch.manual_seed(1)
    layers = [nn.Sequential(nn.Linear(6 if not depth else 12, 12, bias=bias), nn.ReLU()) for depth in range(3)]
    return nn.Sequential(*layers, nn.Linear(12, 2, bias=bias)).eval()


def network(**options: Any) -> Converted:
    return convert(deep(), example=batches()[0], **options)


def thresholds(converted: Converted) -> list[float]:
    return [float(neuron.threshold) for neuron in rate_neurons(converted).values()]


def activations(model: nn.Sequential, x: Tensor) -> list[Tensor]:
    return [model[: depth + 1](x) for depth in range(3)]


def test_maximum_fraction_and_percentile_are_those_of_the_activations() -> None:
    converted, model, x = network(), deep(), torch.cat(batches())
    largest = [float(a.detach().max()) for a in activations(model, x)]
    assert list(maximum(converted, batches()).values()) == pytest.approx(largest)
    assert thresholds(converted) == pytest.approx(largest)
    assert list(fraction(converted, batches(), 0.25)) == ["0.1", "1.1", "2.1"]
    assert thresholds(converted) == pytest.approx([value / 4 for value in largest])
    percentile(converted, [x], 90.0)
    ranked = [a.detach().flatten().sort().values for a in activations(model, x)]
    assert thresholds(converted) == pytest.approx([float(values[round(0.9 * 360) - 1]) for values in ranked])
    percentile(converted, iter(batches()))
    assert thresholds(converted) <= largest
    verify(converted, model, x)


def test_thresholds_are_saved_and_shared_with_the_spiking_copy() -> None:
    converted = network()
    spiking = to_spiking(converted)
    maximum(converted, batches())
    assert thresholds(spiking) == thresholds(converted)
    again = network(scale=10.0)
    again.load_state_dict(converted.state_dict())
    assert thresholds(again) == thresholds(converted)


@pytest.mark.parametrize("calibrate", [maximum, percentile, balance_thresholds])
def test_calibrated_networks_still_say_what_the_model_says(calibrate: Callable[..., Any]) -> None:
    converted, model, x = network(), deep(), torch.cat(batches())
    calibrate(converted, batches())
    out = converted(x.expand(400, *x.shape))[0].mean(0)
    torch.testing.assert_close(out, model(x), atol=0.02, rtol=0.0)


def naive(model: nn.Sequential, data: list[Tensor], steps: int) -> list[float]:
    """Threshold balancing as it is told: spikes of weight 1, one layer at a time, no biases."""
    found = list[float]()
    layers: list[Any] = list(model)
    for depth in range(3):
        largest = 0.0
        for x in data:
            voltages = [torch.full((len(x), 12), 0.5 * threshold) for threshold in found]
            for _ in range(steps):
                signal = x
                for layer, threshold, voltage in zip(layers, found, voltages, strict=False):
                    voltage += layer[0](signal)
                    signal = (voltage / threshold).floor().clamp_min(0.0)
                    voltage -= signal * threshold
                largest = max(largest, float(layers[depth][0](signal).max()))
        found.append(largest)
    return found


def test_balancing_is_the_running_maximum_of_the_current_while_earlier_layers_spike() -> None:
    model = deep(bias=False)
    converted = convert(model, example=batches()[0])
    with torch.no_grad():
        theirs = naive(model, batches(), 30)
    found = list(balance_thresholds(converted, batches(), steps=30).values())
    ratios = [found[0], found[1] / found[0], found[2] / found[1]]
    assert ratios == pytest.approx(theirs, rel=1e-3)
    assert thresholds(converted) == pytest.approx(found)
    assert found[1] > float(
        activations(model, torch.cat(batches()))[1].detach().max()
    )  # spikes come together, rates do not


def test_balancing_with_a_convolution_and_a_threshold_that_was_a_number() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(18, 4), nn.ReLU())
    x = torch.rand(4, 1, 8, 8, generator=generator())
    made = {nn.ReLU: lambda: RateNeuron(ReLUCurve(), partner="integrate_and_fire", max_spikes=1)}
    converted = convert(model.eval(), swap=made, example=x)
    found = balance_thresholds(converted, [x], steps=25)
    assert found["1"] == pytest.approx(float(model[0](x).detach().max()))
    assert "5.threshold" in converted.state_dict()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: maximum(network(partner="regular"), batches()), "Only integrate_and_fire neurons have a threshold"),
        (lambda: maximum(network(), []), r"The layer 0\.1 was silent"),
        (lambda: balance_thresholds(network(), []), r"The layer 0\.1 was silent"),
        (lambda: percentile(network(), batches(), 1.0), "was silent"),
        (lambda: percentile(network(), batches(), 0.0), "above 0 and up to 100, but got 0.0"),
        (lambda: fraction(network(), batches(), 0.0), "a share > 0, but got 0.0"),
        (lambda: balance_thresholds(network(), batches(), 0), "steps >= 1, a whole number, but got 0"),
        (lambda: balance_thresholds(network(), iter(batches())), "got an iterator. Pass a list"),
        (lambda: maximum(convert(qcfs(deep()).eval(), example=batches()[0]), batches()), "is learned"),
        (lambda: qcfs(nn.Sequential(nn.Linear(2, 2))), "no ReLU to replace"),
        (lambda: qcfs(Dropped()), "Use nn.Dropout"),
        (lambda: qcfs(Branch()), "cannot trace Branch"),
        (lambda: QCFS(levels=0), "levels >= 1, a whole number"),
        (lambda: QCFS(threshold=0.0), "threshold > 0"),
    ],
)
def test_what_is_wrong(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()


class Dropped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x.relu())


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu() if x.sum() > 0 else x


class Several(nn.Module):
    """ReLUs of all kinds, one of them twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.relu, self.last = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.last(self.relu(self.norm(self.first(x)))))
        return torch.relu(F.relu(x).relu().relu_() + 1)


@pytest.mark.parametrize("levels", [1, 4, 7, 16])
def test_the_first_layer_of_a_qcfs_network_is_exact_after_as_many_steps_as_levels(levels: int) -> None:
    x = torch.cat(batches()).double() * 4 - 2
    net = qcfs(deep(), levels, threshold=0.4).double().eval()
    converted = convert(net, example=x)
    verify(converted, net, x, atol=1e-12)
    spikes = converted.before("1.0")(x.expand(levels, *x.shape))[0]
    wanted = net.get_submodule("0.1")(net.get_submodule("0.0")(x))
    torch.testing.assert_close(spikes.mean(0), wanted, atol=1e-12, rtol=0.0)
    assert 1 < len(wanted.unique()) <= levels + 1


def test_qcfs_networks_train_and_leave_the_original_alone() -> None:
    model = Several()
    before = copy.deepcopy(model.state_dict())
    net = qcfs(model, levels=8, threshold=1.0)
    staircases = [part for part in net.modules() if isinstance(part, QCFS)]
    assert len(staircases) == 6
    x, labels = torch.rand(64, 6, generator=generator()), torch.arange(64) % 8
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(net(x), labels))
        optimizer.step()
    assert any(float(torch.as_tensor(part.neuron.threshold).detach()) != 1.0 for part in staircases)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(ConfigError, match="norm: a batch norm that is in training mode"):
        convert(net, example=x)
    converted = convert(net.eval(), example=x)
    verify(converted, net, x)
    neurons = rate_neurons(converted).values()
    assert [neuron.threshold is part.neuron.threshold for neuron, part in zip(neurons, staircases, strict=True)]
    long = converted(x.expand(256, *x.shape))[0].mean(0)
    assert float((long - net(x)).detach().abs().max()) < 0.3


@pytest.mark.parametrize("calibrate", [maximum, percentile, lambda model, xs: balance_thresholds(model, xs, steps=5)])
def test_an_input_of_another_range_is_an_error(calibrate: Any) -> None:
    model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3)).eval()
    x = torch.rand(20, 6, generator=generator())
    spiking = convert(model, example=x).eval()
    present(spiking, 255 * x, 3)  # before calibration, nothing is known
    calibrate(spiking, [x])
    present(spiking, 1.9 * x, 3)
    with pytest.raises(
        ConfigError, match=r"The input reaches .* but thresholds were calibrated with inputs up to 0\.9"
    ):
        present(spiking, 255 * x, 3)
    with pytest.raises(ConfigError, match="present got an input with values that are not finite"):
        present(spiking, x * float("nan"), 3)
    to_rate(spiking)(255 * x.unsqueeze(0))  # as rates, it scales


def test_the_range_of_inputs_is_saved_and_shared() -> None:
    model, x = deep(), batches()[0]
    calibrated, fresh = network(), network()
    before = to_spiking(calibrated).eval()
    maximum(calibrated, [x])
    fresh.load_state_dict(calibrated.state_dict())
    staircase = convert(qcfs(model).eval(), example=x)
    assert input_range(staircase, [x, 2 * x]) == pytest.approx(2 * float(x.max()))
    for one in (before, fresh, copy.deepcopy(calibrated).double(), staircase):
        kind = next(one.parameters()).dtype
        one(1.9 * x.expand(3, *x.shape).to(kind))
        with pytest.raises(ConfigError, match=r"The input reaches 25\d\.?\d*, but thresholds were calibrated with"):
            one(255 * x.expand(3, *x.shape).to(kind))


@pytest.mark.parametrize("calibrate", [maximum, percentile, balance_thresholds, input_range])
def test_batches_that_are_none(calibrate: Callable[..., Any]) -> None:
    x, labels = batches()[0], torch.zeros(20)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, labels), batch_size=5)
    with pytest.raises(ConfigError, match=r"got list\. Of a DataLoader with labels pass \[x for x, _ in loader\]"):
        calibrate(network(), loader)
    with pytest.raises(ConfigError, match=r"a list of batches, but got one tensor \[20, 6\]\. Pass \[x\]"):
        calibrate(network(), x)
    with pytest.raises(ConfigError, match=r"got torch\.uint8 \[20, 6\]"):
        calibrate(network(), [x.byte()])
