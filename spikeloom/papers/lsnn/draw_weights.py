"""Connections as pictures: which synapses exist, with which sign."""

from collections.abc import Mapping

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from ...plot.style import BLUE, RED, WIDTH, Array, tidy

SIGNED = LinearSegmentedColormap.from_list("signed", [RED, "#ffffff", BLUE])


def connectivity(matrices: Mapping[str, Array], title: str = "Connections") -> Figure:
    """One panel per weight matrix [post, pre]: blue excites, red inhibits, white is no synapse.

    Colours end at the 98th percentile of the sizes in a matrix.

    >>> connectivity({"recurrent": np.eye(3)}).axes[0].get_xlabel()
    'from'
    """
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    figure.suptitle(title, fontsize=13)
    widths = [max(np.sqrt(weight.shape[1]), 3.0) for weight in matrices.values()]
    panels = figure.subplots(1, len(matrices), squeeze=False, gridspec_kw={"width_ratios": widths})[0]
    for axes, (name, weight) in zip(panels, matrices.items(), strict=True):
        sizes = np.abs(weight[weight != 0])
        limit = float(np.percentile(sizes, 98)) if sizes.size else 1.0
        axes.imshow(weight, cmap=SIGNED, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
        tidy(axes)
        there = f"{sizes.size:,} of {weight.size:,} ({sizes.size / weight.size:.1%})"
        axes.set_title(f"{name}\n{there}", fontsize=10, loc="left")
        axes.set_xlabel("from")
    panels[0].set_ylabel("to")
    return figure
