"""The same numbers as Nengo core 4.1, where it is installed (GPL-2: never a dependency of ours).

pip install nengo==4.1.0 && pytest -m peers tests/parity
"""

from typing import Any

import numpy as np
import pytest
import torch

from spikeloom.neurons import LIFCurve, Lowpass, RateNeuron, ReLUCurve

pytestmark = pytest.mark.peers
D = torch.float64


@pytest.fixture
def nengo() -> Any:
    return pytest.importorskip("nengo", reason="nengo is not installed")


def currents(steps: int = 300) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(0).uniform(-1, 8, (steps, 6)).repeat(5, axis=0)


def spikes(neurons: Any, inputs: Any, **state: Any) -> Any:
    """What a neuron type of Nengo gives for currents [T, N]."""
    out = np.zeros_like(inputs)
    for step, current in enumerate(inputs):
        neurons.step(0.001, current, out[step], **state)
    return out


def test_lif(nengo: Any) -> None:
    inputs = currents()
    zeros = np.zeros(6)
    theirs = spikes(nengo.LIF(amplitude=0.01), inputs, voltage=zeros.copy(), refractory_time=zeros.copy())
    ours = RateNeuron(LIFCurve(), amplitude=0.01, mode="spiking")(torch.tensor(inputs)[:, None])[0][:, 0].numpy()
    assert theirs.sum() > 1000
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


def test_rates_and_spiking_rectified_units(nengo: Any) -> None:
    inputs = currents()
    hard = LIFCurve(smoothing=0.0).rate(torch.tensor(inputs)).numpy()
    np.testing.assert_allclose(hard, nengo.LIFRate().rates(inputs, np.ones(6), np.zeros(6)), rtol=1e-9, atol=1e-9)
    theirs = spikes(nengo.SpikingRectifiedLinear(), inputs * 100, voltage=np.zeros(6))
    ours = RateNeuron(ReLUCurve(), mode="spiking")(torch.tensor(inputs * 100)[:, None])[0][:, 0].numpy()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("max_rate", "intercept"), [(100.0, 0.0), (100.0, -0.5), (200.0, 0.0), (250.0, 0.3)])
def test_gain_and_bias(nengo: Any, max_rate: float, intercept: float) -> None:
    for theirs, ours in ((nengo.LIF(), LIFCurve()), (nengo.RectifiedLinear(), ReLUCurve())):
        gain, bias = theirs.gain_bias(np.array([max_rate]), np.array([intercept]))
        assert ours.tune(max_rate, intercept) == pytest.approx((gain[0], bias[0]))


@pytest.mark.parametrize("tau", [0.1, 0.005, 0.001, 0.00002])
def test_lowpass_with_its_delay(nengo: Any, tau: float) -> None:
    with nengo.Network(seed=0) as net:
        probe = nengo.Probe(nengo.Node(lambda t: np.sin(40 * t)), synapse=tau)
    with nengo.Simulator(net, progress_bar=False) as simulator:
        simulator.run(0.05)
    inputs = torch.tensor(np.sin(40 * simulator.trange()))[:, None, None]
    ours = Lowpass(1000 * tau)(inputs)[0].flatten().numpy()
    np.testing.assert_allclose(ours, simulator.data[probe].ravel(), rtol=0, atol=1e-12)
