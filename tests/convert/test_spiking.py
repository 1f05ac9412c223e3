"""Ordinary networks, converted: the same answers as rates, nearly the same as spikes, and errors that name places."""

import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from spikeloom.convert.balance import maximum, qcfs
from spikeloom.convert.conversion import report, verify
from spikeloom.convert.folding import fold_batchnorm
from spikeloom.convert.pairs import set_scale, to_hybrid, to_rate, to_spiking
from spikeloom.convert.pooling import SpikingMaxPool
from spikeloom.convert.spiking import convert
from spikeloom.errors import ConfigError, ShapeError
from spikeloom.layers import SignedSparseLinear, folded
from spikeloom.neurons import LIFCurve, Lowpass, RateNeuron, ReLUCurve, SigmoidCurve, TanhCurve, rate_neurons

X = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Functional(nn.Module):
    """One function behind a linear layer, and a layer behind it."""

    def __init__(self, function: Callable[[Tensor], Tensor], out: int = 6) -> None:
        super().__init__()
        self.first, self.function, self.last = nn.Linear(4, 6), function, nn.Linear(out, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.function(self.first(x)))
        return out


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=2)
        self.norm2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        out += x
        return F.relu(out)


class Many(nn.Module):
    """Most of what is supported at once."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.LeakyReLU(0.2), nn.Dropout(0.5))
        self.block, self.pool = Residual(4), pool
        self.norm = nn.BatchNorm2d(4)
        self.gain = nn.Parameter(torch.tensor([0.5, 1.0, 2.0, -1.0]).reshape(4, 1, 1))
        self.head = nn.Sequential(nn.Linear(72, 10), nn.BatchNorm1d(10), nn.Tanh(), nn.Linear(10, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.block(self.stem(x)))
        b, c, _, w = x.shape
        x = self.norm(x) * self.gain + 0.1
        y = F.avg_pool2d(x, 2).sigmoid()
        z = F.adaptive_avg_pool2d(x, (1, 1)).mean((2, 3))
        x = torch.cat([x.view(x.size(0), -1), y.reshape(b, c * (w // 2) ** 2)], 1)
        x = F.dropout(x[:, : 72 - 4], 0.5, self.training)
        out: Tensor = self.head(torch.cat((x, z), dim=1))
        return out


def settled(model: nn.Module) -> nn.Module:
    """In float64, with statistics that are not those of the start, in eval mode."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            for part, low in ((module.running_mean, -0.5), (module.running_var, 0.5), (module.weight, 0.5)):
                assert part is not None
                part.data.copy_(torch.rand(part.shape, generator=generator) + low)
            module.bias.data.copy_(torch.rand(module.bias.shape, generator=generator))
    return model.double().eval()


def largest(difference: Tensor) -> float:
    return float(difference.detach().abs().max())


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 3)).double().eval()


