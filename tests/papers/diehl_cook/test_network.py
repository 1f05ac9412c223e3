"""The network of Diehl & Cook: the worked trace, the compiled loop against the definition, what must never happen."""

import math
import time
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils import _pytree as pytree

from spikeloom import kernels
from spikeloom.encoding.events import Events, events_of, poisson_counts, poisson_events
from spikeloom.errors import ConfigError, ShapeError
from spikeloom.kernels.noise import keys
from spikeloom.layers.lateral import growing_starts, som_inhibition
from spikeloom.neurons.diehl_cook import DiehlCook, MembraneLIF
from spikeloom.papers.diehl_cook.network import DiehlCookNetwork, NetworkState, copied
from spikeloom.rules import (
    STDP,
    hebbian_stdp,
    normalise,
    pair_stdp,
    post_stdp,
    triplet_stdp,
    weight_dependent_stdp,
)

EXACT = torch.float64
RULES: dict[str, STDP] = {
    "original": post_stdp(soft_bound="original"),
    "post": post_stdp(soft_bound="post", reduction="mean"),
    "both": post_stdp(soft_bound="both", power=1.0, trace="add"),
    "max": post_stdp(reduction="max"),
    "decay": post_stdp(decay=1e-3, soft_bound="none"),
    "pair": pair_stdp(lr=0.05, lr_pre=0.02),
    "weight-dependent": weight_dependent_stdp(lr=0.05, lr_pre=0.02),
    "triplet": triplet_stdp(lr=0.2, lr_pre=0.02),
    "hebbian": hebbian_stdp(lr=0.05, trace="add"),
    "late": pair_stdp(lr=0.05, lr_pre=0.02, trace_delay=1),
    "short": pair_stdp(lr=0.05, lr_pre=0.02, tau_pre=0.05, tau_post=0.05),
    "late post": post_stdp(lr=0.05, trace="add", trace_delay=1),
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(
    inputs: int = 12,
    size: int = 6,
    rule: STDP | None = RULES["both"],
    *,
    two: bool = True,
    seed: int = 0,
    **options: Any,
) -> DiehlCookNetwork:
    neurons = DiehlCook(size, tau_mem=20.0, generator=seeded(seed + 1), one_winner=options.pop("one_winner", True))
    inhibitory = options.pop("inhibitory", MembraneLIF(size) if two else None)
    net = DiehlCookNetwork(inputs, neurons, rule, inhibitory=inhibitory, scale=12.0, generator=seeded(seed), **options)
    return net.to(EXACT)


def trains(steps: int, batch: int, inputs: int, seed: int = 0, rate: float = 0.15) -> Tensor:
    return (torch.rand(steps, batch, inputs, generator=seeded(seed + 7)) < rate).to(EXACT)


def same(one: NetworkState, other: NetworkState, tolerance: float = 1e-9) -> None:
    for a, b in zip(pytree.tree_leaves(one), pytree.tree_leaves(other), strict=True):
        torch.testing.assert_close(a, b, rtol=0.0, atol=tolerance)


def test_the_worked_trace() -> None:
    net = network(3, 2, RULES["original"])
    net.scale = 10.0
    net.weight.copy_(torch.tensor([[0.30, 0.90, 0.05], [0.10, 0.20, 0.60]]))
    words = ["110", "100", "001", "001", "000", "001", "011", "001", "001", "001", "000"]
    xs = torch.tensor([[int(letter) for letter in word] for word in words], dtype=EXACT).unsqueeze(1)
    start = state = net.initial_state(xs[0])
    voltages, spikes, inhibited = [], [], []
    for x in xs:
        fired, state = net.step(x, state)
        assert isinstance(state.inhibited, Tensor)
        voltages.append(state.neurons.voltage[0])
        spikes.append(fired[0])
        inhibited.append(state.inhibited[0].clone())
    wanted = [
        (-65, -65), (-53, -62), (-60, -61.146312), (-60.243853, -55.334258), (-60.475813, -67.305662),
        (-60.696460, -67.193214), (-60.906346, -61.086249), (-61.105996, -53.277125), (-60.498971, -60),
        (-59.921550, -60.243853), (-76.872291, -60.475813),
    ]  # fmt: skip
    torch.testing.assert_close(torch.stack(voltages), torch.tensor(wanted, dtype=EXACT), rtol=0, atol=1e-6)
    assert torch.stack(spikes).nonzero().tolist() == [[2, 0], [8, 1]]
    assert torch.stack(inhibited).nonzero().tolist() == [[3, 0], [9, 1]]
    weights = torch.tensor([[0.325664, 0.915927, 0.079694], [0.114917, 0.224140, 0.624977]], dtype=EXACT)
    torch.testing.assert_close(state.weight, weights, rtol=0, atol=1e-6)
    torch.testing.assert_close(state.neurons.homeostasis, torch.full((2,), 0.2, dtype=EXACT), rtol=0, atol=1e-6)
    same(net(xs, start)[1], state)


cases = st.fixed_dictionaries(
    {
        "inputs": st.integers(1, 50), "size": st.integers(1, 20), "steps": st.integers(1, 100),
        "batch": st.integers(1, 3), "rule": st.sampled_from(sorted(RULES)), "seed": st.integers(0, 10_000),
        "layers": st.sampled_from(["two", "one", "som", "unequal", "som two"]), "learns": st.booleans(),
        "one_winner": st.booleans(), "counts": st.booleans(), "total": st.sampled_from([0.0, 0.3, 0.8]),
    }
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(cases)
def test_the_compiled_loop_is_the_definition(case: dict[str, Any]) -> None:
    size, seed = case["size"], case["seed"]
    options: dict[str, Any] = {"two": case["layers"] in ("two", "som two"), "one_winner": case["one_winner"]}
    if case["layers"] == "unequal":  # partners that do not always answer
        options["inhibitory"] = MembraneLIF(size, refractory=7.0)
    if "som" in case["layers"]:
        options["lateral"] = som_inhibition(size)
    options["total"] = case["total"] * case["inputs"]
    net = network(case["inputs"], size, RULES[case["rule"]], seed=seed, **options).train(case["learns"])
    xs = trains(case["steps"], case["batch"], case["inputs"], seed, 0.3)
    if case["counts"]:
        xs = xs * 2
    state = net.initial_state(xs[0])
    with kernels.use("torch"):
        wanted, after = net(xs, copied(state))
    spikes, found = net(xs, copied(state))
    assert torch.equal(spikes, wanted)
    same(found, after)
    if case["one_winner"]:
        assert float(spikes.sum(2).max()) <= 1.0
    cut = case["steps"] // 2
    if cut:
        one, middle = net(xs[:cut], copied(state))
        two, end = net(xs[cut:], middle)
        assert torch.equal(torch.cat([one, two]), wanted)
        same(end, after)
        with kernels.use("torch"):  # the traces of one call meet weights that were normalised after it
            defined = copied(middle)
            net.normalise_(defined)
            wanted, defined = net(xs[cut:], defined)
        net.normalise_(middle)
        spikes, middle = net(xs[cut:], middle)
        assert torch.equal(spikes, wanted)
        same(middle, defined)
        if not RULES[case["rule"]].decay:
            assert float(middle.weight.max()) <= 1.0


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(RULES)), st.integers(1, 3), st.integers(0, 10_000))
def test_several_spikes_of_an_input_in_a_step_are_one_event(rule: str, batch: int, seed: int) -> None:
    net = network(rule=RULES[rule], seed=seed)
    rates = torch.full((batch, 12), 300.0, dtype=EXACT)
    defined, state = (net.initial_state(torch.zeros(batch, 12, dtype=EXACT), noise=seeded(seed)) for _ in range(2))
    for call in range(3):
        noise = keys(batch, torch.device("cpu"), seeded(seed + call))
        with kernels.use("torch"):
            spikes, defined = net(poisson_counts(rates, 25, noise), defined)
        fired = net.advance_(poisson_events(rates, 25, noise), state)
        assert torch.equal(torch.stack(list(fired), 1), spikes.nonzero())
        same(state, defined)


