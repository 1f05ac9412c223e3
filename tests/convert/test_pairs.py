"""Switching a model between rates and spikes, and showing it something for a while."""

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeloom.convert import (
    Probe,
    accuracy_curve,
    accuracy_over_steps,
    convert,
    present,
    set_scale,
    to_hybrid,
    to_rate,
    to_spiking,
)
from spikeloom.errors import ConfigError, ShapeError
from spikeloom.layers import Sequential
from spikeloom.neurons import LIFCurve, Lowpass, RateNeuron, ReLUCurve, rate_neurons
from spikeloom.papers.nengo.network import ConvRateNetwork


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def network(**options: Any) -> ConvRateNetwork:
    return ConvRateNetwork(
        LIFCurve(smoothing=0.0), channels=(2, 3, 4), amplitude=0.01, generator=seeded(), **options
    ).double()


def images(count: int = 3) -> Tensor:
    return torch.rand(count, 1, 28, 28, generator=seeded(), dtype=torch.float64) * 4


def test_the_example_network() -> None:
    model = ConvRateNetwork(LIFCurve(smoothing=0.0), max_rate=100.0, intercept=0.0, amplitude=0.01)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    assert list(sizes.values()) == [288, 32, 21632, 18432, 64, 9216, 73728, 128, 3200, 32000, 10]
    assert sum(sizes.values()) == 158_730
    shown = present(to_spiking(model).eval(), torch.rand(2, 1, 28, 28), 4)
    assert shown.probes["out"].shape == (4, 2, 10)
    assert not any("scale" in key or "voltage" in key for key in model.state_dict())


def test_switching_shares_parameters_and_leaves_the_model_alone() -> None:
    model = network()
    spiking, rate, hybrid = to_spiking(model), to_rate(model), to_hybrid(model)
    for other in (spiking, rate, hybrid):
        for one, two in zip(model.parameters(), other.parameters(), strict=True):
            assert one is two
    assert [m.mode for m in model.modules() if isinstance(m, RateNeuron)] == ["auto"] * 3
    x = images()[None]
    torch.testing.assert_close(rate(x)[0], model.train()(x)[0])
    assert torch.equal(spiking(x)[0], model.eval()(x)[0])
    assert torch.equal(to_rate(spiking)(x)[0], rate(x)[0])
    grads = torch.autograd.grad(hybrid(x)[0].sum(), list(model.parameters()))
    assert all(bool(torch.isfinite(grad).all()) for grad in grads)
    with pytest.raises(ConfigError, match="no RateNeuron"):
        to_spiking(nn.Linear(1, 1))


def test_generators_stay_those_of_the_run() -> None:
    draw = seeded()
    model = Sequential(RateNeuron(ReLUCurve(), partner="poisson", generator=draw))
    neuron: Any = to_spiking(model).layers[0]
    assert neuron.generator is draw


def test_saved_at_one_scale_and_loaded_at_another() -> None:
    model, other = network(), network()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    saved = copy.deepcopy(model.state_dict())
    set_scale(other, 10.0)
    other.load_state_dict(saved)
    for neuron in other.modules():
        if isinstance(neuron, RateNeuron):
            neuron.curve = ReLUCurve()
            neuron.partner = "regular"
    set_scale(model, 1.0)
    for neuron in model.modules():
        if isinstance(neuron, RateNeuron):
            neuron.curve = ReLUCurve()
            neuron.partner = "regular"
    torch.testing.assert_close(to_rate(other)(images()[None])[0], to_rate(model)(images()[None])[0], rtol=1e-12, atol=0)


def test_scales_by_name() -> None:
    model = network()
    set_scale(model, {"layers.layers.3": 4.0})
    assert [m.scale for m in model.modules() if isinstance(m, RateNeuron)] == [1.0, 4.0, 1.0]
    with pytest.raises(ConfigError, match=r"no rate neurons named conv0.*layers.layers.1"):
        set_scale(model, {"conv0": 2.0})


