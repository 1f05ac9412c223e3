"""What is called once with arguments: constructors, functions, rules, encoders, readers; one row each.

A row holds valid arguments. Each is replaced in turn by what strangers pass in its place (`hostile`, chosen by the
valid value and the annotation), and so is each argument that the row leaves at its default. The call must give what the
same value gives in its usual form, or what it gives in float64; or raise a `SpikeloomError` that names the argument or
the thing called.
"""

import inspect
import io
import math
import re
import struct
import tarfile
import tempfile
import types
import typing
import wave
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

import spikeloom
from spikeloom import convert, firing, kernels, layers, models, neurons, rules, surrogate
from spikeloom.data import (
    babi,
    batches,
    catalog,
    events,
    fetch,
    fsdd,
    matlab,
    members,
    mnist,
    nmnist,
    ntidigits,
    omniglot,
    shd,
    spike_trains,
    ssc,
    stmnist,
    stored,
)
from spikeloom.encoding import cochlea, mfcc
from spikeloom.encoding import event_camera as camera
from spikeloom.encoding import events as spike_events
from spikeloom.encoding import threshold_crossing as crossing
from spikeloom.kernels import noise
from spikeloom.layers import lateral
from spikeloom.layers.hebbian_memory import layer as memory
from spikeloom.papers.hebbian_memory import digit_pairs, game_gym, pairs
from spikeloom.papers.hebbian_memory import (
    game as concentration,
)
from spikeloom.papers.lsnn import symbols
from tests import fixtures
from tests.fixtures import formats

from .layers import B, N, T, linear, plain, seeded

Arguments = Callable[[Path], dict[str, Any]]


@dataclass(frozen=True)
class Call:
    """A function or class, valid arguments by name, and how to see what came out."""

    call: Callable[..., Any]
    arguments: Arguments
    look: Callable[[Any], Any] = lambda result: result
    leaves_out: tuple[str, ...] = ()
    """Arguments that take anything: what is only passed on or printed."""
    long: tuple[str, ...] = ()
    """Arguments that say how much is to be done: a huge one is no mistake, it takes its time."""
    words: tuple[str, ...] = ()
    """Other words for the thing in its messages; those for a file are its name and folder."""


LOOP = ("The loop of", "A loop", "scan needs")


def sequence(scale: float = 3.0) -> Tensor:
    return torch.rand(T, B, N, generator=seeded(1)) * scale


def ran(layer: Any) -> Any:
    """What a layer says to an input that suits all sizes of this table."""
    return layer(sequence())


def parallel(options: models.NeuronOptions) -> Any:
    """What networks of two kinds of neurons say."""
    return [
        ran(models.ParallelNetwork(N, 6, 4, layers=1, neuron=neuron, options=options, generator=seeded()))
        for neuron in ("LIF", "D")
    ]


def leaky(current: Any, voltage: Any, reset: Any, decay_mem: Any, threshold: Any) -> Any:
    voltage = decay_mem * voltage + (1 - decay_mem) * current - threshold * reset
    return voltage - threshold, voltage


def trains() -> spike_trains.SpikeTrains:
    return spike_trains.SpikeTrains.of(
        [[0.5, 1.5, 3.0], [2.5], [0.0, 0.5]], [[1, 0, 3], [2], [1, 1]], [0, 1, 1], channels=4, classes=("no", "yes")
    )


def recording() -> Any:
    return events.make(
        np.array([1, 2, 3]), np.array([0, 1, 1]), np.array([10, 200, 3000]), np.array([True, False, True])
    )


def sound(rate: int = 8000) -> Any:
    return np.sin(np.arange(rate // 4) / 5.0).astype(np.float64)


def wav(rate: int = 8000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, rate, 0, "NONE", ""))
        out.writeframes((sound(rate) * 9999).astype("<i2").tobytes())
    return file.getvalue()


def idx(array: Any) -> bytes:
    content: bytes = array.astype(np.uint8).tobytes()
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + content


def written(here: Path, name: str, content: bytes) -> Path:
    path = here / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def example(write: Callable[..., None], here: Path, name: str, **options: Any) -> Path:
    """The folder of a made-up data set, written once."""
    folder = here / name
    if not folder.exists():
        folder.mkdir()
        write(folder, **options)
    return folder


def fixture(write: Callable[..., None], here: Path, name: str) -> Path:
    """The folder of a data set of tests/fixtures, written once."""
    if not (here / name).exists():
        write(here)
    return here / name


def tarball(here: Path) -> Path:
    path = here / "a.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "a.txt")
    return path


def drawn(spikes: Tensor) -> Any:
    """What is the same for all draws."""
    return tuple(spikes.shape), bool(((spikes == 0) | (spikes == 1)).all())


def shd_file(here: Path) -> Path:
    path = here / "shd.h5"
    if not path.exists():
        shd.write(path, trains())
    return path


def mnist_files(here: Path) -> tuple[Path, Path]:
    images = np.arange(2 * 28 * 28).reshape(2, 28, 28) % 256
    return written(here, "images-idx3-ubyte", idx(images)), written(here, "labels-idx1-ubyte", idx(np.array([1, 7])))


def png(here: Path) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.eye(105, dtype=np.uint8) * 255).convert("1").save(file, "PNG")
    return file.getvalue()


def converted() -> Any:
    model = nn.Sequential(linear(N, 4), nn.ReLU(), linear(4, 3)).eval()
    return model, convert.convert(model, example=torch.ones(2, N), scale=10.0).eval()


def spiking() -> Any:
    return layers.Sequential(linear(N, 4), neurons.RateNeuron(neurons.ReLUCurve(), gain=50.0), linear(4, 3)).eval()


class Synapses(nn.Module):
    connectivity, allowed = 0.5, None

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([[0.3, 0.0, 0.0], [0.0, 0.2, 0.0]]))
        self.register_buffer("sign", torch.ones(2, 3))


def rewiring(_: Path) -> dict[str, Any]:
    layer = Synapses()
    return {"optimizer": torch.optim.SGD(layer.parameters(), lr=0.1), "layers": [layer], "generator": seeded()}


def rewired(rule: Any) -> Any:
    rule.layers[0].theta.sum().backward()
    rule.optimizer.step()
    counts = rule.step()
    return [tuple(count) for count in counts.values()], rule.layers[0].theta


