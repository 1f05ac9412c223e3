"""Code shared by the tasks of the LSNN paper: options, model construction, rate regularisation and statistics."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from ...errors import ConfigError
from ...layers import rate_cost
from ...surrogate import Triangle
from ...train import ranks
from ...train.parts import LearningRateOptions, NonNegative, NonNegativeInt, Options, Positive, PositiveInt
from ...train.run import Run
from .network import LSNN, Activity, LSTMBaseline


@dataclass(frozen=True)
class RecurrentNetworkOptions(Options):
    """Recurrent network: its size, synapses and readout."""

    model: Literal["lsnn", "lif", "lstm"] = "lsnn"
    """Network: lsnn; lif, without adaptation; lstm, an LSTM with as many weights."""
    n_regular: NonNegativeInt = 10
    """Number of neurons without adaptation."""
    n_adaptive: NonNegativeInt = 10
    """Number of neurons with an adaptive threshold."""
    delays: PositiveInt = 10
    """Number of delays that synapses can have [steps]; 1: no delays."""
    tau_out: Positive = 20.0
    """Time constant of the readout [ms]."""
    dt: Positive = 1.0
    """Length of a step [ms]."""
    memory: Literal["fast", "lean"] = "lean"
    """Memory for the backward pass: fast stores intermediate values, lean recomputes most of them."""


@dataclass(frozen=True)
class AdaptiveNeuronOptions(Options):
    """Neurons of the network."""

    tau_mem: Positive = 20.0
    """Membrane time constant [ms]."""
    tau_adapt: Positive = 1200.0
    """Time constant of the threshold adaptation [ms]."""
    adapt_strength: float = 1.7
    """Strength of the threshold adaptation."""
    threshold: Positive = 0.01
    """Firing threshold without adaptation."""
    refractory: NonNegative = 3.0
    """Refractory period [ms]."""
    dynamics: Literal["standard", "legacy", "eprop"] = "standard"
    """Order of operations in a step: standard, as in the paper; legacy, as in the authors' code; eprop, as in their
    later e-prop code."""
    gain: Positive = 0.3
    """Dampening factor of the surrogate gradient."""


@dataclass(frozen=True)
class RateRegularisationOptions(Options):
    """Cost of firing rates that differ from a target."""

    target_rate: NonNegative = 10.0
    """Target firing rate of the rate regularisation [Hz]."""
    rate_cost: NonNegative = 0.1
    """Coefficient of the rate regularisation in the loss."""


@dataclass(frozen=True)
class LSNNOptions(RecurrentNetworkOptions, AdaptiveNeuronOptions, RateRegularisationOptions, LearningRateOptions):
    """Options of all tasks of the paper."""

    lr: Positive = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.n_regular + self.n_adaptive:
            raise ConfigError("--n-regular and --n-adaptive are both 0. Set one of them to the number of neurons.")


def build(config: LSNNOptions, run: Run, n_in: int, n_out: int, bias: bool, **sparse: Any) -> LSNN | LSTMBaseline:
    """Build the network of a task on the run's device, with weights drawn from the run's generator.

    `sparse` holds the options of `LSNN` for sparse synapses; the LSTM ignores them.
    `lif` has as many neurons as `lsnn`, none of them adaptive; `lstm` has as many weights, to the nearest whole unit.
    """
    if config.model == "lstm":
        units = lstm_units(n_in, config.n_regular + config.n_adaptive, n_out, bias)
        return LSTMBaseline(n_in, units, n_out, generator=run.generator("weights", shared=True)).to(run.device)
    adaptive = config.n_adaptive if config.model == "lsnn" else 0
    model = LSNN(
        n_in,
        config.n_regular + config.n_adaptive - adaptive,
        adaptive,
        n_out,
        tau_mem=config.tau_mem,
        tau_adapt=config.tau_adapt,
        adapt_strength=config.adapt_strength,
        threshold=config.threshold,
        refractory=config.refractory,
        delays=config.delays,
        tau_out=config.tau_out,
        bias=bias,
        dynamics=config.dynamics,
        surrogate=Triangle(gain=config.gain),
        dt=config.dt,
        memory=config.memory,
        generator=run.generator("weights", shared=True),
        **sparse,
    )
    return model.to(run.device)


def lstm_units(n_in: int, neurons: int, n_out: int, bias: bool) -> int:
    """Return the units of the LSTM whose number of weights is nearest to that of a recurrent network of `neurons`.

    >>> lstm_units(80, 220, 10, bias=True)  # 68,220 weights beside 68,210
    95
    """

    def weights(units: int) -> int:
        return 4 * units * (n_in + units + 2) + n_out * (units + 1)

    target = neurons * (n_in + neurons + n_out) + bias * n_out
    return min(range(1, neurons + 2), key=lambda units: abs(weights(units) - target))


def rates(spikes: Tensor, dt: float) -> Tensor:
    """Return the mean firing rate [Hz] of each neuron: spikes [T, B, N] -> [N]."""
    columns = spikes.detach().flatten(0, 1)
    return columns.new_ones(len(columns)) @ columns * (1000.0 / (len(columns) * dt))  # faster than mean()


def rate_values(activity: Activity, config: LSNNOptions) -> dict[str, float]:
    """Return statistics of the firing rates over neurons, for the log; none for an LSTM."""
    if config.model == "lstm":
        return {}
    hertz = rates(activity.spikes, config.dt)
    spread = hertz.std(correction=0)
    named = {"rate": hertz.mean(), "rate_min": hertz.min(), "rate_max": hertz.max(), "rate_sd": spread}
    return {name: float(value) for name, value in named.items()}


def regularised(loss: Tensor, activity: Activity, config: LSNNOptions) -> Tensor:
    """Add the rate regularisation to a loss; an LSTM has none."""
    if config.model == "lstm":
        return loss
    return loss + config.rate_cost * rate_cost(activity.spikes, config.target_rate, config.dt, ranks.mean_of)


def populations(config: LSNNOptions, values: Any, inhibitory: int = 0) -> dict[str, Any]:
    """Split `values` [..., N] by population; empty for a model without spikes.

    Args:
        inhibitory: number of inhibitory neurons (Dale's law); they are the first ones.
    """
    split = config.n_regular if config.model == "lsnn" else config.n_regular + config.n_adaptive
    inhibitory = min(inhibitory, split)
    parts = {"inhibitory": values[..., :inhibitory], "regular": values[..., inhibitory:split]}
    parts["adaptive"] = values[..., split:]
    return {} if config.model == "lstm" else {name: part for name, part in parts.items() if part.shape[-1]}


def layers(
    model: nn.Module, config: LSNNOptions, n_in: int, n_out: int, rate: float, input_rate: float | None
) -> list[Mapping[str, Any]]:
    """Return the layers of activity.json: sizes, synapses and rates [Hz]; the rate of an analog signal is None."""
    if isinstance(model, LSTMBaseline):
        units = model.hidden.hidden_size
        return [
            _layer("gates, from the input", units, n_in, None, input_rate, 4 * units * n_in),
            _layer("gates, from the units", units, units, None, None, 4 * units * units),
            _layer("readout", n_out, units, None, None, n_out * units),
        ]
    neurons = config.n_regular + config.n_adaptive
    counts = {"inputs": neurons * n_in, "recurrent": neurons * (neurons - 1), "output": n_out * neurons}
    if isinstance(model, LSNN):
        counts |= {name: layer.active() for name, layer in model.sparse_layers().items()}
    recurrent = counts["recurrent"]
    hidden = _layer("hidden", neurons, n_in, rate, input_rate, counts["inputs"] + recurrent)
    readout = _layer("readout", n_out, neurons, None, rate, counts["output"])
    return [{**hidden, "recurrent_synapses": recurrent}, readout]


def _layer(
    name: str, neurons: int, inputs: int, rate: float | None, input_rate: float | None, synapses: int
) -> dict[str, Any]:
    return {
        "name": name,
        "neurons": neurons,
        "inputs": inputs,
        "rate_hz": rate,
        "input_rate_hz": input_rate,
        "synapses": synapses,
    }
