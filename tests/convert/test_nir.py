"""To NIR and back: the same numbers; and everything that cannot go there is named."""

import math
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spikeloom.convert import convert, maximum
from spikeloom.convert.nir import Scaling, from_nir, read_nir, to_nir, write_nir
from spikeloom.core import Stateful
from spikeloom.errors import ConfigError, DataError, ExportError
from spikeloom.firing import SigmoidBernoulli
from spikeloom.layers import DelayedLinear, Recurrent, Sequential
from spikeloom.neurons import (
    ALIF,
    LIF,
    LeakyReadout,
    LIFCurve,
    Lowpass,
    QCFSCurve,
    RateNeuron,
    ReLUCurve,
    SynapticLIF,
    SynapticReadout,
)
from spikeloom.papers.nengo.network import ConvRateNetwork

nir = pytest.importorskip("nir", reason="needs the extra nir")
FREE = -math.inf


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filled(model: nn.Module) -> nn.Module:
    """The model with weights from a generator."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, 0.3, 0.6, generator=generator)
    return model.eval()


def counting(curve: Any = None, **options: Any) -> RateNeuron:
    """An integrate-and-fire neuron."""
    return RateNeuron(curve or ReLUCurve(), partner="integrate_and_fire", **options)


def small(dt: float = 1.0) -> Sequential:
    return Sequential(
        nn.Conv2d(2, 4, 3, padding=1), counting(max_spikes=1, threshold=0.7, dt=dt), nn.AvgPool2d(2),
        nn.Conv2d(4, 3, 3, stride=2), LIF(7.0, 0.2, dt=dt), nn.Flatten(), nn.Linear(12, 5), LeakyReadout(11.0, dt=dt),
    )  # fmt: skip


def compare(model: Any, shape: tuple[int, ...], path: Path | None = None, dt: float = 1.0) -> Any:
    """Export, import, and run both in float64 and in float32; the last result."""
    model = model if isinstance(model, Stateful) else Sequential(model)
    filled(model)
    for kind in (torch.float64, torch.float32):
        model.to(kind)
        graph = to_nir(model, shape)
        if path is not None:
            write_nir(graph, path)
            graph = read_nir(path)
        back = from_nir(graph, dt, dtype=kind)
        xs = (3 * drawn(40, 2, *shape)).to(kind)
        out, found = model(xs)[0], back(xs)[0]
        assert found.dtype == kind
        assert bool((out != 0).any())
        torch.testing.assert_close(found, out, atol=1e-6, rtol=1e-6)
    return back


def per_neuron(low: float, high: float) -> Tensor:
    return low + (high - low) * drawn(6, seed=3)


NEURONS: dict[str, Callable[[], Any]] = {
    "lif": lambda: LIF(17.3, 0.9),
    "lif_zero": lambda: LIF(5.0, 1.1, reset="zero", dt=0.5),
    "lif_learned": lambda: LIF(nn.Parameter(torch.tensor(9.0)), nn.Parameter(torch.tensor(0.8))),
    "lif_each": lambda: LIF(per_neuron(5, 30), per_neuron(0.5, 2)),
    "readout": lambda: LeakyReadout(13.0),
    "readout_each": lambda: LeakyReadout(per_neuron(5, 30), dt=2.0),
    "synaptic_lif": lambda: SynapticLIF(20.0, 7.0, 1.3),
    "synaptic_lif_each": lambda: SynapticLIF(per_neuron(5, 30), per_neuron(2, 9), per_neuron(1, 2)),
    "no_synapse": lambda: SynapticLIF(20.0, None),
    "synaptic_readout": lambda: SynapticReadout(20.0, 7.0, dt=0.5),
    "learned_taus": lambda: SynapticReadout(20.0, 7.0, learn_tau=True),
    "if": lambda: counting(),
    "if_one": lambda: counting(max_spikes=1, threshold=0.7, dt=0.7),
    "if_qcfs": lambda: counting(QCFSCurve(4), threshold=1.7),
    "if_each": lambda: counting(gain=per_neuron(0.5, 2), threshold=per_neuron(0.5, 2), scale=3.0, amplitude=0.1),
    "rate_lif": lambda: RateNeuron(LIFCurve(20.0, 0.0), min_voltage=FREE),
    "rate_lif_each": lambda: RateNeuron(
        LIFCurve(20.0, 0.0), min_voltage=FREE, gain=per_neuron(1, 2), bias=per_neuron(0, 2), scale=2.0, amplitude=0.01
    ),
}

LAYERS = {
    "linear": (nn.Linear(4, 3), (4,)),
    "linear_without_bias": (nn.Linear(4, 3, bias=False), (4,)),
    "synapses": (DelayedLinear(4, 3), (4,)),
    "synapses_with_bias": (DelayedLinear(4, 3, bias=True), (4,)),
    "conv1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2), (4, 9)),
    "conv1d_same": (nn.Conv1d(2, 3, 3, padding="same", bias=False), (2, 9)),
    "conv2d": (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2), (4, 9, 8)),
    "conv2d_valid": (nn.Conv2d(2, 3, 3, padding="valid", bias=False), (2, 9, 8)),
    "pool": (nn.AvgPool2d(2), (2, 5, 6)),
    "pool_padded": (nn.AvgPool2d((3, 2), stride=1, padding=1), (2, 5, 6)),
    "pool_sum": (nn.AvgPool2d(2, divisor_override=1), (2, 5, 6)),
    "flatten": (nn.Flatten(), (2, 5, 6)),
    "flatten_some": (nn.Flatten(1, 2), (2, 5, 6)),
    "flatten_last": (nn.Flatten(-2), (2, 5, 6)),
    "scaling": (Scaling(2.5), (2, 5)),
    "nothing": (nn.Sequential(nn.Identity(), nn.Dropout(0.5)), (3,)),
}


@pytest.mark.parametrize("name", NEURONS)
def test_neurons_come_back(name: str, tmp_path: Path) -> None:
    neuron = NEURONS[name]()
    back = compare(neuron, (6,), tmp_path / "a.nir", neuron.dt)
    assert type(back.layers[0]) is type(neuron)
    assert len(back.layers) == (2 if name in ("if_each", "rate_lif", "rate_lif_each") else 1)  # a height besides 1


@pytest.mark.parametrize("name", LAYERS)
def test_layers_come_back(name: str, tmp_path: Path) -> None:
    layer, shape = LAYERS[name]
    compare(layer, shape, tmp_path / "a.nir")


@pytest.mark.parametrize("dt", [1.0, 0.5])
def test_a_convolutional_network_comes_back(dt: float, tmp_path: Path) -> None:
    back = compare(small(dt), (2, 10, 10), tmp_path / "deep" / "net.nir", dt)
    names = ["Conv2d", "RateNeuron", "AvgPool2d", "Conv2d", "LIF", "Flatten", "Linear", "LeakyReadout"]
    assert [type(layer).__name__ for layer in back.layers] == names
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["net.nir"]
    strict = nir.read(tmp_path / "deep" / "net.nir")  # with nir's own checks of all shapes
    assert strict.check_types()
    assert list(read_nir(tmp_path / "deep" / "net.nir").metadata) == ["dt_ms", "made_by"]


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_convolutions_of_any_size_come_back(data: st.DataObject) -> None:
    def size(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    groups = size(1, 3)
    layer = nn.Conv2d(
        groups * size(1, 2), groups * size(1, 2), (size(1, 3), size(1, 3)), (size(1, 3), size(1, 2)),
        (size(0, 2), size(0, 2)), (size(1, 2), size(1, 2)), groups, bias=data.draw(st.booleans()),
    )  # fmt: skip
    shape = (layer.in_channels, size(5, 9), size(5, 9))
    filled(layer).double()
    graph = to_nir(nn.Sequential(layer, nn.Flatten()), shape)
    x = drawn(1, 2, *shape)
    torch.testing.assert_close(from_nir(graph)(x)[0], layer(x[0]).flatten(1)[None])
    assert graph.check_types()


def test_units_and_values() -> None:
    graph = to_nir(Sequential(LIF(20.0, 0.5), SynapticLIF(30.0, 10.0), counting(gain=2.0, threshold=3.0, dt=1.0)), (2,))
    lif, synaptic, counts, height = (graph.nodes[f"layers.{name}"] for name in ("0", "1", "2", "2.height"))
    assert (lif.tau.tolist(), lif.v_threshold.tolist(), lif.metadata) == ([0.02] * 2, [0.5] * 2, {"reset": "subtract"})
    assert (synaptic.tau_mem[0], synaptic.tau_syn[0]) == (0.03, 0.01)
    assert synaptic.w_in[0] == pytest.approx(1 / (1 - math.exp(-0.1)))
    assert (counts.r[0], counts.v_threshold[0], counts.metadata) == (2000.0, 3.0, {"max_spikes": 0})
    assert height.scale.tolist() == [3.0, 3.0]
    assert graph.edges[:2] == [("input", "layers.0"), ("layers.0", "layers.1")]


def test_a_leak_voltage_is_a_bias() -> None:
    """Driven by v_leak alone, the neuron fires when the closed form has passed the threshold; then it starts afresh."""
    one = np.ones(1)
    graph = nir.NIRGraph.from_list(nir.LIF(0.02 * one, one, 2.6 * one, 2 * one))
    period = 20.0 * math.log(1.3 / 0.3)
    for dt in (1.0, 0.25):
        out = from_nir(graph, dt)(torch.zeros(int(200 / dt), 1, 1))[0].flatten()
        times = ((out.nonzero().flatten() + 1) * dt).tolist()
        one_period = math.ceil(period / dt) * dt
        assert times == [one_period * n for n in range(1, int(200 / one_period) + 1)]


def test_foreign_graphs() -> None:
    """Resistances, input weights, no metadata: as the equations say, computed here from them."""
    ones = np.ones(2)
    lif = nir.LIF(0.01 * ones, 3 * ones, 0 * ones, 2 * ones)
    cuba = nir.CubaLI(0.005 * ones, 0.01 * ones, 2 * ones, 0 * ones, 4 * ones)
    xs = drawn(30, 1, 2)
    v, wanted, s = torch.zeros(1, 2).double(), [], torch.zeros(1, 2).double()
    for x in xs:
        d = math.exp(-0.1)
        v = d * v * (1 - s) + (1 - d) * 3 * x
        s = (v > 2).double()
        wanted.append(s)
    torch.testing.assert_close(from_nir(nir.NIRGraph.from_list(lif))(xs)[0], torch.stack(wanted))
    j, v, wanted = torch.zeros(1, 2).double(), torch.zeros(1, 2).double(), []
    for x in xs:
        a, d = math.exp(-0.2), math.exp(-0.1)
        j = a * j + (1 - a) * 4 * x
        v = d * v + (1 - d) * 2 * j
        wanted.append(v)
    found = from_nir(nir.NIRGraph.from_list(cuba), dtype=torch.float64)(xs)[0]
    torch.testing.assert_close(found, torch.stack(wanted))
    counts = nir.NIRGraph.from_list(nir.IF(ones, np.array([1.0, 2.0])))
    out = from_nir(counts, dt=1000.0)(torch.full((4, 1, 2), 1.5))[0]
    assert out[:, 0].tolist() == [[1.0, 0.0], [2.0, 1.0], [1.0, 1.0], [2.0, 1.0]]


def test_importing_draws_nothing_and_exporting_changes_nothing() -> None:
    model = small().train()
    state = torch.get_rng_state()
    graph = to_nir(model, (2, 10, 10))
    from_nir(graph)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())
    graph.nodes["layers.0"].weight[:] = 0
    assert bool((model.get_parameter("layers.0.weight") != 0).any())


class Averaging(Stateful):
    """A module that does more than its Sequential."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Sequential(nn.Linear(3, 2))

    def initial_state(self, x: Tensor) -> Any:
        return self.net.initial_state(x)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        out, state = self.net.step(x, state)
        return out / 2, state