def moved(rule: Any) -> Any:
    """What a rule makes of weights that saw both orders of spikes."""
    weight = torch.full((3, N), 0.5) if isinstance(rule, rules.STDP) else torch.full((B, 3, N), 0.5)
    pre, post = torch.eye(B, N), torch.ones(B, 3)
    traces = rule.initial_traces(pre, post)
    for a, b in ((pre, 0 * post), (0 * pre, post), (pre, post)):
        weight, traces = rule.update(weight, a, b, traces)
    return weight, traces


def curve(made: Any) -> Any:
    return made.rate(torch.linspace(-2.0, 3.0, 7))


def slope(made: Any) -> Any:
    x = torch.linspace(-2.0, 2.0, 7, requires_grad=True)
    chance = isinstance(made, firing.Firing)
    out = firing.fire(x, torch.full((7,), 0.4), made) if chance else surrogate.spike(x, made)
    return out, torch.autograd.grad(out.sum(), x)[0]


def kernel_arguments(_: Path) -> dict[str, Any]:
    program = kernels.Program(kernels.Equation(leaky), surrogate.Triangle())
    silent = torch.zeros(B, N)
    parameters = {"decay_mem": torch.tensor(0.9), "threshold": torch.tensor(0.7)}
    return {"program": program, "xs": sequence(), "moving": kernels.Moving((silent,), silent, silent),
            "parameters": parameters}  # fmt: skip


def empty(_: Path) -> dict[str, Any]:
    return {}


def given(**values: Any) -> Arguments:
    """Arguments that no call changes."""
    return lambda here: dict(values)


def encoder(**values: Any) -> Arguments:
    """The same with a generator, at its start every time."""
    return lambda here: {**values, "generator": seeded()}


def lists(here: Path) -> dict[str, Any]:
    return {"rates": torch.full((B, N), 200.0), "steps": 50, "noise": noise.keys(B, torch.device("cpu"), seeded())}


def read(name: str) -> Any:
    return getattr(events, name)


INSIDE = ("activity", "doctor", "Sequential", "Linear", "LIF", "input")


def watched(_: Path) -> dict[str, Any]:
    return {"network": layers.Sequential(linear(N, 4), neurons.LIF(threshold=0.1), linear(4, 3)), "xs": sequence()}


def asked(network: nn.Module, xs: Tensor) -> Any:
    return list(spikeloom.activity(network, xs, loss=lambda out: out.square().mean()))


def examined(network: nn.Module, xs: Tensor, labels: Tensor | None) -> Any:
    return spikeloom.doctor(network, xs, labels=labels, measure=False).kinds()


def recorded(network: nn.Module, xs: Tensor, layers: str | Iterable[str] | None = "layers.1") -> Any:
    with spikeloom.watch(network, layers) as seen:
        network(xs)
    return seen["layers.1"].voltage


def opened(here: Path) -> Path:
    content = b'{"task": "t", "preset": "p", "seed": 1, "options": {}}'
    return written(here, "run/config.json", content).parent


