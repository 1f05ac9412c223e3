"""DEEP R: the worked step, the invariants, uniform reconnection, the soft variant; spec properties P15 - P18."""

import math
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from spikeloom.errors import CheckpointError, ConfigError, TrainingError
from spikeloom.layers import SignedSparseLinear, SparseDelayedLinear
from spikeloom.rules import DeepR

SHAPES = {"inputs": (80, 220), "recurrent": (220, 220), "output": (220, 10)}
BUDGETS = {"inputs": 2112, "recurrent": 5808, "output": 264}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lsnn_layers(neuron_sign: bool = False, dormant_gradients: bool = False) -> nn.ModuleDict:
    """The three matrices of sequential MNIST; the recurrent one has no autapses."""
    layers = nn.ModuleDict()
    for name, (n_in, n_out) in SHAPES.items():
        sign = torch.where(torch.arange(n_in) % 4 == 0, -1.0, 1.0) if neuron_sign else None
        layers[name] = SparseDelayedLinear(
            n_in, n_out, connectivity=0.12, autapses=name != "recurrent", neuron_sign=sign,
            dormant_gradients=dormant_gradients, generator=seeded(1),
        )  # fmt: skip
    return layers


def named(layers: nn.ModuleDict) -> dict[str, SparseDelayedLinear]:
    return cast("dict[str, SparseDelayedLinear]", dict(layers.items()))


def push(layers: nn.ModuleDict, generator: torch.Generator, size: float = 1e-3) -> None:
    """Random gradients of the weights."""
    total = [
        (layer.weight * size * torch.randn(layer.weight.shape, generator=generator)).sum()
        for layer in named(layers).values()
    ]
    loss = torch.stack(total).sum()
    torch.autograd.backward(loss)


def small(theta: list[list[float]], sign: list[list[float]], connectivity: float, **more: Any) -> SignedSparseLinear:
    layer = SignedSparseLinear(len(theta[0]), len(theta), connectivity=connectivity, bias=False, **more)
    with torch.no_grad():
        layer.theta.copy_(torch.tensor(theta))
        layer.sign.copy_(torch.tensor(sign))
    return layer


def test_p15_the_worked_step() -> None:
    theta = [[0.05, 0.002, 0.0], [0.0, 0.03, 0.0005]]
    sign = [[1.0, -1.0, 1.0], [-1.0, -1.0, 1.0]]
    gradient = torch.tensor([[0.1, -0.4, 0.2], [-0.3, 0.05, 0.06]])
    seen = set()
    for seed in range(20):
        layer = small(theta, sign, 4 / 6, dormant_gradients=True)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.01)
        rewire = DeepR(optimizer, {"layer": layer}, l1=0.01, generator=seeded(seed))
        torch.autograd.backward((layer.weight * gradient).sum())
        optimizer.step()
        moved = torch.tensor([[0.049, -0.002, -0.002], [-0.003, 0.0305, -0.0001]])
        torch.testing.assert_close(layer.theta.data, moved, atol=1e-8, rtol=1e-5)
        counts = rewire.step()["layer"]
        after = layer.theta.data
        assert (counts.pruned, counts.created, counts.active) == (2, 2, 4)
        torch.testing.assert_close(after[0, 0].item(), 0.0489)
        torch.testing.assert_close(after[1, 1].item(), 0.0304, atol=1e-7, rtol=0.0)
        born = {(int(i), int(j)) for i, j in (after == 1e-12).nonzero().tolist()}
        assert len(born) == 2
        assert born <= {(0, 1), (0, 2), (1, 0), (1, 2)}
        seen |= born
        left = {(0, 1): -0.002, (0, 2): 0.0, (1, 0): 0.0, (1, 2): -0.0001}
        for place, value in left.items():
            if place not in born:
                assert after[place].item() == pytest.approx(value, abs=1e-8)
    assert len(seen) == 4