def test_a_module_around_a_sequential() -> None:
    model = ConvRateNetwork(LIFCurve(20.0, 0.0), channels=(2, 3), min_voltage=FREE, amplitude=0.01).train()
    graph = to_nir(model, (1, 28, 28))
    assert list(graph.nodes)[1:4] == ["layers.layers.0", "layers.layers.1", "layers.layers.1.height"]
    assert model.layers.training
    xs = drawn(20, 1, 1, 28, 28).float()
    torch.testing.assert_close(from_nir(graph)(xs)[0], model.eval()(xs)[0], atol=1e-5, rtol=1e-5)
    with pytest.raises(ExportError, match=r"NIR cannot express Averaging \(Averaging\): no such node"):
        to_nir(Averaging(), (3,))


def test_every_layer_that_cannot_be_exported_is_named() -> None:
    noise = torch.Generator()
    model = Sequential(
        ALIF(), LIF(refractory=2.0), LIF(surrogate=SigmoidBernoulli(), generator=noise), DelayedLinear(3, 3, delays=4),
        Recurrent(LIF(), nn.Linear(3, 3, bias=False)), RateNeuron(ReLUCurve(), partner="poisson"),
        RateNeuron(LIFCurve()),
        counting(bias=1.0, v_init=0.5), SynapticLIF(refractory=1.0), nn.BatchNorm1d(3), nn.Linear(3, 3), Lowpass(5.0),
        nn.Sequential(nn.ReLU(), nn.Flatten(0)), nn.Conv1d(1, 1, 1, padding_mode="circular"),
        nn.AvgPool2d(2, ceil_mode=True), nn.AvgPool2d(2, padding=1, count_include_pad=False), LIF(dt=0.5),
    )  # fmt: skip
    with pytest.raises(ExportError) as error:
        to_nir(model, (3,))
    message = str(error.value)
    for expected in (
        "layers.0 (ALIF): no node with an adapting threshold",
        "layers.1 (LIF): its refractory period",
        "layers.2 (LIF): its spikes are drawn at random",
        "layers.3 (DelayedLinear): its delays, one per synapse",
        "layers.4 (Recurrent): its loop takes a step of time, and NIR has no steps",
        "layers.5 (RateNeuron): its spiking partner poisson",
        "layers.6 (RateNeuron): its lowest voltage, min_voltage=0 (-math.inf is none) and its refractory period",
        "layers.7 (RateNeuron): its first voltage, v_init=0.5 (NIR has none: take v_init=0) and its bias (move it into",
        "layers.8 (SynapticLIF): its refractory period",
        "layers.9 (BatchNorm1d): no such node",
        "layers.11 (Lowpass): no such node",
        "layers.12.0 (ReLU): no such node",
        "layers.12.1 (Flatten): it flattens the samples into one another",
        "layers.13 (Conv1d): its padding_mode 'circular'",
        "layers.14 (AvgPool2d): its ceil_mode, count_include_pad or divisor_override",
        "layers.15 (AvgPool2d): its ceil_mode",
        "the network (Sequential): its neurons differ in dt, 1.0 ms in layers.1",
        "Replace these, or export the layers between them.",
    ):
        assert expected in message
    assert "layers.10" not in message


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ExportError, match=r"It flattens the samples into one another\."):
        to_nir(nn.Flatten(-2), (3,))
    with pytest.raises(ExportError, match=r"0 \(Linear\) does not fit its input \[5\]: .* Check input_shape, which is"):
        to_nir(nn.Sequential(nn.Linear(4, 2)), (5,))
    with pytest.raises(ExportError, match=r"NIR's linear maps take one dimension, so put an nn\.Flatten before it"):
        to_nir(nn.Sequential(nn.Linear(4, 2)), (3, 4))
    with pytest.raises(ExportError, match=r"LIF \(LIF\) does not fit its input \[5\]"):
        to_nir(LIF(per_neuron(5, 9)), (5,))


