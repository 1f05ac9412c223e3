"""Findings about a network, each with its remedy, and the result of `doctor` that lists them."""

import textwrap
from dataclasses import dataclass, field
from html import escape

from .expense import UpdateCost
from .firing import ActivityTable
from .table import WIDTH


@dataclass(frozen=True)
class Symptom:
    """One thing that will go wrong.

    Args:
        kind: what it is, such as "silent layer"; see `doctor` for all of them.
        where: name of the layer, or "input", "loss" or "update".
        problem: description, with the numbers that show it.
        remedy: what to try.

    >>> print(Symptom("input scale", "input", "its largest value is 0.004.", "Divide bytes by 255 once."))
    input scale (input): its largest value is 0.004.
      Divide bytes by 255 once.
    """

    kind: str
    where: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        lines = textwrap.wrap(f"{self.kind} ({self.where}): {self.problem}", WIDTH, subsequent_indent="  ")
        return "\n".join([*lines, *textwrap.wrap(self.remedy, WIDTH, initial_indent="  ", subsequent_indent="  ")])


@dataclass(frozen=True)
class Diagnosis:
    """Result of `doctor`; it prints as a page of at most 80 columns.

    Args:
        findings: what will go wrong; empty if nothing was found.
        layers: activity of the layers, with the gradients of the loss.
        update: time and memory of an update; None if they were not measured.
        unchecked: what could not be examined, and why.

    >>> print(Diagnosis([Symptom("silent layer", "layers.1", "no neuron spiked.", "Try larger inputs.")]))
    1 finding
    <BLANKLINE>
    silent layer (layers.1): no neuron spiked.
      Try larger inputs.
    """

    findings: list[Symptom]
    layers: ActivityTable = field(default_factory=ActivityTable)
    update: UpdateCost | None = None
    unchecked: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def kinds(self) -> list[str]:
        """Return the kinds of the findings."""
        return [finding.kind for finding in self.findings]

    def __str__(self) -> str:
        parts = [self._summary(), *map(str, self.findings)]
        parts += [str(self.layers)] if self.layers else []
        parts += [textwrap.fill(str(self.update), WIDTH)] if self.update else []
        parts += ["\n".join(textwrap.fill(f"Not checked: {text}", WIDTH) for text in self.unchecked)] * bool(
            self.unchecked
        )
        return "\n\n".join(parts)

    __repr__ = __str__

    def _summary(self) -> str:
        count = len(self.findings)
        return "nothing to report" if not count else f"{count} finding{'s' * (count > 1)}"

    def _repr_html_(self) -> str:
        found = "".join(
            f"<li><b>{escape(one.kind)}</b> ({escape(one.where)}): {escape(one.problem)}<br>{escape(one.remedy)}</li>"
            for one in self.findings
        )
        parts = [f"<p>{self._summary()}</p>", f"<ul>{found}</ul>" if found else ""]
        parts += [self.layers._repr_html_()] if self.layers else []
        parts += [f"<p>{escape(str(self.update))}</p>"] if self.update else []
        parts += [f"<p>Not checked: {escape(text)}</p>" for text in self.unchecked]
        return "".join(parts)