CALLS: dict[str, Call] = {
    # neurons
    "LIF": Call(neurons.LIF, empty, ran),
    "ALIF": Call(neurons.ALIF, given(threshold=0.3, adapt_strength=0.5), ran),
    "IntegrateAndFire": Call(neurons.IntegrateAndFire, empty, ran),
    "LeakyReadout": Call(neurons.LeakyReadout, empty, ran),
    "SynapticLIF": Call(neurons.SynapticLIF, empty, ran),
    "SynapticReadout": Call(neurons.SynapticReadout, empty, ran),
    "ParaLIF": Call(neurons.ParaLIF, given(firing="D"), ran),
    "FromEquation": Call(neurons.FromEquation, given(function=leaky, tau_mem=20.0, threshold=1.0), ran),
    "Lowpass": Call(neurons.Lowpass, given(tau_syn=10.0), ran),
    "PSN": Call(neurons.PSN, encoder(steps=T), ran),
    "MaskedPSN": Call(neurons.MaskedPSN, encoder(steps=T, order=3), ran),
    "SlidingPSN": Call(neurons.SlidingPSN, given(order=3), ran),
    "DiehlCook": Call(neurons.DiehlCook, encoder(size=N), ran),
    "MembraneLIF": Call(neurons.MembraneLIF, given(size=N), ran),
    "RateNeuron": Call(neurons.RateNeuron, given(mode="spiking"), ran),
    "rate_neurons": Call(neurons.rate_neurons, lambda here: {"model": spiking()}, len),
    "Dynamics": Call(neurons.Dynamics, empty, lambda made: ran(neurons.ALIF(dynamics=made))),
    "LIFCurve": Call(neurons.LIFCurve, empty, curve),
    "ReLUCurve": Call(neurons.ReLUCurve, empty, curve),
    "LeakyReLUCurve": Call(neurons.LeakyReLUCurve, empty, curve),
    "SigmoidCurve": Call(neurons.SigmoidCurve, empty, curve),
    "TanhCurve": Call(neurons.TanhCurve, empty, curve),
    "QCFSCurve": Call(neurons.QCFSCurve, empty, curve),
    # surrogates
    "Triangle": Call(surrogate.Triangle, empty, slope),
    "FastSigmoid": Call(surrogate.FastSigmoid, empty, slope),
    "Arctan": Call(surrogate.Arctan, empty, slope),
    "Sigmoid": Call(surrogate.Sigmoid, empty, slope),
    "Gaussian": Call(surrogate.Gaussian, empty, slope),
    "SigmoidBernoulli": Call(firing.SigmoidBernoulli, empty, slope),
    "TanhBernoulli": Call(firing.TanhBernoulli, empty, slope),
    "GumbelSoftmax": Call(firing.GumbelSoftmax, empty, slope),
    "TemperedGumbelSoftmax": Call(firing.TemperedGumbelSoftmax, empty, slope),
    "spike": Call(surrogate.spike, given(distance=torch.linspace(-1.0, 1.0, 5), surrogate=surrogate.Triangle())),
    "fire": Call(
        firing.fire,
        given(distance=torch.linspace(-1.0, 1.0, 5), noise=torch.full((5,), 0.4), firing=firing.SigmoidBernoulli()),
    ),
    # layers
    "DelayedLinear": Call(layers.DelayedLinear, encoder(n_in=N, n_out=4, delays=3), ran, long=("delays",)),
    "SparseDelayedLinear": Call(
        layers.SparseDelayedLinear, encoder(n_in=N, n_out=4, connectivity=0.5), ran, long=("delays",)
    ),
    "SignedSparseLinear": Call(layers.SignedSparseLinear, encoder(n_in=N, n_out=4, connectivity=0.5), ran),
    "Recurrent": Call(layers.Recurrent, lambda here: {"neuron": neurons.LIF(), "synapse": plain(N, N)}, ran),
    "RectifiedRecurrent": Call(
        layers.RectifiedRecurrent, lambda here: {"neuron": neurons.SynapticLIF(), "synapse": linear(N, N)}, ran
    ),
    "TwoPass": Call(layers.TwoPass, lambda here: {"neuron": neurons.ParaLIF("D"), "synapse": linear(N, N)}, ran),
    "Residual": Call(layers.Residual, lambda here: {"layer": linear(N, N)}, ran),
    "Branches": Call(lambda **options: layers.Branches(linear(N, 4), neurons.LIF(), **options), empty, ran),
    "Sequential": Call(lambda layer: layers.Sequential(layer), lambda here: {"layer": linear(N, 4)}, ran),
    "SequenceDropout": Call(layers.SequenceDropout, encoder(p=0.5), ran),
    "folded": Call(
        lambda function: layers.folded(function, sequence()), lambda here: {"function": torch.relu}, words=("folded",)
    ),
    "answer": Call(layers.answer, given(logits=sequence(), mode="mean", valid=torch.ones(T, B, dtype=torch.bool))),
    "answer_loss": Call(
        layers.answer_loss, given(logits=sequence(), labels=torch.tensor([0, 4, 2]), mode="mean"), words=("answer",)
    ),
    "rate_cost": Call(layers.rate_cost, given(spikes=sequence(1.0), target=10.0)),
    "activity_cost": Call(layers.activity_cost, given(layers=[sequence(1.0)], allowed=0.3)),
    "poisson": Call(spikeloom.poisson, encoder(rates=torch.full((B, N), 200.0), steps=50), drawn),
    "rate": Call(spikeloom.rate, encoder(values=torch.full((B, N), 0.25), steps=50), drawn),
    "repeat": Call(spikeloom.repeat, given(values=sequence()[0], steps=5)),
    "latency": Call(spikeloom.latency, given(values=sequence(1.0)[0], steps=20)),
    "delta": Call(spikeloom.delta, given(values=sequence(), threshold=0.5, start=0.5)),
    "population": Call(spikeloom.population, given(values=sequence(1.0)[0], neurons=5)),
    "collate": Call(spikeloom.collate, given(samples=[(torch.ones(2, 3), 0), (torch.ones(1, 3), 1)])),
    "frames": Call(
        spikeloom.frames,
        lambda here: {"events": recording(), "width": 4, "height": 4, "steps": 5},
        words=("the sensor",),
    ),
    "SpikeDataset": Call(
        spikeloom.SpikeDataset,
        lambda here: {"trains": trains()},
        lambda made: [made[number] for number in range(3)],
        words=("raster", "Sample"),
    ),
    "ImageDataset": Call(
        spikeloom.ImageDataset,
        given(images=torch.rand(3, 2, 2, generator=seeded()), labels=torch.tensor([1, 2, 0])),
        lambda made: [made[number] for number in range(3)],
    ),
    "SoundDataset": Call(
        spikeloom.SoundDataset,
        given(sounds=[np.arange(3.0), np.arange(2.0)], labels=torch.tensor([1, 2])),
        lambda made: [made[number] for number in range(2)],
    ),
    "StoryDataset": Call(spikeloom.StoryDataset, lambda here: {"stories": stories()}, lambda made: made[0]),
    "events_of": Call(spike_events.events_of, given(xs=sequence().round())),
    "sequence_of": Call(
        spike_events.sequence_of, given(events=spike_events.events_of(sequence().round()), batch=B, size=N)
    ),
    "poisson_events": Call(spike_events.poisson_events, lists),
    "poisson_counts": Call(spike_events.poisson_counts, lists),
    "som_inhibition": Call(lateral.som_inhibition, given(size=4)),
    "growing_starts": Call(lateral.growing_starts, empty, long=("intervals",)),
    "memory_neuron": Call(memory.memory_neuron, empty, ran, words=("Triangle",)),
    "HebbianWrite": Call(memory.HebbianWrite, encoder(n_in=N, size=4), ran),
    "HebbianRead": Call(memory.HebbianRead, encoder(n_in=N, size=4), ran, long=("delay",)),
    "xavier_": Call(
        memory.xavier_,
        lambda here: {"weight": torch.zeros(3, 4), "generator": seeded()},
        lambda weight: (tuple(weight.shape), weight.is_meta or bool(weight.isfinite().all())),
    ),
    "align_": Call(
        memory.align_,
        lambda here: {
            "write": memory.HebbianWrite(6, 3, generator=seeded()),
            "read": memory.HebbianRead(4, 3, generator=seeded()),
            "features": 4,
        },
    ),
    # inspection
    "activity": Call(asked, watched, words=INSIDE),
    "doctor": Call(
        examined, lambda here: {**watched(here), "labels": torch.tensor([0, 2, 1])}, words=("labels", *INSIDE)
    ),
    "watch": Call(recorded, watched, words=("watch", *INSIDE)),
    "open_run": Call(spikeloom.open_run, lambda here: {"folder": opened(here)}, lambda run: run.metrics),
    # networks
    "LSNN": Call(
        models.LSNN,
        encoder(n_in=N, n_regular=3, n_adaptive=3, n_out=4, threshold=0.3),
        ran,
        long=("delays",),
        words=("LeakyReadout", "ALIF", "DelayedLinear"),
    ),
    "ParallelNetwork": Call(models.ParallelNetwork, encoder(n_in=N, hidden=6, n_out=4, layers=2, neuron="D"), ran),
    "NeuronOptions": Call(models.NeuronOptions, empty, parallel),
    "ConvRateNetwork": Call(
        models.ConvRateNetwork,
        lambda here: {"curve": neurons.ReLUCurve(), "channels": (2, 3, 4), "generator": seeded()},
        lambda network: network(torch.ones(2, 2, 1, 28, 28)),
    ),
    "DiehlCookNetwork": Call(
        models.DiehlCookNetwork,
        lambda here: {
            "n_in": N,
            "neurons": neurons.DiehlCook(4, generator=seeded()),
            "rule": rules.pair_stdp(),
            "scale": 9.0,
            "generator": seeded(),
        },
        ran,
    ),
    # rules
    "STDP": Call(rules.STDP, given(lr_pre=0.02), moved),
    "post_stdp": Call(rules.post_stdp, empty, moved),
    "pair_stdp": Call(rules.pair_stdp, given(lr_pre=0.02), moved),
    "weight_dependent_stdp": Call(rules.weight_dependent_stdp, given(lr_pre=0.02), moved),
    "triplet_stdp": Call(rules.triplet_stdp, given(lr_pre=0.02), moved),
    "hebbian_stdp": Call(rules.hebbian_stdp, empty, moved),
    "Hebbian": Call(rules.Hebbian, empty, moved),
    "hebb": Call(rules.hebb, empty, moved),
    "oja": Call(rules.oja, empty, moved),
    "inverted_oja": Call(rules.inverted_oja, empty, moved),
    "normalise": Call(rules.normalise, given(weight=torch.rand(3, N, generator=seeded()), total=2.0)),
    "DeepR": Call(rules.DeepR, rewiring, rewired),
    # conversion
    "convert": Call(
        convert.convert,
        lambda here: {"model": converted()[0], "example": torch.ones(2, N), "scale": 10.0},
        lambda made: made.eval()(sequence()),
        words=("rate neurons", "Lowpass", "RateNeuron", "parts of the model", "The model"),
    ),
    "to_rate": Call(convert.to_rate, lambda here: {"model": spiking()}, ran),
    "to_spiking": Call(convert.to_spiking, lambda here: {"model": spiking()}, ran),
    "to_hybrid": Call(convert.to_hybrid, lambda here: {"model": spiking()}, ran),
    "set_scale": Call(
        convert.set_scale, lambda here: {"model": spiking(), "scale": 2.0}, words=("rate neurons", "The model")
    ),
    "present": Call(
        convert.present,
        lambda here: {"model": converted()[1], "x": sequence()[0], "steps": 4},
        lambda found: found[0],
        long=("steps",),
        words=("_0",),
    ),
    "Probe": Call(
        convert.Probe,
        empty,
        lambda made: convert.present(converted()[1], sequence()[0], 4, probes={"a": made})[0],
        words=("to probe",),
    ),
    "accuracy_over_steps": Call(convert.accuracy_over_steps, given(outputs=sequence(), labels=torch.tensor([0, 4, 2]))),
    "accuracy_curve": Call(
        convert.accuracy_curve,
        lambda here: {"model": converted()[1], "x": sequence()[0], "labels": torch.tensor([0, 1, 2]), "steps": 4},
        long=("steps",),
        words=("_0",),
    ),
    "balance_thresholds": Call(
        convert.balance_thresholds,
        lambda here: {"converted": integrator(), "batches": [sequence()[0]], "steps": 4},
        long=("steps",),
        words=("The layer",),
    ),
    "maximum": Call(
        convert.maximum, lambda here: {"converted": integrator(), "batches": [sequence()[0]]}, words=("The layer",)
    ),
    "fraction": Call(
        convert.fraction,
        lambda here: {"converted": integrator(), "batches": [sequence()[0]], "share": 0.5},
        words=("The layer",),
    ),
    "percentile": Call(
        convert.percentile, lambda here: {"converted": integrator(), "batches": [sequence()[0]]}, words=("The layer",)
    ),
    "input_range": Call(
        convert.input_range, lambda here: {"converted": integrator(), "batches": [sequence()[0]]}, words=("The layer",)
    ),
    "QCFS": Call(convert.QCFS, empty, lambda made: made(sequence()[0])),
    "qcfs": Call(convert.qcfs, lambda here: {"model": converted()[0]}, lambda made: made(sequence()[0])),
    "verify": Call(
        convert.verify,
        lambda here: dict(zip(("model", "converted"), converted(), strict=True)) | {"x": sequence()[0]},
        long=("steps",),
    ),
    "report": Call(
        convert.report,
        lambda here: {"converted": converted()[1], "x": 99 * sequence()[0], "steps": 20},
        lambda found: [row.mean_rate for row in found.rows],
        long=("steps",),
        words=("_0",),
    ),
    # kernels
    "use": Call(kernels.use, given(engine="torch"), lambda made: type(made).__name__),
    "engine_for": Call(kernels.engine_for, given(tensor=torch.zeros(1)), lambda engine: engine in kernels.ENGINES),
    "Equation": Call(kernels.Equation, given(function=leaky), lambda made: made.states),
    "Program": Call(
        kernels.Program, given(equation=kernels.Equation(leaky), surrogate=surrogate.Triangle()), lambda made: made.key
    ),
    "neurons": Call(kernels.neurons, kernel_arguments, words=LOOP),
    "recurrent": Call(
        kernels.recurrent,
        lambda here: {**kernel_arguments(here), "weight": plain(N, N).weight.detach(), "delays": None},
        words=LOOP,
    ),
    "project": Call(
        kernels.project,
        given(
            xs=sequence().round(),
            past=torch.zeros(2, B, N),
            weight=plain(N, 4).weight.detach(),
            delays=torch.tensor([[0, 1, 2, 0, 1]] * 4),
        ),
        words=("A projection", "A loop", "delays must"),
    ),
}