@pytest.mark.parametrize("rule", ["max", "pair"])
def test_a_list_of_events_is_the_sequence(rule: str) -> None:
    net, xs = network(rule=RULES[rule]), trains(40, 2, 12)
    state = net.initial_state(xs[0])
    spikes, after = net(xs, copied(state))
    fired = net.advance_(events_of(xs), state)
    assert torch.equal(torch.stack(list(fired), 1), spikes.nonzero())
    same(state, after)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_only_synapses_of_neurons_that_spiked_change(rule: str) -> None:
    net, xs = network(rule=RULES[rule]), trains(60, 1, 12)
    spikes, state = net(xs)
    silent = spikes.sum((0, 1)) == 0
    assert bool(silent.any())
    assert not bool(silent.all())
    if not RULES[rule].decay:
        assert torch.equal(state.weight[silent], net.weight[silent])
    assert not torch.equal(state.weight[~silent], net.weight[~silent])
    assert 0.0 <= float(state.weight.min()) <= float(state.weight.max()) <= 1.0


def test_samples_of_a_batch_are_alone_where_nothing_learns() -> None:
    net, xs = network().eval(), trains(80, 4, 12)
    state = net.initial_state(xs[0])
    together = net(xs, state)[0]
    inhibitory: Any = state.inhibitory
    for b in range(4):
        alone = state._replace(
            **{name: getattr(state, name)[b : b + 1] for name in ("inputs", "spikes", "inhibited", "gain", "spiked")},
            traces=type(state.traces)(*(part[b : b + 1] for part in state.traces)),
            inhibitory=type(inhibitory)(*(part[b : b + 1] for part in inhibitory)),
            neurons=state.neurons._replace(
                voltage=state.neurons.voltage[b : b + 1], refractory=state.neurons.refractory[b : b + 1],
                noise=state.neurons.noise[b : b + 1],
            ),
        )  # fmt: skip
        assert torch.equal(net(xs[:, b : b + 1], alone)[0], together[:, b : b + 1])