def chained(*nodes: Any) -> Any:
    names = [str(index) for index in range(len(nodes))]
    return nir.NIRGraph(dict(zip(names, nodes, strict=True)), list(pairwise(names)), type_check=False)


def test_every_node_that_cannot_be_run_is_named() -> None:
    one = np.ones(2)
    graph = chained(
        nir.Input({"input": np.array([2])}), nir.Delay(one), nir.CubaLI(one, one, one, one), nir.I(one),
        nir.IF(one, one, one), nir.LIF(-one, one, 0 * one, one), nir.Affine(np.ones((2, 2, 2)), one),
        nir.LIF(np.array([1.0, 2.0]), one, one, one), nir.LIF(one, one, one, one, metadata={"reset": "subtract"}),
        nir.Output({"output": np.array([2])}),
    )  # fmt: skip
    with pytest.raises(ExportError) as error:
        from_nir(graph)
    for expected in (
        "spikeloom cannot run 1 (Delay): there is no such layer; 2 (CubaLI): its v_leak is not 0; 3 (I): there is no",
        "4 (IF): its v_reset is not 0; 5 (LIF): its tau holds values that are not above 0",
        "6 (Affine): its weight has shape [2, 2, 2]",
        "7 (LIF): its v_leak is not 0 and its time constants differ; 8 (LIF): its v_leak is not 0",
        "Change these nodes, or take the graph apart.",
    ):
        assert expected in str(error.value)
    graph = chained(
        nir.Input({"input": np.array([3])}), nir.LI(one, one, 0 * one), nir.Output({"output": np.array([2])})
    )
    with pytest.raises(ExportError, match=r"1 \(LI\): it is for \[2\], but gets \[3\]"):
        from_nir(graph)