def integrator() -> Any:
    model, _ = converted()
    return convert.convert(model, example=torch.ones(2, N), partner="integrate_and_fire").eval()


def places(here: Path) -> dict[str, Any]:
    """Labels and speakers of twelve recordings."""
    return {"labels": np.arange(12) % 3, "speakers": np.arange(12) % 2}


TEXTS = b"1 Mary moved to the bathroom.\n2 John went to the hallway.\n3 Where is Mary? \tbathroom\t1\n"


def stories() -> Any:
    found = babi.parse(TEXTS * 4, "four.txt")
    return babi.Vocabulary.of([found]).encode(found)


def game() -> concentration.Concentration:
    return concentration.Concentration(4)


def first_cell(observation: Tensor, noise: Tensor) -> Tensor:
    return torch.zeros(len(observation), dtype=torch.int64)


SIZES = (
    "train",
    "test",
    "people",
    "words",
    "images",
    "digits",
    "classes",
    "samples",
    "alphabets",
    "characters",
    "drawings",
)
"""Of made-up data sets."""

DATA: dict[str, Call] = {
    "associations.draw": Call(pairs.draw, encoder(batch=3, length=2, classes=4, features=5)),
    "babi.check_task": Call(babi.check_task, given(task=1)),
    "babi.parse": Call(babi.parse, given(data=TEXTS, name="qa1.txt"), len, ("name",)),
    "babi.Vocabulary": Call(
        babi.Vocabulary, given(words=("a", "b"), slots=3), lambda made: (made.words, made.slots, made.times)
    ),
    "babi.split": Call(
        babi.split, lambda here: {"stories": stories(), "share": 0.5, "generator": seeded()}, lambda s: len(s[0].first)
    ),
    "babi.load": Call(
        babi.load,
        lambda here: {"task": 1, "here": example(fixtures.babi.write, here, "stories", tasks=(1,)) / "babi"},
        len,
    ),
    "concentration_gym.environment": Call(
        game_gym.environment, lambda here: {"game": game()}, lambda made: made.reset(seed=0)[0]
    ),
    "concentration_gym.environments": Call(
        game_gym.environments,
        lambda here: {"game": game(), "count": 2},
        lambda made: made.reset(seed=0)[0],
        long=("count",),
    ),
    **{
        f"{module.__name__.split('.')[-1]}.{name}": Call(
            getattr(module, name), given(split="test"), len, ("tell", "seed")
        )
        for module, name in (
            (babi, "describe"),
            (fsdd, "describe"),
            (fsdd, "spikes"),
            (mnist, "describe"),
            (mnist, "load"),
            (nmnist, "describe"),
            (ntidigits, "describe"),
            (ntidigits, "load"),
            (shd, "describe"),
            (shd, "load"),
            (ssc, "describe"),
            (ssc, "load"),
            (stmnist, "describe"),
        )
    },
    "omniglot.describe": Call(omniglot.describe, given(split="background"), len),
    "members.Members": Call(
        members.Members,
        lambda here: {"source": here, "sizes": {"a": 1}, "advice": "Try again."},
        lambda made: made.sizes,
        ("sizes", "advice"),
    ),
    "members.locate": Call(
        members.locate,
        lambda here: {"folder": fresh(here), "pattern": re.compile("a"), "like": "a", "advice": "Try again."},
        leaves_out=("like", "advice"),
    ),
    "members.read_tar": Call(
        members.read_tar,
        lambda here: {"source": tarball(here), "pattern": re.compile("a.txt"), "advice": "Try again."},
        leaves_out=("advice",),
    ),
    "stored.stored": Call(
        stored.stored, lambda here: {"name": "hostile", "key": "a", "make": trains}, len, ("name", "key")
    ),
    "stored.stored_arrays": Call(
        stored.stored_arrays,
        lambda here: {"name": "hostile", "key": "b", "make": lambda: {"a": np.eye(2)}},
        len,
        ("name", "key"),
    ),
    "babi.shown": Call(babi.shown, given(text="Where?"), leaves_out=("text",)),
    "batches.Batches": Call(
        batches.Batches, encoder(count=6, batch=2), lambda made: made.next(), long=("count",), words=("A batch",)
    ),
    "batches.in_order": Call(batches.in_order, given(count=5, batch=2), long=("count",)),
    "event_camera.Camera": Call(camera.Camera, empty, lambda made: made.dt),
    "event_camera.record": Call(
        camera.record,
        encoder(images=np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28), options=camera.Camera(), until=20.0),
        len,
    ),
    "event_camera.spikes": Call(
        camera.spikes,
        given(images=np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28), labels=[1, 2], until=20.0),
        len,
        ("tell",),
        words=("camera",),
    ),
    "cochlea.Cochlea": Call(cochlea.Cochlea, empty, lambda made: made.channels),
    "cochlea.encode": Call(
        cochlea.encode,
        encoder(sounds=[sound()[:20]], rate=8000, options=cochlea.Cochlea(channels=4, hair_cells=5)),
        leaves_out=("rate",),
    ),
    "concentration.Concentration": Call(
        concentration.Concentration,
        empty,
        lambda made: made.observe(made.deal(2, seeded())),
        long=("cells", "features"),
    ),
    "concentration.play_out": Call(
        concentration.play_out,
        lambda here: {"game": game(), "cards": game().deal(2, seeded()), "choose": first_cell, "longest": 3},
        long=("longest",),
    ),
    "concentration.face_down": Call(
        concentration.face_down,
        lambda here: {"observations": game().observe(game().deal(2, seeded())), "cells": 4, "generator": seeded()},
    ),
    "concentration.expected_flips": Call(concentration.expected_flips, given(cells=4), long=("cells",)),
    "concentration.optimal_flips": Call(concentration.optimal_flips, given(cells=4), long=("cells",)),
    "cross_modal.DigitPairs": Call(
        digit_pairs.DigitPairs,
        given(sounds=torch.arange(10).repeat(2), images=torch.arange(10), classes=[0, 1, 2, 3], length=3),
        lambda made: made.draw(2, True, seeded()),
        words=("Digit", "digit", "pairs"),
    ),
    "cross_modal.words": Call(
        digit_pairs.words,
        lambda here: {"split": "test", "here": example(fixtures.digit_pairs.write, here, "cross", words=6) / "fsdd"},
        len,
    ),
    "threshold_crossing.pool": Call(
        crossing.pool, given(images=torch.arange(2 * 784).reshape(2, 28, 28).to(torch.uint8))
    ),
    "threshold_crossing.crossing": Call(
        crossing.crossing, given(images=torch.arange(2 * 784).reshape(2, 28, 28).to(torch.uint8))
    ),
    "threshold_crossing.analog": Call(
        crossing.analog, given(images=torch.arange(2 * 784).reshape(2, 28, 28).to(torch.uint8))
    ),
    "events.make": Call(
        events.make, given(x=np.array([1, 2]), y=np.array([0, 1]), t=np.array([5, 9]), p=np.array([True, False]))
    ),
    "events.read_bin": Call(
        events.read_bin, given(data=formats.write_bin(recording()), name="a.bin"), leaves_out=("name",)
    ),
    "events.read_bs1": Call(
        events.read_bs1, given(data=bytes.fromhex("0007800005"), name="a.bs1"), leaves_out=("name",)
    ),
    "events.check": Call(
        events.check, lambda here: {"events": recording(), "width": 4, "height": 4, "name": "a"}, leaves_out=("name",)
    ),
    "events.polarity": Call(events.polarity, lambda here: {"events": recording(), "keep": "on"}),
    "events.saccade": Call(events.saccade, lambda here: {"events": recording(), "number": 1}),
    "events.stabilize": Call(events.stabilize, lambda here: {"events": recording(), "width": 9, "height": 9}),
    "events.window": Call(events.window, lambda here: {"events": recording(), "start": 0.0, "duration": 2.0}),
    "events.units": Call(
        events.units,
        lambda here: {"events": recording(), "width": 4, "height": 4, "keep": "both"},
        words=("the sensor",),
    ),
    "events.milliseconds": Call(events.milliseconds, given(microseconds=np.array([1.0, 2500.0]))),
    "events.convert": Call(
        events.convert,
        lambda here: {
            "recordings": [("a", recording())],
            "labels": [0],
            "at_most": 3,
            "width": 4,
            "height": 4,
            "keep": "merge",
            "classes": ("a",),
        },
        len,
        words=("the sensor",),
    ),
    "events.say_empty": Call(
        events.say_empty, lambda here: {"trains": trains(), "what": "recordings", "tell": None}, len, ("what", "tell")
    ),
    "events.check_choice": Call(
        events.check_choice, given(what="polarity", value="on", choices=("on", "off")), leaves_out=("what", "choices")
    ),
    "events.check_window": Call(events.check_window, given(start=0.0, duration=5.0)),
    "catalog.about": Call(catalog.about, given(dataset="mnist"), lambda made: made.title),
    "catalog.present": Call(catalog.present, given(dataset="mnist"), len),
    "catalog.check": Call(catalog.check, given(dataset="ssc"), list),
    "fetch.About": Call(
        fetch.About,
        given(title="a", licence="b", source="c"),
        lambda made: made.title,
        ("title", "licence", "source", "splits", "folders", "by_hand"),
    ),
    "fsdd.check_archive": Call(fsdd.check_archive, lambda here: {"path": mnist_files(here)[0]}),
    "fetch.folder": Call(fetch.folder, given(dataset="mnist")),
    "fetch.locate": Call(fetch.locate, lambda here: {"dataset": "mnist", "file": mnist.FILES[0]}, lambda path: 0),
    "fetch.fetch": Call(fetch.fetch, given(dataset="no such set"), leaves_out=("dataset", "bar")),
    "fetch.describe": Call(
        fetch.describe, lambda here: {"path": mnist_files(here)[0], "count": 2, "file": mnist.FILES[0]}
    ),
    "fetch.digests": Call(fetch.digests, lambda here: {"path": mnist_files(here)[0]}),
    "fetch.read_bytes": Call(fetch.read_bytes, lambda here: {"path": mnist_files(here)[0]}),
    "fetch.DataFile": Call(
        fetch.DataFile,
        given(name="a", md5="b", urls=("c",), count=1, what="d"),
        lambda made: made.count,
        ("name", "md5", "urls", "what", "forms", "count", "sha256", "inside"),
    ),
    "fsdd.split_mixed": Call(fsdd.split_mixed, lambda here: {**places(here), "share": 0.5, "generator": seeded()}),
    "fsdd.split_speakers": Call(fsdd.split_speakers, given(speakers=np.arange(6) % 3, held_out=[1])),
    "fsdd.read_wav": Call(fsdd.read_wav, given(data=wav(), name="a.wav"), leaves_out=("name",)),
    "fsdd.load": Call(
        fsdd.load,
        lambda here: {"split": "test", "here": example(fixtures.digit_pairs.write, here, "cross", words=6) / "fsdd"},
        len,
    ),
    "matlab.read_matrix": Call(
        matlab.read_matrix,
        given(data=formats.write_matrix("a", np.eye(3)), variable="a", name="a.mat", advice="Try again.", largest=100),
        leaves_out=("name", "advice"),
    ),
    "mfcc.MFCCOptions": Call(mfcc.MFCCOptions, empty, lambda made: mfcc.mfcc(sound(), 8000, made), words=("MFCC",)),
    "mfcc.mfcc": Call(mfcc.mfcc, given(samples=sound(), rate=8000), leaves_out=("name",)),
    "mfcc.picture": Call(mfcc.picture, given(samples=sound(), rate=8000), leaves_out=("name",), words=("The sound",)),
    "mfcc.trimmed": Call(mfcc.trimmed, given(samples=sound()), leaves_out=("name",), words=("The sound",)),
    "mfcc.standardised": Call(mfcc.standardised, given(frames=np.arange(12.0).reshape(3, 4))),
    "mfcc.first_frame": Call(mfcc.first_frame, given(loudness=np.array([0.0, 1.0, 2.0, 0.5]), frames=2)),
    "mfcc.triangles": Call(mfcc.triangles, given(rate=8000, n_fft=64, bands=5)),
    "mnist.read": Call(mnist.read, lambda here: dict(zip(("images", "labels"), mnist_files(here), strict=True))),
    "mnist.read_idx": Call(mnist.read_idx, lambda here: {"path": mnist_files(here)[0]}),
    "nmnist.NMNISTOptions": Call(nmnist.NMNISTOptions, empty, lambda made: made.t0, words=("A window",)),
    "nmnist.load": Call(
        nmnist.load,
        lambda here: {"split": "test", "here": fixture(fixtures.nmnist.write, here, "nmnist")},
        len,
        ("tell",),
    ),
    "ntidigits.NTIDIGITSOptions": Call(ntidigits.NTIDIGITSOptions, empty, lambda made: made.t0, words=("A window",)),
    "ntidigits.read": Call(
        ntidigits.read,
        lambda here: {
            "path": next(fixture(fixtures.ntidigits.write, here, "ntidigits").glob("*.hdf5")),
            "split": "test",
        },
        len,
    ),
    "omniglot.read_png": Call(
        omniglot.read_png, lambda here: {"data": png(here), "name": "a.png"}, leaves_out=("name", "advice")
    ),
    "omniglot.resized": Call(
        omniglot.resized,
        given(images=torch.eye(105, dtype=torch.uint8)[None], side=28, resize="nearest"),
        words=("Images have",),
    ),
    "omniglot.rotated": Call(omniglot.rotated, given(images=torch.eye(28, dtype=torch.uint8)[None, None])),
    "omniglot.hold_out": Call(
        omniglot.hold_out,
        lambda here: {"characters": characters(), "share": 0.5, "by": "characters", "generator": seeded()},
    ),
    "omniglot.episodes": Call(omniglot.episodes, encoder(classes=6, drawings=4, ways=3, count=2), long=("count",)),
    "omniglot.run_episodes": Call(
        omniglot.run_episodes,
        lambda here: {"runs": runs(), "ways": 3, "repeats": 2, "generator": seeded()},
        long=("repeats",),
        words=("episodes",),
    ),
    "omniglot.load": Call(
        omniglot.load,
        lambda here: {"split": "background", "here": example(fixtures.omniglot.write, here, "drawings") / "omniglot"},
        len,
        words=("Images have",),
    ),
    "omniglot.load_runs": Call(
        omniglot.load_runs,
        lambda here: {"here": example(fixtures.omniglot.write, here, "drawings") / "omniglot"},
        len,
        words=("Images have",),
    ),
    "shd.official": Call(
        shd.official,
        given(name="a", md5="b", count=1, what="c"),
        lambda made: made.count,
        ("name", "md5", "what", "count"),
    ),
    "shd.count": Call(shd.count, lambda here: {"path": shd_file(here)}),
    "shd.read": Call(shd.read, lambda here: {"path": shd_file(here), "classes": 2, "channels": 4}, len),
    "shd.write": Call(shd.write, lambda here: {"path": fresh(here) / "a.h5", "trains": trains()}),
    "spike_trains.SpikeTrains.of": Call(
        spike_trains.SpikeTrains.of,
        given(times=[[0.5, 1.5], [2.5]], units=[[1, 0], [2]], labels=[0, 1], channels=4, classes=("no", "yes")),
        lambda made: spike_trains.raster(made, [0, 1]),
    ),
    "spike_trains.Augmentation": Call(
        spike_trains.Augmentation,
        empty,
        lambda made: spike_trains.raster(trains(), [0, 2], augment=made, generator=seeded()),
    ),
    "spike_trains.raster": Call(
        spike_trains.raster, lambda here: {"trains": trains(), "indices": [0, 2], "generator": seeded()}
    ),
    "spike_trains.source": Call(spike_trains.source, given(size=10, scale=1.25, shift=2.0)),
    "spike_trains.flip": Call(
        spike_trains.flip, encoder(spikes=(sequence() > 2).float(), snr_db=5.0, lengths=torch.tensor([7, 3, 1]))
    ),
    "stmnist.STMNISTOptions": Call(stmnist.STMNISTOptions, empty, lambda made: made.t0, words=("A window",)),
    "stmnist.read_mat": Call(
        stmnist.read_mat, lambda here: {"data": formats.write_mat(touch()), "name": "a.mat"}, leaves_out=("name",)
    ),
    "stmnist.load": Call(
        stmnist.load,
        lambda here: {"split": "test", "here": fixture(fixtures.stmnist.write, here, "stmnist")},
        len,
        ("tell",),
    ),
    "store_recall.draw": Call(
        symbols.draw,
        encoder(batch=3, symbols=8, recall_delay=3),
        words=("Store-recall", "Codes", "Sequence", "A symbol", "An input rate"),
    ),
    "store_recall.given": Call(
        symbols.given,
        given(codes=torch.tensor([[2, 2], [1, 0], [0, 1], [3, 3]])),
        words=("Store-recall", "Codes", "Sequence", "A symbol", "An input rate"),
    ),
    "store_recall.encode": Call(
        symbols.encode,
        encoder(groups=torch.ones(2, 3, 4, dtype=torch.bool), n_in=8, symbol_ms=20.0),
        words=("Store-recall", "Codes", "Sequence", "A symbol", "An input rate"),
    ),
    "store_recall.symbol_steps": Call(
        symbols.symbol_steps,
        given(symbol_ms=20.0, dt=1.0),
        words=("Store-recall", "Codes", "Sequence", "A symbol", "An input rate"),
    ),
    "store_recall.check_length": Call(
        symbols.check_length,
        given(symbols=12, recall_delay=6),
        words=("Store-recall", "Codes", "Sequence", "A symbol", "An input rate"),
    ),
}
"""By module; a made-up file or folder where one is read."""


