"""What takes a sequence [T, B, N]: every public layer and neuron, one row each, and what strangers pass to it.

A cell is a row and an input. It either equals the definition, the same layer in float64 on the engine "torch" with the
input as float64, or raises a `SpikeloomError` that names the layer. An input that no definition takes must raise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from examples.own_neuron import neurons as own_neurons
from spikeloom.convert import QCFS, convert
from spikeloom.layers import (
    Branches,
    DelayedLinear,
    RectifiedRecurrent,
    Recurrent,
    Residual,
    SequenceDropout,
    Sequential,
    SignedSparseLinear,
    SparseDelayedLinear,
    TwoPass,
)
from spikeloom.layers.hebbian_memory.layer import HebbianRead, HebbianWrite
from spikeloom.models import LSNN, DiehlCookNetwork, LSTMBaseline, NeuronOptions, ParallelNetwork
from spikeloom.neurons import (
    ALIF,
    LIF,
    PSN,
    DiehlCook,
    IntegrateAndFire,
    LeakyReadout,
    LeakyReLUCurve,
    LIFCurve,
    Lowpass,
    MaskedPSN,
    MembraneLIF,
    ParaLIF,
    QCFSCurve,
    RateNeuron,
    ReLUCurve,
    SigmoidCurve,
    SlidingPSN,
    SynapticLIF,
    SynapticReadout,
    TanhCurve,
)
from spikeloom.rules import pair_stdp

T, B, N = 7, 3, 5
"""All different: what changes places is seen. `N` is what a row is made for, except by `one neuron`."""


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(n_in: int, n_out: int) -> nn.Linear:
    """Weights that make spikes, the same every time."""
    layer = nn.Linear(n_in, n_out)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(torch.randn(weight.shape, generator=seeded()))
    return layer


def plain(n_in: int, n_out: int) -> nn.Linear:
    layer = linear(n_in, n_out)
    layer.register_parameter("bias", None)
    return layer


def relu_network(n: int) -> nn.Module:
    model = nn.Sequential(linear(n, 4), nn.ReLU(), linear(4, 3)).eval()
    return convert(model, example=torch.ones(2, n), scale=10.0).eval()


@dataclass(frozen=True)
class Row:
    """A layer, by what makes it for so many inputs."""

    make: Callable[[int], nn.Module]
    scale: float = 3.0
    """Inputs go from 0 to this."""
    learns: bool = True
    """Whether a gradient goes through it."""
    timeless: bool = False
    """It takes [samples, N], not a sequence."""
    spreads: bool = False
    """In the definition an extreme value reaches other steps of its sample: as 0 x inf in products over the slots of
    delays, or as rounding in a Fourier transform. Then only the other samples are compared."""


LAYERS = {
    "LIF": Row(lambda n: LIF()),
    "LIF-zero": Row(lambda n: LIF(reset="zero", refractory=2.0)),
    "IntegrateAndFire": Row(lambda n: IntegrateAndFire(2.0)),
    "ALIF": Row(lambda n: ALIF(adapt_strength=0.5, threshold=0.3)),
    "SynapticLIF": Row(lambda n: SynapticLIF()),
    "SynapticLIF-refractory": Row(lambda n: SynapticLIF(refractory=2.0)),
    "SynapticReadout": Row(lambda n: SynapticReadout()),
    "LeakyReadout": Row(lambda n: LeakyReadout()),
    "Lowpass": Row(lambda n: Lowpass(10.0)),
    "Lowpass-debias": Row(lambda n: Lowpass(10.0, delay=False, debias=True)),
    "FromEquation": Row(own_neurons),
    "ParaLIF-SB": Row(lambda n: ParaLIF("SB", generator=seeded())),
    "ParaLIF-D": Row(lambda n: ParaLIF("D", threshold=0.05)),
    "ParaLIF-fft": Row(lambda n: ParaLIF("D", threshold=0.05, integration="fft"), spreads=True),
    "PSN": Row(lambda n: PSN(T, generator=seeded()), scale=9.0),
    "MaskedPSN": Row(lambda n: MaskedPSN(T, 3, generator=seeded()), scale=9.0),
    "SlidingPSN": Row(lambda n: SlidingPSN(3)),
    "DiehlCook": Row(lambda n: DiehlCook(n, generator=seeded()).eval(), scale=9.0, learns=False),
    "MembraneLIF": Row(lambda n: MembraneLIF(n), scale=30.0, learns=False),
    "RateNeuron": Row(lambda n: RateNeuron(LIFCurve(), mode="rate")),
    "RateNeuron-lif": Row(lambda n: RateNeuron(LIFCurve(), mode="hybrid")),
    "RateNeuron-regular": Row(lambda n: RateNeuron(ReLUCurve(), mode="hybrid", gain=100.0)),
    "RateNeuron-signed": Row(lambda n: RateNeuron(LeakyReLUCurve(), mode="hybrid", gain=-200.0)),
    "RateNeuron-counts": Row(lambda n: RateNeuron(ReLUCurve(), partner="integrate_and_fire", mode="hybrid")),
    "RateNeuron-stochastic": Row(
        lambda n: RateNeuron(ReLUCurve(), partner="stochastic", mode="hybrid", gain=300.0, generator=seeded())
    ),
    "RateNeuron-poisson": Row(
        lambda n: RateNeuron(ReLUCurve(), partner="poisson", mode="hybrid", gain=300.0, generator=seeded())
    ),
    "RateNeuron-qcfs": Row(lambda n: RateNeuron(QCFSCurve(4), threshold=2.0, v_init=0.5, mode="hybrid")),
    "RateNeuron-sigmoid": Row(lambda n: RateNeuron(SigmoidCurve(), mode="rate")),
    "RateNeuron-tanh": Row(lambda n: RateNeuron(TanhCurve(), mode="rate")),
    "DelayedLinear": Row(lambda n: DelayedLinear(n, 4, delays=4, generator=seeded()), spreads=True),
    "DelayedLinear-bias": Row(lambda n: DelayedLinear(n, 4, bias=True, generator=seeded())),
    "SparseDelayedLinear": Row(
        lambda n: SparseDelayedLinear(n, 4, delays=4, connectivity=0.5, generator=seeded()), spreads=True
    ),
    "SignedSparseLinear": Row(lambda n: SignedSparseLinear(n, 4, connectivity=0.5, generator=seeded()), timeless=True),
    "Recurrent": Row(
        lambda n: Recurrent(LIF(threshold=0.4), DelayedLinear(n, n, delays=4, generator=seeded())), spreads=True
    ),
    "Recurrent-plain": Row(lambda n: Recurrent(LIF(threshold=0.4), plain(n, n))),
    "RectifiedRecurrent": Row(lambda n: RectifiedRecurrent(SynapticLIF(), linear(n, n))),
    "TwoPass": Row(lambda n: TwoPass(ParaLIF("D", threshold=0.05), linear(n, n))),
    "Sequential": Row(lambda n: Sequential(linear(n, 8), LIF(threshold=0.4), linear(8, 4), LeakyReadout())),
    "Residual": Row(lambda n: Residual(Sequential(linear(n, n), LIF(threshold=0.4)))),
    "Branches": Row(lambda n: Branches(linear(n, 4), Sequential(linear(n, 4), LIF(threshold=0.4)))),
    "SequenceDropout": Row(lambda n: SequenceDropout(0.5, generator=seeded())),
    "HebbianWrite": Row(lambda n: HebbianWrite(n, 4, generator=seeded())),
    "HebbianRead": Row(lambda n: HebbianRead(n, 4, delay=2, generator=seeded())),
    "LSNN": Row(lambda n: LSNN(n, 3, 3, 4, delays=3, threshold=0.3, generator=seeded()), spreads=True),
    "LSTMBaseline": Row(lambda n: LSTMBaseline(n, 6, 4, generator=seeded())),
    "ParallelNetwork": Row(lambda n: ParallelNetwork(n, 6, 4, layers=2, neuron="D", generator=seeded())),
    "ParallelNetwork-LIF": Row(
        lambda n: ParallelNetwork(
            n, 6, 4, layers=1, neuron="LIF", options=NeuronOptions(recurrent="spikes"), generator=seeded()
        )
    ),
    "DiehlCookNetwork": Row(
        lambda n: DiehlCookNetwork(
            n, DiehlCook(4, generator=seeded()), pair_stdp(), inhibitory=MembraneLIF(4), scale=9.0, generator=seeded()
        ).eval(),
        learns=False,
    ),
    "Converted": Row(relu_network),
    "QCFS": Row(lambda n: QCFS(), timeless=True),
}
"""Names as in the package; behind a hyphen, which variant."""

Hostile = Callable[[Tensor], tuple[Any, Tensor | None]]
"""From a valid float32 input, what is passed, and the same as float64 for the definition (None: an error is due)."""


def same(x: Tensor) -> tuple[Tensor, Tensor]:
    return x, x.detach().double()


def holding(value: float) -> Hostile:
    """One value of the first sample is this."""

    def change(x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.clone()
        x[(1, 0, 2)[-x.dim() :]] = value
        return same(x)

    return change


def inference(x: Tensor) -> tuple[Tensor, Tensor]:
    with torch.inference_mode():
        made = x.clone()
    return made, x.double()


def read_only(x: Tensor) -> tuple[Any, Tensor]:
    array = x.numpy().copy()
    array.flags.writeable = False
    return array, x.double()


def negative_view(x: Tensor) -> tuple[Tensor, Tensor]:
    """Its memory holds the negative of its values."""
    return torch.complex(torch.zeros_like(x), -x).conj().imag, x.double()


VALUES: dict[str, Hostile] = {
    "plain": same,
    "int64": lambda x: same(x.round().long()),
    "uint8": lambda x: same(x.round().to(torch.uint8)),
    "bool": lambda x: same(x > x.mean()),
    "float16": lambda x: same(x.half()),
    "bfloat16": lambda x: same(x.bfloat16()),
    "float64": lambda x: same(x.double()),
    "complex64": lambda x: (x.to(torch.complex64), None),
    "nan": holding(float("nan")),
    "inf": holding(float("inf")),
    "-inf": holding(-float("inf")),
    "1e30": holding(1e30),
    "-1e30": holding(-1e30),
    "denormal": holding(1e-40),
    "negative": lambda x: same(-x),
}
SHAPES: dict[str, Hostile] = {
    "no-samples": lambda x: same(x[..., :0, :]),
    "no-steps": lambda x: same(x[:0]),
    "one-step": lambda x: same(x[:1]),
    "no-neurons": lambda x: same(x[..., :0]),
    "one-neuron-more": lambda x: same(torch.cat([x, x[..., :1]], -1)),
    "scalar": lambda x: same(x.sum()),
    "vector": lambda x: same(x[..., 0, 0] if x.dim() == 3 else x[:, 0]),
    "slice": lambda x: same(x[0]),
    "image": lambda x: same(x.unsqueeze(-2).expand(*x.shape[:-1], 2, x.shape[-1])),
}
STORAGE: dict[str, Hostile] = {
    "transposed": lambda x: same(x.transpose(0, -2).contiguous().transpose(0, -2)),
    "reversed-order": lambda x: same(x.mT.contiguous().mT),
    "sliced": lambda x: same(torch.cat([x, -x], -1)[..., : x.shape[-1]]),
    "every-other": lambda x: same(x.repeat_interleave(2, -1)[..., ::2]),
    "expanded-time": lambda x: same(x[:1].expand_as(x)),
    "expanded-batch": lambda x: same(x[..., :1, :].expand_as(x)),
    "expanded-neurons": lambda x: same(x[..., :1].expand_as(x)),
    "inference": inference,
    "negative-view": negative_view,
    "leaf": lambda x: same(x.clone().requires_grad_()),
    "parameter": lambda x: same(nn.Parameter(x.clone())),
    "meta": lambda x: (x.to("meta"), None),
    "sparse": lambda x: (x.to_sparse(), x.double()),
    "quantized": lambda x: (torch.quantize_per_tensor(x, 0.1, 0, torch.quint8), None),
    "nested": lambda x: (torch.nested.nested_tensor(list(x)), None),
    "float8": lambda x: (x.to(torch.float8_e4m3fn), None),
    "uint64": lambda x: (x.round().to(torch.uint64), x.round().double()),
    "mkldnn": lambda x: (x.to_mkldnn(), x.double()),
    "read-only-array": read_only,
    "list": lambda x: (x.tolist(), x.double()),
    "tuple": lambda x: ((x, x), None),
    "none": lambda x: (None, None),
    "text": lambda x: ("spikes", None),
    "number": lambda x: (1.0, None),
}
INPUTS = VALUES | SHAPES | STORAGE


def valid(row: Row, n: int = N) -> Tensor:
    """An input that no layer refuses: a fifth is zero."""
    shape = (T, B, n)
    xs = torch.rand(shape, generator=seeded(1)) * row.scale * (torch.rand(shape, generator=seeded(2)) < 0.8)
    return xs[:, 0] if row.timeless else xs