def batch() -> Tensor:
    return torch.rand(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("pool", [nn.AvgPool2d(2), nn.MaxPool2d(2), nn.AdaptiveMaxPool2d(4), nn.AdaptiveAvgPool2d(4)])
def test_a_residual_network_of_everything_is_the_same_as_rates(pool: nn.Module) -> None:
    torch.manual_seed(0)
    model = settled(Many(pool))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    converted = convert(model, max_pool="spiking", example=X)
    assert verify(converted, model, X, atol=1e-12, rtol=0.0) < 1e-12
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training
    assert list(rate_neurons(converted)) == ["stem.2", "block.relu", "block.relu_2", "sigmoid", "head.2"]
    assert converted.get_parameter("head.3.weight") is model.get_parameter("head.3.weight")
    assert converted.get_parameter("stem.0.weight") is not model.get_parameter("stem.0.weight")  # a batch norm is in it
    rates = to_rate(converted)
    constant, stacked = rates(X.expand(3, *X.shape))[0], rates(torch.stack([X, X / 2, X]))[0]
    torch.testing.assert_close(constant[2], model(X))
    torch.testing.assert_close(stacked[1], model(X / 2))


@pytest.mark.parametrize(
    "options", [{}, {"synapse": 3.0, "scale": 7.0}, {"partner": "regular", "scale": 900.0, "max_pool": "lead"}]
)
def test_whole_chunks_and_steps_are_the_same(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = settled(Many(nn.MaxPool2d(2)))
    converted = convert(model, **{"max_pool": "spiking", "example": X, **options})
    for xs in (X.expand(12, *X.shape), torch.stack([X * (t % 4) / 2 for t in range(12)])):
        whole, last = converted(xs)
        first, state = converted(xs[:5])
        second, state = converted(xs[5:], state)
        steps, moving = [], converted.initial_state(xs[0])
        for x in xs:
            out, moving = converted.step(x, moving)
            steps.append(out)
        assert whole.abs().sum() > 0
        torch.testing.assert_close(torch.cat([first, second]), whole)
        torch.testing.assert_close(torch.stack(steps), whole)
        torch.testing.assert_close(state, last)
        torch.testing.assert_close(moving, last)


def test_what_stands_before_the_first_neuron_runs_once() -> None:
    model, calls = mlp(), list[tuple[int, ...]]()
    converted = convert(model, example=batch())
    converted.get_submodule("0").register_forward_hook(lambda module, inputs, out: calls.append(tuple(out.shape)))
    converted(batch().expand(50, 5, 4))
    converted(torch.stack([batch()] * 2))
    converted.train()(batch().expand(2, 5, 4))
    assert calls == [(5, 20), (10, 20), (10, 20)]
    both = folded(torch.add, batch().expand(4, 5, 4), torch.zeros(4, 5, 4, dtype=torch.float64))
    torch.testing.assert_close(both, batch().expand(4, 5, 4))
    assert both.stride(0) != 0


def test_spikes_converge_to_the_model() -> None:
    model, x = mlp(), batch()
    converted = convert(model, example=x)
    errors = [largest(converted(x.expand(t, 5, 4))[0].mean(0) - model(x)) for t in (10, 100, 1000)]
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 5e-3


@pytest.mark.parametrize("activation", [nn.LeakyReLU(0.1), nn.Sigmoid(), nn.Tanh(), nn.ReLU()])
@pytest.mark.parametrize("partner", ["integrate_and_fire", "regular"])
def test_every_activation_spikes_its_value(activation: nn.Module, partner: str) -> None:
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)[None]
    model = nn.Sequential(nn.Identity(), activation).eval()
    scale = 1.0 if partner == "integrate_and_fire" else 1000.0
    converted = convert(model, partner=partner, scale=scale, dt=1.0, example=x)
    assert verify(converted, model, x) < 1e-12
    mean = converted(x.expand(200, 1, 41))[0].mean(0)
    assert largest(mean - model(x)) <= 1 / 200 + 1e-9
    (curve,) = {type(neuron.curve) for neuron in rate_neurons(converted).values()}
    if curve in (SigmoidCurve, TanhCurve) and partner == "regular":
        assert next(iter(rate_neurons(converted).values())).curve == curve(1000.0)


@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=8), st.integers(1, 40))
@settings(deadline=None, max_examples=30)
def test_integrate_and_fire_is_at_most_one_spike_off(currents: list[float], steps: int) -> None:
    x = torch.tensor([currents], dtype=torch.float64)
    converted = convert(nn.Sequential(nn.Identity(), nn.ReLU()).eval(), example=x)
    mean = converted(x.expand(steps, *x.shape))[0].mean(0)
    assert bool(((mean - x).abs() <= 0.5 / steps + 1e-9).all())  # v_init 0.5 halves the bound of 1 / T


@pytest.mark.parametrize("scale", [1.0, 10.0, 1000.0])
def test_the_scale_changes_neither_rates_nor_what_is_saved(scale: float) -> None:
    torch.manual_seed(0)
    model = settled(nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)))
    trained = convert(model, scale=1.0, partner="regular", example=X)
    torch.manual_seed(7)
    other = settled(nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)))
    loaded = convert(other, scale=scale, partner="regular", example=X)
    loaded.load_state_dict(trained.state_dict())
    assert rate_neurons(loaded)["2"].scale == scale
    assert verify(loaded, model, X, atol=1e-10) < 1e-10
    set_scale(loaded, 1e6)
    torch.testing.assert_close(loaded(X.expand(20, *X.shape))[0].mean(0), model(X), atol=1e-3, rtol=0.0)


def test_scales_by_layer_and_names_that_are_wrong() -> None:
    converted = convert(mlp(), scale={"3": 4.0}, example=batch())
    assert [neuron.scale for neuron in rate_neurons(converted).values()] == [1.0, 4.0]
    with pytest.raises(ConfigError, match=r"no rate neurons named relu\. The model has 1, 3"):
        convert(mlp(), scale={"relu": 4.0}, example=batch())


