"""Conversion of ordinary torch.nn networks to spiking ones.

The model is traced by torch.fx. Its activations become rate neurons, whose spiking partners have the same mean output:

    ReLU      integrate_and_fire (one spike a step is one unit of activation) or regular (one Hz is one unit, as Nengo)
    LeakyReLU, Sigmoid, Tanh    same unit; negative rates become negative spikes

Linear operations are kept, batch norms are folded into the layer before, dropout is removed, and anything else is an
error that lists all such places. After T steps of a constant current a (in thresholds), the mean output of
integrate-and-fire neurons that start at v_init is a - (v - v_init) / T: the error is at most 1 / T.
Sources: Rueckauer et al., Conversion of continuous-valued deep networks, 2017; Rasmussen, NengoDL, 2019 (the options).
"""

import math
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F

from ..arguments import explained
from ..core import Stateful
from ..errors import ConfigError, ShapeError, check_positive
from ..layers import SignedSparseLinear
from ..neurons import Curve, LeakyReLUCurve, Lowpass, QCFSCurve, RateNeuron, ReLUCurve, SigmoidCurve, TanhCurve
from .balance import QCFS
from .blocks import check_batch, check_finite
from .converted import Converted, Op, Ref, refs, replace
from .folding import FixedAffine, affine_of, fold_batchnorm, shared_copy
from .operations import (
    ACTIVATIONS,
    ADAPTIVE_OPTIONS,
    CLAMPS,
    CONVS,
    GONE,
    IN_PLACE,
    LINEAR,
    LINEAR_FUNCTIONS,
    LINEAR_METHODS,
    MAX_POOLS,
    NORMS,
    OUT_OF_PLACE,
    POOL_OPTIONS,
    PRODUCTS,
    SIZES,
    SPLITS,
    part_of,
    reshape_samples,
)  # fmt: skip
from .pairs import set_scale, to_rate
from .pooling import SpikingMaxPool

Swap = Mapping[Any, Curve | Callable[[], RateNeuron]]
UNTRACEABLE = (TypeError, ValueError, RuntimeError, AttributeError, LookupError, AssertionError, NameError)


@explained
def convert(
    model: nn.Module,
    *,
    swap: Swap | None = None,
    scale: float | Mapping[str, float] = 1.0,
    synapse: float | None = None,
    strict: bool = True,
    partner: str = "integrate_and_fire",
    max_pool: Literal["error", "average", "spiking", "lead"] = "error",
    v_init: float | Literal["uniform"] = 0.5,
    dt: float = 1.0,
    example: Tensor | None = None,
) -> Converted:
    """Convert an ordinary network to a spiking one with the same layer names and parameters; the model is not modified.

    Parameters are shared with the model, except in layers that a batch norm was folded into. They are never scaled, so
    a checkpoint loads at any `scale`. Layers are copies in the mode of the model: rates in train(), spikes in eval().
    An activation that is called as a function is named after it: "block.relu".
    Shapes: the model maps [B, *N] to [B, K], the result [T, B, *N] to [T, B, K].
    Units: synapse and dt in ms.

    Args:
        model: model with its batch norms in eval mode.
        swap: mapping from a class, function or curve (`nn.GELU`, `torch.tanh`, `ReLUCurve`) to the `Curve` to use
            instead, or to a function without arguments that returns the `RateNeuron`.
        scale: factor of the number of spikes, each with 1 / scale of the weight; for all neurons, or by layer name.
        synapse: time constant of a low-pass filter behind every neuron, with a delay of one step.
        strict: if False, keep unsupported operations, applied step by step, with a warning.
        partner: spiking neuron for ReLU: see `RateNeuron`. "stochastic", "poisson" and "none" apply to all curves.
        max_pool: "average": use average pooling instead; "spiking": pass the input with the largest mean so far;
            "lead": pass the increase of the largest sum so far. See `SpikingMaxPool`.
        v_init: initial voltage, in spikes; 0.5 centres the error.
        dt: length of one step.
        example: a batch of the input, used to determine shapes.

    Raises:
        ConfigError: an option is unknown or has no effect, a batch norm is in training mode, the model fails on the
            example, parts of the model cannot be converted (all of them are named), or the rates of the result differ
            from the model on the example, where nothing was replaced.

    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    >>> spiking = convert(model, example=torch.rand(3, 4))
    >>> out, state = spiking(torch.rand(3, 4).expand(20, 3, 4))
    >>> out.shape, spiking.get_parameter("2.weight") is model[2].weight
    (torch.Size([20, 3, 2]), True)
    """
    check_positive("convert", dt=dt)
    if max_pool not in ("error", "average", "spiking", "lead"):
        raise ConfigError(f"convert needs max_pool error, average, spiking or lead, but got {max_pool!r}.")
    if not isinstance(example, Tensor) or example.dim() < 2 or not example.is_floating_point() or not len(example):
        got = f"{example.dtype} {list(example.shape)}" if isinstance(example, Tensor) else repr(example)
        raise ConfigError(
            f"convert needs example=x, a floating point batch [B, *N] of the model's input, but got {got}."
        )
    check_batch("convert", example)
    if v_init != "uniform" and (isinstance(v_init, str) or not math.isfinite(v_init)):
        raise ConfigError(f'convert needs v_init as a finite number, or "uniform", but got {v_init!r}.')
    _check_ordinary(model)
    work = _Translation(model, dict(swap or {}), partner, max_pool, v_init, dt, synapse, example)
    converted = work.run(strict)
    set_scale(converted, scale)
    converted.train(model.training)
    check_finite("convert", converted)
    _try(converted, example)
    if strict and not swap and max_pool != "average":
        _compare(converted, model, example)
    return converted