@pytest.mark.parametrize("temperature", [0.0, 1e-6])
@pytest.mark.parametrize("budget", ["global", "per_matrix"])
@pytest.mark.parametrize(("neuron_sign", "dormant_gradients"), [(False, False), (True, False), (True, True)])
def test_p16_invariants_over_a_hundred_steps_of_adam(
    temperature: float, budget: Any, neuron_sign: bool, dormant_gradients: bool
) -> None:
    layers, generator = lsnn_layers(neuron_sign, dormant_gradients), seeded(2)
    bystander = nn.Parameter(torch.randn(5, generator=generator))
    alone = nn.Parameter(bystander.detach().clone())
    optimizer = torch.optim.Adam([*layers.parameters(), bystander], lr=0.01)
    other = torch.optim.Adam([alone], lr=0.01)
    rewire = DeepR(optimizer, named(layers), l1=0.01, temperature=temperature, budget=budget, generator=seeded(3))
    signs = {name: layer.sign.clone() for name, layer in named(layers).items()}
    found = {name: layer.active() for name, layer in named(layers).items()}
    assert found == BUDGETS  # the mask of the first day is exact
    turnover = 0
    for _ in range(100):
        optimizer.zero_grad()
        other.zero_grad()
        push(layers, generator)
        torch.autograd.backward(bystander.square().sum() + alone.square().sum())
        before = {name: layer.theta.data > 0 for name, layer in named(layers).items()}
        optimizer.step()
        other.step()
        counts = rewire.step()
        assert sum(count.active for count in counts.values()) == sum(BUDGETS.values()) == 8184  # I1
        for name, layer in named(layers).items():
            theta = layer.theta.data
            active = theta > 0
            assert counts[name].active == int(active.sum())
            torch.testing.assert_close(layer.weight.detach(), signs[name] * theta.clamp(min=0))  # I2
            dormant_before_and_after = ~before[name] & ~active
            assert bool((theta[dormant_before_and_after] == 0).all())  # I4
            if budget == "per_matrix":
                assert counts[name].active == BUDGETS[name]
        turnover += sum(count.created for count in counts.values())
        assert sum(count.created - count.pruned for count in counts.values()) == 0
        assert not bool((named(layers)["recurrent"].theta.data.diagonal() > 0).any())  # I5
        assert torch.equal(bystander, alone)  # I7
    assert turnover > 1000
    assert rewire.created == turnover
    for name, layer in named(layers).items():
        assert torch.equal(layer.sign, signs[name])  # I3
        if neuron_sign:
            assert bool((layer.weight.sign().sum(0).abs() == (layer.weight != 0).sum(0)).all())
    if budget == "global":
        assert {name: layer.active() for name, layer in named(layers).items()} != BUDGETS  # matrices drift


def test_p17_reconnection_is_uniform() -> None:
    size, count, times = 40, 10, 2000
    hits = torch.zeros(size)
    layer = small([[0.0] * size], [[1.0] * size], count / size)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    rewire = DeepR(optimizer, [layer], generator=seeded(5))
    for _ in range(times):
        layer.theta.data.zero_()
        layer.theta.grad = torch.zeros_like(layer.theta)
        optimizer.step()
        rewire.step()
        hits += layer.theta.data[0] > 0
    expected = times * count / size
    variance = expected * (1 - count / size)  # of draws without replacement
    chi_square = float(((hits - expected) ** 2 / variance).sum()) * (size - 1) / size
    assert chi_square < 80  # the 99.99 % quantile with 39 degrees of freedom


def test_p17_missing_synapses_are_split_by_the_shares() -> None:
    layers = lsnn_layers()
    optimizer = torch.optim.SGD(layers.parameters(), lr=0.1)
    rewire = DeepR(optimizer, named(layers), generator=seeded(6))
    totals = dict.fromkeys(BUDGETS, 0)
    for _ in range(40):
        for layer in named(layers).values():
            layer.theta.data.zero_()
            layer.theta.grad = torch.zeros_like(layer.theta)
        optimizer.step()
        for name, count in rewire.step().items():
            totals[name] += count.created
    everything = sum(totals.values())
    assert everything == 40 * 8184
    for name, share in {"inputs": 0.258065, "recurrent": 0.709677, "output": 0.032258}.items():
        sd = math.sqrt(share * (1 - share) / everything)
        assert abs(totals[name] / everything - share) < 4 * sd


