"""Samples are shown again until they are answered."""

from typing import Any

import pytest
import torch
from torch import Tensor

from spikeloom.encoding.events import Events, events_of
from spikeloom.errors import ConfigError
from spikeloom.neurons.diehl_cook import DiehlCook, MembraneLIF
from spikeloom.papers.diehl_cook.network import DiehlCookNetwork, copied
from spikeloom.papers.diehl_cook.presentation import Repeats, present_
from spikeloom.rules import pair_stdp


def network() -> DiehlCookNetwork:
    neurons = DiehlCook(5, tau_mem=20.0, generator=torch.Generator().manual_seed(1))
    net = DiehlCookNetwork(
        8, neurons, pair_stdp(), inhibitory=MembraneLIF(5), total=2.0, scale=8.0,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    return net.double()


def inputs(strengths: list[float]) -> Tensor:
    """[30, B, 8]; strength is the chance of a spike."""
    draws = torch.rand(30, len(strengths), 8, generator=torch.Generator().manual_seed(2))
    return (draws < torch.tensor(strengths)[:, None]).double()


def test_only_samples_that_hardly_answer_are_shown_again() -> None:
    net, xs = network(), inputs([0.5, 0.0, 0.5])
    asked: list[tuple[list[int], int]] = []

    def encode(rows: Tensor, attempt: int) -> Events:
        asked.append((rows.tolist(), attempt))
        return events_of(xs[:, rows])

    found = present_(net, net.initial_state(xs[0]), encode, Repeats(least=2, most=4))
    assert asked == [([0, 1, 2], 0), ([1], 1), ([1], 2), ([1], 3)]
    assert found.repeats == 3
    assert found.counts.shape == (3, 5)
    assert float(found.counts[1].sum()) == 0
    assert min(found.counts[0].sum(), found.counts[2].sum()) >= 2
    rebuilt = torch.zeros(3, 5)
    rebuilt.index_put_((found.fired.samples, found.fired.neurons), torch.ones(len(found.fired.steps)), accumulate=True)
    assert torch.equal(rebuilt, found.counts)


def test_a_stronger_gain_makes_a_weak_sample_answer() -> None:
    net, xs = network(), inputs([0.06])

    def encode(rows: Tensor, attempt: int) -> Events:
        return events_of(xs)

    same = present_(net, net.initial_state(xs[0]), encode, Repeats(least=5, most=5))
    stronger = present_(net, net.initial_state(xs[0]), encode, Repeats(least=5, most=5, growth=2.0))
    assert same.counts.sum() < 5 <= stronger.counts.sum()
    assert stronger.repeats < 4 == same.repeats


def test_voltages_go_on_if_they_are_asked_to() -> None:
    net, xs = network().eval(), inputs([0.06])

    def encode(rows: Tensor, attempt: int) -> Events:
        return events_of(xs)

    afresh, carried = net.initial_state(xs[0]), net.initial_state(xs[0], noise=torch.Generator().manual_seed(3))
    present_(net, afresh, encode, Repeats(least=99, most=2))
    present_(net, carried, encode, Repeats(least=99, most=2, carry=True))
    once = net(xs, net.initial_state(xs[0]))[1]
    torch.testing.assert_close(afresh.neurons.voltage, once.neurons.voltage)
    assert not torch.equal(carried.neurons.voltage, once.neurons.voltage)


def test_a_presentation_gives_the_same_spikes_again_and_leaves_its_input_alone() -> None:
    net, xs = network(), inputs([0.5, 0.3])
    given, state = xs.clone(), net.initial_state(xs[0])
    found = [
        present_(net, copied(state), lambda rows, attempt: events_of(xs[:, rows]), Repeats()).counts for _ in range(2)
    ]
    assert torch.equal(*found)
    assert torch.equal(xs, given)


@pytest.mark.parametrize("learns", [True, False])
def test_weights_are_normalised_after_every_sample_that_teaches(learns: bool) -> None:
    net, xs = network().train(learns), inputs([0.5])
    state = net.initial_state(xs[0])
    state.weight.mul_(1.5)
    present_(net, state, lambda rows, attempt: events_of(xs), Repeats(most=1))
    spiked = state.weight.sum(1) - 2.0
    assert bool((spiked.abs() < 1e-4).any()) is learns


@pytest.mark.parametrize("carry", [False, True])
def test_neurons_are_normalised_however_short_their_traces(carry: bool) -> None:
    neurons = DiehlCook(5, tau_mem=20.0, generator=torch.Generator().manual_seed(1))
    rule = pair_stdp(lr=0.1, tau_pre=0.02, tau_post=0.02)
    net = DiehlCookNetwork(8, neurons, rule, total=2.0, scale=8.0, generator=torch.Generator().manual_seed(0)).double()
    xs = inputs([0.3, 0.4])
    xs[-1] = 0.0
    state = net.initial_state(xs[0])
    found = present_(
        net, state, lambda rows, attempt: events_of(xs[:, rows]), Repeats(least=99, most=3, growth=1.5, carry=carry)
    )
    assert found.counts.any()
    torch.testing.assert_close(state.weight.sum(1), torch.full((5,), 2.0).double(), rtol=0.0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gain": float("inf")}, "below 1e\\+30"),
        ({"growth": 1e308}, "reach a gain of 10\\^1.23e\\+03"),
        ({"gain": 1e31, "growth": 1e-20}, "below 1e\\+30"),
    ],
)
def test_gains_that_no_current_can_have(options: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Repeats(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"least": -1}, {"most": 0}, {"gain": 0.0}, {"growth": -1.0}])
def test_repeats_that_make_no_sense(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="Repeats needs"):
        Repeats(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [{"most": 2.5}, {"least": float("nan")}])
def test_presentations_are_counted_in_whole_numbers(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Repeats needs least >= 0, most >= 1, gain and growth > 0, but got"):
        Repeats(**values)
