"""Plasticity against loops in float64 over single spikes, for every type of spikes; and what is refused."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from spikeloom.errors import ConfigError, ShapeError
from spikeloom.rules import (
    STDP,
    Hebbian,
    hebbian_stdp,
    inverted_oja,
    normalise,
    pair_stdp,
    post_stdp,
    triplet_stdp,
    weight_dependent_stdp,
)
from spikeloom.rules.stdp import STDPTraces

KINDS = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
]  # fmt: skip
PRE, POST, STEPS = (0,), (5, 9), 12


def spikes(times: tuple[int, ...], kind: torch.dtype) -> Tensor:
    """[T, 1, 1]."""
    train = torch.zeros(STEPS, 1, 1, dtype=kind)
    train[list(times)] = 1
    return train


def apply(rule: STDP, weight: Tensor, pre: Tensor, post: Tensor) -> tuple[Tensor, STDPTraces]:
    traces = rule.initial_traces(pre[0], post[0])
    for x, y in zip(pre, post, strict=True):
        weight, traces = rule.update(weight, x, y, traces)
    return weight, traces


def by_hand(
    lr: float, lr_pre: float, target: float = 0.0, triplet: bool = False,
    up: Callable[[float], float] = lambda w: 1.0, down: Callable[[float], float] = lambda w: 1.0,
) -> float:  # fmt: skip
    """One synapse, spike by spike."""
    w, x, y, slow = 0.5, 0.0, 0.0, 0.0
    for t in range(STEPS):
        x, y, slow = x * math.exp(-1 / 20), y * math.exp(-1 / 20), slow * math.exp(-1 / 40)
        seen, before = y, slow
        x = 1.0 if t in PRE else x
        if t in POST:
            y = slow = 1.0
        change = 0.0
        if t in POST:
            step = lr * (before if triplet else 1.0) * (x - target)
            change += step * (up(w) if x > target else down(w))
        if t in PRE:
            step = -lr_pre * (seen if triplet else y)
            change += step * (down(w) if lr_pre > 0 else up(w))
        w = min(max(w + change, 0.0), 1.0)
    return w


RULES: list[tuple[STDP, float, float]] = [
    (pair_stdp(lr=0.01, lr_pre=0.02), by_hand(0.01, 0.02), 0.51416429),
    (triplet_stdp(lr=0.01, lr_pre=0.02), by_hand(0.01, 0.02, triplet=True), 0.5057695),
    (
        post_stdp(),
        by_hand(0.05, 0.0, 0.4, up=lambda w: (1 - w) ** 0.2, down=lambda w: w**0.2),
        0.52676249,
    ),
    (
        weight_dependent_stdp(lr=0.01, lr_pre=0.02),
        by_hand(0.01, 0.02, up=lambda w: 1 - w, down=lambda w: w),
        0.50705732,
    ),
    (hebbian_stdp(lr=0.01, lr_pre=0.02), by_hand(0.01, -0.02), 0.51416429),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(("rule", "expected", "published"), RULES, ids=["pair", "triplet", "post", "weight", "hebbian"])
def test_spikes_of_every_type_do_what_the_loop_does(
    rule: STDP, expected: float, published: float, kind: torch.dtype
) -> None:
    assert expected == pytest.approx(published, abs=5e-8)
    for weight in (torch.full((1, 1), 0.5, dtype=torch.float64), torch.full((1, 1), 0.5)):
        found, traces = apply(rule, weight, spikes(PRE, kind), spikes(POST, kind))
        assert found.item() == pytest.approx(expected, abs=1e-12 if weight.dtype == torch.float64 else 2e-7)
        assert {part.dtype for part in (found, *traces)} == {weight.dtype}
        assert weight.item() == 0.5


@pytest.mark.parametrize("kind", KINDS[2:], ids=str)
def test_hebbian_rules_compute_in_the_dtype_of_the_weight(kind: torch.dtype) -> None:
    rule = Hebbian(potentiation=0.3, depression=0.2, tau_trace=4.0)
    pre, post = torch.tensor([[1, 0]], dtype=kind), torch.tensor([[1, 1]], dtype=kind)
    weight = torch.full((1, 2, 2), 0.25, dtype=torch.float64)
    traces = rule.initial_traces(pre, post)
    for _ in range(2):
        weight, traces = rule.update(weight, pre, post, traces)
    decay, w, x = math.exp(-1 / 4), 0.25, 0.0
    for _ in range(2):
        x = (1 - decay) + decay * x
        w = w * (1 - 0.3 * x * x - 0.2 * x * x) + 0.3 * x * x
    torch.testing.assert_close(weight[0, :, 0], torch.full((2,), w, dtype=torch.float64), rtol=1e-14, atol=0)
    assert torch.equal(weight[0, :, 1], torch.full((2,), 0.25, dtype=torch.float64))
    assert traces.pre.dtype == torch.float64


def fitting() -> dict[str, Any]:
    rule = pair_stdp()
    pre, post = torch.ones(2, 3), torch.ones(2, 4)
    return {"weight": torch.full((4, 3), 0.5), "pre": pre, "post": post, "traces": rule.initial_traces(pre, post)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.ones(4, 3, dtype=torch.int64)}, r"needs a floating point weight, but got torch\.int64"),
        ({"weight": torch.ones(3, 4)}, r"got weight \[3, 4\] for spikes \[2, 3\] and \[2, 4\]. They must be"),
        ({"pre": torch.ones(3)}, r"got weight \[4, 3\] for spikes \[3\]"),
        ({"post": torch.ones(3, 4)}, r"for spikes \[2, 3\] and \[3, 4\]"),
        ({"traces": ()}, r"STDP needs STDPTraces, but got tuple. Start with initial_traces"),
        (
            {"traces": STDPTraces(torch.zeros(1, 3), torch.zeros(2, 4), torch.zeros(2, 4))},
            r"needs trace_pre \[2, 3\] of real numbers, but got torch\.float32 \[1, 3\]. Start with initial_traces",
        ),
        (
            {"traces": STDPTraces(torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(2, 3))},
            r"needs slow \[2, 4\] of real numbers, but got torch\.float32 \[2, 3\]",
        ),
        ({"weight": torch.ones(4, 3, device="meta")}, r"has its weight on meta, but pre on cpu. Move one with"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    values = fitting() | change
    with pytest.raises(ShapeError, match=message):
        pair_stdp().update_(**values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pre": torch.full((2, 3), -1)}, r"needs spikes or counts, 0 or above, but pre holds -1. Pass spikes"),
        ({"post": torch.full((2, 4), float("nan"))}, r"0 or above, but post holds nan"),
        ({"weight": torch.full((4, 3), float("nan"))}, r"keeps weights from 0 to 1, but got weights from nan to nan"),
        (
            {"weight": torch.full((4, 3), 1.5)},
            r"keeps weights from 0 to 1, but got weights from 1.5 to 1.5. Clamp",
        ),
        ({"weight": torch.full((4, 3), -0.1)}, r"but got weights from -0.1 to -0.1"),
    ],
)
def test_values_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    values = fitting() | change
    with pytest.raises(ConfigError, match=message):
        pair_stdp().update(**values)


def test_bounds_are_compared_as_the_weight_rounds_them() -> None:
    rule = pair_stdp(w_min=0.1, w_max=0.3)
    pre, post = torch.ones(1, 1), torch.ones(1, 1)
    weight, _ = rule.update(torch.full((1, 1), 0.3), pre, post, rule.initial_traces(pre, post))
    assert weight.item() == pytest.approx(0.3)
    rule.update(weight.half().float().clamp(0.1, 0.3), pre, post, rule.initial_traces(pre, post))


def test_no_samples_change_nothing() -> None:
    for reduction in ("sum", "mean", "max"):
        rule = pair_stdp(reduction=reduction)
        pre, post = torch.ones(0, 3), torch.ones(0, 4)
        weight, _ = rule.update(torch.full((4, 3), 0.5), pre, post, rule.initial_traces(pre, post))
        assert torch.equal(weight, torch.full((4, 3), 0.5))


def test_hebbian_refuses_what_does_not_fit() -> None:
    rule = inverted_oja()
    pre, post, weight = torch.ones(2, 3), torch.ones(2, 4), torch.zeros(2, 4, 3)
    traces = rule.initial_traces(pre, post)
    with pytest.raises(ShapeError, match=r"Hebbian needs a floating point weight, but got torch\.int64"):
        rule.update(weight.long(), pre, post, traces)
    with pytest.raises(ShapeError, match=r"Hebbian got weight \[1, 4, 3\] for spikes \[2, 3\] and \[2, 4\]"):
        rule.update(weight[:1], pre, post, traces)
    with pytest.raises(ShapeError, match=r"Hebbian needs trace_pre \[2, 3\] of real numbers, but got .* \[1, 3\]"):
        rule.update(weight, pre, post, traces._replace(pre=traces.pre[:1]))
    with pytest.raises(ShapeError, match=r"Hebbian needs traces of both sides, but got \(\). Start with"):
        rule.update(weight, pre, post, ())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "arguments", "message"),
    [
        (ShapeError, {"weight": torch.ones(3)}, r"needs weights \[N, I\] of a floating point type, but got .* \[3\]"),
        (ShapeError, {"weight": torch.ones(2, 3, dtype=torch.int64)}, r"but got torch\.int64 \[2, 3\]"),
        (ConfigError, {"weight": torch.tensor([[1.0, float("nan")]])}, r"normalise got weights that are not finite"),
        (ConfigError, {"total": float("nan")}, r"normalise needs total > 0 and finite, but got nan"),
        (ConfigError, {"w_min": 2.0, "w_max": 1.0}, r"normalise needs w_min < w_max, but got 2.0 and 1.0"),
        (ConfigError, {"total": 4.0, "w_max": 1.0}, r"cannot make 3 weights of at most 1.0 sum up to 4.0"),
    ],
)
def test_normalise_refuses(error: type[Exception], arguments: dict[str, Any], message: str) -> None:
    values: dict[str, Any] = {"weight": torch.full((2, 3), 0.5), "total": 1.0, **arguments}
    with pytest.raises(error, match=message):
        normalise(**values)
