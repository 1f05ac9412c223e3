"""Figures of weight matrices: existing synapses and their signs."""

from collections.abc import Mapping

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from ...plot.style import BLUE, RED, WIDTH, Array, tidy

SIGNED = LinearSegmentedColormap.from_list("signed", [RED, "#ffffff", BLUE])


def connectivity(matrices: Mapping[str, Array], title: str = "Connections") -> Figure:
    """Plot weight matrices [post, pre], one panel each: blue is excitatory, red inhibitory, white is no synapse.

    The colour scale of a matrix ends at the 98th percentile of its absolute weights.

    >>> connectivity({"recurrent": np.eye(3)}).axes[0].get_xlabel()
    'from'
    """
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    figure.suptitle(title, fontsize=13)
    widths = [max(np.sqrt(weight.shape[1]), 3.0) for weight in matrices.values()]
    panels = figure.subplots(1, len(matrices), squeeze=False, gridspec_kw={"width_ratios": widths})[0]
    for axes, (name, weight) in zip(panels, matrices.items(), strict=True):
        magnitudes = np.abs(weight[weight != 0])
        limit = float(np.percentile(magnitudes, 98)) if magnitudes.size else 1.0
        axes.imshow(weight, cmap=SIGNED, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
        tidy(axes)
        counts = f"{magnitudes.size:,} of {weight.size:,} ({magnitudes.size / weight.size:.1%})"
        axes.set_title(f"{name}\n{counts}", fontsize=10, loc="left")
        axes.set_xlabel("from")
    panels[0].set_ylabel("to")
    return figure