def test_evaluation_leaves_weights_and_homeostasis_bit_by_bit() -> None:
    net, xs = network(total=3.0).eval(), trains(80, 2, 12)
    weight, given = net.weight.clone(), xs.clone()
    spikes, state = net(xs)
    net.normalise_(state)
    assert torch.equal(state.weight, weight)
    net.consolidate(state)
    assert spikes.sum() > 0
    assert torch.equal(net.weight, weight)
    assert torch.equal(net.neurons.homeostasis, torch.zeros(6, dtype=EXACT))
    assert torch.equal(xs, given)


def test_learning_is_kept_only_by_consolidate() -> None:
    net, xs = network(total=3.0), trains(80, 1, 12)
    weight, sums = net.weight.clone(), torch.full((6,), 3.0, dtype=EXACT)
    torch.testing.assert_close(weight.sum(1), sums, rtol=0, atol=1e-6)
    _, state = net(xs)
    assert torch.equal(net.weight, weight)
    net.normalise_(state)
    net.consolidate(state)
    torch.testing.assert_close(net.weight.sum(1), sums, rtol=0, atol=1e-6)
    assert not torch.equal(net.weight, weight)
    assert net.neurons.homeostasis.sum() > 0
    fresh = net.fresh(state)
    assert torch.equal(fresh.neurons.homeostasis, state.neurons.homeostasis)
    assert torch.equal(fresh.neurons.noise, state.neurons.noise)
    assert not fresh.spikes.any()
    assert torch.equal(fresh.neurons.voltage, torch.full((1, 6), -65.0, dtype=EXACT))


