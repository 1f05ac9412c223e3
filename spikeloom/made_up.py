"""Whether a run was given made-up data in place of a data set, read from its options.

A task that can be tried without its data set has an option `made_up`, or another one whose value is "made_up". What
such a run reaches says nothing about the data set, so it is marked wherever it is shown and compared with nothing.
"""

from collections.abc import Mapping
from typing import Any

MADE_UP = "made-up data"
NOTICE = "Made-up data in place of the data set: these numbers say nothing about it, and are compared with nothing."


def is_made_up(options: Mapping[str, Any]) -> bool:
    """Whether these options of a run, as in its config.json, ask for made-up data.

    >>> is_made_up({"made_up": True}), is_made_up({"recordings": "made_up"}), is_made_up({"made_up": False})
    (True, True, False)
    """
    return options.get("made_up") is True or "made_up" in options.values()
