"""Detection of runs on made-up data in place of a data set, from their options.

A task that can be tried without its data set has an option `made_up`, or another option with the value "made_up". The
results of such a run say nothing about the data set, so they are marked everywhere and not compared with anything.
"""

from collections.abc import Mapping
from typing import Any

MADE_UP = "made-up data"
NOTICE = "Made-up data in place of the data set: these numbers say nothing about it, and are compared with nothing."


def is_made_up(options: Mapping[str, Any]) -> bool:
    """Return whether the options of a run, as in its config.json, request made-up data.

    >>> is_made_up({"made_up": True}), is_made_up({"recordings": "made_up"}), is_made_up({"made_up": False})
    (True, True, False)
    """
    return options.get("made_up") is True or "made_up" in options.values()