@pytest.mark.parametrize("memory", [1, 40_000, 1 << 28])
def test_blocks_do_not_change_the_answer(memory: int) -> None:
    model, x = to_spiking(network()).eval(), images()
    whole = model(x.repeat(17, 1, 1, 1, 1).view(17, *x.shape))[0]
    probes = {"out": Probe(), "slow": Probe(tau_syn=100.0), "last": Probe(history=False)}
    found = present(model, x, 17, probes=probes, memory=memory).probes
    torch.testing.assert_close(found["out"], whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(found["slow"], Lowpass(100.0)(whole)[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(found["last"], whole[-1], rtol=0, atol=1e-12)


def test_probes_of_hidden_layers() -> None:
    model, x = to_spiking(network()).eval(), images()
    probes = {
        "spikes": Probe("layers.layers.1"), "some": Probe("layers.layers.1", units=(5, 700)),
        "currents": Probe("layers.layers.2"),
    }  # fmt: skip
    found = present(model, x, 6, probes=probes, memory=200_000).probes
    assert found["spikes"].shape == (6, 3, 2, 26, 26)
    assert found["currents"].shape == (6, 3, 3, 12, 12)
    assert torch.equal(found["some"], found["spikes"].flatten(2)[:, :, [5, 700]])
    wanted = model.layers.layers[2](found["spikes"].flatten(0, 1)).unflatten(0, (6, 3))
    torch.testing.assert_close(found["currents"], wanted, rtol=0, atol=1e-12)


def test_a_presentation_goes_on_where_another_ended() -> None:
    model, x = to_spiking(network()).eval(), images()
    probes = {"out": Probe(tau_syn=30.0)}
    whole = present(model, x, 12, probes=probes).probes["out"]
    first = present(model, x, 5, probes=probes)
    second = present(model, x, 7, probes=probes, after=first)
    torch.testing.assert_close(torch.cat([first.probes["out"], second.probes["out"]]), whole, rtol=0, atol=1e-12)


def test_memory_does_not_grow_with_the_steps() -> None:
    model = to_spiking(Sequential(nn.Linear(4, 20_000), RateNeuron(LIFCurve()), nn.Linear(20_000, 2))).eval()
    x, peaks = torch.rand(1, 4), []
    largest = [0]

    def note(module: nn.Module, inputs: object, output: object) -> None:
        out = output[0] if isinstance(output, tuple) else output
        assert isinstance(out, Tensor)
        largest[0] = max(largest[0], out.untyped_storage().nbytes())

    model.layers[1].register_forward_hook(note)
    for steps in (50, 500):
        largest[0] = 0
        present(model, x, steps, probes={"out": Probe(history=False)}, memory=2_000_000)
        peaks.append(largest[0])
    assert peaks[0] == peaks[1] <= 2_000_000


def test_a_constant_input_is_computed_once() -> None:
    calls: list[tuple[int, ...]] = []

    model = to_spiking(Sequential(nn.Linear(4, 8), RateNeuron(LIFCurve()), nn.Linear(8, 2)))
    for layer in (model.layers[0], model.layers[2]):
        layer.register_forward_pre_hook(lambda _, inputs: calls.append(tuple(inputs[0].shape)))
    model.eval()(torch.rand(3, 4).expand(10, 3, 4))
    assert calls == [(3, 4), (30, 8)]
    calls.clear()
    model.train()(torch.rand(3, 4).expand(10, 3, 4))  # dropout would draw anew in every step
    assert calls[0] == (30, 4)


def test_accuracy_over_steps() -> None:
    outputs = torch.eye(3)[torch.tensor([[0, 1], [2, 1], [2, 2]])]
    assert accuracy_over_steps(outputs, torch.tensor([2, 1])).tolist() == [0.5, 1.0, 0.5]


def test_errors() -> None:
    model = to_spiking(network()).eval()
    with pytest.raises(ConfigError, match="steps >= 1"):
        present(model, images(), 0)
    with pytest.raises(ShapeError, match=r"\[B, \*N\]"):
        present(model, torch.zeros(28), 3)
    with pytest.raises(ConfigError, match="no modules nowhere"):
        present(model, images(), 3, probes={"x": Probe("nowhere")})
    assert not any(module._forward_hooks for module in model.modules())


def refused(match: str, model: Any, x: Tensor, steps: Any = 3, **options: Any) -> None:
    with pytest.raises((ConfigError, ShapeError), match=match):
        present(model, x, steps, **options)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_model_that_would_answer_as_rates_is_not_shown() -> None:
    ann = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    x = torch.rand(3, 4)
    refused(
        r"neurons 1 would answer as rates \(mode 'auto' in train\(\)\)\. Call model\.eval", convert(ann, example=x), x
    )
    refused(r"neurons it would answer as rates \(mode 'rate'\)", RateNeuron(ReLUCurve(), mode="rate").eval(), x)
    present(convert(ann, partner="none", example=x), x, 3)  # this one never spikes, as it was asked to
    refused("shows models that live in time, but got Sequential", ann, x)


def test_a_probe_filters_with_the_step_of_the_model() -> None:
    ann = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    x, probes = torch.rand(3, 4), {"out": Probe(tau_syn=10.0)}
    half = convert(ann, dt=0.5, example=x)
    refused(r"steps of dt=1 ms, but 1 has dt=0\.5\. Pass dt=0\.5", half, x, probes=probes)
    found = present(half, x, 9, probes=probes, dt=0.5).probes["out"]
    torch.testing.assert_close(found, Lowpass(10.0, dt=0.5)(half(x.expand(9, *x.shape))[0])[0])
    assert present(half, x, 9).probes["out"].shape == (9, 3, 2)  # without a filter it does not matter


def test_probes_that_cannot_read() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.ReLU()})

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.stem["a"](self.stem["b"](self.stem["a"](x)))
            return y

    x = torch.rand(3, 4)
    model = convert(Twice().eval(), example=x)
    refused("'p' cannot read stem.a: it runs several times", model, x, probes={"p": Probe("stem.a")})
    refused("'p' read nothing: stem only holds other modules", model, x, probes={"p": Probe("stem")})
    refused(r"no modules c to probe\. The model has stem, stem\.a, stem\.b\.", model, x, probes={"p": Probe("c")})
    refused("'p' reads units 0 to 4, but there are units 0 to 3", model, x, probes={"p": Probe(units=(4, 0))})
    refused("units -1 to 0", model, x, probes={"p": Probe(units=(-1, 0))})
    refused(r"present needs steps as a whole number, but got 3\.5", model, x, steps=3.5)
    refused(r"cannot take input \[1, 3, 5\]", model, torch.rand(3, 5))


@pytest.mark.slow
def test_a_deep_converted_network_stays_within_the_memory_limit() -> None:
    code = """
import torch
from pathlib import Path
from torch import nn
from spikeloom.convert import Probe, convert, present, report
torch.set_num_threads(1)
layers = [part for _ in range(30) for part in (nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())]
x = torch.rand(4, 16, 32, 32)
model = convert(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval(), example=x)
def peak(): return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024  # of this process
present(model, x, 4, memory=1)
before = peak()
present(model, x, 64, memory=16 << 20, probes={"out": Probe(history=False)})
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 100  # MB; every value kept, it would be 30 times the limit


def test_values_are_forgotten_and_their_bytes_set_the_size_of_a_block() -> None:
    class Branches(nn.Module):
        """Six values that are held at once, made by functions."""

        def forward(self, x: Tensor) -> Tensor:
            parts = [torch.cat([x, x * factor], 1).relu() for factor in range(6)]
            return torch.cat(parts, 1)

    x = torch.rand(2, 1000)
    model = convert(Branches().eval(), example=x)
    held, blocks = list[int](), list[int]()
    model.note = held.append
    model(x.unsqueeze(0))
    model.note = None
    branches, everything = 6 * 2 * 2 * 1000 * 4, sum(held)
    assert max(held) == 2 * branches < everything
    next(iter(rate_neurons(model).values())).register_forward_hook(lambda _, __, out: blocks.append(len(out[0])))
    present(model, x, 30, memory=10 * max(held))
    assert blocks == [1, 10, 10, 9]


def test_accuracy_over_time_in_one_call() -> None:
    ann = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    x, labels = torch.rand(7, 4), torch.arange(7) % 2
    model = convert(ann, example=x)
    found = accuracy_curve(model, x, labels, 12, batch=3)
    wanted = accuracy_over_steps(present(model, x, 12).probes["out"].cumsum(0), labels)
    torch.testing.assert_close(found, wanted)
    with pytest.raises(ShapeError, match=r"a label per sample of \[7, 4\], but got \[3\]"):
        accuracy_curve(model, x, labels[:3], 12)