def _check_ordinary(model: nn.Module) -> None:
    """Raise ConfigError for a model that is a sequence model already."""
    inside = {id(module.neuron) for module in model.modules() if isinstance(module, QCFS)}
    timed = [name or "it" for name, m in model.named_modules() if isinstance(m, Stateful) and id(m) not in inside]
    if timed:
        raise ConfigError(
            f"convert takes ordinary networks, but {type(model).__name__} lives in time already ({timed[0]}). If it "
            "has rate neurons, to_spiking(model).eval() spikes."
        )


class _Tracer(fx.Tracer):
    """Tracer that treats layers of torch, spikeloom layers, and the given modules as leaves."""

    def __init__(self, stop: set[int], kinds: tuple[type, ...]) -> None:
        super().__init__()
        self.stop, self.kinds = stop, (*kinds, SignedSparseLinear, QCFS, Stateful)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return id(m) in self.stop or isinstance(m, self.kinds) or super().is_leaf_module(m, module_qualified_name)


class _Translation:
    """Translation of a traced model to a list of operations."""

    def __init__(
        self, model: nn.Module, swap: dict[Any, Any], partner: str, max_pool: str,
        v_init: float | Literal["uniform"], dt: float, synapse: float | None, example: Tensor,
    ) -> None:  # fmt: skip
        self.model, self.swap, self.partner, self.max_pool = model, swap, partner, max_pool
        self.v_init, self.dt, self.synapse, self.example = v_init, dt, synapse, example
        self.ops, self.parts, self.alias = dict[str, Op](), dict[str, Any](), dict[str, Op | Ref]()
        self.problems, self.fatal, self.used, self.uses = list[str](), list[str](), set[Any](), dict[str, int]()
        self.timed, self.reasons, self.splits = set[str](), dict[int, str](), dict[str, fx.Node]()
        self.taken = {name for name, _ in model.named_modules()}

    def run(self, strict: bool) -> Converted:
        """Return the converted model; raise one error with all problems."""
        root = shared_copy(self.model).eval()
        graph = self.trace(root, set())
        self.traced = fx.GraphModule(root, graph)
        self.shapes(self.traced)
        for name, module in self.model.named_modules():
            if isinstance(module, NORMS) and (module.training or module.running_mean is None):
                self.fatal.append(f"{name}: a batch norm that is in training mode or keeps no statistics: call eval()")
        output = ""
        for node in graph.nodes:
            if node.op == "output":
                output = self.output(node)
            elif node.op == "get_attr":
                self.parts[str(node.target)] = _leaf(root, str(node.target))
                self.add(node, "tensor", node.target)
            elif node.op != "placeholder":
                self.translate(node)
        self.complain(strict)
        return Converted(tuple(self.ops.values()), output, self.parts)

    def trace(self, root: nn.Module, stop: set[int]) -> fx.Graph:
        """Trace the model; parts that cannot be traced become one node each."""
        kinds = tuple(key for key in self.swap if isinstance(key, type) and issubclass(key, nn.Module))
        try:
            return _Tracer(stop, kinds).trace(root)
        except UNTRACEABLE as error:
            reason = error
        for name, module in reversed(list(root.named_modules())):  # children first
            if not name or module.__module__.startswith("torch.nn"):
                continue
            try:
                _Tracer(stop, kinds).trace(module)
            except UNTRACEABLE as error:
                stop.add(id(module))
                self.reasons[id(module)] = str(error).splitlines()[0]
        try:
            return _Tracer(stop, kinds).trace(root)
        except UNTRACEABLE as error:
            raise ConfigError(
                f"torch.fx cannot trace {type(root).__name__}: {reason}. Its forward may not depend on the values or "
                "the number of its inputs; move such a part into a module of its own, or out of the model."
            ) from error

    def shapes(self, traced: fx.GraphModule) -> None:
        """Record the shape of every value."""
        inputs = [node for node in traced.graph.nodes if node.op == "placeholder"]
        if len(inputs) != 1:
            raise ConfigError(f"convert takes models of one input, but this one has {len(inputs)}: {inputs}.")
        self.alias[inputs[0].name] = Ref("input")
        self.timed.add("input")
        try:
            with torch.no_grad():
                ShapeProp(traced).propagate(self.example.clone())
        except UNTRACEABLE as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"The example {list(self.example.shape)} of {self.example.dtype} does not run through the model: "
                f"{reason}. Pass a batch [B, *N] of its input."
            ) from error

    def output(self, node: fx.Node) -> str:
        (value,) = node.args
        if not isinstance(value, fx.Node):
            raise ConfigError(f"convert takes models that return one tensor, but this one returns {value}.")
        return self.ref(value).name

    def ref(self, node: fx.Node) -> Ref:
        ref = self.alias.get(node.name, Ref(node.name))
        assert isinstance(ref, Ref)
        return ref

    def place(self, node: fx.Node) -> str:
        """Return the position of a call: the path of the module, or of the function in its module."""
        if node.op == "call_module":
            return str(node.target)
        stack = list(node.meta.get("nn_module_stack", {}).values())
        name = str(getattr(node.target, "__name__", node.target)).rstrip("_")
        return f"{stack[-1][0]}.{name}" if stack else name

    def unique(self, path: str) -> str:
        """Return a path that no other layer has."""
        name, count = path, 1
        while name in self.taken:
            count += 1
            name = f"{path}_{count}"
        self.taken.add(name)
        return name

    def add(self, node: fx.Node, kind: Any, target: Any, args: Any = None, kwargs: Any = None) -> None:
        """Add the operation for a node."""
        args = replace(node.args if args is None else args, self.ref, fx.Node)
        kwargs = replace(dict(node.kwargs) if kwargs is None else kwargs, self.ref, fx.Node)
        op = Op(node.name, kind, target, args, kwargs)
        sized = target in SIZES
        timed = not sized and (kind == "stateful" or any(ref.name in self.timed for ref in refs(op)))
        self.ops[node.name] = Op(node.name, kind, target, args, kwargs, timed)
        if timed:
            self.timed.add(node.name)

    def inputs(self, node: fx.Node) -> list[str]:
        """Return the names of the sequences among the inputs of a node, repeated ones too."""
        nodes = list[Any]()
        replace((node.args, dict(node.kwargs)), nodes.append, fx.Node)
        return [name for name in (self.ref(other).name for other in nodes) if name in self.timed]

    def translate(self, node: fx.Node) -> None:
        """Translate a call of a module, a function or a method."""
        self.in_place(node)
        if node.op == "call_module":
            return self.module(node, self.traced.get_submodule(str(node.target)))
        target: Any = node.target if node.op == "call_function" else str(node.target).rstrip("_")
        target = OUT_OF_PLACE.get(target, target)
        kind = "method" if isinstance(target, str) else "function"
        if not self.inputs(node) or target in SIZES:
            return self.untimed(node, kind, target)
        if self.keys(target) & set(self.swap) or target in ACTIVATIONS:
            return self.neuron(node, target, self.curve(target, node))
        if target in CLAMPS and _rectifies(node):
            return self.neuron(node, torch.relu, ReLUCurve())
        if target in SPLITS:
            return self.split(node)
        whole = self.splits.get(getattr(node.args[0], "name", ""))
        if whole is not None and target is operator.getitem:
            function = SPLITS[whole.target]
            return self.add(node, "function", part_of, (function, node.args[1], *whole.args), dict(whole.kwargs))
        if target in MAX_POOLS:
            return self.pool(node, target, _pool_options(node, target))
        if target in ("view", "reshape", torch.reshape):
            return self.add(node, "function", reshape_samples)
        if target in (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout):
            self.alias[node.name] = self.ref(node.all_input_nodes[0])
            return None
        if target in PRODUCTS and not self.single(node, target):
            self.problem(node, "a product of two signals, whose mean is not the product of the means")
        elif target not in PRODUCTS | LINEAR_FUNCTIONS | LINEAR_METHODS:
            self.problem(node, "has no spiking partner; name one in swap")
        return self.add(node, kind, target)

    def in_place(self, node: fx.Node) -> None:
        """Report an in-place operation on a value that is read again later: the converted model would differ."""
        if node.op == "call_module":
            module = self.traced.get_submodule(str(node.target))
            changes = getattr(module, "inplace", False) is True and not isinstance(module, GONE)
        else:
            named = node.op == "call_method" and str(node.target).endswith("_")
            flags = (node.kwargs.get("inplace"), *(node.args[1:] if node.target in ACTIVATIONS else ()))
            changes = named or node.target in IN_PLACE or any(flag is True for flag in flags)
        if not changes or not node.all_input_nodes:
            return
        changed, nodes = self.ref(node.all_input_nodes[0]).name, list(self.traced.graph.nodes)
        later = nodes[nodes.index(node) + 1 :]
        if any(self.ref(read).name == changed for other in later for read in other.all_input_nodes):
            self.problem(node, "it changes in place what is read again later; use it out of place (inplace=False)")

    def split(self, node: fx.Node) -> None:
        """Register a split; each of its outputs gets its own operation."""
        self.splits[node.name] = node
        self.timed.add(node.name)
        if any(user.target is not operator.getitem or not isinstance(user.args[1], int) for user in node.users):
            self.fatal.append(f"{self.place(node)}: its parts must be taken one by one, as in a, b = x.chunk(2, 1)")

    def untimed(self, node: fx.Node, kind: Any, target: Any) -> None:
        """Add an operation on sizes and parameters only."""
        if target is getattr and node.args[1] not in ("shape", "ndim", "dtype", "device"):
            self.problem(node, f"an attribute {node.args[1]} of a signal; call a function instead")
        self.add(node, kind, target)

    def single(self, node: fx.Node, target: Any) -> bool:
        """Return whether a product is linear: one factor is a sequence, the first unless the order does not matter."""
        first = isinstance(node.args[0], fx.Node) and self.ref(node.args[0]).name in self.timed
        return len(self.inputs(node)) == 1 and (first or target in (operator.mul, torch.mul, "mul"))

    def module(self, node: fx.Node, module: nn.Module) -> None:
        """Translate a module."""
        path = str(node.target)
        self.uses[path] = self.uses.get(path, 0) + 1
        if isinstance(module, QCFS):
            return self.neuron(node, QCFS, module)
        if self.keys(type(module)) & set(self.swap) or type(module) in ACTIVATIONS:
            return self.neuron(node, type(module), self.curve(type(module), module))
        if type(module) in MAX_POOLS:
            return self.pool(node, type(module), {k: v for k, v in vars(module).items() if k in POOL_OPTIONS})
        if isinstance(module, NORMS):
            return self.norm(node, module)
        if isinstance(module, GONE):
            self.alias[node.name] = self.ref(node.all_input_nodes[0])
            return None
        if not isinstance(module, LINEAR):
            hint = self.reasons.get(id(module), "has no spiking partner; name one in swap")
            self.problem(node, f"{type(module).__name__} {hint}")
        self.parts[path] = shared_copy(module)
        return self.add(node, "module", path)

    def norm(self, node: fx.Node, module: nn.Module) -> None:
        """Translate a batch norm: fold it into the layer before, if only used here, or make it a FixedAffine."""
        if module.running_mean is None:
            return
        (before,) = node.all_input_nodes
        layer = self.traced.get_submodule(str(before.target)) if before.op == "call_module" else None
        flat = type(layer) is nn.Linear and before.meta["tensor_meta"].shape.numel() == self.flat(before)
        calls = sum(other.target == before.target for other in self.traced.graph.nodes)
        if layer is not None and (flat or type(layer) in CONVS) and len(before.users) == calls == 1:
            self.parts[str(before.target)] = fold_batchnorm(layer, module)
            self.alias[node.name] = self.ref(before)
            return
        kept = module.running_mean
        assert isinstance(kept, Tensor)
        self.parts[str(node.target)] = FixedAffine(*(tensor.to(kept.dtype) for tensor in affine_of(module)))
        self.add(node, "module", str(node.target))

    def flat(self, node: fx.Node) -> int:
        """Return the number of samples times channels: the size of a value without further dimensions."""
        batch, channels = node.meta["tensor_meta"].shape[:2]
        return int(batch * channels)

    def pool(self, node: fx.Node, target: Any, options: dict[str, Any]) -> None:
        """Translate a max pooling."""
        largest, average = MAX_POOLS[target]
        adaptive = "output_size" in options
        if options.pop("return_indices", False):
            self.fatal.append(f"{self.place(node)}: a max pooling that returns indices")
        elif self.max_pool == "error":
            self.fatal.append(f'{self.place(node)}: max pooling; choose max_pool="lead", "spiking" or "average"')
        elif self.max_pool == "average" and options.pop("dilation", 1) not in (1, (1,), (1, 1), (1, 1, 1)):
            self.fatal.append(f'{self.place(node)}: no average pooling has a dilation; choose max_pool="lead"')
        else:
            path = str(node.target) if node.op == "call_module" else self.unique(self.place(node))
            if self.max_pool != "average":
                path = self.again(node, path)
                pool = largest(**options, return_indices=True)
                self.parts[path] = SpikingMaxPool(pool, "lead" if self.max_pool == "lead" else "winner")
                return self.add(node, "stateful", path, (node.all_input_nodes[0],), {})
            self.parts[path] = average(**options, **({} if adaptive else {"count_include_pad": False}))
            return self.add(node, "module", path, (node.all_input_nodes[0],), {})
        return self.add(node, "function", operator.pos, (node.all_input_nodes[0],), {})

    def again(self, node: fx.Node, path: str) -> str:
        """Return a new path for the second call of a layer with a state."""
        return self.unique(path) if self.uses.get(path, 0) > 1 and node.op == "call_module" else path

    def keys(self, target: Any) -> set[Any]:
        """Return the possible keys of an activation in `swap`."""
        names = {target}
        if isinstance(target, str):
            names |= {getattr(module, target, target) for module in (torch, torch.Tensor)}
        return names | ({ACTIVATIONS[target]} if target in ACTIVATIONS else set())

    def curve(self, target: Any, source: nn.Module | fx.Node) -> Curve | None:
        """Return the curve of an activation; None if only `swap` has it."""
        if target not in ACTIVATIONS or ACTIVATIONS[target] is ReLUCurve:
            return ReLUCurve() if target in ACTIVATIONS else None
        if ACTIVATIONS[target] is LeakyReLUCurve:
            if isinstance(source, nn.LeakyReLU):
                return LeakyReLUCurve(source.negative_slope)
            assert isinstance(source, fx.Node)
            slope: Any = source.args[1] if len(source.args) > 1 else source.kwargs.get("negative_slope", 0.01)
            return LeakyReLUCurve(slope)
        curve = SigmoidCurve if ACTIVATIONS[target] is SigmoidCurve else TanhCurve
        return curve(self.dt if self.partner == "integrate_and_fire" else 1000.0)

    def neuron(self, node: fx.Node, target: Any, curve: Curve | QCFS | None) -> None:
        """Translate an activation to a neuron."""
        path = self.place(node)
        if node.op == "call_module" and self.uses[path] > 1:
            self.problem(node, "one neuron layer in two places, which would share its state; make two modules")
        if not node.users:
            self.problem(node, "its result is not used; an operation in place cannot be converted")
        path = self.again(node, path) if node.op == "call_module" else self.unique(path)
        keys = [key for key in (target, *self.keys(target)) if key in self.swap]
        self.used.update(keys)
        spiking = self.swapped(keys[0], self.swap[keys[0]]) if keys else self.partner_of(curve)
        if spiking.partner == "integrate_and_fire" and isinstance(spiking.threshold, float):
            one = torch.tensor(spiking.threshold, dtype=self.example.dtype, device=self.example.device)
            del spiking.threshold
            spiking.register_buffer("threshold", one)  # so that calibration does not change state_dict keys
        self.parts[path] = spiking.train(self.model.training)
        self.add(node, "stateful", path, (node.all_input_nodes[0],), {})
        if self.synapse is not None:
            self.ops[node.name + ".spikes"] = Op(node.name + ".spikes", "stateful", path, self.ops.pop(node.name).args)
            self.timed.add(node.name + ".spikes")
            path = self.unique(path + "_synapse")
            self.parts[path] = Lowpass(self.synapse, dt=self.dt)
            self.add(node, "stateful", path, (), {})
            self.ops[node.name] = Op(node.name, "stateful", path, (Ref(node.name + ".spikes"),))

    def swapped(self, key: Any, value: Any) -> RateNeuron:
        """Return the neuron that `swap` specifies."""
        makes = callable(value) and not isinstance(value, nn.Module)
        neuron = self.partner_of(value) if isinstance(value, Curve) else value() if makes else None
        if not isinstance(neuron, RateNeuron):
            raise ConfigError(
                f"swap needs a Curve or a function that makes a RateNeuron for {key}, but got {value!r}. "
                "Pass ReLUCurve(), or lambda: RateNeuron(ReLUCurve())."
            )
        return neuron

    def partner_of(self, curve: Curve | QCFS | None) -> RateNeuron:
        """Return the spiking partner of a curve, in the unit of the partner of ReLU."""
        assert curve is not None
        if isinstance(curve, QCFS):
            return curve.spiking(self.dt)
        counts = self.partner == "integrate_and_fire"
        rest: dict[str, Any] = {"v_init": self.v_init, "dt": self.dt}
        if counts and isinstance(curve, (ReLUCurve, QCFSCurve)):
            rest["threshold"] = torch.ones((), dtype=self.example.dtype, device=self.example.device)
        elif counts and isinstance(curve, (LeakyReLUCurve, SigmoidCurve, TanhCurve)):
            rest["amplitude"] = self.dt / 1000
            rest["gain"] = 1000 / self.dt if isinstance(curve, LeakyReLUCurve) else 1.0
        own = isinstance(curve, ReLUCurve) or self.partner in ("stochastic", "poisson", "none")
        return RateNeuron(curve, partner=self.partner if own else None, **rest)

    def problem(self, node: fx.Node, what: str) -> None:
        self.problems.append(f"{self.place(node)}: {what}")

    def complain(self, strict: bool) -> None:
        """Raise errors and issue warnings."""
        wrong = [*self.fatal, *(self.problems if strict else [])]
        if wrong:
            keep = ", or pass strict=False to keep what is unknown as it is" if len(wrong) > len(self.fatal) else ""
            raise ConfigError(
                "These parts of the model cannot be converted:\n  "
                + "\n  ".join(wrong)
                + f"\nReplace them{keep}."
                + (" Those named first need a change in any case." if keep and self.fatal else "")
            )
        if self.problems:
            warnings.warn(
                "Not converted but kept as it is, step by step:\n  " + "\n  ".join(self.problems), stacklevel=5
            )
        if unused := [getattr(key, "__name__", str(key)) for key in self.swap if key not in self.used]:
            warnings.warn(f"The model has nothing to swap for {', '.join(unused)}.", stacklevel=5)
        if not any(isinstance(module, RateNeuron) for module in self.parts.values()):
            raise ConfigError("The model has no activation to convert: it is linear. Nothing in it would spike.")
        clash = sorted({path.split(".")[0] for path in self.parts} & set(dir(Converted((), "input", {}))))
        if clash:
            raise ConfigError(f"A converted model has methods named {', '.join(clash)}. Rename these layers.")


