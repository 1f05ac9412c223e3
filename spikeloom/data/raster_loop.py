# mypy: disable-error-code="untyped-decorator, no-any-return"
"""Scatter of events into a raster, compiled with numba; the equations are in `spike_trains`.

Imported when a raster is first made, because numba is slow to import.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import compiled

Array = NDArray[Any]

njit = compiled.njit()


@njit
def scatter(
    raster: Array, times: Array, units: Array, first: Array, counts: Array, kept: Array, lengths: Array,
    moved: bool, shifts: Array, scales: Array, window: float, ceil: bool,
) -> float:  # fmt: skip
    """Add counts[b] events from first[b] of each sample to raster [T, B, C], shifted and scaled if `moved`.

    `kept` has one entry per event of these samples, in order; if empty, all events are kept. Returns the largest count
    of a cell, or -1 if a unit or a time is out of range; nothing is written outside the raster.
    """
    channels, event, most = raster.shape[2], 0, 0.0
    for sample in range(len(first)):
        middle = (lengths[sample] - (1 if ceil else 0)) * window / 2
        for place in range(first[sample], first[sample] + counts[sample]):
            event += 1
            if len(kept) and not kept[event - 1]:
                continue
            time, unit = np.float64(times[place]), np.float64(units[place])
            if moved:
                scale, centre = scales[sample], channels / 2
                time = scale * (time - middle) + middle
                unit = np.rint(scale * (unit - centre) + centre + shifts[sample])
                if not (time >= 0 and unit >= 0 and unit < channels):
                    continue
            if not (time >= 0 and unit >= 0 and unit < channels):
                return -1.0
            cell = np.ceil(time / window) if ceil else np.floor(time / window)  # float: compared before it is an index
            if cell < lengths[sample]:
                raster[int(cell), sample, int(unit)] += 1
                most = max(most, raster[int(cell), sample, int(unit)])
            elif not moved:
                return -1.0
    return most
