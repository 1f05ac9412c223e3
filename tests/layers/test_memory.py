"""Writing and reading a memory: the fused loops are the definition, and what the memory must obey for any seed."""

from typing import Any

import pytest
import torch
from torch import Tensor

from spikeloom import kernels
from spikeloom.errors import ConfigError, ShapeError
from spikeloom.layers.hebbian_memory.layer import HebbianRead, HebbianWrite, align_, memory_neuron
from spikeloom.rules import Hebbian, hebb, inverted_oja, oja
from spikeloom.rules.fast_weights import HebbianTraces

RULES: dict[str, Hebbian | None] = {
    "inverted oja": inverted_oja(), "oja": oja(), "hebb": hebb(w_max=2.0), "frozen": None,
}  # fmt: skip
INPUTS, SIZE, BATCH = 6, 7, 3


def spikes(steps: int, inputs: int = INPUTS, batch: int = BATCH, share: float = 0.4) -> Tensor:
    draw = torch.Generator().manual_seed(steps)
    return (torch.rand(steps, batch, inputs, generator=draw) < share).double()


def pair(
    rule: Hebbian | None = RULES["inverted oja"], delay: int = 3, **neuron: Any
) -> tuple[HebbianWrite, HebbianRead]:
    draw = torch.Generator().manual_seed(1)
    cells = memory_neuron(**neuron)
    write = HebbianWrite(INPUTS, SIZE, cells, rule=rule, generator=draw).double()
    return write, HebbianRead(INPUTS, SIZE, cells, delay=delay, generator=draw).double()


def outcome(engine: str, write: HebbianWrite, read: HebbianRead, cuts: tuple[int, int] = (0, 0)) -> list[Tensor]:
    """Spikes, the memory, and all gradients of a sum of everything that comes out, in two pieces each."""
    xs, qs = spikes(130).requires_grad_(), spikes(50).requires_grad_()
    draw = torch.Generator().manual_seed(2)
    memory = (0.3 * torch.rand(BATCH, SIZE, SIZE, generator=draw, dtype=torch.float64)).requires_grad_()
    traces = [
        (0.3 * torch.rand(BATCH, SIZE, generator=draw, dtype=torch.float64)).requires_grad_()
        for _ in range(0 if write.rule is None else 2)
    ]
    leaves = [xs, qs, memory, *traces, write.weight, read.weight]
    with kernels.use(engine):
        state = write.initial_state(xs[0])._replace(memory=memory)
        if traces:
            state = state._replace(traces=HebbianTraces(*traces))
        written, read_out = [], []
        for part in torch.split(xs, [cuts[0], 130 - cuts[0]]) if cuts[0] else [xs]:
            out, state = write(part, state)
            written.append(out)
        after = read.begin(state.memory)
        for part in torch.split(qs, [cuts[1], 50 - cuts[1]]) if cuts[1] else [qs]:
            out, after = read(part, after)
            read_out.append(out)
        whole = [torch.cat(written), torch.cat(read_out), state.memory]
        moving = [state.key.voltage, state.value.voltage, *state.traces, after.key.voltage, after.value.voltage]
        loss = sum(
            (torch.randn(part.shape, generator=draw, dtype=torch.float64) * part).sum() for part in [*whole, *moving]
        )
        assert isinstance(loss, Tensor)
        return [*(part.detach() for part in whole), *torch.autograd.grad(loss, leaves)]


def agree(found: list[Tensor], wanted: list[Tensor]) -> None:
    for part, other in zip(found[:3], wanted[:3], strict=True):
        torch.testing.assert_close(part, other, rtol=0, atol=1e-12)
    for part, other in zip(found[3:], wanted[3:], strict=True):
        torch.testing.assert_close(part, other, rtol=0, atol=1e-9 * max(1.0, float(other.abs().max())))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize(("refractory", "detach"), [(3.0, False), (0.0, True)])