def test_a_synapse_stands_behind_every_neuron_of_the_spiking_model_only() -> None:
    model, x = mlp(), batch()
    converted = convert(model, synapse=20.0, example=x)
    assert [name for name, part in converted.named_modules() if isinstance(part, Lowpass)] == ["1_synapse", "3_synapse"]
    assert verify(converted, model, x) < 1e-12
    out = converted(x.expand(400, 5, 4))[0]
    torch.testing.assert_close(out[0], model.get_parameter("4.bias").expand(5, 3))  # the delay
    torch.testing.assert_close(out[-200:].mean(0), model(x), atol=0.02, rtol=0.0)


@pytest.mark.parametrize("kind", ["Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d"])
@pytest.mark.parametrize("bias", [True, False])
def test_batch_norm_folds(kind: str, bias: bool) -> None:
    torch.manual_seed(0)
    sizes = int(kind[-2]) if kind != "Linear" else 0
    layer = nn.Linear(4, 6, bias=bias) if not sizes else getattr(nn, kind)(4, 6, 3, bias=bias, groups=2)
    norm = getattr(nn, f"BatchNorm{max(sizes, 1)}d")(6)
    x = torch.rand(3, 4, *(5,) * sizes)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        model = settled(nn.Sequential(layer, norm, nn.ReLU())).to(dtype)
        converted = convert(model, example=x.to(dtype))
        assert [type(part) for part in converted.children()] == [type(layer), RateNeuron]
        assert verify(converted, model, x.to(dtype), atol=tolerance, rtol=0.0) <= tolerance
        torch.testing.assert_close(fold_batchnorm(layer, norm)(x.to(dtype)), norm(layer(x.to(dtype))))


def test_batch_norm_that_cannot_fold_is_a_fixed_affine() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(3), nn.ReLU())  # channels are dimension 1, not the last one
    x = torch.rand(2, 3, 4, dtype=torch.float64)
    converted = convert(settled(model), example=x)
    verify(converted, model, x, atol=1e-12, rtol=0.0)
    assert "FixedAffine" in repr(converted)
    converted.train()
    verify(converted, model, x, atol=1e-12, rtol=0.0)
    assert torch.equal(converted.get_buffer("1.gain"), converted.eval().get_buffer("1.gain"))


def test_max_pooling_by_the_winner_or_by_the_mean() -> None:
    model = nn.Sequential(nn.Identity(), nn.ReLU(), nn.MaxPool2d(2, stride=1, padding=1), nn.ReLU()).eval()
    spiking = convert(model, max_pool="spiking", example=X)
    assert isinstance(spiking.get_submodule("2"), SpikingMaxPool)
    apart = torch.tensor([1.0, 0.5, 0.2, 0.7], dtype=torch.float64).repeat(3, 2, 8, 2)
    torch.testing.assert_close(spiking(apart.expand(400, *X.shape))[0].mean(0), model(apart), atol=0.02, rtol=0.0)
    lead = convert(model, max_pool="lead", example=X)
    torch.testing.assert_close(lead(X.expand(400, *X.shape))[0].mean(0), model(X), atol=0.01, rtol=0.0)
    verify(lead, model, X)
    average = convert(model, max_pool="average", example=X)
    assert isinstance(average.get_submodule("2"), nn.AvgPool2d)
    with pytest.raises(ConfigError, match=r"differ from the model by up to 0\.\d+"):
        verify(average, model, X)
    verify(spiking, model, X)
    with pytest.raises(ConfigError, match='2: max pooling; choose max_pool="lead", "spiking" or'):
        convert(model, example=X)
    function = Functional(lambda x: F.max_pool1d(x.relu(), 2), out=3).eval()
    verify(convert(function, max_pool="spiking", example=torch.rand(2, 4)), function, torch.rand(2, 4))
    dilated = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2, dilation=2)).eval()
    with pytest.raises(ConfigError, match="no average pooling has a dilation"):
        convert(dilated, max_pool="average", example=X)
    with pytest.raises(ConfigError, match="returns indices"):
        convert(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2, return_indices=True)).eval(), example=X)
    pool = SpikingMaxPool(nn.MaxPool1d(2, return_indices=True))
    with pytest.raises(ShapeError, match="SpikingMaxPool got a state whose total has shape"):
        pool(torch.zeros(3, 2, 1, 4), pool.initial_state(torch.zeros(1, 1, 4)))


