"""Rules and encoders against tensors that are of another kind: by name, or as what they hold."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeloom.encoding import events, poisson
from spikeloom.errors import ConfigError, ShapeError, SpikeloomError
from spikeloom.kernels.noise import keys
from spikeloom.rules import inverted_oja, normalise, pair_stdp, triplet_stdp

KINDS: dict[str, Callable[[Tensor], Any]] = {
    "list": Tensor.tolist,
    "array": Tensor.numpy,
    "none": lambda x: None,
    "sparse": Tensor.to_sparse,
    "sparse rows": lambda x: x.flatten(0, -2).to_sparse_csr(),
    "mkldnn": Tensor.to_mkldnn,
    "nested": lambda x: torch.nested.nested_tensor(list(x.flatten(0, -2))),
    "complex": lambda x: x.to(torch.complex64),
    "quantized": lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.quint8),
    "float8": lambda x: x.to(torch.float8_e4m3fn),
    "bits": lambda x: x.to(torch.uint8).view(torch.bits8),
}
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*quantize.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*(CSR|nested|prototype|beta).*:UserWarning"),
]
SPIKES, POST = torch.ones(2, 3), torch.ones(2, 4)
RULES: dict[str, tuple[Any, Tensor]] = {
    "pair": (pair_stdp(), torch.full((4, 3), 0.5)),
    "triplet": (triplet_stdp(), torch.full((4, 3), 0.5)),
    "oja": (inverted_oja(), torch.full((2, 4, 3), 0.5)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", RULES)
def test_rules_name_what_is_no_dense_tensor(name: str, kind: str) -> None:
    rule, weight = RULES[name]
    traces, odd = rule.initial_traces(SPIKES, POST), KINDS[kind]
    calls: dict[str, Callable[[], Any]] = {
        "spikes": lambda: rule.initial_traces(odd(SPIKES), POST),
        "weight": lambda: rule.update(odd(weight), SPIKES, POST, traces),
        "pre": lambda: rule.update(weight, odd(SPIKES), POST, traces),
        "post": lambda: rule.update(weight, SPIKES, odd(POST), traces),
        "trace_pre": lambda: rule.update(weight, SPIKES, POST, traces._replace(pre=odd(SPIKES))),
    }
    if name != "oja":
        calls["weight "] = lambda: rule.update_(odd(weight), SPIKES, POST, traces)
        calls["pre "] = lambda: rule.update_(weight.clone(), odd(SPIKES), POST, traces)
    for argument, call in calls.items():
        with pytest.raises(ShapeError, match=rf"needs {argument.strip()} as a dense tensor of real numbers, but got "):
            call()


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64])
def test_counts_of_unsigned_types_are_counts(dtype: torch.dtype) -> None:
    rule, weight = RULES["pair"]
    traces = rule.initial_traces(SPIKES, POST)
    wanted = rule.update(weight, SPIKES, POST, traces)[0]
    assert torch.equal(rule.update(weight, SPIKES.to(dtype), POST, traces)[0], wanted)
    rates, noise = torch.full((2, 3), 200.0), keys(2, torch.device("cpu"), torch.Generator().manual_seed(0))
    wanted = events.poisson_counts(rates, 50, noise)
    assert torch.equal(events.poisson_counts(rates.to(dtype), 50, noise), wanted)
    assert torch.equal(events.sequence_of(events.poisson_events(rates.to(dtype), 50, noise), 2, 3), wanted)


def test_a_weight_that_cannot_be_changed_in_place_is_refused() -> None:
    rule, weight = RULES["pair"]
    traces = rule.initial_traces(SPIKES, POST)
    learned = nn.Parameter(weight.clone())
    with pytest.raises(ConfigError, match=r"Call it inside torch\.no_grad"):
        rule.update_(learned, SPIKES, POST, traces)
    with torch.no_grad():
        rule.update_(learned, SPIKES, POST, traces)
    assert torch.equal(learned, rule.update(weight, SPIKES, POST, traces)[0])
    with torch.inference_mode():
        made = weight.clone()
    for one, message in ((weight[:1].expand(4, 3), "is expanded"), (made, "made in inference mode")):
        with pytest.raises(ShapeError, match=message):
            rule.update_(one, SPIKES, POST, traces)
    with pytest.raises(ShapeError, match="looks at the values of weight"):
        rule.update(weight.to("meta"), SPIKES.to("meta"), POST.to("meta"), traces)


@pytest.mark.parametrize("kind", KINDS)
def test_encoders_name_what_is_no_dense_tensor(kind: str) -> None:
    rates, generator = torch.full((2, 3), 20.0), torch.Generator().manual_seed(0)
    odd, noise = KINDS[kind](rates), keys(2, torch.device("cpu"), torch.Generator().manual_seed(0))
    calls: list[Callable[[], object]] = [
        lambda: poisson(odd, 5, generator=generator),
        lambda: events.poisson_events(odd, 5, noise),
        lambda: events.poisson_counts(odd, 5, noise),
        lambda: events.events_of(KINDS[kind](rates[None])),
        lambda: normalise(odd, 2.0),
    ]
    for call in calls:
        with pytest.raises(SpikeloomError, match=r"^(poisson|poisson_\w+|events_of|normalise) needs "):
            call()
