"""What PyTorch does with a network: compile, differentiate twice, checkpoint, transform, trace, export, autocast."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from spikeloom import kernels
from spikeloom.core import Stateful
from spikeloom.errors import ConfigError
from spikeloom.firing import SigmoidBernoulli
from spikeloom.kernels.noise import keys
from spikeloom.kernels.repeat import repeatable
from spikeloom.layers import DelayedLinear, Recurrent, Sequential
from spikeloom.layers.hebbian_memory.layer import HebbianRead, HebbianWrite, memory_neuron
from spikeloom.models import LSNN
from spikeloom.neurons import (
    ALIF,
    LIF,
    PSN,
    IntegrateAndFire,
    LeakyReadout,
    LIFCurve,
    MaskedPSN,
    ParaLIF,
    RateNeuron,
    SlidingPSN,
    SynapticLIF,
)
from spikeloom.papers.hebbian_memory.agent import RateRecall
from spikeloom.rules import Hebbian

STEPS = 6


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


NETS: dict[str, Callable[[], nn.Module]] = {
    "two neurons": lambda: Sequential(nn.Linear(4, 4), LIF(threshold=0.2), nn.Linear(4, 4), LeakyReadout()),
    "ALIF, SynapticLIF": lambda: Sequential(ALIF(threshold=0.1, adapt_strength=0.5), SynapticLIF(threshold=0.1)),
    "IntegrateAndFire": lambda: IntegrateAndFire(2.0),
    "learned": lambda: Sequential(nn.Linear(4, 4), LIF(5.0, 0.2, learn=("tau_mem", "threshold"))),
    "recurrent": lambda: Recurrent(LIF(threshold=0.3), DelayedLinear(4, 4, delays=2, generator=seeded())),
    "DelayedLinear": lambda: DelayedLinear(4, 4, generator=seeded()),
    "LSNN": lambda: LSNN(4, 3, 3, 2, delays=2, threshold=0.05, current_noise=0.1, generator=seeded()),
    "ParaLIF SB": lambda: ParaLIF("SB", generator=seeded()),
    "ParaLIF D": lambda: ParaLIF("D", threshold=0.05, integration="scan"),
    "PSN": lambda: PSN(STEPS, generator=seeded()),
    "MaskedPSN": lambda: MaskedPSN(STEPS, 3, generator=seeded()),
    "SlidingPSN": lambda: SlidingPSN(3),
    "RateNeuron": lambda: Sequential(nn.Linear(4, 4), RateNeuron(LIFCurve(), mode="hybrid", gain=5.0)),
    "HebbianWrite": lambda: HebbianWrite(4, 3, memory_neuron(threshold=0.05), generator=seeded()),
    "HebbianRead": lambda: HebbianRead(4, 3, memory_neuron(threshold=0.05), generator=seeded()),
    "RateRecall": lambda: RateRecall(3, 5, 3, Hebbian(tau_trace=0.0), generator=seeded()),
}
ONLY_EAGER = ("RateRecall",)


def make(name: str) -> nn.Module:
    torch.manual_seed(1)
    return NETS[name]()


def inputs(steps: int = STEPS, batch: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(steps, batch, 4, generator=seeded(), dtype=dtype) * 2


def rewound(net: nn.Module) -> None:
    torch.manual_seed(2)
    for part in net.modules():
        generator = getattr(part, "generator", None)
        if isinstance(generator, torch.Generator):
            generator.manual_seed(3)


def tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from tensors(part)


def loss_of(net: Any, xs: Tensor) -> Tensor:
    """Linear in the outputs: its gradient has no graph unless the backward pass makes one."""
    parts = [part for part in tensors(net(xs)) if part.requires_grad]
    total = sum((part * torch.linspace(0.5, 1.5, part.numel()).view(part.shape).to(part)).sum() for part in parts)
    assert isinstance(total, Tensor)
    return total


def outcome(net: nn.Module, run: Any, xs: Tensor) -> list[Tensor]:
    rewound(net)
    xs = xs.clone().requires_grad_()
    loss = loss_of(run, xs)
    found = torch.autograd.grad(loss, [xs, *net.parameters()], allow_unused=True)
    return [loss.detach(), *(part for part in found if part is not None)]


def compiled_equals_eager(name: str, backend: str) -> None:
    torch._dynamo.reset()
    net = make(name)
    compiled = torch.compile(net, fullgraph=True, backend=backend)
    for batch in (2, 3):
        xs = inputs(batch=batch)
        torch.testing.assert_close(outcome(net, compiled, xs), outcome(net, net, xs), rtol=1e-4, atol=1e-5)
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's own tracing
@pytest.mark.parametrize("name", [name for name in NETS if name not in ONLY_EAGER])
def test_one_graph_with_the_numbers_of_eager(name: str) -> None:
    compiled_equals_eager(name, "aot_eager")


@pytest.mark.filterwarnings("ignore")
def test_two_neurons_and_draws_are_one_graph() -> None:
    compiled_equals_eager("two neurons", "aot_eager")
    compiled_equals_eager("ParaLIF SB", "aot_eager")


@pytest.mark.filterwarnings("ignore")
def test_neurons_in_a_row_are_one_graph_of_any_shape() -> None:
    torch._dynamo.reset()
    random = ParaLIF("SB", generator=torch.Generator().manual_seed(0))
    net = Sequential(SlidingPSN(3), nn.Linear(4, 4), MaskedPSN(8, 3), nn.Linear(4, 4), LIF())
    for layers in (net, Sequential(random, nn.Linear(4, 4), random)):
        compiled = torch.compile(layers, backend="aot_eager", fullgraph=True, dynamic=True)
        for batch in (2, 3):
            xs = torch.rand(8, batch, 4, requires_grad=True)
            out = compiled(xs)[0]
            (grad,) = torch.autograd.grad(out.sum(), xs)
            assert out.shape == (8, batch, 4)
            assert grad.shape == xs.shape
            if layers is net:
                torch.testing.assert_close(out, net(xs)[0])
                torch.testing.assert_close(grad, torch.autograd.grad(net(xs)[0].sum(), xs)[0])
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_one_graph_of_inductor() -> None:
    compiled_equals_eager("two neurons", "inductor")


@pytest.mark.filterwarnings("ignore")
def test_a_graph_is_of_the_engine_that_is_chosen_when_it_runs() -> None:
    torch._dynamo.reset()
    net, xs, seen = LIF(threshold=0.2), inputs(), list[str]()

    def look(graph: torch.fx.GraphModule, _: Any) -> Any:
        seen.append("loop" if "spikeloom.spikes" in graph.code else "definition")
        return graph

    compiled = torch.compile(net, fullgraph=True, backend=look)
    first = compiled(xs)[0]
    with kernels.use("torch"):
        torch.testing.assert_close(compiled(xs)[0], first)
    compiled(xs)
    assert seen[:2] == ["loop", "definition"]
    assert seen.count("definition") == 1
    torch._dynamo.reset()


@pytest.mark.parametrize("name", NETS)
def test_second_derivatives_are_those_of_the_definition(name: str) -> None:
    net, xs = make(name).double(), inputs(dtype=torch.float64).requires_grad_()

    def second() -> list[Tensor]:
        rewound(net)
        (first,) = torch.autograd.grad(loss_of(net, xs), xs, create_graph=True)
        found = torch.autograd.grad(first.square().sum(), [xs, *net.parameters()], allow_unused=True)
        return [first.detach(), *(torch.zeros(()) if part is None else part for part in found)]

    if name == "DelayedLinear":  # linear in its inputs: the second derivative is that by the weight
        assert second()[2].abs().sum() > 0
    ours = second()
    with kernels.use("torch"):
        torch.testing.assert_close(ours, second(), check_dtype=False)


def test_the_second_derivative_of_the_rate_curve() -> None:
    for smoothing in (0.0, 0.05, 0.3):
        curve = LIFCurve(smoothing=smoothing)
        xs = torch.tensor([-3.0, 0.5, 0.97, 1.02, 1.3, 8.0], dtype=torch.float64, requires_grad=True)

        def slope(xs: Tensor, curve: LIFCurve = curve) -> Tensor:
            return torch.autograd.grad(curve.rate(xs).sum(), xs, create_graph=True)[0]

        (found,) = torch.autograd.grad(slope(xs).sum(), xs)
        shift = 1e-6
        expected = (slope(xs + shift) - slope(xs - shift)) / (2 * shift)
        torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["two neurons", "recurrent", "HebbianWrite"])
def test_batched_gradients(name: str) -> None:
    net, xs = make(name), inputs().requires_grad_()
    out = next(part for part in tensors(net(xs)) if part.requires_grad)
    grads = torch.randn(3, *out.shape, generator=seeded())
    (batched,) = torch.autograd.grad(out, xs, grads, is_grads_batched=True, retain_graph=True)
    for grad, row in zip(grads, batched, strict=True):
        torch.testing.assert_close(torch.autograd.grad(out, xs, grad, retain_graph=True)[0], row, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["two neurons", "recurrent", "ParaLIF SB", "LSNN", "PSN", "HebbianWrite"])
def test_function_transforms(name: str) -> None:
    net, xs = make(name).double(), inputs(dtype=torch.float64)
    weights: dict[str, Tensor] = dict(net.named_parameters())

    def loss(xs: Tensor) -> Tensor:
        rewound(net)
        parts = [part for part in tensors(torch.func.functional_call(net, weights, (xs,))) if part.is_floating_point()]
        return parts[0].sin().sum()

    leaf = xs.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(leaf), leaf)
    torch.testing.assert_close(torch.func.grad(loss)(xs), expected)
    many = torch.func.vmap(torch.func.grad(loss), randomness="same")(torch.stack([xs, xs]))
    torch.testing.assert_close(many[1], expected)
    direction = torch.randn(xs.shape, generator=seeded(), dtype=xs.dtype)
    torch.testing.assert_close(torch.func.jvp(loss, (xs,), (direction,))[1], (expected * direction).sum())


class First(nn.Module):
    """The outputs without the state."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, xs: Tensor) -> Tensor:
        out: Tensor = self.net(xs)[0]
        return out


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["two neurons", "recurrent"])
def test_traces_and_exported_programs_need_no_operator_of_ours(name: str) -> None:
    net, xs = First(make(name)), inputs()
    traced = torch.jit.trace(net, (xs,), check_trace=False)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(traced(xs), net(xs))
    program = torch.export.export(net, (xs,))
    torch.testing.assert_close(program.module()(xs), net(xs))
    assert not any("spikeloom" in str(node.target) for node in program.graph.nodes)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_onnx(tmp_path: Any) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    path = tmp_path / "net.onnx"
    torch.onnx.export(First(make("two neurons")), (inputs(),), str(path))
    assert path.exists()