def test_strict_names_everything_that_cannot_be_converted() -> None:
    class Bad(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.linear, self.relu = nn.BatchNorm1d(4), nn.Linear(4, 4), nn.ReLU()
            self.gelu, self.six = nn.Sequential(nn.GELU()), nn.ReLU6()

        def forward(self, x: Tensor) -> Tensor:
            x = self.relu(self.gelu(self.norm(x)))
            x = self.relu(self.six(F.gelu(self.linear(x))))
            return F.softmax(x * x.tanh() + torch.exp(x), dim=1)

    with pytest.raises(ConfigError) as error:
        convert(Bad(), example=batch().float())
    lines = str(error.value).splitlines()[1:-1]
    places = [re.split(r": ", line.strip())[0] for line in lines]
    assert places == ["norm", "gelu.0", "gelu", "six", "relu", "mul", "exp", "softmax"]
    assert "training mode" in lines[0]
    assert "two places" in lines[4]
    with pytest.raises(ConfigError, match="training mode"):
        convert(Bad(), strict=False, example=batch().float())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Functional(F.gelu), "gelu: has no spiking partner"),
        (Functional(lambda x: x.exp()), "exp: has no spiking partner"),
        (nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.GELU()), "2: GELU has no spiking partner"),
        (nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Softmax(1)), "2: Softmax has no spiking partner"),
        (Functional(lambda x: x.relu() if x.sum() > 0 else x), "cannot trace Functional"),
        (nn.Sequential(nn.ReLU(), Functional(lambda x: x if x.sum() > 0 else -x)), "1: Functional symbolically traced"),
        (nn.Sequential(nn.Linear(4, 4)), "it is linear"),
        (Functional(lambda x: 1 / x.relu()), "truediv: a product of two signals"),
        (Functional(lambda x: x.relu().reshape(6, -1).reshape(-1, 6).t().t()), "t: has no"),
        (Functional(lambda x: x.relu() - x.mean(0)), "mixes the samples of a batch"),
        (Functional(lambda x: x.relu() + torch.zeros(x.size(0), 6)), "cannot trace Functional: zeros"),
        (Functional(lambda x: x.relu().T.T), "getattr: an attribute T"),
        (nn.Bilinear(4, 4, 2), "one input, but this one has 2"),
        (Functional(lambda x: (F.relu_(x), x)[1]), "relu: its result is not used"),
    ],
)
def test_what_cannot_be_converted(model: nn.Module, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        convert(model.eval(), example=batch().float())


def test_models_with_several_outputs_or_unlucky_names() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x.relu()

    class Unlucky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.step = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.step(x)
            return out

    with pytest.raises(ConfigError, match="return one tensor"):
        convert(Two().eval(), example=batch())
    with pytest.raises(ConfigError, match=r"methods named step\. Rename"):
        convert(Unlucky().eval(), example=batch())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "convert needs example=x.* but got None"),
        ({"example": torch.rand(3)}, "got torch.float32"),
        ({"example": torch.ones(3, 4, dtype=torch.int64)}, "got torch.int64"),
        ({"example": torch.rand(3, 5, dtype=torch.float64)}, r"The example \[3, 5\].* does not run through the model"),
        ({"example": batch(), "max_pool": "mean"}, "average, spiking or lead, but got 'mean'"),
        ({"example": batch(), "partner": "lif"}, "ReLUCurve has no partner 'lif'"),
        ({"example": batch(), "partner": "poison"}, "needs partner from"),
        ({"example": batch(), "dt": 0.0}, "needs dt > 0"),
        ({"example": batch(), "scale": -1.0}, "needs scale > 0"),
        ({"example": batch(), "synapse": -1.0}, "tau_syn >= 0"),
        ({"example": batch(), "swap": {nn.ReLU: nn.ReLU}}, "a function that makes a RateNeuron"),
    ],
)
def test_options_that_are_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        convert(mlp(), **options)


