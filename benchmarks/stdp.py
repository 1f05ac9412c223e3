"""The network of Diehl & Cook, one presentation with learning: ours and BindsNET's, and our definition step by step.

784 -> n, two layers, pair STDP (lr 0.01, lr_pre 1e-4), weights normalised, Poisson input of 150 pixels at up to 128 Hz;
and 1156 -> 400 with the rule of the network for N-MNIST. Each contender shows ten samples (one batch of 32) a round. A
presentation of ours draws its input too; BindsNET takes a ready one and records the excitatory spikes.

Floor: the additions alone, every row of an input that spikes added to the currents in the order of time, by torch.
"""

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec

import torch
from torch import Tensor

from spikeloom import kernels
from spikeloom.encoding.events import poisson_events, sequence_of
from spikeloom.kernels.noise import keys
from spikeloom.neurons.diehl_cook import DiehlCook, MembraneLIF
from spikeloom.papers.diehl_cook.network import DiehlCookNetwork, copied
from spikeloom.rules import STDP, pair_stdp, post_stdp

from . import measure

SHOWN = 10
"""Presentations of a batch of one in a round, so that none is timed with cold caches."""
CASES = {
    "784 -> 400, T 250, B 1": (784, 400, 250, 1, pair_stdp(), 0.1),
    "784 -> 400, T 250, B 32": (784, 400, 250, 32, pair_stdp(), 0.1),
    "1156 -> 400, T 105, B 1, rule of the original": (1156, 400, 105, 1, post_stdp(soft_bound="original"), 0.0),
    "784 -> 6400, T 250, B 1": (784, 6400, 250, 1, pair_stdp(), 0.1),
}


def rates(inputs: int, batch: int) -> Tensor:
    """150 pixels of each sample at up to 128 Hz."""
    random, found = torch.Generator().manual_seed(0), torch.zeros(batch, inputs)
    for row in found:
        row[torch.randperm(inputs, generator=random)[:150]] = 128.0 * torch.rand(150, generator=random)
    return found


def network(inputs: int, size: int, rule: STDP, total: float) -> DiehlCookNetwork:
    """As BindsNET's DiehlAndCook2015; without normalisation the settings of the network for N-MNIST."""
    original = total == 0.0
    neurons = DiehlCook(size, tau_mem=215.0 if original else 100.0, homeostasis_step=0.2 if original else 0.05)
    return DiehlCookNetwork(
        inputs, neurons, rule, inhibitory=MembraneLIF(size), inhibit=17.5 if original else 120.0, total=total * inputs,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip


def ours(net: DiehlCookNetwork, given: Tensor, steps: int) -> Callable[[], None]:
    """Draw the input, start afresh, run, normalise."""
    random = torch.Generator().manual_seed(2)
    state = net.initial_state(torch.zeros_like(given))

    def run() -> None:
        nonlocal state
        events = poisson_events(given, steps, keys(len(given), given.device, random))
        state = net.fresh(state)
        net.advance_(events, state)
        net.normalise_(state)

    return run


def definition(net: DiehlCookNetwork, xs: Tensor) -> Callable[[], None]:
    """The loop in torch, the input ready."""

    def run() -> None:
        with kernels.use("torch"):
            net.normalise_(net(xs)[1])

    return run


def bindsnet(inputs: int, size: int, xs: Tensor) -> Callable[[], None]:
    """BindsNET's DiehlAndCook2015, the input ready, one monitor."""
    # its compiled operators fit another torch; none is used here
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d"):
        library.define(f"{name}(Tensor x) -> Tensor")  # type: ignore[no-untyped-call]
    from bindsnet.models import DiehlAndCook2015
    from bindsnet.network.monitors import Monitor

    net = DiehlAndCook2015(n_inpt=inputs, n_neurons=size, exc=22.5, inh=120, dt=1.0, norm=78.4, batch_size=xs.shape[1])
    monitor = Monitor(net.layers["Ae"], ["s"], time=len(xs))
    net.add_monitor(monitor, name="spikes")
    shown = xs.clamp(max=1).byte()

    def run() -> None:
        net.run(inputs={"X": shown}, time=len(shown))
        monitor.get("s")
        net.reset_state_variables()

    return run


def floor(net: DiehlCookNetwork, xs: Tensor) -> Callable[[], None]:
    """Rows of weights added, step by step."""
    weight = net.weight.T.contiguous()
    listed = [[row.nonzero().flatten() for row in x] for x in xs]

    def run() -> None:
        for step in listed:
            for units in step:
                weight[units].sum(0)

    return run


def repeated(run: Callable[[], None]) -> Callable[[], None]:
    """The same SHOWN times."""

    def several() -> None:
        for _ in range(SHOWN):
            run()

    return several


def main() -> None:
    """All cases."""
    options = measure.options(__doc__, rounds=9)
    works = []
    for name, (inputs, size, steps, batch, rule, total) in CASES.items():
        given, net = rates(inputs, batch), network(inputs, size, rule, total)
        xs = sequence_of(
            poisson_events(given, steps, keys(batch, given.device, torch.Generator().manual_seed(3))), batch, inputs
        )
        exact = copied(net.initial_state(xs[0]))
        found = net(xs, copied(exact))[0]
        contenders = [
            measure.Contender("spikeloom", "compiled, input drawn", ours(net, given, steps)),
            measure.Contender("floor", "sums of rows by torch", floor(net, xs)),
        ]
        if size == 400:
            contenders.append(measure.Contender("our definition", "torch, step by step", definition(net, xs), rounds=3))
        if find_spec("bindsnet") is not None and total and size == 400:
            contenders.append(measure.Contender("BindsNET", "DiehlAndCook2015", bindsnet(inputs, size, xs), rounds=3))
        if batch == 1:
            contenders = [replace(one, run=repeated(one.run)) for one in contenders]
        timings = measure.interleave(measure.wanted(contenders, options.only), options.rounds)
        settings = {
            "inputs": inputs,
            "neurons": size,
            "steps": steps,
            "batch": batch,
            "presentations": SHOWN if batch == 1 else 1,
        }
        settings |= {"input_spikes": int(xs.sum()), "spikes_first": int(found.sum())}
        works.append(measure.workload(name, settings, timings))
    measure.save("stdp", __doc__, options, works)


if __name__ == "__main__":
    main()
