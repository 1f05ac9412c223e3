"""An agent with a memory: the compiled loop is the definition, games begin afresh, sizes and initialisation."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from spikeloom import kernels
from spikeloom.core import map_state
from spikeloom.errors import ConfigError
from spikeloom.layers.hebbian_memory.layer import memory_neuron
from spikeloom.papers.hebbian_memory.agent import Agent, RateRecall, Reactive, SpikingRecall
from spikeloom.rules import Hebbian, hebb, inverted_oja, oja

INPUTS, WIDTH, SIZE, BATCH, STEPS = 6, 8, 7, 5, 12
RULES = {
    "inverted oja": inverted_oja(tau_trace=0.0, potentiation=0.3, depression=0.4),
    "oja": oja(tau_trace=0.0, potentiation=0.2, depression=0.3), "hebb": hebb(tau_trace=0.0, w_max=2.0),
}  # fmt: skip


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def seen(scale: float = 1.0) -> Tensor:
    """Observations, and games that begin here and there."""
    xs = scale * torch.rand(STEPS, BATCH, INPUTS + 1, generator=seeded(), dtype=torch.float64)
    xs[..., -1] = (torch.rand(STEPS, BATCH, generator=seeded(1)) < 0.2).double()
    return xs


def rate_core(rule: Hebbian) -> RateRecall:
    return RateRecall(INPUTS, WIDTH, SIZE, rule, generator=seeded()).double()


def spiking_core(**options: Any) -> SpikingRecall:
    given: dict[str, Any] = {"neuron": memory_neuron(threshold=0.02), "rule": Hebbian(), "generator": seeded()}
    given |= {"steps": 20, "window": 10, "delay": 3, "input_gain": 1.0} | options
    return SpikingRecall(INPUTS, WIDTH, SIZE, **given).double()


def outcome(core: Any, xs: Tensor, engine: str, parts: tuple[int, ...] = (0, 1)) -> list[Tensor]:
    """What is recalled, the last memory, and the gradients of a sum of both, or of one of these parts."""
    xs = xs.clone().requires_grad_()
    draw = seeded(2)
    first = core.initial_state(xs[0])
    start = (0.5 * torch.rand(BATCH, SIZE, SIZE, generator=draw, dtype=torch.float64)).requires_grad_()
    rates = isinstance(core, RateRecall)
    state = first._replace(memory=start) if rates else first._replace(write=first.write._replace(memory=start))
    with kernels.use(engine):
        out, after = core(xs, state)
    memory = after.memory if rates else after.write.memory
    costs = [(torch.randn(p.shape, generator=draw, dtype=torch.float64) * p).sum() for p in (out, memory)]
    found = [xs, start, *core.parameters()]
    slopes = torch.autograd.grad([costs[number] for number in parts], found, allow_unused=True, materialize_grads=True)
    return [out.detach(), memory.detach(), *slopes]


@pytest.mark.parametrize("scale", [0.5, 8.0])  # the minima of the rule act on the larger
@pytest.mark.parametrize("name", RULES)
def test_the_loop_of_rates_is_the_definition(name: str, scale: float) -> None:
    core = rate_core(RULES[name])
    wanted = outcome(core, seen(scale), "torch")
    assert all(part.abs().max() > 0 for part in wanted)
    for part, other in zip(outcome(core, seen(scale), "numba"), wanted, strict=True):
        close = float(other.abs().max())
        torch.testing.assert_close(part, other, rtol=0, atol=1e-10 * max(1.0, close))


@pytest.mark.parametrize("part", [0, 1])
def test_the_gradient_of_what_is_recalled_alone_or_of_the_last_memory_alone(part: int) -> None:
    core = rate_core(RULES["inverted oja"])
    wanted, found = (outcome(core, seen(), engine, (part,)) for engine in ("torch", "numba"))
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-10 * max(1.0, float(two.abs().max())))
    assert float(wanted[2].abs().max()) > 0


def test_the_minima_act_on_large_activity_and_keep_the_memory_bounded() -> None:
    core, xs = rate_core(RULES["inverted oja"]), seen(50.0)
    key, value, _ = core._rates(xs).chunk(3, -1)
    assert float((0.3 * key.amax() * value.amax()).detach()) > 1.0
    for engine in ("torch", "numba"):
        with kernels.use(engine), torch.no_grad():
            _, (memory,) = core(xs)
        assert 0.0 <= float(memory.min()) <= float(memory.max()) <= 1.0


def test_spikes_are_those_of_the_definition() -> None:
    core = spiking_core()
    wanted = outcome(core, seen(), "torch")
    assert all(part.abs().max() > 0 for part in wanted)
    for part, other in zip(outcome(core, seen(), "numba"), wanted, strict=True):
        torch.testing.assert_close(part, other, rtol=0, atol=1e-9 * max(1.0, float(other.abs().max())))


@pytest.mark.parametrize("build", [spiking_core, lambda: rate_core(RULES["inverted oja"])])
def test_where_a_game_begins_all_is_forgotten(build: Any) -> None:
    core, xs = build(), seen()
    xs[..., -1] = 0.0
    xs[5, :, -1] = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0])
    anew = xs[5, :, -1] == 1
    with torch.no_grad():
        whole, last = core(xs)
        later, other = core(xs[5:])
    torch.testing.assert_close(whole[5:, anew], later[:, anew])
    assert not torch.allclose(whole[5:, ~anew], later[:, ~anew])
    map_state(lambda one, two: torch.testing.assert_close(one[anew], two[anew]) or one, last, other)


def test_parts_of_the_state_have_the_batch_first() -> None:
    core, xs = spiking_core(), seen()
    with torch.no_grad():
        whole, _ = core(xs)
        _, state = core(xs[:4])
        chosen = torch.tensor([3, 1])
        some, _ = core(xs[4:, chosen], map_state(lambda part: part[chosen], state))
    assert torch.equal(some, whole[4:, chosen])


def test_the_delay_of_the_feedback_need_not_divide_an_observation() -> None:
    """One observation of 40 steps is two of 20 of the same, if the memory stays as it is."""
    xs = seen()[:1].repeat(2, 1, 1)
    xs[..., -1] = 0.0
    found = []
    for steps, shown in ((20, xs), (40, xs[:1])):
        core = spiking_core(delay=7, steps=steps, rule=Hebbian(potentiation=0.0, depression=0.0))
        state = core.initial_state(xs[0])
        memory = torch.rand(BATCH, SIZE, SIZE, generator=seeded(), dtype=torch.float64)
        with torch.no_grad():
            found.append(core(shown, state._replace(write=state.write._replace(memory=memory)))[0][-1])
    assert torch.equal(*found)
    assert float(found[0].sum()) > 0


def test_aligned_cores_start_with_the_same_keys() -> None:
    spiking, rates = spiking_core(aligned=True), RateRecall(INPUTS, WIDTH, SIZE, RULES["hebb"], aligned=True)
    assert torch.equal(spiking.read.weight[:, :WIDTH], spiking.write.weight[:SIZE])
    assert spiking.read.weight[:, WIDTH:].count_nonzero() == 0
    assert torch.equal(rates.read, rates.write[:SIZE])


def test_the_actor_sees_the_memory_alone_and_the_critic_also_the_observation() -> None:
    agent = Agent(Reactive(INPUTS, SIZE), INPUTS, SIZE, 4, generator=seeded()).double()
    xs, recalled = seen(), torch.rand(STEPS, BATCH, SIZE, dtype=torch.float64)
    one, two = agent.choose(xs, recalled), agent.choose(xs + 0.1, recalled)
    assert torch.equal(one.logits, two.logits)
    assert not torch.allclose(one.value, two.value)


def test_weights_are_orthogonal_and_logits_small() -> None:
    agent = Agent(Reactive(INPUTS, 100), INPUTS, 100, 4, generator=seeded())
    weights = [part for part in agent.actor.parameters() if part.dim() == 2]
    for weight, gain in zip(weights, (math.sqrt(2), math.sqrt(2), 0.01), strict=True):
        torch.testing.assert_close(weight @ weight.T, gain**2 * torch.eye(len(weight)), rtol=0, atol=1e-5)
    assert all(part.count_nonzero() == 0 for part in agent.parameters() if part.dim() == 1)


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(ConfigError, match="tau_trace=0"):
        RateRecall(INPUTS, WIDTH, SIZE, Hebbian())
    with pytest.raises(ConfigError, match="no last 30 steps"):
        spiking_core(window=30)
    for wrong in ({"steps": 0}, {"window": 0}):
        with pytest.raises(ConfigError, match="SpikingRecall needs"):
            spiking_core(**wrong)
    with pytest.raises(ConfigError, match="RateRecall needs size > 0"):
        RateRecall(INPUTS, WIDTH, 0, RULES["hebb"])
    with pytest.raises(ConfigError, match="Reactive needs size > 0"):
        Reactive(INPUTS, 0)
    with pytest.raises(ConfigError, match="Agent needs actions > 0"):
        Agent(Reactive(INPUTS, SIZE), INPUTS, SIZE, 0)