@pytest.mark.parametrize("rule", ["pair", "triplet", "decay", "short"])
def test_normalising_what_may_have_learned_is_normalising_all(rule: str) -> None:
    net, xs = network(size=30, rule=RULES[rule], total=3.0), trains(80, 1, 12)
    if rule == "short":  # traces end at 0 exactly
        xs[40:] = 0.0
    state = net.initial_state(xs[0])
    fired = net.advance_(events_of(xs), state)
    for _ in range(2):
        wanted = normalise(state.weight, 3.0, 0.0, 1.0)
        net.normalise_(state)
        torch.testing.assert_close(state.weight, wanted, rtol=0, atol=1e-7)
        net.advance_(events_of(xs), state)
    assert len(set(fired.neurons.tolist())) < 30


def test_bounds_hold_through_normalisation() -> None:
    net = network(30, 4, post_stdp(power=0.2, soft_bound="original"), total=25.0)
    state = net.initial_state(trains(1, 1, 30)[0])
    for seed in range(8):
        net.advance_(events_of(trains(60, 1, 30, seed, 0.4)), state)
        net.normalise_(state)
        assert not bool(state.weight.isnan().any())
        assert 0.0 <= float(state.weight.min()) <= float(state.weight.max()) <= 1.0
    sums = state.weight.sum(1)
    torch.testing.assert_close(sums, torch.full_like(sums, 25.0), rtol=0, atol=1e-5)
    with pytest.raises(ConfigError, match=r"sum up to 78\.4"):
        network(30, 4, total=78.4)


@pytest.mark.parametrize(
    ("soft_bound", "frozen"), [("original", True), ("both", False), ("post", False), ("none", False)]
)
def test_a_weight_at_the_bound_can_come_down(soft_bound: Any, frozen: bool) -> None:
    rule = post_stdp(soft_bound=soft_bound)
    one, none = torch.ones(1, 1), torch.zeros(1, 1)
    weight, _ = rule.update(torch.ones(1, 1), none, one, rule.initial_traces(none, none))
    assert (float(weight) == 1.0) is frozen


def test_inhibition_grows_with_the_distance_on_the_grid() -> None:
    row = [0, -3.75, -5.303301, -3.75, -4.459527, -5.607558, -5.303301, -5.607558, -6.306723]
    torch.testing.assert_close(som_inhibition(9)[0], torch.tensor(row), rtol=0, atol=1e-6)
    odd = som_inhibition(11)
    assert odd.shape == (11, 11)
    assert float(odd.diagonal().abs().max()) == 0.0
    assert torch.equal(odd, odd.T)
    assert float(som_inhibition(400).min()) == -17.5
    started = time.process_time()
    som_inhibition(1600)
    assert time.process_time() - started < 1.0
    starts = growing_starts()
    assert starts == sorted(starts, reverse=True)
    assert (starts[0], starts[-1], len(starts)) == (-5.0, -17.5, 60)


def test_winners_are_drawn_uniformly() -> None:
    neurons = DiehlCook(3, generator=seeded(0)).eval()
    spikes, _ = neurons(torch.full((1, 10_000, 3), 50.0))
    counts = spikes.sum((0, 1))
    assert counts.sum() == 10_000
    chi_square = float(((counts - 10_000 / 3) ** 2 / (10_000 / 3)).sum())
    assert chi_square < 13.8  # 0.1 % of draws are above


def test_what_the_definition_returns_are_ordinary_tensors() -> None:
    net = network()
    with kernels.use("torch"):
        spikes, state = net(trains(20, 2, net.n_in))
    parts = [part for part in pytree.tree_leaves((spikes, state)) if isinstance(part, Tensor)]
    assert len(parts) > 8
    for part in parts:
        assert not part.is_inference()
        part += 1  # may be changed, and used where gradients are wanted