def touch() -> Any:
    return events.make(np.array([1, 2]), np.array([0, 1]), np.array([10, 200]), np.array([True, False]))


def characters() -> omniglot.Characters:
    return omniglot.Characters(torch.ones(4, 2, 28, 28, dtype=torch.uint8), list("abcd"), torch.tensor([0, 0, 1, 1]))


def runs() -> omniglot.Runs:
    images = torch.ones(2, 5, 28, 28, dtype=torch.uint8)
    return omniglot.Runs(images, images, torch.arange(5).expand(2, 5))


def fresh(here: Path) -> Path:
    """A folder in which nothing is yet."""
    return Path(tempfile.mkdtemp(dir=here))


# What stands in the place of an argument: its name, the value, and the same in its usual form (None: none).
Hostile = tuple[str, Any, Any]
NONE = object()
NONSENSE: tuple[Any, ...] = ("text", None, [1.0, "a"], 1j, {"a": 1}, object, b"bytes")


def nonsense(*kinds: type) -> Iterator[Hostile]:
    for value in NONSENSE:
        if not isinstance(value, kinds):
            yield f"nonsense {value!r}", value, NONE


def for_number(value: float) -> Iterator[Hostile]:
    for wrong in (-1.0, 0.0, float("nan"), float("inf"), -float("inf"), 1e30, 1e-30, torch.tensor(float("nan"))):
        yield f"{wrong}", wrong, wrong
    yield "text", str(value), NONE
    yield "numpy", np.float64(value), value
    if math.isfinite(value):
        yield "fraction", Fraction(value), value
    yield "tensor", torch.tensor(float(value)), value
    yield "bool", True, 1.0
    yield from nonsense(str)