@pytest.mark.parametrize(("lr", "active", "mean"), [(0.01, 0.1946, 0.0507), (0.0005, 0.1987, 0.05)])
def test_p18_soft_deep_r_without_a_loss(lr: float, active: float, mean: float) -> None:
    layer = SignedSparseLinear(200, 100, connectivity=0.2, bias=False, generator=seeded(7))
    optimizer = torch.optim.SGD(layer.parameters(), lr=lr)
    rewire = DeepR(optimizer, [layer], l1=0.2, temperature=0.01, soft=True, generator=seeded(8))
    assert rewire.lowest(rewire.layers[0]) == pytest.approx(-0.2)
    with torch.no_grad():  # start near the stationary distribution: it takes long to get there
        exponential = torch.empty(layer.theta.shape).exponential_(20.0, generator=seeded(9))
        below = -0.2 * torch.rand(layer.theta.shape, generator=seeded(10))
        layer.theta.copy_(torch.where(torch.rand(layer.theta.shape, generator=seeded(11)) < 0.2, exponential, below))
    share, size = [], []
    for step in range(600):
        layer.theta.grad = torch.zeros_like(layer.theta)
        optimizer.step()
        counts = rewire.step()["0"]
        if step >= 100:
            share.append(counts.active / layer.theta.numel())
            size.append(float(layer.theta.data[layer.theta.data > 0].mean()))
    assert sum(share) / len(share) == pytest.approx(active, abs=0.005)  # simulated for this learning rate
    assert sum(size) / len(size) == pytest.approx(mean, abs=0.002)
    assert float(layer.theta.data.min()) >= -0.2 - 0.02


def test_soft_deep_r_starts_with_dormant_synapses_spread_out() -> None:
    layer = SignedSparseLinear(200, 100, connectivity=0.2, bias=False, generator=seeded(7))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.01)
    rewire = DeepR(optimizer, [layer], l1=0.2, temperature=0.01, soft=True, generator=seeded(8))
    layer.theta.grad = torch.zeros_like(layer.theta)
    optimizer.step()
    counts = rewire.step()["0"]
    noise = math.sqrt(2 * 0.01 * 0.01)
    crossing = noise / math.sqrt(2 * math.pi) / 0.2  # of those spread over 0.2, how many noise lifts above zero
    assert counts.created == pytest.approx(16_000 * crossing, rel=0.2)
    dormant = layer.theta.data[layer.theta.data <= 0]
    assert float(dormant.mean()) == pytest.approx(-0.1, abs=0.005)


def test_soft_deep_r_respects_what_is_not_allowed() -> None:
    layer = SparseDelayedLinear(20, 20, connectivity=0.3, autapses=False, generator=seeded())
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    rewire = DeepR(optimizer, [layer], l1=0.1, temperature=0.1, soft=True, generator=seeded(1))
    for _ in range(50):
        layer.theta.grad = torch.randn(layer.theta.shape, generator=seeded(2))
        optimizer.step()
        rewire.step()
    assert not bool((layer.theta.data.diagonal() > 0).any())


def test_full_connectivity_without_l1_and_noise_is_the_optimiser_alone() -> None:
    generator = seeded(4)
    start = torch.randn(6, 9, generator=generator)
    start += 0.5 * start.sign()
    plain = nn.Linear(9, 6, bias=False)
    layer = SignedSparseLinear(9, 6, connectivity=1.0, bias=False)
    with torch.no_grad():
        plain.weight.copy_(start)
        layer.theta.copy_(start.abs())
        layer.sign.copy_(start.sign())
    optimizers = [torch.optim.Adam(module.parameters(), lr=0.01) for module in (plain, layer)]
    rewire = DeepR(optimizers[1], [layer], generator=seeded())
    for _ in range(30):
        x, y = torch.randn(5, 9, generator=generator), torch.randn(5, 6, generator=generator)
        for module, optimizer in zip((plain, layer), optimizers, strict=True):
            optimizer.zero_grad()
            (module(x) - y).square().mean().backward()
            optimizer.step()
        assert rewire.step()["0"].created == 0
        assert torch.equal(layer.weight, plain.weight)


