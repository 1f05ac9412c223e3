"""Findings about layers that do not fire, or fire always, and about the gradients that reach the others."""

from collections.abc import Iterator

import torch
from torch import nn

from ..neurons import DiehlCook, MembraneLIF, RateNeuron
from .diagnosis import Symptom
from .probe import ProbedRun, Seen, threshold_of

VANISHED, EXPLODED = 1e-3, 1e3
"""Ratios of the gradient at early steps to that at later ones from which on a finding is reported."""


def quiet_or_busy(network: nn.Module, found: ProbedRun) -> Iterator[Symptom]:
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
        yield Symptom(f"{one.state} layer", one.name, f"{problem}.", f"Try {remedy}")


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def flow(network: nn.Module, found: ProbedRun) -> Iterator[Symptom]:
    """Yield what is wrong with the loss and its gradients."""
    if found.loss is None:
        return
    if not bool(torch.isfinite(found.loss)):
        yield Symptom("value", "loss", f"it is {float(found.loss)}.", "Look for a division by 0 or a logarithm of 0.")
        return
    bad = [name for name, gradient in found.parameters.items() if not bool(torch.isfinite(gradient).all())]
    if bad:
        yield Symptom(
            "value", bad[0], "its gradient is not finite.",
            "Shorten the sequence, lower recurrent weights, or clip gradients; look for a square root at 0.",
        )  # fmt: skip
        return
    if not found.parameters and any(part.requires_grad for part in network.parameters()):
        yield Symptom(
            "loss", "loss", "it depends on no parameter.", "Compute it from the output, without detach() or no_grad()."
        )
        return
    states, modules = {one.name: one.state for one in found.activity}, dict(network.named_modules())
    for name, seen in found.seen.items():
        fires_with_gradient = not isinstance(modules.get(name), RateNeuron | DiehlCook | MembraneLIF)
        if seen.profile is not None and not states.get(name) and fires_with_gradient:
            yield from _through_time(name, seen)


def _through_time(name: str, seen: Seen) -> Iterator[Symptom]:
    """Yield whether the gradient of a layer's input vanishes or explodes from the late steps to the early ones."""
    assert seen.profile is not None
    if float(seen.profile.max()) == 0.0:
        yield Symptom(
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
        yield Symptom(
            "vanishing gradient", name,
            f"at the first {width} of {len(profile)} steps the gradient of its input is {_ratio(early, largest)} of "
            "the largest: what happens early is not learned.",
            "Try longer or learned time constants, neurons with slow states (ALIF), recurrence, a wider surrogate, or "
            "a loss that looks at every step.",
        )  # fmt: skip
    elif middle > 0 and early > EXPLODED * middle:
        yield Symptom(
            "exploding gradient", name,
            f"at the first {width} of {len(profile)} steps the gradient of its input is {early / middle:.1e} times "
            "that in the middle of the sequence.",
            "Try smaller recurrent weights, a surrogate with a smaller gain, detach_reset=True, or shorter sequences; "
            "clip gradients.",
        )  # fmt: skip


def _ratio(part: float, whole: float) -> str:
    return "0" if part == 0 else f"{part / whole:.1e}"
