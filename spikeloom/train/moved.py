"""Where classes of saved states are today: checkpoints name them by the module that held them when they were saved."""

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
