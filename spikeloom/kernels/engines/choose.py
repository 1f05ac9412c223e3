"""Selection of the engine of a loop: the definition, the CPU kernels, or the GPU kernels.

    with kernels.use("torch"):      # the definition, anywhere
    with kernels.use("triton"):     # the GPU kernels; on CPU tensors in Triton's interpreter (TRITON_INTERPRET=1)

Otherwise the device of the tensors decides: "numba" on the CPU, "triton" on CUDA.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ...errors import ConfigError, ShapeError, check_flag, check_like
from ..bounds import check_delays
from ..loops import definition
from ..loops.definition import Moving
from ..noise import later
from ..program import Program
from ..transforms import beyond_loops

ENGINES = ("numba", "torch", "triton")
_chosen = threading.local()
"""`engine` of this thread, if one was selected by `use`. Not a ContextVar, which torch.compile cannot read."""


@contextmanager
def use(engine: str) -> Iterator[None]:
    """Run all loops in this block on one engine: "torch" (the definition), "numba" or "triton".

    Raises:
        ConfigError: there is no such engine.

    >>> from spikeloom.neurons import LIF
    >>> with use("torch"):
    ...     spikes, _ = LIF()(torch.ones(5, 2, 3))
    """
    if engine not in ENGINES:
        raise ConfigError(f"there is no engine {engine!r}. Choose one of {', '.join(ENGINES)}.")
    before = getattr(_chosen, "engine", "")
    _chosen.engine = engine
    try:
        yield
    finally:
        _chosen.engine = before


def engine_for(tensor: Tensor) -> str:
    """Return the engine that will run a loop over this tensor.

    It is the definition, whatever was selected, if PyTorch transforms, traces or exports the call; see `transforms`.
    """
    if beyond_loops(tensor):
        return "torch"
    selected: str = getattr(_chosen, "engine", "")
    return selected or ("triton" if tensor.is_cuda else "numba" if tensor.device.type == "cpu" else "torch")


def neurons(program: Program, xs: Tensor, moving: Moving, parameters: dict[str, Tensor]) -> tuple[Tensor, Moving]:
    """Run an elementwise program over currents xs [T, B, N]; parameters are scalars or [N]. See `definition`."""
    _check_kinds(program, xs, moving, parameters)
    if engine_for(xs) == "torch":
        return definition.neurons(program, xs, moving, parameters)
    return _operate(program, xs, moving, parameters, None, None)


def recurrent(
    program: Program,
    xs: Tensor,
    moving: Moving,
    parameters: dict[str, Tensor],
    weight: Tensor,
    delays: Tensor | None,
    sparse: bool = False,
) -> tuple[Tensor, Moving]:
    """Run a recurrent program, with weight and delays [post, pre]; `moving.history` holds the D - 1 older spikes.

    With `sparse`, weights of zero are synapses that do not exist: they get no gradient, and the CPU skips them.
    """
    _check_kinds(program, xs, moving, parameters, weight=weight, delays=delays)
    check_delays(delays, weight, 1 + len(moving.history))
    if engine_for(xs) == "torch":
        return definition.recurrent(program, xs, moving, parameters, weight, delays)
    return _operate(program, xs, moving, parameters, weight, delays, sparse)


def project(xs: Tensor, past: Tensor, weight: Tensor, delays: Tensor | None, sparse: bool = False) -> Tensor:
    """Compute the currents of input synapses with delays; see `definition.project`, and `recurrent` for `sparse`.

    On the CPU, inputs with few non-zero values are processed event by event, others by dense products: both sum in
    another order than the definition, and in the precision of the inputs, also under autocast.
    """
    _check_tensors(xs=xs, past=past, weight=weight, delays=delays)
    check_flag("A projection", sparse=sparse)
    if xs.device != past.device:
        check_like("A projection", "past", past, tuple(past.shape), xs)
    if past.dim() == 0:
        raise ShapeError("A projection needs past [D - 1, B, I], but got a scalar. Pass new_zeros(0, B, I) for none.")
    check_delays(delays, weight, 1 + past.shape[0])
    if engine_for(xs) != "numba":
        return definition.project(xs, past, weight, delays, sparse)
    if xs.dim() != 3 or weight.dim() != 2:
        raise ShapeError(
            f"A projection needs xs [T, B, I] and weight [N, I], but got {list(xs.shape)} and {list(weight.shape)}."
        )
    check_like("A projection", "weight", weight, (weight.shape[0], xs.shape[2]), xs)
    check_like("A projection", "past", past, (len(past), *xs.shape[1:]), xs)
    from . import operators

    compiling = torch.compiler.is_compiling()  # then the operator inspects the inputs when it runs
    if delays is None and not compiling and operators.dense(xs):
        return definition.project(xs, past, weight, None, sparse)
    result: Tensor = operators.project(xs, past, weight, delays, sparse, not compiling)
    return result


def _check_kinds(
    program: Program, xs: Tensor, moving: Moving, parameters: dict[str, Tensor], **more: Tensor | None
) -> None:
    """Raise ConfigError or ShapeError unless every argument has the right type."""
    kinds = {"program": (program, Program), "moving": (moving, Moving), "parameters": (parameters, dict)}
    for name, (value, kind) in kinds.items():
        if not isinstance(value, kind):
            raise ConfigError(
                f"A loop needs {name} as {kind.__name__}, but got {type(value).__name__}. Layers make these by "
                "themselves: call the layer."
            )
    _check_tensors(xs=xs, **more)
    if xs.device != moving.spikes.device:
        check_like("A loop", "moving", moving.spikes, tuple(moving.spikes.shape), xs)


def _check_tensors(**tensors: Tensor | None) -> None:
    """Raise ShapeError unless all are tensors; delays may be None."""
    for name, value in tensors.items():
        if not isinstance(value, Tensor) and not (name == "delays" and value is None):
            raise ShapeError(
                f"A loop needs {name} as a tensor, but got {type(value).__name__}. Convert it with torch.as_tensor."
            )


def _check(program: Program, xs: Tensor, moving: Moving, parameters: dict[str, Tensor]) -> None:
    """Raise ShapeError unless all tensors have the shape, dtype and device that a compiled loop relies on."""
    owner = f"The loop of {program.equation.name}"
    if xs.dim() != 3 or not len(xs):
        raise ShapeError(
            f"{owner} needs xs [T, B, N] with T >= 1, but got {list(xs.shape)}. Flatten the neurons, leave out empty "
            "sequences."
        )
    shape, kind, home = xs.shape[1:], xs.dtype, xs.device
    for part in (*moving.states, moving.spikes, moving.left, *moving.history):
        if part.shape != shape or part.dtype != kind or part.device != home:
            check_like(owner, "moving", part, tuple(shape), xs)
    for name in program.equation.parameters:
        part = parameters[name]
        if (part.dim() and part.shape != shape[1:]) or part.dtype != kind or part.device != home:
            check_like(owner, name, part, tuple(shape[1:]), xs)
    if len(moving.states) != len(program.equation.states):
        raise ShapeError(
            f"{owner} has states {', '.join(program.equation.states)}, but moving holds {len(moving.states)}."
        )


def _check_device(xs: Tensor) -> None:
    """Raise ShapeError if the selected engine does not run on the device of the tensor."""
    engine = engine_for(xs)
    if xs.is_meta or (engine == "numba" and xs.device.type != "cpu"):
        raise ShapeError(
            f'The engine "{engine}" runs on the {"CPU" if engine == "numba" else "GPU"}, but the input is on '
            f"{xs.device}. Leave out kernels.use."
        )


def _operate(
    program: Program,
    xs: Tensor,
    moving: Moving,
    parameters: dict[str, Tensor],
    weight: Tensor | None,
    delays: Tensor | None,
    sparse: bool = False,
) -> tuple[Tensor, Moving]:
    """Run a compiled loop by its operator; recurrent if there is a weight."""
    from . import operators

    if not torch.compiler.is_compiling():
        _check_device(xs)
        _check(program, xs, moving, parameters)
        if weight is not None:
            check_like("A recurrent loop", "weight", weight, (xs.shape[2], xs.shape[2]), xs)

    values = [parameters[name] for name in program.equation.parameters]
    inputs = [xs, *moving.states, moving.spikes, *moving.history, *values, *([] if weight is None else [weight])]
    needs_grad = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    learns = [name for name in program.equation.parameters if needs_grad and parameters[name].requires_grad]
    history = None if weight is None else torch.stack([*moving.history, moving.spikes])
    past = moving.spikes.detach() if weight is not None else moving.spikes
    out, left, *rest = operators.run(
        xs, list(moving.states), past, moving.left, values, history, weight, delays,
        moving.noise if program.draws == "drawn" else None, sparse,
        program.memory if needs_grad else "none", " ".join(learns), program, engine_for(xs),
    )  # fmt: skip
    older = (
        tuple([*moving.history, moving.spikes, *out.unbind(0)][-1 - len(moving.history) : -1]) if moving.history else ()
    )
    noise = later(moving.noise, len(xs)) if program.draws == "drawn" else moving.noise
    last = out[-1].clone()  # no view: in-place changes of the output must not change the state
    return out, Moving(tuple(rest[: len(moving.states)]), last, left, older, noise)
