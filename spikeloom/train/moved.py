"""Names in run folders of earlier versions: where classes of saved states are today, and options that were removed.

Checkpoints name classes by the module that held them when they were saved.
"""

from collections.abc import Container, Mapping
from typing import Any

from ..errors import ConfigError

MODULES = {
    "data.concentration": "papers.hebbian_memory.game",
    "kernels.loop_torch": "kernels.loops.definition",
    "layers.events": "encoding.events",
    "layers.memory": "layers.hebbian_memory.layer",
    "models.agent": "papers.hebbian_memory.agent",
    "models.cross_modal": "papers.hebbian_memory.recall",
    "models.diehl_cook": "papers.diehl_cook.network",
    "models.encoders": "papers.hebbian_memory.encoders",
    "models.lsnn": "papers.lsnn.network",
    "models.memory": "papers.hebbian_memory.networks",
    "models.parallel": "papers.parallel_neurons.network",
    "models.presentation": "papers.diehl_cook.presentation",
    "models.stories": "papers.hebbian_memory.stories",
    "rules.hebbian": "rules.fast_weights",
}
"""Old module -> module, both inside spikeloom."""
CLASSES = {
    "layers.sequential:ResidualState": "layers.branches:ResidualState",
    "layers.sequential:SequenceDropoutState": "layers.dropout:SequenceDropoutState",
    "neurons.diehl_cook:MembraneState": "neurons.diehl_cook:MembraneLIFState",
    "papers.diehl_cook.presentation:Presented": "papers.diehl_cook.presentation:Presentation",
    "papers.hebbian_memory.stories:Answers": "papers.hebbian_memory.stories:StoryAnswers",
    "train.ppo:Judged": "train.ppo:Minibatch",
    "train.ppo:Situation": "train.ppo:RolloutState",
}
"""Old class -> class, in the modules of today."""


def current(name: str) -> str:
    """Return `module:class` as it is called today.

    >>> current("spikeloom.models.lsnn:LSNNState")
    'spikeloom.papers.lsnn.network:LSNNState'
    >>> current("my_task:State")
    'my_task:State'
    """
    module, _, path = name.partition(":")
    inside = module.removeprefix("spikeloom.")
    if inside == module:
        return name
    today = f"{MODULES.get(inside, inside)}:{path}"
    return f"spikeloom.{CLASSES.get(today, today)}"


REMOVED = {"made_up": False}
"""Removed option -> the value with which a run is as it would be without that option."""
MADE_UP = (
    "made-up data are no longer part of the package. Train a new run on the data set itself; `spikeloom data fetch` "
    "downloads it."
)


def without_removed(options: Mapping[str, Any], known: Container[str], where: str) -> dict[str, Any]:
    """Return options without those that were removed; `known` holds the names of today.

    Raises:
        ConfigError: a removed option has a value that no longer exists.

    >>> without_removed({"lr": 0.1, "made_up": False}, ["lr"], "config.json")
    {'lr': 0.1}
    """
    removed = {name for name in REMOVED if name in options and name not in known}
    for name in removed:
        if options[name] != REMOVED[name]:
            raise ConfigError(f"{where} has {name} {options[name]!r}, but {MADE_UP}")
    return {name: value for name, value in options.items() if name not in removed}