def for_count(value: int) -> Iterator[Hostile]:
    for wrong in (-1, 0, 1, 10**12, 2**63, -(2**63) - 1):
        yield f"{wrong}", wrong, wrong
    for name, odd in (("half", value + 0.5), ("nan", float("nan")), ("inf", float("inf"))):
        yield name, odd, NONE
    yield "float", float(value), value
    yield "text", str(value), NONE
    yield "numpy", np.int64(value), value
    yield "uint8", np.uint8(value % 256), value % 256
    yield "tensor", torch.tensor(value), value
    yield "bool", True, 1
    yield from nonsense(str)


def for_flag(value: bool) -> Iterator[Hostile]:
    yield "numpy", np.bool_(value), value
    yield "number", int(value), value
    yield "no", "no", NONE
    yield "nan", float("nan"), NONE
    yield from nonsense()


def for_text(value: str, choices: tuple[Any, ...]) -> Iterator[Hostile]:
    for wrong in ("", "no such word", value.upper() + " ", 1, 1.5, True) if choices else (1, 1.5):
        yield f"{wrong!r}", wrong, NONE
    yield "numpy", np.str_(value), value
    yield from nonsense(str)


def for_bytes(value: bytes) -> Iterator[Hostile]:
    yield "empty", b"", b""
    yield "half", value[: len(value) // 2], value[: len(value) // 2]
    yield "one byte", value[:1], value[:1]
    yield "twice", value * 2, value * 2
    yield "zeros", bytes(len(value)), bytes(len(value))
    yield "reversed", value[::-1], value[::-1]
    yield "bytearray", bytearray(value), value
    yield "view", memoryview(value), value
    yield from nonsense(bytes)


def for_path(value: Path) -> Iterator[Hostile]:
    yield "as text", str(value), value
    yield "missing", value / "no" / "such", NONE
    yield "a file" if value.is_dir() else "a folder", Path(__file__) if value.is_dir() else value.parent, NONE
    yield "null", "a\0b", NONE
    yield from nonsense(str, bytes)


def for_array(value: Any) -> Iterator[Hostile]:
    """Whole numbers and numbers, as tensors or arrays."""
    torched = isinstance(value, Tensor)
    array = value.detach().numpy() if torched else np.asarray(value)
    back = (lambda a: torch.from_numpy(np.array(a))) if torched else (lambda a: np.array(a))
    whole = array.dtype.kind in "iub"
    forms = ["float64", "float16", "int64", "int32", "uint8", "bool"]
    for form in forms if array.dtype.names is None else ():
        with np.errstate(all="ignore"):
            same = np.array_equal(array.astype(form).astype(array.dtype), array)
        if same:
            yield form, back(array.astype(form)), value
    extremes: tuple[Any, ...] = (-1, 2**31, 2**62, -(2**63)) if whole else (-1.0, 1e30, np.nan, np.inf, -np.inf, 1e-40)
    wide = np.int64 if whole else array.dtype
    if array.dtype.names is None:
        for extreme in extremes if array.size else ():
            changed = np.array(array, wide)
            changed.flat[changed.size // 2] = extreme
            yield f"{extreme} inside", back(changed), back(changed if whole else changed.astype(np.float64))
        if whole and array.size:
            for odd in (0.5, np.nan):
                changed = np.array(array, np.float64)
                changed.flat[0] = odd
                yield f"{odd} inside", back(changed), NONE
        yield "complex", back(array.astype(np.complex64)), NONE
    yield "empty", back(array[:0]), back(array[:0])
    longer, wider = np.concatenate([array, array[-1:]]), np.concatenate([array, array[..., -1:]], -1)
    for name, other in (("scalar", array.flat[0]), ("deeper", array[None]), ("longer", longer), ("wider", wider)):
        yield name, back(other), back(other if whole or array.dtype.names else np.asarray(other, np.float64))
    if torched:
        yield "transposed", value.mT.contiguous().mT if value.dim() > 1 else value, value
        yield "meta", value.to("meta"), NONE
        yield "array", array, value
        yield "gradient", value.clone().requires_grad_() if value.is_floating_point() else value, value
    else:
        locked = np.array(array)
        locked.flags.writeable = False
        yield "read-only", locked, value
        yield "strided", np.repeat(array, 2, 0)[::2], value
        yield "big-endian", array.astype(array.dtype.newbyteorder(">")), value
        yield "objects", array.astype(object), NONE
    yield "list", array.tolist(), value
    yield from nonsense()


def for_other(value: Any) -> Iterator[Hostile]:
    yield "text", "text", NONE
    yield "none", None, NONE
    yield "number", 1.0, NONE
    if not callable(value) or isinstance(value, nn.Module):
        yield "its class", type(value), NONE
    if not callable(value):
        yield "module", nn.ReLU(), NONE


def hostile(value: Any, annotation: Any) -> Iterator[Hostile]:
    """What stands for such an argument."""
    parts = (
        typing.get_args(annotation)
        if typing.get_origin(annotation) in (typing.Union, types.UnionType)
        else (annotation,)
    )
    optional, choices = type(None) in parts or value is None, tuple[Any, ...]()
    for part in parts:
        choices += typing.get_args(part) if typing.get_origin(part) is Literal else ()
    for name, wrong, clean in _hostile(value, parts, choices):
        if not (wrong is None and optional) and not (isinstance(wrong, str) and wrong in choices):
            yield name, wrong, clean


def _hostile(value: Any, parts: tuple[Any, ...], choices: tuple[Any, ...]) -> Iterator[Hostile]:
    if value is None:  # by what it may be instead
        if Callable in (getattr(part, "__origin__", part) for part in parts) or any(
            "Callable" in str(part) for part in parts
        ):
            return
        usual: dict[Any, Any] = {float: 1.5, int: 2, bool: True, str: "text", Path: Path(tempfile.gettempdir())}
        found = [usual[part] for part in parts if part in usual]
        yield from (each for each in (_hostile(found[0], parts, choices) if found else for_other(value)))
    elif isinstance(value, bool):
        yield from for_flag(value)
    elif isinstance(value, int) and float not in parts:
        yield from for_count(value)
    elif isinstance(value, (int, float)):
        yield from for_number(value)
    elif isinstance(value, str):
        yield from for_text(value, choices or (value,))
    elif isinstance(value, bytes):
        yield from for_bytes(value)
    elif isinstance(value, Path):
        yield from for_path(value)
    elif isinstance(value, (Tensor, np.ndarray)):
        yield from for_array(value)
    else:
        yield from for_other(value)


def signature(call: Call, here: Path) -> dict[str, tuple[Any, Any]]:
    """Valid value and annotation of every argument that can be named."""
    valid = call.arguments(here)
    target = call.call.__init__ if inspect.isclass(call.call) else call.call
    try:
        hints = typing.get_type_hints(inspect.unwrap(target))
    except (NameError, TypeError):
        hints = {}
    found = {}
    for name, parameter in inspect.signature(call.call).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or name in call.leaves_out:
            continue
        if name in valid or parameter.default is not parameter.empty:
            found[name] = valid.get(name, parameter.default), hints.get(name, Any)
    return found