def test_the_fused_loops_are_the_definition(name: str, reset: str, refractory: float, detach: bool) -> None:
    both = pair(RULES[name], refractory=refractory, reset=reset, detach_reset=detach)
    wanted = outcome("torch", *both)
    assert all(part.abs().max() > 0 for part in wanted)
    agree(outcome("numba", *both), wanted)


@pytest.mark.parametrize("cuts", [(61, 20), (100, 2), (1, 49)])
def test_whole_is_chunks_whatever_the_delay(cuts: tuple[int, int]) -> None:
    for delay in (1, 3, 60):
        both = pair(delay=delay)
        agree(outcome("numba", *both, cuts), outcome("numba", *both))


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    both = pair()
    alone = outcome("numba", *both)
    monkeypatch.setattr("spikeloom.kernels.engines.threads._SMALL", 0)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        for part, other in zip(outcome("numba", *both), alone, strict=True):
            assert torch.equal(part, other)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("rule", [inverted_oja(), oja(), hebb(w_max=0.7)])
def test_gradients_of_a_change_of_the_memory(rule: Hebbian) -> None:
    draw = torch.Generator().manual_seed(0)
    given = [torch.rand(2, 3, 4), torch.rand(2, 4), torch.rand(2, 3), torch.rand(2, 4), torch.rand(2, 3)]
    given = [torch.rand(part.shape, generator=draw, dtype=torch.float64, requires_grad=True) for part in given]

    def change(memory: Tensor, pre: Tensor, post: Tensor, *traces: Tensor) -> Tensor:
        found: Tensor = rule.update(memory, pre, post, type(rule.initial_traces(pre, post))(*traces))[0]
        return found

    assert torch.autograd.gradcheck(change, given)


def test_a_memory_stays_between_zero_and_its_bound() -> None:
    write, _ = pair(Hebbian(w_max=0.5))
    with torch.no_grad():
        _, state = write(spikes(400))
    assert 0.0 < float(state.memory.max()) <= 0.5
    assert float(state.memory.min()) >= 0.0


def test_without_keys_or_values_nothing_is_written() -> None:
    for rows in (slice(0, SIZE), slice(SIZE, None)):
        write, _ = pair()
        with torch.no_grad():
            write.weight[rows] = 0.0
        assert write(spikes(100))[1].memory.count_nonzero() == 0
    write, _ = pair(Hebbian(potentiation=0.0))
    assert write(spikes(100))[1].memory.count_nonzero() == 0


def test_reading_leaves_the_memory_alone() -> None:
    _, read = pair()
    memory = torch.rand(BATCH, SIZE, SIZE, dtype=torch.float64)
    _, state = read(spikes(40), read.begin(memory))
    assert torch.equal(state.memory, memory)


@pytest.mark.parametrize(
    ("steps", "first", "second"), [(30, 0.220888, 0.210962), (50, 0.235289, 0.345908), (100, 0.119256, 0.472479)]
)
def test_a_key_that_is_used_again_forgets(steps: int, first: float, second: float) -> None:
    rule, one = inverted_oja(), torch.float64
    weight = torch.zeros(1, 2, 2, dtype=one)
    weight[0, :, 1] = 0.3  # of a key that is not used
    traces = rule.initial_traces(weight[:, 0], weight[:, 0])
    for value in range(2):
        for t in range(steps):
            key, post = torch.zeros(1, 2, dtype=one), torch.zeros(1, 2, dtype=one)
            key[0, 0] = post[0, value] = float(t % 4 == 0)
            weight, traces = rule.update(weight, key, post, traces)
    torch.testing.assert_close(weight[0, :, 0], torch.tensor([first, second], dtype=one), rtol=0, atol=1e-6)
    assert weight[0, :, 1].tolist() == [0.3, 0.3]


