"""Examination of a network before its training: what will go wrong, and what to try.

print(doctor(net, xs, labels=labels))
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..arguments import explained
from ..core import Stateful
from ..errors import ShapeError, check_dense
from ..neurons import PSN, DiehlCook, MembraneLIF, RateNeuron
from ..neurons.values import FLOOR, Valued
from .diagnosis import Diagnosis, Finding
from .expense import Estimate, available, duration, estimate, measured, size
from .firing import ActivityTable
from .probe import ProbedRun, Seen, probe, threshold_of
from .unchanged import tensors_in, unchanged

SMALL = 0.01
"""Largest value of an input below which it may have been scaled twice."""
IDLE = 0.01
"""Fraction of the spikes of the first layer that an input must change to have an effect."""
VANISHED, EXPLODED = 1e-3, 1e3
"""Ratios of the gradient at early steps to that at later ones from which on a finding is reported."""
FORGETS, HOLDS = 3.0, 100.0
"""A learned time constant below dt / FORGETS has no memory, one above HOLDS sequences no leak."""
SMOOTH, ROUGH = 0.3, 4.0
"""Correlation of neighbours along the samples that is suspicious if that along time is ROUGH times smaller."""

Loss = Callable[[Any], Tensor]


@explained
def doctor(
    network: nn.Module,
    *inputs: Any,
    loss: Loss | None = None,
    labels: Tensor | None = None,
    measure: bool = True,
) -> Diagnosis:
    """Examine a network before its training, and return what will go wrong, each finding with its remedy.

    It runs the network on this batch: once for the layers and gradients, and some updates for time and memory. Nothing
    in the network changes: no parameter or gradient, buffer, generator or mode.

    kind of finding       found if
    value                 an input, a parameter, the loss or a gradient is not finite
    bound                 a learned value is at its lower bound; a learned tau is below dt / 3 or above 100 T dt; a
                          learned threshold counts as 0
    input scale           the largest input is below 1/100 and changes less than 1 % of the first layer's spikes
    time and batch        labels, the loss, or the correlation of neighbours fit the input with both axes exchanged
    silent layer          at least 99 % of its neurons never spike
    saturated layer       its neurons spike in more than 95 % of the steps
    no gradient           no gradient of the loss reaches a layer that fires
    vanishing gradient    that of its input at the first tenth of the steps is below 1/1000 of the largest
    exploding gradient    that at the first tenth is above 1000 times that in the middle
    loss                  it cannot be computed from the output, or depends on no parameter
    memory                an update needs more memory than is free

    Shapes: inputs [T, B, *N], time first; labels [B], whole numbers.

    Args:
        network: any module.
        inputs: arguments of the network: a batch as in training.
        loss: function of the network's output (without the state) that returns one number. By default the cross-entropy
            of the output's mean over time if there are labels, and else the mean square of the output.
        labels: class of each sample.
        measure: whether to estimate and measure time and memory of an update.

    Raises:
        ShapeError: labels are no whole numbers, or an input has no values. What the network raises passes unchanged.

    >>> from spikeloom.neurons import LIF
    >>> from spikeloom.layers import Sequential
    >>> _ = torch.manual_seed(0)
    >>> net = Sequential(nn.Linear(20, 8), LIF(threshold=50.0), nn.Linear(8, 2))
    >>> found = doctor(net, torch.rand(30, 4, 20), labels=torch.tensor([0, 1, 1, 0]), measure=False)
    >>> print(found)  # doctest: +ELLIPSIS
    1 finding
    <BLANKLINE>
    silent layer (layers.1): none of its 8 neurons spiked, so almost nothing is
      learned through it; its largest current is ..., its threshold 50.
      ...
    >>> found.ok
    False
    """
    labels = _checked(inputs, labels)
    findings = [*_values(network, inputs), *_bounds(network, inputs)]
    unchecked = list[str]()
    if any(one.kind == "value" for one in findings):
        return Diagnosis(findings, unchecked=["layers, gradients and costs, which need finite values."])
    estimated = None
    if measure:
        with unchanged(network):
            estimated, free = estimate(network, inputs, _square), available(network)
        if estimated is not None and estimated.bytes > free:
            return Diagnosis([*findings, _too_large(estimated, free)], unchecked=["layers and gradients."])
    chosen = _loss(loss, labels)
    found = probe(network, inputs, chosen)
    exchanged = _exchanged(network, inputs, chosen, labels, found)
    findings += exchanged
    if found.failure is not None:
        if not exchanged:
            findings.append(_failed(found))
        chosen = _square
        found = probe(network, inputs, chosen)
    elif loss is None and labels is None:
        unchecked.append("gradients of your loss: pass loss or labels (here it is the mean square of the output).")
    findings += _scale(network, inputs, found)
    findings += [*_layers(network, found), *_flow(network, found)]
    update = None
    if measure and not any(one.kind == "value" for one in findings):
        with unchanged(network):
            update = measured(network, inputs, chosen, _square, estimated)
    return Diagnosis(findings, ActivityTable(found.activity), update, unchecked)


def _checked(inputs: tuple[Any, ...], labels: Tensor | None) -> Tensor | None:
    """Return labels as int64; raise ShapeError unless they are whole numbers, and inputs are tensors with values."""
    for number, xs in enumerate(inputs):
        if isinstance(xs, Tensor):
            check_dense("doctor", xs, _input(inputs, number))
            if xs.is_meta:
                raise ShapeError("doctor looks at the values of its input, but one on meta has none. Pass real ones.")
    if labels is None:
        return None
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.is_complex() or not labels.dim():
        shown = f"{labels.dtype} {list(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
        raise ShapeError(f"doctor needs labels as whole numbers [B], but got {shown}. Convert them with .long().")
    check_dense("doctor", labels, "labels")
    if labels.is_meta:
        raise ShapeError("doctor looks at the values of labels, but these are on meta. Pass real ones.")
    return labels.long()


def _loss(loss: Loss | None, labels: Tensor | None) -> Loss:
    if loss is not None:
        return loss
    if labels is None:
        return _square
    classes = labels

    def entropy(out: Any) -> Tensor:
        logits = next(tensors_in(out))
        return cross_entropy(logits.mean(0) if logits.dim() == classes.dim() + 2 else logits, classes)

    return entropy


def _square(out: Any) -> Tensor:
    """Return the mean square of an output: the stand-in for a loss."""
    parts = [part for part in tensors_in(out) if part.is_floating_point()]
    return parts[0].square().mean() if parts else torch.zeros(())


def _values(network: nn.Module, inputs: tuple[Any, ...]) -> Iterator[Finding]:
    """Yield the parameters and inputs that are not finite."""
    for name, part in network.named_parameters():
        if not bool(torch.isfinite(part).all()):
            yield Finding(
                "value", name, "this parameter is not finite.", "Load a checkpoint from before, or initialise it again."
            )
    for number, xs in enumerate(inputs):
        if isinstance(xs, Tensor) and not bool(torch.isfinite(xs).all()):
            bad = int((~torch.isfinite(xs)).sum())
            yield Finding(
                "value", _input(inputs, number), f"{bad:,} of its {xs.numel():,} values are not finite.",
                "Look at the reader or the encoder; a logarithm or a division by a standard deviation of 0 does this.",
            )  # fmt: skip


def _input(inputs: tuple[Any, ...], number: int) -> str:
    return "input" if len(inputs) == 1 else f"input {number}"


def _bounds(network: nn.Module, inputs: tuple[Any, ...]) -> Iterator[Finding]:
    """Yield the learned values that are at or near the bound of their range."""
    steps = next((len(xs) for xs in inputs if isinstance(xs, Tensor) and xs.dim() > 2), 1)
    for place, layer in network.named_modules():
        if not isinstance(layer, Valued):
            continue
        where = place or type(layer).__name__
        for name in layer.values:
            learned = name in layer.starts
            if not learned and not isinstance(layer._parameters.get(name), nn.Parameter):
                continue
            value = torch.as_tensor(layer.value(name)).detach().double()
            if name.startswith("tau_"):
                yield from _time_constant(where, name, value, float(getattr(layer, "dt", 1.0)), steps)
            elif learned and layer.starts[name][0].startswith("raw_"):
                number = layer.starts[name][1]
                start = layer.get_buffer(name + "_start") if number is None else torch.tensor(number)
                low = (value.abs() <= 4 * FLOOR * start.abs().double()) & (start != 0)
                if bool(low.any()):
                    yield Finding(
                        "bound", where,
                        f"the learned {name} of {_count(low)} is at its lower bound, {FLOOR:.4f} times its start, "
                        "where its gradient is almost 0.",
                        f"Start from another {name}, or lower its learning rate.",
                    )  # fmt: skip
            elif name == "threshold" and bool((value <= 0).any()):
                yield Finding(
                    "bound", where,
                    f"the learned threshold of {_count(value <= 0)} is not above 0 and has no gradient.",
                    'Pass a number and learn=("threshold",) instead of an nn.Parameter: it then stays positive.',
                )  # fmt: skip


def _time_constant(where: str, name: str, value: Tensor, dt: float, steps: int) -> Iterator[Finding]:
    short, long = value < dt / FORGETS, value > HOLDS * steps * dt
    if bool(short.any()):
        low = float(value.min())
        yield Finding(
            "bound", where,
            f"the learned {name} of {_count(short)} is down to {low:.3g} ms with steps of {dt:g} ms: only "
            f"{math.exp(-dt / low):.1%} of a state is left after a step, and {name} has almost no gradient.",
            f"Start from a larger {name}, lower its learning rate, or take shorter steps (dt).",
        )  # fmt: skip
    if bool(long.any()):
        yield Finding(
            "bound", where,
            f"the learned {name} of {_count(long)} is up to {float(value.max()):.3g} ms, but the sequence lasts "
            f"{steps * dt:g} ms: nothing leaks in that time, and {name} has almost no gradient.",
            f"Start from a smaller {name}, or lower its learning rate.",
        )  # fmt: skip


def _count(which: Tensor) -> str:
    return "all neurons" if bool(which.all()) else f"{int(which.sum()):,} of {which.numel():,} neurons"


def _exchanged(
    network: nn.Module, inputs: tuple[Any, ...], loss: Loss, labels: Tensor | None, found: ProbedRun
) -> list[Finding]:
    """Return a finding if the input fits better with its first two axes exchanged: samples first, then time."""
    xs = next((x for x in inputs if isinstance(x, Tensor) and x.dim() > 2), None)
    in_time = any(isinstance(layer, Stateful | PSN) for layer in network.modules())
    if xs is None or xs.shape[0] == xs.shape[1] or not in_time:
        return []
    first, second = xs.shape[:2]
    why = ""
    if labels is not None and labels.dim() == 1:
        if len(labels) == first:
            why = f"there are {first} labels, which is its first size; the second, that of the samples, is {second}"
        elif len(labels) == second:
            return []
    if not why and found.failure is not None:
        turned = tuple(_turned(x, first, second) for x in inputs)
        try:
            again = probe(network, turned, loss)
        except (RuntimeError, ValueError):
            return []
        if again.failure is None:
            why = "the loss cannot be computed from its output, but can with both axes exchanged"
    if not why and labels is None:
        along_time, along_samples = (_smoothness(xs, dim) for dim in (0, 1))
        if along_samples >= SMOOTH and ROUGH * max(along_time, 0.0) <= along_samples:
            why = (
                f"neighbours along its second axis, that of the samples, are alike (correlation {along_samples:.2f}), "
                f"those along the first, time, are not ({along_time:.2f})"
            )
    if not why:
        return []
    return [
        Finding(
            "time and batch", "input", f"its shape {list(xs.shape)} looks like [B, T, ...]: {why}.",
            "Sequences are [T, B, ...], time first: pass xs.transpose(0, 1).",
        )
    ]  # fmt: skip


def _turned(x: Any, first: int, second: int) -> Any:
    fits = isinstance(x, Tensor) and x.dim() > 2 and tuple(x.shape[:2]) == (first, second)
    return x.transpose(0, 1) if fits else x


def _smoothness(xs: Tensor, dim: int) -> float:
    """Return the correlation of neighbours along a dimension, without the mean of each feature; 0 if there is none.

    >>> wave = torch.sin(torch.arange(100.0) / 9).reshape(-1, 1, 1) * torch.randn(1, 30, 5).sign()
    >>> _smoothness(wave, 0) > 0.9, abs(_smoothness(wave, 1)) < 0.5
    (True, True)
    """
    part = xs.detach()[:256, :256].flatten(2)[:, :, :256].double()
    if part.shape[dim] < 4:
        return 0.0
    rest = part - part.mean((0, 1))
    scale = float(rest.square().mean())
    length = part.shape[dim] - 1
    alike = float((rest.narrow(dim, 0, length) * rest.narrow(dim, 1, length)).mean())
    return alike / scale if scale > 0 else 0.0


def _failed(found: ProbedRun) -> Finding:
    shapes = ", ".join(str(list(part.shape)) for part in tensors_in(found.out)) or type(found.out).__name__
    said = " ".join(str(found.failure).split()).rstrip(".")
    return Finding(
        "loss", "loss", f"it cannot be computed from the output {shapes}: {said}.",
        "The loss gets what the network returns without its state, [T, B, ...]: take its mean over time, or one step.",
    )  # fmt: skip


def _scale(network: nn.Module, inputs: tuple[Any, ...], found: ProbedRun) -> list[Finding]:
    """Return a finding if the input is so small that it has no effect on the spikes of the first layer."""
    xs = next((x for x in inputs if isinstance(x, Tensor) and x.is_floating_point() and x.numel()), None)
    if xs is None or not found.seen:
        return []
    largest = float(xs.detach().abs().max())
    if largest >= SMALL:
        return []
    zero = tuple(torch.zeros_like(x) if x is xs else x for x in inputs)
    name, seen = next(iter(found.seen.items()))
    without = probe(network, zero, None).seen.get(name)
    if without is None or without.spikes.shape != seen.spikes.shape:
        return []
    differing = int((without.spikes != seen.spikes).sum())
    if differing > IDLE * max(int((seen.spikes != 0).sum()), 1):
        return []
    threshold = threshold_of(dict(network.named_modules()).get(name, network))
    moved = float((without.currents - seen.currents).detach().abs().max())
    against = "" if threshold is None else f", whose threshold is {threshold:.3g}"
    return [
        Finding(
            "input scale", "input",
            f"its largest value is {largest:.2g}, and it moves the currents of {name} by at most {moved:.2g}{against}: "
            "the spikes are as good as those without input.",
            "Bytes divided by 255 twice look like this: divide once. Otherwise multiply the input, or standardise it.",
        )
    ]  # fmt: skip


def _layers(network: nn.Module, found: ProbedRun) -> Iterator[Finding]:
    """Yield the silent and the saturated layers; of silent layers behind one another only the first."""
    modules = dict(network.named_modules())
    silent = [one for one in found.activity if one.state == "silent"]
    for one in found.activity:
        problem, _, remedy = one.advice.partition(" Try ")
        if not problem or (one.state == "silent" and one is not silent[0]):
            continue
        problem = problem.partition(": ")[2].rstrip(".")
        seen, layer = found.seen.get(one.name), modules.get(one.name, network)
        threshold = threshold_of(layer)
        if one.state == "silent" and seen is not None and threshold is not None:
            largest = float(seen.currents.detach().max())
            problem += f"; its largest current is {largest:.2g}, its threshold {threshold:g}"
        if one.state == "silent" and len(silent) > 1:
            problem += f"; {', '.join(other.name for other in silent[1:])} behind it {_are(len(silent) - 1)} silent too"
        yield Finding(f"{one.state} layer", one.name, f"{problem}.", f"Try {remedy}")


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _flow(network: nn.Module, found: ProbedRun) -> Iterator[Finding]:
    """Yield what is wrong with the loss and its gradients."""
    if found.loss is None:
        return
    if not bool(torch.isfinite(found.loss)):
        yield Finding("value", "loss", f"it is {float(found.loss)}.", "Look for a division by 0 or a logarithm of 0.")
        return
    bad = [name for name, gradient in found.parameters.items() if not bool(torch.isfinite(gradient).all())]
    if bad:
        yield Finding(
            "value", bad[0], "its gradient is not finite.",
            "Shorten the sequence, lower recurrent weights, or clip gradients; look for a square root at 0.",
        )  # fmt: skip
        return
    if not found.parameters and any(part.requires_grad for part in network.parameters()):
        yield Finding(
            "loss", "loss", "it depends on no parameter.", "Compute it from the output, without detach() or no_grad()."
        )
        return
    states, modules = {one.name: one.state for one in found.activity}, dict(network.named_modules())
    for name, seen in found.seen.items():
        fires_with_gradient = not isinstance(modules.get(name), RateNeuron | DiehlCook | MembraneLIF)
        if seen.profile is not None and not states.get(name) and fires_with_gradient:
            yield from _through_time(name, seen)


def _through_time(name: str, seen: Seen) -> Iterator[Finding]:
    """Yield whether the gradient of a layer's input vanishes or explodes from the late steps to the early ones."""
    assert seen.profile is not None
    if float(seen.profile.max()) == 0.0:
        yield Finding(
            "no gradient", name, "the layer spikes, but no gradient of the loss reaches its input.",
            "Compute the loss from what depends on it, or use a wider surrogate, such as FastSigmoid().",
        )  # fmt: skip
        return
    strength = seen.currents.detach().abs().flatten(1).amax(1)
    onset = int((strength > 1e-3 * float(strength.max())).nonzero()[0]) if float(strength.max()) > 0 else 0
    profile = seen.profile[onset:]
    width = len(profile) // 10
    if width < 1:
        return
    means = profile.square().unfold(0, width, width).mean(1).sqrt()
    early, middle, largest = float(means[0]), float(means[len(means) // 2]), float(means.max())
    if early < VANISHED * largest:
        yield Finding(
            "vanishing gradient", name,
            f"at the first {width} of {len(profile)} steps the gradient of its input is {_ratio(early, largest)} of "
            "the largest: what happens early is not learned.",
            "Try longer or learned time constants, neurons with slow states (ALIF), recurrence, a wider surrogate, or "
            "a loss that looks at every step.",
        )  # fmt: skip
    elif middle > 0 and early > EXPLODED * middle:
        yield Finding(
            "exploding gradient", name,
            f"at the first {width} of {len(profile)} steps the gradient of its input is {early / middle:.1e} times "
            "that in the middle of the sequence.",
            "Try smaller recurrent weights, a surrogate with a smaller gain, detach_reset=True, or shorter sequences; "
            "clip gradients.",
        )  # fmt: skip


def _ratio(part: float, whole: float) -> str:
    return "0" if part == 0 else f"{part / whole:.1e}"


def _too_large(cost: Estimate, free: float) -> Finding:
    return Finding(
        "memory", "update",
        f"it will need {size(cost.bytes)} (estimated from {cost.parts}), but {size(free)} are free. The whole batch "
        f"was not run; an update would take {duration(cost.seconds)}.",
        'Take fewer samples at a time, neurons with memory="lean", or torch.utils.checkpoint.',
    )  # fmt: skip