def test_losers_rest_and_learn_as_the_winner_does() -> None:
    neurons = DiehlCook(3)
    spikes, state = neurons(torch.full((1, 2, 3), 50.0))
    assert torch.equal(spikes.sum(2), torch.ones(1, 2))
    assert torch.equal(state.voltage, torch.full((2, 3), -60.0))
    assert torch.equal(state.refractory, torch.full((2, 3), 5.0))
    torch.testing.assert_close(state.homeostasis, torch.full((3,), 0.4))  # twice, once in each sample


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("dt", "quiet"), [(0.1, 50), (0.2, 25), (0.3, 17), (1.0, 5), (3.0, 2)])
def test_a_refractory_time_is_the_nearest_number_of_steps(dt: float, quiet: int, dtype: torch.dtype) -> None:
    def fired(spikes: list[Tensor]) -> list[int]:
        when: list[int] = torch.stack(spikes).flatten().nonzero().flatten().diff()[:2].tolist()
        return when

    other = MembraneLIF(1, refractory=5.0, dt=dt)
    for refractory in (5.0, 0.0):  # 0: the partner is asked in every step
        excitatory = DiehlCook(1, homeostasis_step=0.0, refractory=refractory, dt=dt)
        net = DiehlCookNetwork(1, excitatory, None, inhibitory=other, excite=30.0).to(dtype)
        net.weight.fill_(40.0)
        assert not net.exact
        for engine in ("torch", "numba"):
            x = torch.ones(1, 1, dtype=dtype)
            state, spikes, inhibited = net.initial_state(x), [], []
            with kernels.use(engine):
                for _ in range(2 * quiet + 6):
                    spike, state = net(x.unsqueeze(0), state)
                    spikes.append(spike)
                    assert isinstance(state.inhibited, Tensor)
                    inhibited.append(state.inhibited)
            assert fired(spikes) == ([quiet + 1] * 2 if refractory else [1, 1])
            assert fired(inhibited) == [quiet + 1] * 2


@pytest.mark.parametrize("dt", [0.5, 1.0, 2.5])
def test_a_refractory_neuron_hears_nothing(dt: float) -> None:
    neurons = DiehlCook(1, tau_mem=1e9, dt=dt).to(EXACT)
    _, state = neurons(torch.full((1, 1, 1), 50.0, dtype=EXACT))
    quiet = round(5.0 / dt)
    for current in (40.0, -40.0):
        moved = state
        for _ in range(quiet):
            spikes, moved = neurons.step(torch.full((1, 1), current, dtype=EXACT), moved)
            assert not spikes.any()
            assert float(moved.voltage) == pytest.approx(-60.0, abs=1e-6)
        _, moved = neurons.step(torch.full((1, 1), 1.0, dtype=EXACT), moved)
        assert float(moved.voltage) == pytest.approx(-59.0, abs=1e-6)


def test_homeostasis_decays_alike_at_any_step() -> None:
    left = []
    for dt in (1.0, 0.5):
        neurons = DiehlCook(1, tau_homeostasis=100.0, dt=dt).to(EXACT)
        neurons.homeostasis.fill_(3.0)
        left.append(float(neurons(torch.zeros(round(50 / dt), 1, 1, dtype=EXACT))[1].homeostasis))
    assert left[0] == pytest.approx(left[1], abs=1e-6)
    assert left[0] == pytest.approx(3.0 * math.exp(-0.5))


def test_the_fast_path_has_a_guard() -> None:
    assert network().exact
    assert not network(excite=19.0).exact
    assert not network(inhibitory=MembraneLIF(6, refractory=5.0)).exact
    assert not network(inhibitory=MembraneLIF(6, reset=-70.0)).exact
    assert not network(two=False).exact


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_guard_rounds_as_the_step_does(dtype: torch.dtype) -> None:
    for rest in [-67.26, *(-60.0 - 0.37 * k for k in range(40))]:
        other = MembraneLIF(6, rest=rest, threshold=-46.85, reset=rest + 2.0)
        net = network(inhibitory=other, excite=-46.85 - rest).to(dtype)
        xs = trains(60, 1, 12, rate=0.4).to(dtype)
        with kernels.use("torch"):
            wanted, after = net(xs, net.initial_state(xs[0], noise=seeded(1)))
        found, state = net(xs, net.initial_state(xs[0], noise=seeded(1)))
        alone = other.step(torch.full((1, 6), net.excite, dtype=dtype), other.initial_state(xs.new_zeros(1, 6)))[0]
        assert net.exact is bool(alone.all())
        assert torch.equal(found, wanted)
        assert torch.equal(state.inhibited, after.inhibited)