def test_samples_do_not_depend_on_one_another_nor_on_the_order_of_neurons() -> None:
    write, read = pair()
    xs, qs = spikes(120), spikes(40)
    _, state = write(xs)
    out, _ = read(qs, read.begin(state.memory))
    _, alone = write(xs[:, 1:2])
    assert torch.equal(alone.memory[0], state.memory[1])
    assert torch.equal(read(qs[:, 1:2], read.begin(alone.memory))[0][:, 0], out[:, 1])
    order = torch.randperm(SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        both = torch.cat([order, SIZE + order])
        write.weight.copy_(write.weight[both])
        read.weight.copy_(read.weight[order][:, torch.cat([torch.arange(INPUTS), INPUTS + order])])
    permuted, _ = read(qs, read.begin(write(xs)[1].memory))
    torch.testing.assert_close(permuted, out[:, :, both], rtol=0, atol=0)


def test_feedback_comes_after_its_delay() -> None:
    _, read = pair(delay=9)
    memory = torch.rand(BATCH, SIZE, SIZE, dtype=torch.float64)
    first, _ = read(spikes(60), read.begin(memory))
    with torch.no_grad():
        read.weight[:, INPUTS:] += 1.0
    second, _ = read(spikes(60), read.begin(memory))
    assert torch.equal(first[:9, :, :SIZE], second[:9, :, :SIZE])
    assert not torch.equal(first, second)


def test_memory_kept_for_the_way_back_is_one_an_item() -> None:
    write, _ = pair()
    kept = list[Tensor]()
    with torch.autograd.graph.saved_tensors_hooks(lambda part: kept.append(part) or part, lambda part: part):  # type: ignore[func-returns-value]
        write(spikes(250))
    numbers = sum(part.numel() for part in kept if part.dim() >= 4 and part.shape[-2:] == (SIZE, SIZE))
    assert numbers == 3 * BATCH * SIZE * SIZE


def test_a_rule_of_ones_own_runs_by_the_definition() -> None:
    class Clocked:
        """Adds what spikes together."""

        def initial_traces(self, pre: Tensor, post: Tensor) -> tuple[()]:
            return ()

        def update(self, weight: Tensor, pre: Tensor, post: Tensor, traces: Any) -> tuple[Tensor, Any]:
            return weight + post.unsqueeze(2) * pre.unsqueeze(1), traces

    layer = HebbianWrite(INPUTS, SIZE, rule=Clocked()).double()
    out, state = layer(spikes(100))
    wanted = torch.einsum("tbi,tbj->bij", out[..., SIZE:], out[..., :SIZE])
    assert torch.equal(state.memory, wanted)


def test_aligned_bothhave_the_same_keys() -> None:
    write, read = HebbianWrite(INPUTS + 2, SIZE), HebbianRead(INPUTS, SIZE)
    align_(write, read, INPUTS)
    xs = spikes(50).float()
    keys, _ = write(torch.cat([xs, torch.ones(50, BATCH, 2)], -1))
    again, _ = read(xs)
    assert torch.equal(keys[..., :SIZE], again[..., :SIZE])
    with pytest.raises(ShapeError, match="one size"):
        align_(write, read, INPUTS - 1)


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(ConfigError, match="delay of at least one step"):
        HebbianRead(2, 2, delay=0)
    with pytest.raises(ConfigError, match="finite recall"):
        HebbianWrite(2, 2, recall=float("nan"))
    with pytest.raises(ConfigError, match="Use one dt"):
        HebbianWrite(2, 2, rule=inverted_oja(dt=0.5))
    write, read = pair()
    with pytest.raises(ShapeError, match="memory of its own"):
        write(spikes(5), write.initial_state(spikes(5)[0])._replace(memory=torch.zeros(SIZE, SIZE)))
    with pytest.raises(ShapeError, match="Begin with"):
        read(spikes(5), HebbianRead(INPUTS, SIZE).double().initial_state(spikes(5)[0]))
    for wrong in ({"potentiation": -1.0}, {"forgets": "both"}, {"w_max": 0.0}, {"tau_trace": -1.0}):
        with pytest.raises(ConfigError, match="Hebbian"):
            Hebbian(**wrong)
    with pytest.raises(ShapeError, match="weights of its own"):
        inverted_oja().update(
            torch.zeros(2, 2), torch.zeros(1, 2), torch.zeros(1, 2), HebbianTraces(*torch.zeros(2, 1, 2))
        )