def test_tensors_without_memory() -> None:
    for name in ("two neurons", "recurrent"):
        net = make(name).to("meta")
        assert net(torch.empty(STEPS, 2, 4, device="meta"))[0].shape == (STEPS, 2, 4)


def run_in_parts(net: list[Stateful], xs: Tensor, together: bool, **options: Any) -> Tensor:
    """The layers in a row, all in one part or each in its own; plain without options."""

    def part(layers: list[Stateful]) -> Callable[[Tensor], Tensor]:
        def run(xs: Tensor) -> Tensor:
            for layer in layers:
                xs = layer(xs)[0]
            return xs

        return run

    for layers in [net] if together else [[layer] for layer in net]:
        xs = checkpoint(part(layers), xs, **options) if options else part(layers)(xs)
    return xs


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("together", [False, True])
def test_a_checkpointed_part_draws_the_same_again(reentrant: bool, together: bool) -> None:
    generator = seeded()
    once = Sequential(nn.Linear(4, 4), nn.Linear(4, 4), ParaLIF("SB", generator=generator))
    shared = LIF(surrogate=SigmoidBernoulli(), generator=generator)
    net: list[Stateful] = [once, shared, once, LSNN(4, 3, 3, 4, current_noise=0.3, generator=seeded(5)).hidden.neuron]
    net[3] = ParaLIF("GS", generator=seeded(6))
    weight = torch.randn(STEPS, 2, 4, generator=seeded(7))

    def gradients(**options: Any) -> list[Tensor]:
        generator.manual_seed(3)
        net[3].generator.manual_seed(4)  # type: ignore[union-attr, operator]
        xs = inputs().requires_grad_()
        once.zero_grad()
        torch.autograd.backward((run_in_parts(net, xs, together, **options) * weight).sum())
        grads = [parameter.grad.clone() for parameter in once.parameters() if parameter.grad is not None]
        assert xs.grad is not None
        return [xs.grad, *grads, generator.get_state()]

    torch.testing.assert_close(gradients(use_reentrant=reentrant), gradients())


