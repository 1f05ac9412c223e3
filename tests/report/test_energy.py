from typing import Any

import pytest

from spikeloom.errors import DataError
from spikeloom.report.energy import costs

HIDDEN = {"name": "hidden", "neurons": 20, "rate_hz": 30.0, "synapses": 2380, "recurrent_synapses": 380}
SPIKING = {**HIDDEN, "inputs": 100, "input_rate_hz": 10.0}
ANALOG = {**HIDDEN, "inputs": 100, "input_rate_hz": None}
READOUT = {"name": "readout", "neurons": 2, "rate_hz": None, "synapses": 40, "input_rate_hz": 30.0}


def activity(*layers: dict[str, Any], dt: float = 1.0, steps: int = 2400) -> dict[str, Any]:
    return {"dt_ms": dt, "steps": steps, "layers": list(layers)}


def test_spikes_cost_additions() -> None:
    hidden, total = costs(activity(SPIKING))
    assert hidden.additions == pytest.approx(2.4 * (2000 * 10.0 + 380 * 30.0))
    assert hidden.multiply_adds == 0
    assert hidden.neuron_updates == 20 * 2400
    assert hidden.energy_nj == pytest.approx((0.9 * 2.4 * 31_400 + 4.6 * 48_000) / 1000)
    assert hidden.dense_energy_nj == pytest.approx(4.6 * 2380 * 2400 / 1000)
    assert total.energy_nj == hidden.energy_nj


def test_analog_inputs_cost_multiply_adds() -> None:
    hidden = costs(activity(ANALOG))[0]
    assert hidden.additions == pytest.approx(2.4 * 380 * 30.0)
    assert hidden.multiply_adds == 2000 * 2400


def test_the_length_of_a_step_counts() -> None:
    assert costs(activity(SPIKING, dt=2.0))[0].additions == 2 * costs(activity(SPIKING))[0].additions


def test_the_last_is_the_sum() -> None:
    hidden, readout, total = costs(activity(ANALOG, READOUT))
    assert total.name == "all"
    for part in ("additions", "multiply_adds", "neuron_updates", "dense_multiply_adds"):
        assert getattr(total, part) == getattr(hidden, part) + getattr(readout, part)
    assert total.energy_nj == pytest.approx(hidden.energy_nj + readout.energy_nj)


@pytest.mark.parametrize("name", ["synapses", "input_rate_hz", "neurons"])
def test_a_missing_value_is_named(name: str) -> None:
    layer = {key: value for key, value in SPIKING.items() if key != name}
    with pytest.raises(DataError, match=f"activity.json lacks '{name}'. `spikeloom evaluate` writes it again"):
        costs(activity(layer))
