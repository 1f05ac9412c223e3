"""The loops are ordinary operators: opcheck, torch.compile, autocast, and engines by name."""

import pytest
import torch
from torch.library import opcheck

from spikeloom import kernels
from spikeloom.errors import ConfigError
from spikeloom.firing import SigmoidBernoulli
from spikeloom.kernels.engines import operators
from spikeloom.kernels.noise import keys
from spikeloom.layers import DelayedLinear, Recurrent, Sequential
from spikeloom.neurons import ALIF, LIF, Neuron, ParaLIF, SynapticLIF


def test_opcheck_of_the_neurons() -> None:
    zeros = torch.zeros(3, 4)
    parameters = [torch.tensor(0.9), torch.tensor(1.0)]
    xs = torch.rand(6, 3, 4, requires_grad=True)
    noise = keys(3, xs.device, torch.Generator().manual_seed(0))
    random = LIF(surrogate=SigmoidBernoulli(), memory="lean")
    for neuron, memory, draws in (
        (LIF(refractory=2.0), "fast", None), (LIF(refractory=2.0), "lean", None), (random, "lean", noise),
    ):  # fmt: skip
        key = neuron.program.key
        opcheck(
            operators.spikes,
            (xs, [zeros], zeros, zeros, parameters, None, None, None, draws, False, memory, "", key, "numba"),
        )


def test_opcheck_of_recurrence_and_projection() -> None:
    neuron = ALIF()
    zeros = torch.zeros(3, 4)
    parameters = [torch.tensor(value) for value in (0.9, 0.99, 1.7, 0.01)]
    weight = torch.randn(4, 4, requires_grad=True)
    delays = torch.randint(0, 3, (4, 4))
    history = torch.zeros(3, 3, 4)
    xs = torch.rand(6, 3, 4, requires_grad=True)
    opcheck(
        operators.spikes,
        (
            xs,
            [zeros, zeros],
            zeros,
            zeros,
            parameters,
            history,
            weight,
            delays,
            None,
            False,
            "fast",
            "",
            neuron.program.key,
            "numba",
        ),
    )
    opcheck(operators.project, (xs, torch.zeros(2, 3, 4), weight, delays, False))
    opcheck(operators.project, (xs, torch.zeros(2, 3, 4), weight, delays, True))


@pytest.mark.filterwarnings("ignore")  # of torch's own tracing
def test_torch_compile_sees_ordinary_operators() -> None:
    torch._dynamo.reset()
    net = Sequential(torch.nn.Linear(4, 6), LIF(), torch.nn.Linear(6, 2))
    xs = torch.rand(7, 3, 4)
    compiled = torch.compile(net, backend="aot_eager")
    torch.testing.assert_close(compiled(xs)[0], net(xs)[0])
    compiled(xs)[0].sum().backward()
    assert net.layers[0].weight.grad is not None
    torch._dynamo.reset()


def test_membranes_stay_float32_under_autocast() -> None:
    net = Sequential(torch.nn.Linear(4, 6), LIF())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        spikes, state = net(torch.rand(7, 3, 4))
    assert state[1].voltage.dtype == torch.float32
    assert spikes.dtype == torch.float32


def test_engines_by_name() -> None:
    xs = torch.rand(5, 2, 3)
    with kernels.use("torch"):
        assert kernels.engine_for(xs) == "torch"
    assert kernels.engine_for(xs) == "numba"
    with pytest.raises(ConfigError, match="Choose one of numba, torch, triton"), kernels.use("fortran"):
        pass


def test_nothing_is_kept_without_gradient() -> None:
    xs = torch.rand(5, 2, 3)
    neuron = LIF()
    out = operators.spikes(
        xs, [xs[0]], xs[0], xs[0] * 0, [torch.tensor(0.9), torch.tensor(1.0)], None, None, None, None, False, "none",
        "",
        neuron.program.key, "numba",
    )  # fmt: skip
    assert len(out) == 3


@pytest.mark.parametrize("memory", ["fast", "lean"])
def test_bytes_kept_per_step_sample_and_neuron(memory: str) -> None:
    most = {("LIF", "fast"): 4.0, ("LIF", "lean"): 0.25, ("ALIF", "fast"): 8.0, ("ALIF", "lean"): 0.25}
    batch, size = 4, 10
    most |= {
        ("ParaLIF", "fast"): 4.0,
        ("ParaLIF", "lean"): 0.25,
        ("SynapticLIF", "fast"): 4.0,
        ("SynapticLIF", "lean"): 0.25,
    }

    def kept_bytes(neuron: Neuron, steps: int) -> int:
        kept: list[torch.Tensor] = []
        xs = torch.rand(steps, batch, size, requires_grad=True)

        def keep(t: torch.Tensor) -> torch.Tensor:
            kept.append(t)
            return t

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            out, _ = neuron(xs)
        known = {xs.data_ptr(), out.data_ptr()}
        return sum({t.data_ptr(): t.numel() * t.element_size() for t in kept if t.data_ptr() not in known}.values())

    for neuron in (*(kind(memory=memory) for kind in (LIF, ALIF, SynapticLIF)), ParaLIF("SB", memory=memory)):
        growth = kept_bytes(neuron, 640) - kept_bytes(neuron, 320)  # states and values do not grow with time
        assert growth <= most[type(neuron).__name__, memory] * 320 * batch * size
        assert kept_bytes(neuron, 320) <= most[type(neuron).__name__, memory] * 320 * batch * size + 64 * batch * size


def test_layers_work_in_worker_processes_after_a_kernel_ran_on_threads() -> None:
    """Loaders start their workers by spawning: a fork would copy locks that threads hold."""
    import multiprocessing

    layer = Recurrent(LIF(), DelayedLinear(40, 40))
    torch.set_num_threads(2)
    layer(torch.rand(100, 40, 40))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_spikes_of, (layer,)) >= 0


def _spikes_of(layer: Recurrent) -> float:
    return float(layer(torch.rand(100, 40, 40))[0].sum())