def test_not_strict_keeps_what_is_unknown_and_says_so() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.relu, self.gelu = nn.Linear(4, 4), nn.ReLU(), nn.GELU()
            self.branch = Functional(lambda x: x if x.sum() > -1e9 else -x)

        def forward(self, x: Tensor) -> Tensor:
            x = self.relu(self.linear(self.relu(x))) * 2.0
            out: Tensor = self.branch(self.gelu(x))
            return out.softmax(1)

    model = Shared().double().eval()
    with pytest.warns(
        UserWarning, match=r"(?s)relu: one neuron layer.*gelu: GELU.*branch: Functional.*softmax"
    ) as seen:
        converted = convert(model, strict=False, example=batch())
    assert len(seen) == 1
    assert seen[0].filename == __file__
    assert list(rate_neurons(converted)) == ["relu", "relu_2"]
    assert verify(converted, model, batch()) < 1e-12


def test_swap_by_class_function_and_curve() -> None:
    x = batch().float()
    model = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 4), nn.ReLU()).eval()
    converted = convert(model, swap={nn.GELU: ReLUCurve(), ReLUCurve: lambda: RateNeuron(LIFCurve())}, example=x)
    assert [type(neuron.curve) for neuron in rate_neurons(converted).values()] == [ReLUCurve, LIFCurve]
    for function, key in ((F.gelu, F.gelu), (lambda x: x.relu(), torch.relu), (torch.exp, torch.exp)):
        swapped = convert(Functional(function).eval(), swap={key: TanhCurve(1000.0)}, example=x)
        assert [type(neuron.curve) for neuron in rate_neurons(swapped).values()] == [TanhCurve]
    with pytest.warns(UserWarning, match="nothing to swap for GELU, tanh") as seen:
        convert(mlp().float(), swap={nn.GELU: ReLUCurve(), torch.tanh: ReLUCurve()}, example=x)
    assert seen[0].filename == __file__
    one = convert(mlp(), swap={nn.ReLU: lambda: RateNeuron(ReLUCurve(), max_spikes=1, partner="integrate_and_fire")},
                  example=batch())  # fmt: skip
    assert [neuron.max_spikes for neuron in rate_neurons(one).values()] == [1, 1]


def test_our_own_linear_layers_and_models_that_are_one_layer() -> None:
    model = nn.Sequential(SignedSparseLinear(4, 8, connectivity=0.5), nn.ReLU(), nn.Linear(8, 2)).double().eval()
    assert verify(convert(model, example=batch()), model, batch()) < 1e-12
    assert verify(convert(nn.ReLU(), example=batch()), nn.ReLU(), batch()) == 0.0


def test_pairs_pickles_and_devices() -> None:
    model = settled(Many(nn.MaxPool2d(2)))
    converted = convert(model, max_pool="spiking", example=X)
    out = converted(X.expand(5, *X.shape))[0]
    again = pickle.loads(pickle.dumps(converted))
    assert torch.equal(again(X.expand(5, *X.shape))[0], out)
    assert torch.equal(to_spiking(converted)(X.expand(5, *X.shape))[0], out)
    small = pickle.loads(pickle.dumps(converted)).float()
    assert small(X.float().expand(5, *X.shape))[0].dtype == torch.float32
    hybrid = to_hybrid(converted)
    hybrid(torch.stack([X] * 3))[0].sum().backward()
    assert converted.get_parameter("head.3.weight").grad is not None


def test_a_converted_model_trains_as_rates() -> None:
    model = mlp().train()
    converted = convert(model, example=batch())
    assert converted.training
    assert not converted.spikes
    out, _ = converted(batch()[None])
    out.sum().backward()
    assert model[0].weight.grad is not None


def test_a_state_that_does_not_fit() -> None:
    converted = convert(mlp(), example=batch())
    with pytest.raises(ShapeError, match="has 2 layers with a state but got 1 parts"):
        converted(batch()[None], (converted.initial_state(batch())[0],))
    with pytest.raises(ShapeError, match="got the state of a model that ran as rates"):
        converted(batch()[None], to_rate(converted).initial_state(batch()))
    with pytest.raises(ConfigError, match=r"There is no layer '7'\. The model has 0, 1"):
        converted.before("7")
    torch.testing.assert_close(converted.before("1")(batch()[None])[0][0], mlp()[0](batch()))


LAYERS = ("conv", "norm", "relu", "average", "max", "dropout", "identity", "tanh", "leaky", "residual")


