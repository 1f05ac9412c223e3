"""Encoders: numbers, images, sound and events into spikes.

Numbers: `rate`, `poisson`, `latency`, `delta`, `population`, `repeat`. Images pixel by pixel: `threshold_crossing`; in
front of a camera: `event_camera`. Sound: `cochlea`, `mfcc`. Lists of spikes: `events`.
"""

from .changes import delta
from .events import Events, events_of, poisson_counts, poisson_events, sequence_of
from .first_spike import latency
from .rates import poisson, rate, repeat
from .receptive_fields import population

__all__ = [
    "Events",
    "delta",
    "events_of",
    "latency",
    "poisson",
    "poisson_counts",
    "poisson_events",
    "population",
    "rate",
    "repeat",
    "sequence_of",
]