def test_the_same_seed_gives_the_same_network_and_a_state_resumes() -> None:
    def run(steps: int, resume_after: int | None = None) -> Tensor:
        layers, generator = lsnn_layers(), seeded(2)
        optimizer = torch.optim.Adam(layers.parameters(), lr=0.01)
        rewire = DeepR(optimizer, named(layers), l1=0.01, temperature=1e-6, generator=seeded(3))
        for step in range(steps):
            if step == resume_after:
                saved = [part.state_dict() for part in (layers, optimizer, rewire)]
                layers = lsnn_layers()
                optimizer = torch.optim.Adam(layers.parameters(), lr=0.01)
                rewire = DeepR(optimizer, named(layers), l1=0.01, temperature=1e-6, generator=seeded(99))
                parts: tuple[Any, ...] = (layers, optimizer, rewire)
                for part, state in zip(parts, saved, strict=True):
                    part.load_state_dict(state)
            optimizer.param_groups[0]["lr"] = 0.01 * 0.7**step
            optimizer.zero_grad()
            push(layers, generator)
            optimizer.step()
            rewire.step()
        return torch.cat([layer.theta.detach().flatten() for layer in named(layers).values()])

    assert torch.equal(run(12), run(12))
    assert torch.equal(run(12), run(12, resume_after=5))


def one_layer(connectivity: float = 0.2, **options: Any) -> SignedSparseLinear:
    return SignedSparseLinear(20, 30, connectivity=connectivity, bias=False, generator=seeded(), **options)


def test_shrinkage_follows_the_learning_rate_of_the_moment() -> None:
    layer = one_layer(1.0)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    rewire = DeepR(optimizer, [layer], l1=0.01, generator=seeded())
    with torch.no_grad():
        layer.theta.fill_(1.0)
    size = 1.0
    for lr in (0.1, 0.05):
        optimizer.param_groups[0]["lr"] = lr
        layer.theta.grad = torch.zeros_like(layer.theta)
        optimizer.step()
        rewire.step()
        size -= lr * 0.01
        torch.testing.assert_close(layer.theta.detach(), torch.full_like(layer.theta, size))
        optimizer.load_state_dict(optimizer.state_dict())  # which replaces the groups


def test_a_full_layer_leaves_its_share_to_the_others() -> None:
    layers = [SignedSparseLinear(30, 30, connectivity=p, bias=False, generator=seeded()) for p in (1.0, 0.1)]
    optimizer = torch.optim.Adam([layer.theta for layer in layers], lr=0.05)
    rewire = DeepR(optimizer, layers, l1=0.01, generator=seeded(1))
    for _ in range(10):
        for layer in layers:
            layer.theta.grad = torch.randn(30, 30, generator=seeded(2))
        optimizer.step()
        assert sum(count.active for count in rewire.step().values()) == 990


def test_without_places_left_the_budget_stays_unfilled() -> None:
    layer = SparseDelayedLinear(6, 6, connectivity=1.0, autapses=False, generator=seeded())
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer.theta.grad = torch.zeros_like(layer.theta)
    rewire = DeepR(optimizer, [layer], generator=seeded())
    optimizer.step()
    assert rewire.step()["0"] == (0, 0, 30)


def test_small_steps_of_a_sparse_layer_are_those_of_the_optimiser_alone() -> None:
    layer, plain = one_layer(), one_layer()
    optimizers = [torch.optim.Adam(module.parameters(), lr=1e-5) for module in (layer, plain)]
    rewire = DeepR(optimizers[0], [layer], generator=seeded())
    active = layer.theta.detach() > 1e-3
    generator = seeded(5)
    for _ in range(5):
        x = torch.randn(7, 20, generator=generator)
        for module, optimizer in zip((layer, plain), optimizers, strict=True):
            optimizer.zero_grad()
            module(x).square().mean().backward()
            optimizer.step()
        rewire.step()
        assert torch.equal(layer.theta[active], plain.theta[active])


