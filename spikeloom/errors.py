"""What can go wrong, as a tree, and the check that every layer makes of what it is given.

    SpikeloomError
        ConfigError      an option, a preset, a combination of arguments
        ShapeError       a tensor of the wrong shape, dtype or device
        DataError        a data file that is missing, damaged or not what it says
        CheckpointError  a checkpoint that is missing, damaged or of another run
        ExportError      a model that a format cannot express
        TrainingError    a loss that is no longer a number

Each is also a ValueError or a RuntimeError, so code that knows nothing of spikeloom can catch it. A message
says what was expected, what came, where, and what to do.
"""

from torch import Tensor


class SpikeloomError(Exception):
    """Base of everything spikeloom raises on purpose."""


class ConfigError(SpikeloomError, ValueError):
    """An option or a combination of arguments cannot be used."""


class ShapeError(SpikeloomError, ValueError):
    """A tensor has the wrong shape, dtype or device."""


class DataError(SpikeloomError, RuntimeError):
    """A data file is missing, damaged, or not what its name says."""


class CheckpointError(SpikeloomError, RuntimeError):
    """A checkpoint is missing, damaged, or belongs to another run."""


class ExportError(SpikeloomError, RuntimeError):
    """A model cannot be expressed in the wanted format."""


class TrainingError(SpikeloomError, RuntimeError):
    """Training cannot go on: a loss or a gradient is not a number."""


def check_positive(owner: str, **values: float) -> None:
    """Raise ConfigError unless every value is a finite number above zero."""
    for name, value in values.items():
        if not 0.0 < value < float("inf"):
            raise ConfigError(f"{owner} needs {name} > 0 and finite, but got {value}. Pass a positive number.")


def check_sequence(owner: str, xs: Tensor, features: int | None = None) -> None:
    """Raise ShapeError unless `xs` is a floating point sequence [T, B, *N] with at least one step."""
    expected = f"[T, B, {'*N' if features is None else features}]"
    if not isinstance(xs, Tensor):
        raise ShapeError(
            f"{owner} needs a tensor {expected}, but got {type(xs).__name__}. Convert it with torch.as_tensor."
        )
    if not xs.is_floating_point():
        raise ShapeError(f"{owner} needs floating point input, but got {xs.dtype}. Call .float() on it first.")
    if xs.dim() < 3 or xs.shape[0] == 0:
        raise ShapeError(
            f"{owner} needs input {expected}, time first, with T >= 1, but got {list(xs.shape)}. "
            "Add the missing dimension with unsqueeze, or use step() for a single slice."
        )
    if features is not None and xs.shape[-1] != features:
        raise ShapeError(
            f"{owner} has {features} inputs but got {list(xs.shape)}, whose last dimension is {xs.shape[-1]}. "
            f"Build it with n_in={xs.shape[-1]} or pass {expected}."
        )


def check_like(owner: str, name: str, tensor: Tensor, shape: tuple[int, ...], like: Tensor) -> None:
    """Raise ShapeError unless part `name` of a state has this shape and the dtype and device of `like`."""
    if tuple(tensor.shape) != shape:
        raise ShapeError(
            f"{owner} got a state whose {name} has shape {list(tensor.shape)}, but its input {list(like.shape)} needs "
            f"{list(shape)}. Pass state=None to start afresh, or the state of these samples."
        )
    if tensor.dtype != like.dtype or tensor.device != like.device:
        raise ShapeError(
            f"{owner} got input of {like.dtype} on {like.device} but {name} of {tensor.dtype} on {tensor.device}. "
            "Move one to the other with .to(dtype=..., device=...)."
        )