@given(st.lists(st.sampled_from(LAYERS), min_size=1, max_size=7), st.integers(0, 1000), st.booleans())
@settings(deadline=None, max_examples=40)
def test_small_random_networks_convert_and_agree(names: list[str], seed: int, flat: bool) -> None:
    torch.manual_seed(seed)
    made: dict[str, Callable[[], nn.Module]] = {
        "conv": lambda: nn.Conv2d(4, 4, 3, padding=1, groups=2), "norm": lambda: nn.BatchNorm2d(4), "relu": nn.ReLU,
        "average": lambda: nn.AvgPool2d(2, stride=1), "max": lambda: nn.MaxPool2d(2, stride=1), "dropout": nn.Dropout,
        "identity": nn.Identity, "tanh": nn.Tanh, "leaky": nn.LeakyReLU, "residual": lambda: Residual(4),
    }  # fmt: skip
    head = [nn.Flatten(), nn.LazyLinear(3)] if flat else [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), *(made[name]() for name in names), nn.ReLU(), *head)
    model(X.float())
    settled(model)
    converted = convert(model, max_pool="spiking", example=X)
    assert verify(converted, model, X, atol=1e-10, rtol=1e-10) < 1e-8
    out, state = converted(X.expand(4, *X.shape))
    torch.testing.assert_close(
        torch.cat([out, converted(X.expand(4, *X.shape), state)[0]]), converted(X.expand(8, *X.shape))[0]
    )


def trained() -> tuple[nn.Sequential, Tensor, Tensor]:
    """A network that tells four clouds of points apart."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 4
    centres = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
    x = centres[labels] + 0.35 * torch.randn(400, 2, generator=generator)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(net(x), labels))
        optimizer.step()
    return net.eval(), x, labels


def test_a_trained_network_keeps_its_answers() -> None:
    net, x, labels = trained()
    converted = convert(net, example=x)
    answers = converted(x.expand(60, *x.shape))[0].mean(0).argmax(1)
    assert (net(x).argmax(1) == labels).float().mean() > 0.97
    assert (answers == net(x).argmax(1)).float().mean() > 0.99
    found = report(converted, x, 60)
    assert [row.layer for row in found.rows] == ["2", "4"]
    assert all(row.cosine > 0.99 and row.relative_error < 0.01 for row in found.rows)


def test_the_report_counts() -> None:
    x = torch.tensor([[0.25, 1.5, -1.0], [0.0, 0.125, 0.0]])
    model = nn.Sequential(nn.Identity(), nn.ReLU(), nn.Tanh()).eval()
    with pytest.warns(UserWarning, match=r"fewer than 2 spikes in 1 \(1\), 2 \(0\)"):
        report(convert(model, example=x, v_init=0.0), x[1:], 8)
    found = report(convert(model, example=x, v_init=0.0, scale={"1": 2.0, "2": 64.0}), x, 8)
    row = found.rows[0]
    assert (row.layer, row.mean_rate, row.max_rate, row.silent) == ("1", (4 + 24 + 2) / 6 * 125, 3000.0, 0.5)
    assert (row.spikes, row.median_spikes, row.relative_error) == (15.0, 4.0, 0.0)
    assert row.cosine == pytest.approx(1.0)
    header, *lines = str(found).splitlines()[1:]
    assert re.split(r"  +", header)[3:] == ["mean rate", "max rate", "silent", "spikes", "median spikes"]
    assert [line.split()[0] for line in lines] == ["1", "2"]
    assert len({len(line) for line in (header, *lines)}) == 1


def test_a_report_of_nothing() -> None:
    converted = convert(mlp(), example=batch())
    with pytest.raises(ConfigError, match="steps >= 1"):
        report(converted, batch(), 0)
    with pytest.raises(ShapeError, match="add a missing batch dimension"):
        report(converted, batch()[0, :], 3)
    with pytest.raises(ConfigError, match="No neuron of the model spikes"):
        report(convert(mlp(), partner="none", example=batch()), batch(), 3)
    silent = convert(nn.Sequential(nn.Identity(), nn.ReLU()).eval(), example=batch())
    with pytest.warns(UserWarning, match=r"1 \(0\)"):
        (row,) = report(silent, -batch(), 3).rows
    assert (row.cosine, row.relative_error, row.silent) == (1.0, 0.0, 1.0)


def test_a_conversion_of_another_shape_does_not_verify() -> None:
    converted = convert(mlp(), example=batch())
    with pytest.raises(ConfigError, match=r"The model gives \[5, 2\] but its conversion \[5, 3\]"):
        verify(converted, nn.Linear(4, 2).double(), batch())


class Reads(nn.Module):
    """A change in place of what is read again."""

    def __init__(self, change: Callable[[Tensor], Tensor], before: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.first, self.last, self.change = nn.Linear(4, 4), nn.Linear(4, 4), change
        self.before = before or (lambda x: x)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.change(self.before(x))
        out: Tensor = self.last(y) + x
        return out


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (nn.ReLU(inplace=True), "change"), (F.relu_, "relu"), (lambda x: F.relu(x, inplace=True), "relu"),
        (lambda x: F.leaky_relu(x, 0.1, True), "leaky_relu"), (lambda x: x.relu_(), "relu"),
        (lambda x: x.relu_().neg(), "relu"),
    ],
)  # fmt: skip
def test_a_change_in_place_of_what_is_read_again_is_an_error(change: Callable[[Tensor], Tensor], place: str) -> None:
    x = torch.randn(5, 4)
    with pytest.raises(ConfigError, match=f"{place}: it changes in place what is read again later"):
        convert(Reads(change).eval(), example=x)
    hidden = Reads(change, lambda x: x.view(-1, 4)).eval()  # behind a view, only the numbers tell
    with pytest.raises(ConfigError, match=r"On the example, the rates of the conversion differ .* by up to \d"):
        convert(hidden, example=x)
    inside = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True))
    for fine in (nn.ReLU(), inside, nn.Sequential(nn.Dropout(inplace=True), nn.ReLU())):
        model = Reads(fine).eval()
        verify(convert(model, example=x), model, x)


def test_what_strict_false_would_not_change_is_not_offered() -> None:
    with pytest.raises(ConfigError, match=r"max_pool=.*\nReplace them\.$"):
        convert(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)).eval(), example=X)
    both = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.GELU()).eval()
    with pytest.raises(ConfigError, match=r"strict=False to keep what is unknown as it is\. Those named first need"):
        convert(both, example=X)
    with pytest.raises(ConfigError, match=r"strict=False to keep what is unknown as it is\.$"):
        convert(nn.Sequential(nn.ReLU(), nn.GELU()).eval(), example=X)


class Split(nn.Module):
    """Parts, stacks, adaptive pools and clamps, as functions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).clamp(min=0)
        a, b = x.chunk(2, 1)
        c, d = torch.split(b, [1, 2], dim=1)
        e = F.adaptive_max_pool2d(torch.clamp_min(a, 0.0), (2, 2)).flatten(1)
        f = torch.stack([c.mean((2, 3)), d.mean((2, 3))[:, :1]], dim=1).flatten(1)
        return torch.cat([e, f, F.adaptive_max_pool1d(d.flatten(2), 3).flatten(1)], 1)