def test_graphs_that_are_no_chain() -> None:
    one = np.ones(2)
    nodes = {
        "in": nir.Input({"input": np.array([2])}),
        "a": nir.LI(one, one, 0 * one),
        "b": nir.Linear(np.ones((2, 2))),
    }
    nodes["out"] = nir.Output({"output": np.array([2])})
    edges = [("in", "a"), ("a", "b"), ("b", "a"), ("a", "out")]
    with pytest.raises(
        ExportError, match=r"a \(LI\): it leads to b, out; a \(LI\): it is fed by b, in\. Take it apart"
    ):
        from_nir(nir.NIRGraph(nodes, edges, type_check=False))
    apart = [("in", "out"), ("a", "b"), ("b", "a")]
    with pytest.raises(ExportError, match=r"has a \(LI\): not on the way from the input; b \(Linear\): not on the way"):
        from_nir(nir.NIRGraph(nodes, apart, type_check=False))
    with pytest.raises(ExportError, match=r"has in -> c \(edge\): no such node"):
        from_nir(nir.NIRGraph(nodes, [("in", "c")], type_check=False))
    with pytest.raises(ExportError, match=r"this graph has no Input"):
        from_nir(nir.NIRGraph({}, [], type_check=False))
    with pytest.raises(ExportError, match=r"from_nir needs a NIRGraph, but got LI\. Read one"):
        from_nir(nodes["a"])
    with pytest.raises(ConfigError, match="needs dt > 0"):
        from_nir(to_nir(LIF(), (2,)), dt=0.0)


