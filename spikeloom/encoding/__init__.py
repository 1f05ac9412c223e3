"""Numbers, images, sound and events into spikes."""

from .events import Events, events_of, poisson_counts, poisson_events, sequence_of
from .rate import poisson

__all__ = ["Events", "events_of", "poisson", "poisson_counts", "poisson_events", "sequence_of"]