def _rectifies(node: fx.Node) -> bool:
    """Return whether a clamp is a ReLU."""
    low, high = (*node.args[1:], None, None)[:2]
    low, high = node.kwargs.get("min", low), node.kwargs.get("max", high)
    return isinstance(low, (int, float)) and low == 0 and high is None


def _pool_options(node: fx.Node, target: Any) -> dict[str, Any]:
    """Return the options of a max pooling function call."""
    names = ADAPTIVE_OPTIONS if "adaptive" in str(getattr(target, "__name__", target)) else POOL_OPTIONS
    return dict(zip(names, node.args[1:], strict=False)) | {k: v for k, v in node.kwargs.items() if k != "input"}


def _leaf(root: nn.Module, path: str) -> Any:
    """Return a parameter or buffer."""
    owner, _, name = path.rpartition(".")
    return getattr(root.get_submodule(owner), name)


def _try(converted: Converted, example: Tensor) -> None:
    """Run the model for two and three steps: operations that mix samples fail in at least one of them."""
    rates = to_rate(converted)
    for steps in (2, 3):
        try:
            with torch.no_grad():
                rates(torch.stack([example] * steps))
        except ShapeError as error:
            raise ConfigError(f"The model mixes the samples of a batch. {error}") from error


@torch.no_grad()
def _compare(converted: Converted, model: nn.Module, example: Tensor) -> None:
    """Raise ConfigError unless the rates are those of the model, which reveals any other error."""
    if any(isinstance(module, QCFS) for module in model.modules()):
        return  # the staircase turns the rounding error of a folded batch norm into a step
    expected, output = shared_copy(model).eval()(example.clone()), to_rate(converted).eval()(example.unsqueeze(0))[0][0]
    difference, tolerance = float((output - expected).abs().max()), torch.finfo(example.dtype).eps ** 0.5
    if not difference <= tolerance * (1 + float(expected.abs().max())):
        raise ConfigError(
            f"On the example, the rates of the conversion differ from the model by up to {difference:.3g}. Look for "
            "operations in place on what is read again, and for what depends on the mode or on other samples; "
            "strict=False accepts it."
        )


@torch.no_grad()
def activations(converted: Converted, model: nn.Module, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Return the outputs of the original layers that became neurons, by their name in the conversion, and its output.

    Raises:
        ConfigError: the model is not the one that was converted.
    """
    neurons = {op.target: op.name.removesuffix(".spikes") for op in converted.ops if _is_neuron(converted, op)}
    root = shared_copy(model).eval()
    stop = {id(module) for name, module in root.named_modules() if name in neurons}
    work = _Translation(root, {}, "none", "error", 0.0, 1.0, None, x)
    names, values = {name: path for path, name in neurons.items()}, dict[str, Tensor]()

    class Keeping(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if n.name in names:
                values[names[n.name]] = value.clone()  # later operations may change it in place
            return value

    output = Keeping(fx.GraphModule(root, work.trace(root, stop))).run(x.clone())
    if lost := sorted(set(neurons) - set(values)):
        raise ConfigError(
            f"{type(model).__name__} has no {', '.join(lost)}, so it is not the model that was converted. Pass that."
        )
    return {path: values[path] for path in neurons}, output


def _is_neuron(converted: Converted, op: Op) -> bool:
    return op.kind == "stateful" and isinstance(converted.get_submodule(op.target), RateNeuron)