def test_a_recomputation_that_cannot_be_followed_is_an_error() -> None:
    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, xs: Tensor) -> Tensor:
            return xs.clone()

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> Tensor:
            keys(2, torch.device("cpu"), seeded())
            return grads[0]

    xs = inputs().requires_grad_()
    with pytest.raises(ConfigError, match="nothing says what it drew in the forward pass"):
        Own.apply(xs).sum().backward()  # type: ignore[no-untyped-call]
    generator = seeded()
    assert repeatable(generator) is generator


def test_a_checkpointed_part_that_draws_more_often_the_second_time_is_an_error() -> None:
    times = [1, 2]
    neuron = ParaLIF("SB", generator=seeded())

    def part(xs: Tensor) -> Tensor:
        for _ in range(times.pop(0)):
            xs = neuron(xs)[0]
        return xs

    xs = inputs().requires_grad_()
    with pytest.raises(ConfigError, match="nothing says what it drew in the forward pass"):
        checkpoint(part, xs, use_reentrant=True).sum().backward()


@pytest.mark.parametrize("share", [0.05, 1.0])
@pytest.mark.parametrize("delays", [1, 3])
def test_autocast_leaves_synapses_with_delays_in_full_precision(share: float, delays: int) -> None:
    layer = DelayedLinear(40, 5, delays=delays, generator=seeded())
    xs = (torch.rand(9, 3, 40, generator=seeded()) < share).float().requires_grad_()
    expected = layer(xs)[0]
    for engine in ("numba", "torch"):
        with torch.autocast("cpu", dtype=torch.bfloat16), kernels.use(engine):
            found = layer(xs)[0]
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected)


def test_steps_left_have_no_gradient_in_any_engine() -> None:
    xs = inputs().requires_grad_()
    for engine in ("numba", "torch"):
        with kernels.use(engine):
            assert not LIF(refractory=2.0)(xs)[1].refractory.requires_grad