@pytest.mark.parametrize("pool", ["lead", "spiking"])
def test_parts_stacks_clamps_and_adaptive_pools_as_functions(pool: Any) -> None:
    model = Split().double().eval()
    converted = convert(model, max_pool=pool, example=X)
    assert verify(converted, model, X, atol=1e-12, rtol=0.0) < 1e-12
    assert list(rate_neurons(converted)) == ["clamp", "clamp_min"]
    xs = torch.stack([X, X / 2, X])
    torch.testing.assert_close(to_rate(converted)(xs)[0][1], model(X / 2))
    with pytest.raises(ConfigError, match="mixes the samples"):
        convert(Functional(lambda x: torch.stack([x.relu(), x])[0]).double().eval(), example=batch())
    with pytest.raises(ConfigError, match="clamp: has no spiking partner"):
        convert(Functional(lambda x: x.relu().clamp(0, 1)).double().eval(), example=batch())
    with pytest.raises(ConfigError, match="chunk: its parts must be taken one by one"):
        convert(Functional(lambda x: torch.cat(x.relu().chunk(2, 1), 1)).double().eval(), example=batch())


def test_a_calibrated_swap_saves_what_a_fresh_conversion_loads() -> None:
    x, swap = batch(), {nn.ReLU: lambda: RateNeuron(ReLUCurve(), partner="integrate_and_fire", max_spikes=1)}
    calibrated, fresh = (convert(mlp(), swap=swap, example=x) for _ in range(2))
    maximum(calibrated, [x])
    fresh.load_state_dict(calibrated.state_dict())
    assert torch.equal(fresh(x.expand(9, *x.shape))[0], calibrated(x.expand(9, *x.shape))[0])


