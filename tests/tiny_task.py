"""A plane through noisy points: the smallest task, for the tests of runs.

    y = w x + b,   loss = mean squared error

Trains in milliseconds and has every part that a real task has.
"""

import resource
import time
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import nn

from spikeloom.train import ranks
from spikeloom.train.run import Carry, Run
from spikeloom.train.supervised import fit


@dataclass(frozen=True)
class Config:
    updates: int = 60
    """Optimiser steps."""
    lr: float = 0.05
    """Learning rate."""
    inputs: int = 3
    """Dimensions of x."""
    batch: int = 16
    """Points per update and rank."""
    bias: bool = True
    """Learn an offset."""
    pause: float = 0.0
    """Seconds of sleep per update."""
    nan_at: int = -1
    """Update at which the loss becomes NaN; -1: never."""
    stop_below: float = 0.0
    """Validation error at which training ends."""
    checkpoint_every: int = 2
    """Updates between checkpoints."""
    full_at: int = -1
    """Update from which on no file may grow beyond 20 kB; -1: never."""


PRESETS = {"paper": Config(), "smoke": Config(updates=4)}
PUBLISHED = {"error": {"value": 0.01, "source": "T. Author, <Journal>, 2020", "note": "remembered & rounded"}}


def build(config: Config, run: Run) -> nn.Linear:
    model = nn.Linear(config.inputs, 1, bias=config.bias)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=run.generator("weights"))
    return model


def network_of(config: Config, run: Run) -> tuple[nn.Module, tuple[int, ...]]:
    return build(config, run), (config.inputs,)


def points(config: Config, run: Run, purpose: str) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(config.batch, config.inputs, generator=run.generator(purpose))
    noise = 0.01 * torch.randn(config.batch, 1, generator=run.generator(purpose))
    return x, x.sum(1, keepdim=True) + noise


def train(config: Config, run: Run) -> None:
    model = build(config, run)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    carry = Carry(last=None)

    def step(finished: int) -> dict[str, float]:
        time.sleep(config.pause)
        if finished == config.full_at:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        x, y = points(config, run, "input")
        loss = ((model(x) - y) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        ranks.average_gradients(model)
        optimizer.step()
        carry.last = (loss.detach(), ())
        return {"loss": float("nan") if finished == config.nan_at else loss.item()}

    def validate(finished: int) -> dict[str, float]:
        x, y = points(config, run, "validation")
        with torch.no_grad():
            return {"validation_error": (model(x) - y).abs().mean().item()}

    def stop(finished: int, history: list[dict[str, Any]]) -> bool:
        errors = [line["validation_error"] for line in history if "validation_error" in line]
        return bool(errors) and errors[-1] < config.stop_below

    fit(
        run,
        parts={"model": model, "optimizer": optimizer, "carry": carry},
        updates=config.updates,
        step=step,
        validate=validate,
        validate_every=2,
        checkpoint_every=config.checkpoint_every,
        stop=stop,
        best="validation_error",
    )


def evaluate(config: Config, run: Run) -> dict[str, float]:
    model = build(config, run)
    run.load_best(model=model)
    x, y = points(config, run, "test")
    with torch.no_grad():
        error = (model(x) - y).abs().mean().item()
    run.write_json(
        "activity.json",
        {
            "dt_ms": 1.0,
            "steps": 100,
            "layers": [
                {"name": "plane", "neurons": 1, "inputs": config.inputs, "rate_hz": 20.0, "input_rate_hz": 50.0}
                | {"synapses": config.inputs}
            ],
            "data": [
                {"file": "points", "sha256": "0" * 64, "count": 8, "official_count": 10, "note": "8 of the 10 points"}
            ],
        },
    )
    return {"error": error, "solved": float(error < 1.0)}


def plot(config: Config, run: Run) -> None:
    figure = Figure(figsize=(3, 2))
    figure.add_subplot().plot([line["loss"] for line in run.metrics()])
    run.figure("descent", figure, "The loss of every update <falls>.")