def test_backpropagation_notices_that_synapses_were_rewired() -> None:
    layer = one_layer()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    rewire = DeepR(optimizer, [layer], generator=seeded())
    layer.theta.grad = torch.zeros_like(layer.theta)
    optimizer.step()
    loss = layer.theta.square().sum()
    rewire.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.backward(loss)


def test_weights_that_are_not_contiguous_are_rewired_too() -> None:
    class Turned(nn.Module):
        connectivity, allowed, sign = 0.5, None, torch.ones(4, 6)

        def __init__(self) -> None:
            super().__init__()
            self.theta = nn.Parameter((torch.rand(6, 4, generator=seeded()) - 0.5).clamp(min=0).t())

    layer = Turned()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    rewire = DeepR(optimizer, [layer], resample_sign=False, reset_moments=True, generator=seeded())
    layer.theta.grad = torch.ones_like(layer.theta)
    optimizer.step()
    assert rewire.step()["0"].active == 12


def test_a_state_of_other_synapses_is_refused() -> None:
    layers = lsnn_layers()
    optimizer = torch.optim.Adam(layers.parameters())
    rewire = DeepR(optimizer, named(layers))
    state = rewire.state_dict()
    with torch.no_grad():
        named(layers)["inputs"].theta.zero_()
    with pytest.raises(ConfigError, match=r"not those that were saved\. Load the state of the layers first"):
        rewire.load_state_dict(state)


def test_created_synapses_can_draw_a_sign_and_forget_their_moments() -> None:
    layer = small([[0.5] * 50 + [0.0] * 50], [[1.0] * 100], 0.5)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.001)
    rewire = DeepR(optimizer, [layer], resample_sign=True, reset_moments=True, generator=seeded(1))
    layer.theta.grad = torch.ones_like(layer.theta)
    optimizer.step()
    layer.theta.data[0, :50] = -1.0
    rewire.step()
    born = layer.theta.data[0] > 0
    assert int(born.sum()) == 50
    assert {-1.0, 1.0} == set(layer.sign[0, born].tolist())
    assert bool((layer.sign[0, ~born] == 1.0).all())
    moments = optimizer.state[layer.theta]
    for name in ("exp_avg", "exp_avg_sq"):
        assert bool((moments[name][0, born] == 0).all())
        assert bool((moments[name][0, ~born] != 0).all())


def test_wrong_use_is_explained() -> None:
    layer = SignedSparseLinear(10, 10, connectivity=0.2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    with pytest.raises(ConfigError, match="theta is not in the optimiser"):
        DeepR(torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1), [layer])
    with pytest.raises(ConfigError, match="l1 and temperature >= 0"):
        DeepR(optimizer, [layer], l1=-1.0)
    with pytest.raises(ConfigError, match="Soft DeepR needs l1 and temperature > 0"):
        DeepR(optimizer, [layer], soft=True)
    with pytest.raises(ConfigError, match='budget "global" or "per_matrix"'):
        DeepR(optimizer, [layer], budget="both")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="Soft DeepR creates no synapses"):
        DeepR(optimizer, [layer], soft=True, l1=0.1, temperature=0.1, reset_moments=True)
    with pytest.raises(ConfigError, match="is there twice"):
        DeepR(optimizer, [layer, layer])
    with pytest.raises(ConfigError, match=r"but got one SignedSparseLinear: \[it\]"):
        DeepR(optimizer, layer)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'0' is a Linear without theta, sign, allowed, connectivity"):
        DeepR(optimizer, [nn.Linear(2, 2)])  # type: ignore[list-item]
    half = one_layer().half()
    with pytest.raises(ConfigError, match=r"is zero in torch\.float16"):
        DeepR(torch.optim.SGD(half.parameters(), lr=0.1), [half])
    dale = one_layer(neuron_sign=torch.ones(20))
    with pytest.raises(ConfigError, match="Leave out neuron_sign or resample_sign"):
        DeepR(torch.optim.SGD(dale.parameters(), lr=0.1), [dale], resample_sign=True)
    with pytest.raises(ConfigError, match="has no synapse among 5 x 10"):
        SignedSparseLinear(10, 5, connectivity=0.01)
    with pytest.raises(ConfigError, match="got no layers"):
        DeepR(optimizer, [])
    rewire = DeepR(optimizer, [layer])
    with pytest.raises(TrainingError, match=r"must follow optimizer.step\(\)"):
        rewire.step()
    layer.theta.grad = torch.zeros_like(layer.theta)
    optimizer.step()
    with pytest.raises(TrainingError, match="ran again without DeepR"):
        optimizer.step()
    rewire.step()
    layer.theta.grad = torch.full_like(layer.theta, math.nan)
    optimizer.step()
    with pytest.raises(TrainingError, match="no longer a finite number"):
        rewire.step()
    with torch.no_grad():
        layer.theta.fill_(1.0)
    with pytest.raises(ConfigError, match="keeps 20 synapses in 0, but 100 exist"):
        DeepR(optimizer, [layer])


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("theta", float("nan"), r"layer '0': theta must hold finite floating point numbers, but is .* with 1 that are"),
        ("theta", float("inf"), r"theta must hold finite floating point numbers"),
        ("sign", 0.0, r"layer '0': sign must be -1 or 1 for each theta \[30, 20\], but is \[30, 20\] with 1 others"),
        ("sign", float("nan"), r"sign must be -1 or 1 for each theta"),
    ],
)
def test_values_that_cannot_be_rewired_are_refused(part: str, value: float, message: str) -> None:
    layer = one_layer()
    getattr(layer, part).data[0, 0] = value
    with pytest.raises(ConfigError, match=message):
        DeepR(torch.optim.SGD(layer.parameters(), lr=0.1), [layer])