def test_events_are_the_sequence() -> None:
    xs = trains(5, 2, 7) * 2
    events = events_of(xs)
    rebuilt = torch.zeros(10, 7, dtype=EXACT)
    for row in range(10):
        part = slice(int(events.first[row]), int(events.first[row + 1]))
        rebuilt[row, events.unit[part].long()] = events.times[part]
    assert torch.equal(rebuilt.view_as(xs), xs)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n_in": 0}, "n_in > 0"),
        ({"inhibit": -1.0}, "positive strength"),
        ({"inhibit": math.nan}, "positive strength"),
        ({"inhibitory": MembraneLIF(3)}, "partner"),
        ({"inhibitory": MembraneLIF(2, dt=0.5)}, "one dt"),
        ({"rule": post_stdp(dt=2.0)}, "one dt"),
        ({"lateral": torch.ones(2, 2)}, "0 or below"),
        ({"rule": post_stdp(w_max=0.2)}, "from 0 to 0.2. Change w_init"),
        ({"rule": post_stdp(w_min=0.4)}, "Weights start between 0.4 and w_init, which is 0.3"),
    ],
)
def test_networks_that_make_no_sense(options: dict[str, Any], said: str) -> None:
    given_options = {"n_in": 4, "rule": None, **options}
    with pytest.raises(ConfigError, match=said):
        DiehlCookNetwork(given_options.pop("n_in"), DiehlCook(2), given_options.pop("rule"), **given_options)


def test_weights_start_within_their_bounds() -> None:
    weight = network(rule=post_stdp(w_min=0.2)).weight
    assert 0.2 <= float(weight.min()) < 0.22
    assert 0.28 < float(weight.max()) <= 0.3
    assert float(network(rule=post_stdp(w_max=0.2), total=0.5).weight.max()) <= 0.2


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"unit": [0, 12]}, ShapeError, "has 12 inputs, but the events are of units 0 to 12. Units count from 0 to 11"),
        ({"unit": [-1, 3]}, ShapeError, "units -1 to 3"),
        ({"first": [0, 1, 3]}, ShapeError, "first goes from 0 to 3"),
        ({"first": [1, 1, 2]}, ShapeError, "first goes from 1 to 2"),
        ({"first": [0, 5, 2]}, ShapeError, "or falls on the way"),
        ({"times": [1.0]}, ShapeError, "up to 2 units and 1 times"),
        ({"times": [1.0, -1.0]}, ConfigError, "come -1 to 1 times"),
        ({"times": [1.0, math.nan]}, ConfigError, "nan times"),
        ({"times": [1.0, math.inf]}, ConfigError, "1 to inf times"),
    ],
)
@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_events_that_cannot_be_are_refused(
    change: dict[str, Any], kind: type[Exception], said: str, engine: str
) -> None:
    given = {"first": [0, 1, 2], "unit": [0, 3], "times": [1.0, 1.0], **change}
    events = Events(torch.tensor(given["first"]), torch.tensor(given["unit"]).int(), torch.tensor(given["times"]))
    net = network()
    with kernels.use(engine), pytest.raises(kind, match=said):
        net.advance_(events, net.initial_state(trains(1, 1, 12)[0]))


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_input_that_is_no_number_of_spikes_is_refused(value: float) -> None:
    xs = trains(5, 2, 12)
    xs[3, 1, 4] = value
    with pytest.raises(ConfigError, match="needs spikes or counts, 0 or above and finite"):
        network()(xs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_floats_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ShapeError, match=r"float32 or float64, but got torch.b?float16. Call .float\(\)"):
        network()(trains(5, 2, 12).to(dtype))


