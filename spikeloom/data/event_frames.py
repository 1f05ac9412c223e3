"""Events of a camera or another sensor as frames: counts of each cell in consecutive windows of time.

    window       bin = floor(t / window)
    steps        bin = floor(t steps / (last + 1 us)), last: time of the last event
    frame[bin, polarity, y, x] += 1

Polarity 0 is OFF, 1 is ON, as in Tonic.
"""

import numpy as np
import torch
from torch import Tensor

from ..arguments import explained
from ..errors import ConfigError, check_count, check_positive
from . import events as recordings
from .events import Polarity
from .spike_trains import MOST_CELLS, Array


@explained
def frames(
    events: Array, width: int, height: int, *, steps: int | None = None, window: float | None = None,
    polarity: Polarity = "both",
) -> Tensor:  # fmt: skip
    """Count the events of a recording in frames.

    Shapes: events [E] -> float32 [T, P, height, width]; P is 2 for "both" (OFF, ON), else 1.
    Units: window in ms.

    Args:
        events: structured array with the fields x, y, t (us) and p, as the readers of `spikeloom.data.events` and Tonic
            return it, in any order.
        width, height: size of the sensor in cells.
        steps: T. Without a window, the recording is divided into so many equal parts.
        window: duration of a frame; without steps, T is given by the last event.
        polarity: "on" or "off" events alone, "merge" both into one count, or "both" in two.

    Raises:
        ConfigError: neither steps nor window is given, one is not positive, an event is later than `steps` windows, the
            polarity is unknown, or there would be more than 2^40 cells.
        DataError: an event is outside of the sensor.
        ShapeError: events are no list with these fields.

    >>> clip = recordings.make(np.array([0, 2, 2]), np.array([1, 0, 0]), np.array([10, 20, 999]), np.array([1, 0, 0]))
    >>> found = frames(clip, 3, 2, steps=2)
    >>> found.shape, found[:, 0, 0, 2].tolist(), found[:, 1, 1, 0].tolist()
    (torch.Size([2, 2, 2, 3]), [1.0, 1.0], [1.0, 0.0])
    """
    if steps is None and window is None:
        raise ConfigError("frames needs steps or window, but got neither. Pass steps=10, for example.")
    if steps is not None:
        check_count("frames", steps=steps)
    if window is not None:
        check_positive("frames", window=window)
    units = recordings.units(events, width, height, polarity).astype(np.int64)
    times = np.asarray(events["t"]).astype(np.float64)
    if times.size and not bool((times >= 0).all()):
        raise ConfigError(f"frames needs events with times of at least 0 us, but got {times.min():,.0f}.")
    last = float(times.max(initial=0.0))
    if window is None:
        assert steps is not None
        count = int(steps)
        bins = np.floor(times * count / (last + 1))
    else:
        bins = np.floor(times / (1000 * float(window)))
        latest = float(bins.max(initial=0.0))
        if steps is not None and latest >= steps:
            raise ConfigError(
                f"frames was asked for steps={steps:,} of window={window} ms, but an event has the time "
                f"{last / 1000:,.3f} ms. Pass more steps, a longer window, or cut the recording with events.window."
            )
        count = int(min(latest + 1, MOST_CELLS)) if steps is None else int(steps)
    channels = 2 if polarity == "both" else 1
    cells = channels * int(width) * int(height)
    if count * cells > MOST_CELLS:
        raise ConfigError(
            f"frames would have {count:,} steps of {cells:,} cells, more than {MOST_CELLS:,}. Pass fewer steps or a "
            "longer window."
        )
    chosen = np.ones(len(units), bool) if channels == 2 or polarity == "merge" else _is(events, polarity)
    places = torch.from_numpy(bins[chosen].astype(np.int64) * cells + units[chosen])
    counts = torch.zeros(count * cells)
    counts.scatter_add_(0, places, torch.ones(len(places)))
    return counts.view(count, channels, int(height), int(width))


def _is(events: Array, polarity: Polarity) -> Array:
    """Return the mask of the events of one polarity."""
    chosen: Array = (np.asarray(events["p"]) > 0) == (polarity == "on")
    return chosen
