"""Inspection of a network: which layers fire, what happens inside them, and what will go wrong in training.

firing       `activity`: firing statistics of each spiking layer in one call, and the gradient that reaches it
recording    `watch`: spikes, voltages and states of layers in every step, with their gradients
examine      `doctor`: one call before training; its checks are in values, inputs, gradients and expense
counting     counts of spikes over the calls that are made anyway, for example during training
table        tables for a terminal of 80 columns, and for notebooks

A module here has no name of a function, so that a type checker does not take one for the other.
"""

from .counting import SATURATED, SILENT, FiringCounter, LayerActivity, advice, of_counts
from .diagnosis import Diagnosis, Symptom
from .examine import doctor
from .expense import UpdateCost
from .firing import ActivityTable, activity
from .recording import Watch, WatchedCall, WatchedLayer, watch

__all__ = [
    "SATURATED",
    "SILENT",
    "ActivityTable",
    "Diagnosis",
    "FiringCounter",
    "LayerActivity",
    "Symptom",
    "UpdateCost",
    "Watch",
    "WatchedCall",
    "WatchedLayer",
    "activity",
    "advice",
    "doctor",
    "of_counts",
    "watch",
]