def test_files_that_are_no_graphs(tmp_path: Path) -> None:
    path = tmp_path / "a.nir"
    with pytest.raises(DataError, match=r"There is no file .*a\.nir\. Name a file"):
        read_nir(path)
    write_nir(to_nir(small(), (2, 10, 10)), path)
    whole = path.read_bytes()
    for damaged in (b"", b"nonsense", whole[: len(whole) // 2], whole[:200] + b"\0" * 2000 + whole[2200:]):
        path.write_bytes(damaged)
        with pytest.raises(
            DataError,
            match=r"should hold a NIR graph, but it is damaged or of another kind: .*Export it|HDF5 file.*Export it",
        ):
            read_nir(path)
    nir.write(path, nir.Linear(np.ones((2, 2))))
    with pytest.raises(DataError, match=r"damaged or of another kind|holds a Linear"):
        read_nir(path)


def test_files_whose_data_lie_elsewhere_or_that_contain_themselves(tmp_path: Path) -> None:
    def external(file: h5py.File) -> None:
        file.create_dataset("node/w", (4,), "f4", external=[(str(tmp_path / "secret"), 0, 16)])

    def virtual(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "w", (4,))
        file.create_virtual_dataset("node/w", layout)

    def linked(file: h5py.File) -> None:
        file["node"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/")

    def circular(file: h5py.File) -> None:
        node = file.create_group("node")
        node["again"] = node

    def huge(file: h5py.File) -> None:
        file.create_dataset("node/w", (1 << 20, 1 << 20), "f4", chunks=(1024, 1024), compression="gzip")

    (tmp_path / "secret").write_bytes(bytes(16))
    for write, told in (
        (external, "in other files"), (virtual, "in other files"), (linked, "a link"), (circular, "contains itself"),
        (huge, "absurd"),
    ):  # fmt: skip
        with h5py.File(tmp_path / "net.nir", "w") as file:
            write(file)
        with pytest.raises(DataError, match=told):
            read_nir(tmp_path / "net.nir")


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(ExportError, match=r"full cannot be written: it is a folder"):
        write_nir(to_nir(LIF(), (2,)), tmp_path / "full")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "nir", None)
    for call in (lambda: to_nir(LIF(), (2,)), lambda: from_nir(None), lambda: read_nir(tmp_path)):
        with pytest.raises(ExportError, match=r"Run `pip install spikeloom\[nir\]`"):
            call()


class Functions(nn.Module):
    """A chain whose pooling and flattening are functions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 4, 3), nn.Linear(36, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.avg_pool2d(self.conv(x).relu(), 2)
        y: Tensor = self.last(torch.flatten(x, 1).relu())
        return y.relu().view(x.size(0), -1)


@pytest.mark.parametrize("seed", range(6))
def test_a_converted_chain_comes_back_with_the_same_spikes(seed: int, tmp_path: Path) -> None:
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(36, 3), nn.ReLU()]
    x = drawn(5, 1, 8, 8)
    for model in (nn.Sequential(*layers), Functions()):
        filled(model).double()
        converted = convert(model, v_init=0.0, example=x)
        maximum(converted, [x])
        write_nir(to_nir(converted, (1, 8, 8)), tmp_path / "a.nir")
        back = from_nir(read_nir(tmp_path / "a.nir"), dtype=torch.float64)
        xs = x.expand(40, *x.shape)
        found, wanted = back(xs)[0], converted(xs)[0]
        assert len(wanted.unique()) > 2
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0.0)
    assert list(to_nir(convert(nn.Sequential(*layers).eval(), v_init=0.0, example=x), (1, 8, 8)).nodes)[1:5] == [
        "0", "1", "2", "4",
    ]  # fmt: skip


def test_converted_networks_that_cannot_be_exported() -> None:
    model = filled(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU())).double()
    x = drawn(5, 4)
    with pytest.raises(ExportError) as error:
        to_nir(convert(model, example=x), (4,))
    first = "its first voltage, v_init=0.5 (NIR has none: take v_init=0)"
    assert f"1 (RateNeuron): {first}; 3 (RateNeuron): {first}. Replace these" in str(error.value)

    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x.relu()
            return y + y.mean(1, keepdim=True)

    with pytest.raises(ExportError, match=r"mean \(mean\): no such node; add \(add\): it reads relu, mean, and only"):
        to_nir(convert(Branch(), v_init=0.0, example=x), (4,))


def test_a_path_may_be_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_nir(to_nir(LIF(tau_mem=20.0), (2,)), "net.nir")
    assert [path.name for path in tmp_path.iterdir()] == ["net.nir"]
    assert set(read_nir("net.nir").nodes) == set(read_nir(tmp_path / "net.nir").nodes)