def test_a_mask_that_is_none_and_a_share_that_is_none_are_refused() -> None:
    layer = one_layer()
    layer.allowed = torch.ones(30, 20)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    with pytest.raises(ConfigError, match=r"allowed must be None or boolean \[30, 20\], but is .* \[30, 20\]"):
        DeepR(optimizer, [layer])
    layer.allowed, layer.connectivity = None, float("nan")
    with pytest.raises(ConfigError, match=r"layer '0' needs connectivity in \(0, 1\], but has nan"):
        DeepR(optimizer, [layer])


def test_learning_rates_that_are_none_are_refused() -> None:
    layer = one_layer()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    rewire = DeepR(optimizer, [layer], l1=0.01)
    for lr in (-0.1, float("nan")):
        optimizer.step()
        optimizer.param_groups[0]["lr"] = lr
        with pytest.raises(TrainingError, match=rf"must be >= 0 and finite, but is {lr}. Make DeepR again"):
            rewire.step()
    optimizer.param_groups[0]["lr"] = 0.0  # as a warm-up starts
    optimizer.step()
    assert rewire.step()["0"].pruned == 0
    optimizer.step()
    optimizer.param_groups.clear()
    with pytest.raises(TrainingError, match=r"but its theta has left the optimiser\. Make DeepR again"):
        rewire.step()


def test_a_state_of_other_layers_or_budgets_is_refused() -> None:
    def made(names: str, **options: Any) -> DeepR:
        layers = {name: one_layer() for name in names.split()}
        return DeepR(torch.optim.SGD(nn.ModuleDict(layers).parameters(), lr=0.1), layers, **options)

    saved = made("a b").state_dict()
    before = (other := made("a")).state_dict()
    with pytest.raises(ConfigError, match=r"was saved with layers a, b, but has a. Make it with the layers"):
        other.load_state_dict(saved)
    assert torch.equal(other.state_dict()["generator"], before["generator"])
    with pytest.raises(
        ConfigError, match=r"budgets \{'a b': 240\}, but has \{'a': 120, 'b': 120\}\. Make it with the same"
    ):
        made("a b", budget="per_matrix").load_state_dict(saved)
    with pytest.raises(CheckpointError, match=r"no state of DeepR: it has no generator, counters, active. Load what"):
        other.load_state_dict({})
    old = {name: part for name, part in saved.items() if name != "budgets"}  # as version 0.1 saved it
    (same := made("a b")).load_state_dict(old)
    same.layers[0].theta.data.zero_()
    with pytest.raises(ConfigError, match="its synapses are not those that were saved"):
        same.load_state_dict(old)
