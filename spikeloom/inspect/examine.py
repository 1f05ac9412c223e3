"""Examination of a network before its training: what will go wrong, and what to try.

    print(doctor(net, xs, labels=labels))

The checks are in `values` (what is not finite, learned values at their bounds), `inputs` (scale, axes) and `gradients`
(silent and saturated layers, gradients through time); `expense` measures an update.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..arguments import explained
from ..errors import ShapeError, check_dense
from .diagnosis import Diagnosis, Symptom
from .expense import Estimate, available, duration, estimate, measured, size
from .firing import ActivityTable
from .gradients import flow, quiet_or_busy
from .inputs import exchanged_axes, too_small
from .probe import ProbedRun, probe
from .unchanged import tensors_in, unchanged
from .values import at_bounds, input_name, not_finite

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
    findings = [*not_finite(network, inputs), *at_bounds(network, inputs)]
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
    exchanged = exchanged_axes(network, inputs, chosen, labels, found)
    findings += exchanged
    if found.failure is not None:
        if not exchanged:
            findings.append(_failed(found))
        chosen = _square
        found = probe(network, inputs, chosen)
    elif loss is None and labels is None:
        unchecked.append("gradients of your loss: pass loss or labels (here it is the mean square of the output).")
    findings += too_small(network, inputs, found)
    findings += [*quiet_or_busy(network, found), *flow(network, found)]
    update = None
    if measure and not any(one.kind == "value" for one in findings):
        with unchanged(network):
            update = measured(network, inputs, chosen, _square, estimated)
    return Diagnosis(findings, ActivityTable(found.activity), update, unchecked)


def _checked(inputs: tuple[Any, ...], labels: Tensor | None) -> Tensor | None:
    """Return labels as int64; raise ShapeError unless they are whole numbers, and inputs are tensors with values."""
    for number, xs in enumerate(inputs):
        if isinstance(xs, Tensor):
            check_dense("doctor", xs, input_name(inputs, number))
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


def _failed(found: ProbedRun) -> Symptom:
    shapes = ", ".join(str(list(part.shape)) for part in tensors_in(found.out)) or type(found.out).__name__
    said = " ".join(str(found.failure).split()).rstrip(".")
    return Symptom(
        "loss", "loss", f"it cannot be computed from the output {shapes}: {said}.",
        "The loss gets what the network returns without its state, [T, B, ...]: take its mean over time, or one step.",
    )  # fmt: skip


def _too_large(cost: Estimate, free: float) -> Symptom:
    return Symptom(
        "memory", "update",
        f"it will need {size(cost.bytes)} (estimated from {cost.parts}), but {size(free)} are free. The whole batch "
        f"was not run; an update would take {duration(cost.seconds)}.",
        'Take fewer samples at a time, neurons with memory="lean", or torch.utils.checkpoint.',
    )  # fmt: skip