@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_a_state_of_other_samples_is_refused(engine: str) -> None:
    net, xs = network(), trains(5, 2, 12)
    state = net.initial_state(xs[0, :1])
    with kernels.use(engine):
        with pytest.raises(ShapeError, match=r"state whose inputs has shape \[1, 12\], but its input \[2, 12\]"):
            net(xs, state)
        with pytest.raises(ShapeError, match="state whose inputs"):
            net.step(xs[0], state)
        with pytest.raises(ShapeError, match=r"whose spikes has shape \[2, 7\]"):
            net(xs, network(size=7).initial_state(xs[0]))
        with pytest.raises(ShapeError, match="Move one to the other"):
            net(xs, net.initial_state(xs[0].float()))
    with pytest.raises(ConfigError, match="gain > 0 and finite"):
        net.initial_state(xs[0], gain=math.inf)


def test_weights_may_lie_in_any_order() -> None:
    xs = trains(60, 1, 12)
    net = network(total=3.0)
    wanted, after = net(xs)
    assert after.spiked.any()
    loaded, given = network(seed=3, total=3.0), network(total=3.0)
    loaded.load_state_dict({name: part.contiguous() for name, part in net.state_dict().items()}, assign=True)
    given.weight = net.weight.contiguous()
    for other in (loaded, given):
        other.neurons.generator = seeded(1)
        found, state = other(xs)
        assert torch.equal(found, wanted)
        same(state, after, 0.0)
    rows = net.initial_state(xs[0], noise=seeded(1))
    rows = rows._replace(weight=rows.weight.contiguous())
    fired = net.advance_(events_of(xs), rows)
    assert len(fired.steps) == int(wanted.sum())
    net.normalise_(rows)
    net.normalise_(after)
    torch.testing.assert_close(rows.weight, after.weight, rtol=0.0, atol=1e-9)


def test_shapes_that_do_not_fit() -> None:
    net = network()
    with pytest.raises(ShapeError, match="12 inputs"):
        net(torch.zeros(3, 1, 5, dtype=EXACT))
    with pytest.raises(ShapeError, match=r"\[6, 6\]"):
        net.set_lateral(torch.zeros(2, 2))
    with pytest.raises(ShapeError, match="number of steps"):
        net.advance_(events_of(trains(3, 1, 12)), net.initial_state(trains(1, 2, 12)[0]))
    pre, post = torch.zeros(1, 3), torch.zeros(1, 2)
    with pytest.raises(ShapeError, match="They must be"):
        post_stdp().update(torch.zeros(2, 2), pre, post, RULES["pair"].initial_traces(pre, post))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lr": -1.0}, "lr >= 0"),
        ({"w_min": 2.0}, "w_min < w_max"),
        ({"decay": 1.0}, "decay"),
        ({"tau_pre": 0.0}, "tau_pre"),
        ({"trace_delay": 2}, "trace_delay"),
        ({"soft_bound": "hard"}, "soft_bound"),
        ({"reduction": "median"}, "reduction"),
        ({"trace": "sum"}, "trace"),
    ],
)
def test_rules_that_make_no_sense(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        STDP(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 0}, "size"),
        ({"tau_mem": 0.0}, "tau_mem"),
        ({"refractory": -1.0}, "refractory"),
        ({"reset": -50.0}, "below the threshold"),
        ({"lowest": -50.0}, "below the threshold"),
        ({"homeostasis_step": -1.0}, "homeostasis_step"),
    ],
)
def test_neurons_that_make_no_sense(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        DiehlCook(**{"size": 2, **options})


@pytest.mark.parametrize("engine", ["numba", "torch"])
@pytest.mark.parametrize(
    ("value", "learns", "message"),
    [
        (float("nan"), True, r"DiehlCookNetwork keeps weights from 0 to 1, but got weights from nan to nan"),
        (2.0, True, r"keeps weights from 0 to 1, but got weights from .* to 2. Clamp them"),
        (float("inf"), False, r"DiehlCookNetwork got weights that are not finite"),
    ],
)
def test_weights_that_are_none_are_refused(engine: str, value: float, learns: bool, message: str) -> None:
    network = DiehlCookNetwork(4, DiehlCook(3), post_stdp(), generator=torch.Generator().manual_seed(0)).train(learns)
    network.weight[0, 0] = value
    with kernels.use(engine), pytest.raises(ConfigError, match=message):
        network(torch.ones(2, 1, 4))