def test_a_scale_that_saturates_is_an_error() -> None:
    swap = {nn.ReLU: lambda: RateNeuron(ReLUCurve(), partner="integrate_and_fire", max_spikes=3)}
    with pytest.raises(
        ConfigError, match=r"1: At scale 10 a spike weighs 1 / 10 .*max_spikes=3 per step would cut off"
    ):
        convert(mlp(), swap=swap, scale=10.0, example=batch())
    staircase = qcfs(mlp().float()).eval()
    with pytest.raises(ConfigError, match="max_spikes=1 per step would cut off"):
        convert(staircase, scale=1.5, example=batch().float())
    found = convert(mlp(), swap=swap, scale=3.0, example=batch())
    with pytest.raises(ConfigError, match="3: At scale 4"):
        set_scale(found, {"1": 2.0, "3": 4.0})
    assert [neuron.scale for neuron in rate_neurons(found).values()] == [3.0, 3.0]  # none was changed


def test_models_that_are_no_ordinary_networks() -> None:
    x = batch()
    with pytest.raises(ConfigError, match=r"ordinary networks, but Converted lives in time already \(it\)"):
        convert(convert(mlp(), example=x), example=x)
    with pytest.raises(ConfigError, match=r"but Sequential lives in time already \(1\)\. .* to_spiking"):
        convert(nn.Sequential(nn.Linear(4, 4), RateNeuron(ReLUCurve())), example=x)
    with pytest.raises(ConfigError, match=r"swap needs a Curve or .* but got RateNeuron"):
        convert(mlp(), swap={nn.ReLU: RateNeuron(ReLUCurve())}, example=x)

    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Linear(4, 4), nn.ReLU()]

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(x)
            return x

    with pytest.raises(ConfigError, match="cannot trace Listed: module is not installed as a submodule"):
        convert(Listed().eval(), example=x.float())
    with pytest.warns(FutureWarning):
        old = nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 4)), nn.ReLU()).eval()
    with pytest.raises(ConfigError, match=r"Sequential cannot be copied.*remove_weight_norm"):
        convert(old, example=x.float())
    new = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.ReLU()).eval()
    verify(convert(new, example=x.float()), new, x.float())


def test_the_report_compares_with_the_model() -> None:
    torch.manual_seed(0)
    pools = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 2), nn.ReLU(inplace=True), nn.Flatten(),
        nn.Linear(16, 3),
    )  # fmt: skip
    converted = convert(settled(pools), max_pool="average", synapse=0.0, example=X)
    own, found = report(converted, X, 400), report(converted, X, 400, pools)
    assert [row.layer for row in found.rows] == ["1", "4"]
    assert own.output_error < 1e-3 < found.output_error
    assert found.rows[0].relative_error < 1e-3 < found.rows[1].relative_error
    assert own.rows[1].relative_error < 1e-3
    assert "400 steps, against the model; relative error of the output" in str(found)
    many = settled(Many(nn.MaxPool2d(2)))
    rows = report(convert(many, max_pool="lead", example=X), X, 2000, many).rows
    assert [row.layer for row in rows] == ["stem.2", "block.relu", "block.relu_2", "sigmoid", "head.2"]
    assert all(row.relative_error < 0.05 for row in rows)
    with pytest.raises(ConfigError, match=r"Sequential has no 4, so it is not the model that was converted"):
        report(converted, X, 40, nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten()).double())


def test_spikes_are_verified_too() -> None:
    model, x = mlp(), batch()
    assert verify(convert(model, example=x), model, x, steps=500) < 1e-12
    with pytest.raises(ConfigError, match=r"After 3 steps the mean output of spikes differs .* allowed are 0\.01 of"):
        verify(convert(model, example=x), model, x, steps=3, tolerance=0.01)
    low = {nn.ReLU: lambda: RateNeuron(ReLUCurve(), partner="integrate_and_fire", max_spikes=1, threshold=0.02)}
    cut = convert(model, swap=low, example=x)
    verify(cut, model, x)  # as rates nothing is wrong
    with pytest.raises(ConfigError, match="saturated ones higher thresholds"):
        verify(cut, model, x, steps=500)
