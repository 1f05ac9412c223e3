"""Options of the task mnist_rate."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Lt

from ...errors import ConfigError
from ...neurons import Curve, LeakyReLUCurve, LIFCurve, ReLUCurve
from ...train.parts import NonNegative, NonNegativeInt, Options, Positive, PositiveInt


@dataclass(frozen=True)
class RateNeuronOptions(Options):
    """Hidden neurons, trained as rates."""

    neuron: Literal["lif", "relu", "leaky_relu"] = "lif"
    """Neuron model of the hidden layers."""
    smoothing: NonNegative = 0.05
    """Smoothing width of the LIF rate curve at the threshold; 0: none, with an infinite slope at the threshold."""
    max_rate: Positive = 100.0
    """Firing rate of every neuron at input 1 [Hz]."""
    intercept: Annotated[float, Lt(1)] = 0.0
    """Input above which every neuron fires."""
    amplitude: Positive = 0.01
    """Output of a neuron at a rate of 1 Hz."""
    tau_mem: Positive = 20.0
    """Membrane time constant [ms]."""
    refractory: NonNegative = 2.0
    """Refractory period [ms]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.curve().tune(self.max_rate, self.intercept)

    def curve(self) -> Curve:
        """Return the rate curve of the hidden neurons."""
        if self.neuron == "lif":
            return LIFCurve(self.tau_mem, self.refractory, self.smoothing)
        return ReLUCurve() if self.neuron == "relu" else LeakyReLUCurve()


@dataclass(frozen=True)
class OptimizerOptions(Options):
    """Training of the network."""

    batch: PositiveInt = 200
    """Images per update."""
    epochs: PositiveInt = 10
    """Passes over the training images."""
    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    """Optimiser; rmsprop has the constants of Keras (rho 0.9, epsilon 1e-7)."""
    lr: Positive = 0.001
    """Initial learning rate."""
    cosine: bool = False
    """Decay the learning rate to 0 along half a cosine."""
    shift: NonNegativeInt = 0
    """Largest random shift of training images in both directions [pixels]."""
    rate_target: Positive = 250.0
    """Target firing rate of the rate regularisation of hidden layers [Hz]."""
    rate_weight: NonNegative = 0.0
    """Coefficient of the rate regularisation (mean squared distance from rate_target per layer); 0: none."""
    validation: NonNegativeInt = 0
    """Number of training images set aside for validation, the last of the file."""
    checkpoint_every: PositiveInt = 100
    """Updates between two checkpoints."""


@dataclass(frozen=True)
class SpikingOptions(Options):
    """Inference with spikes."""

    v_init: float = 0.0
    """Initial voltage [thresholds]; negative: drawn uniformly for every neuron (as in Nengo since 3.1)."""
    v_init_converted: float = 0.5
    """Initial voltage of the calibrated neurons of a converted network [thresholds]; NIR can only represent 0."""
    partner: Literal["", "stochastic", "poisson"] = ""
    """Spike generation when run with spikes; empty: the spiking counterpart of the neuron model."""
    scale: Positive = 1.0
    """Factor of the firing rates when run with spikes; it distorts the rate curve of LIF neurons."""
    steps: PositiveInt = 30
    """Steps per image when run with spikes."""
    tau_probe: NonNegative = 100.0
    """Time constant of the low-pass filter on the output [ms]."""
    debias: bool = False
    """Correct the start-up bias of that filter; predictions stay the same."""
    untrained_images: NonNegativeInt = 1_000
    """Number of test images for the test before training."""


@dataclass(frozen=True)
class Config(RateNeuronOptions, OptimizerOptions, SpikingOptions):
    ann: bool = False
    """Train an ordinary ReLU network instead (conv 32, conv 64 with stride 2, dense 10) and convert it."""
    width: PositiveInt = 32
    """Channels of the first convolution; the next ones have two and four times as many."""
    white: Positive = 255.0
    """Input value of a white pixel; 255: the raw byte, as in NengoDL's example."""
    samples: NonNegativeInt = 0
    """Number of images to use from each split, the first of the file; 0: all."""
    figures: NonNegativeInt = 5
    """Number of test images to plot in detail."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.ann or self.untrained_images):
            raise ConfigError(
                "--untrained-images must be at least 1, but is 0. Only --ann has no test before training."
            )
