"""Ordinary networks of torch.nn into spiking ones.

The model is traced by torch.fx. Its activations become rate neurons, whose spiking partners say on average the same:

    ReLU      integrate_and_fire (one spike a step is one unit of activation) or regular (one Hz is one unit, as Nengo)
    LeakyReLU, Sigmoid, Tanh    in the same unit; negative rates are spikes with a minus sign

What is linear stays, batch norm folds into the layer before it, dropout goes, and anything else is an error that names
every such place. After T steps of a constant current a (in thresholds), integrate-and-fire neurons that start at v_init
say a - (v - v_init) / T: at most 1 / T off.
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
from ..neurons import (
    Curve,
    LeakyReLUCurve,
    Lowpass,
    QCFSCurve,
    RateNeuron,
    ReLUCurve,
    SigmoidCurve,
    TanhCurve,
)
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
    """A spiking network with the layers, the parameters and the names of an ordinary one, which stays as it is.

    Parameters are shared with the model, but for layers that a batch norm was folded into: these have new ones. They
    are never scaled: what is saved at one `scale` loads at any other. Layers are copies in the mode of the model: rates
    in train(), spikes in eval(). An activation that is called as a function is named after it: "block.relu".
    Shapes: the model maps [B, *N] to [B, K], the result [T, B, *N] to [T, B, K].
    Units: synapse and dt in ms.

    Args:
        model: its batch norms in eval mode.
        swap: for a class, function or curve (`nn.GELU`, `torch.tanh`, `ReLUCurve`) the `Curve` to use instead, or a
            function without arguments that makes the `RateNeuron`.
        scale: times as many spikes, each with 1 / scale of the weight; for all neurons, or by name of the layer.
        synapse: time constant of a low-pass behind every neuron, with the delay of one step.
        strict: False: keep what cannot be converted as it is, step by step, with a warning.
        partner: the spiking neuron of ReLU: see `RateNeuron`. "stochastic", "poisson", "none": that of all curves.
        max_pool: "average": replace by average pooling; "spiking": the input with the largest mean so far passes;
            "lead": what the largest sum so far has gained passes. See `SpikingMaxPool`.
        v_init: voltage of a sample that has seen nothing, in spikes; 0.5 centres the error.
        dt: length of one step.
        example: a batch of the input, to find shapes.

    Raises:
        ConfigError: an option is unknown or of no use, a batch norm is in training mode, the example does not run
            through the model, parts of the model cannot be converted (all of them are named), or the rates of the
            result differ from the model on the example, where nothing was replaced.

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
    """Raise ConfigError for a model that lives in time already."""
    inside = {id(part.neuron) for part in model.modules() if isinstance(part, QCFS)}
    timed = [name or "it" for name, m in model.named_modules() if isinstance(m, Stateful) and id(m) not in inside]
    if timed:
        raise ConfigError(
            f"convert takes ordinary networks, but {type(model).__name__} lives in time already ({timed[0]}). If it "
            "has rate neurons, to_spiking(model).eval() spikes."
        )


class _Tracer(fx.Tracer):
    """Stops at torch's layers, ours, and those it is told."""

    def __init__(self, stop: set[int], kinds: tuple[type, ...]) -> None:
        super().__init__()
        self.stop, self.kinds = stop, (*kinds, SignedSparseLinear, QCFS, Stateful)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return id(m) in self.stop or isinstance(m, self.kinds) or super().is_leaf_module(m, module_qualified_name)


class _Translation:
    """A traced model on its way to a list of operations."""

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
        """The converted model; all problems in one error."""
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
        """The graph of the model; parts that cannot be traced are one node each."""
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
        """Note the shape of every value."""
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
        found = self.alias.get(node.name, Ref(node.name))
        assert isinstance(found, Ref)
        return found

    def place(self, node: fx.Node) -> str:
        """Where a call stands: the path of the module, or of the function in its module."""
        if node.op == "call_module":
            return str(node.target)
        stack = list(node.meta.get("nn_module_stack", {}).values())
        name = str(getattr(node.target, "__name__", node.target)).rstrip("_")
        return f"{stack[-1][0]}.{name}" if stack else name

    def unique(self, path: str) -> str:
        """A path that no other layer has."""
        found, count = path, 1
        while found in self.taken:
            count += 1
            found = f"{path}_{count}"
        self.taken.add(found)
        return found

    def add(self, node: fx.Node, kind: Any, target: Any, args: Any = None, kwargs: Any = None) -> None:
        """An operation that stands for a node."""
        args = replace(node.args if args is None else args, self.ref, fx.Node)
        kwargs = replace(dict(node.kwargs) if kwargs is None else kwargs, self.ref, fx.Node)
        op = Op(node.name, kind, target, args, kwargs)
        sized = target in SIZES
        timed = not sized and (kind == "stateful" or any(ref.name in self.timed for ref in refs(op)))
        self.ops[node.name] = Op(node.name, kind, target, args, kwargs, timed)
        if timed:
            self.timed.add(node.name)

    def inputs(self, node: fx.Node) -> list[str]:
        """The sequences that a node reads, as often as it does."""
        found = list[Any]()
        replace((node.args, dict(node.kwargs)), found.append, fx.Node)
        return [name for name in (self.ref(other).name for other in found) if name in self.timed]

    def translate(self, node: fx.Node) -> None:
        """A call of a module, a function or a method."""
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
        """Complain about a change in place of what is read again later: there it would be seen, but not here."""
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
        """Several parts of a signal: each gets an operation of its own."""
        self.splits[node.name] = node
        self.timed.add(node.name)
        if any(user.target is not operator.getitem or not isinstance(user.args[1], int) for user in node.users):
            self.fatal.append(f"{self.place(node)}: its parts must be taken one by one, as in a, b = x.chunk(2, 1)")

    def untimed(self, node: fx.Node, kind: Any, target: Any) -> None:
        """A size, or something made of sizes and parameters alone."""
        if target is getattr and node.args[1] not in ("shape", "ndim", "dtype", "device"):
            self.problem(node, f"an attribute {node.args[1]} of a signal; call a function instead")
        self.add(node, kind, target)

    def single(self, node: fx.Node, target: Any) -> bool:
        """Whether a product is linear: one sequence, and that the first factor unless the order does not matter."""
        first = isinstance(node.args[0], fx.Node) and self.ref(node.args[0]).name in self.timed
        return len(self.inputs(node)) == 1 and (first or target in (operator.mul, torch.mul, "mul"))

    def module(self, node: fx.Node, module: nn.Module) -> None:
        """A layer."""
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
        """A batch norm: into the layer before, if nothing else reads that, or on its own."""
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
        self.parts[str(node.target)] = FixedAffine(*(part.to(kept.dtype) for part in affine_of(module)))
        self.add(node, "module", str(node.target))

    def flat(self, node: fx.Node) -> int:
        """Samples times channels: the size of a value that has no further dimensions."""
        batch, channels = node.meta["tensor_meta"].shape[:2]
        return int(batch * channels)

    def pool(self, node: fx.Node, target: Any, options: dict[str, Any]) -> None:
        """A max pooling."""
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
        """A second call of a layer with a state gets a state of its own."""
        return self.unique(path) if self.uses.get(path, 0) > 1 and node.op == "call_module" else path

    def keys(self, target: Any) -> set[Any]:
        """What an activation is called in swap."""
        names = {target}
        if isinstance(target, str):
            names |= {getattr(home, target, target) for home in (torch, torch.Tensor)}
        return names | ({ACTIVATIONS[target]} if target in ACTIVATIONS else set())

    def curve(self, target: Any, source: nn.Module | fx.Node) -> Curve | None:
        """The curve of an activation; None if only swap knows it."""
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
        """An activation."""
        path = self.place(node)
        if node.op == "call_module" and self.uses[path] > 1:
            self.problem(node, "one neuron layer in two places, which would share its state; make two modules")
        if not node.users:
            self.problem(node, "its result is not used; an operation in place cannot be converted")
        path = self.again(node, path) if node.op == "call_module" else self.unique(path)
        found = [key for key in (target, *self.keys(target)) if key in self.swap]
        self.used.update(found)
        spiking = self.made(found[0], self.swap[found[0]]) if found else self.partner_of(curve)
        if spiking.partner == "integrate_and_fire" and isinstance(spiking.threshold, float):
            one = torch.tensor(spiking.threshold, dtype=self.example.dtype, device=self.example.device)
            del spiking.threshold
            spiking.register_buffer("threshold", one)  # so that calibration changes no name in a checkpoint
        self.parts[path] = spiking.train(self.model.training)
        self.add(node, "stateful", path, (node.all_input_nodes[0],), {})
        if self.synapse is not None:
            self.ops[node.name + ".spikes"] = Op(node.name + ".spikes", "stateful", path, self.ops.pop(node.name).args)
            self.timed.add(node.name + ".spikes")
            path = self.unique(path + "_synapse")
            self.parts[path] = Lowpass(self.synapse, dt=self.dt)
            self.add(node, "stateful", path, (), {})
            self.ops[node.name] = Op(node.name, "stateful", path, (Ref(node.name + ".spikes"),))

    def made(self, key: Any, value: Any) -> RateNeuron:
        """What swap says."""
        makes = callable(value) and not isinstance(value, nn.Module)
        made = self.partner_of(value) if isinstance(value, Curve) else value() if makes else None
        if not isinstance(made, RateNeuron):
            raise ConfigError(
                f"swap needs a Curve or a function that makes a RateNeuron for {key}, but got {value!r}. "
                "Pass ReLUCurve(), or lambda: RateNeuron(ReLUCurve())."
            )
        return made

    def partner_of(self, curve: Curve | QCFS | None) -> RateNeuron:
        """The neuron of a curve, in the unit that the partner of ReLU has."""
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
        """Errors and warnings."""
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
        if not any(isinstance(part, RateNeuron) for part in self.parts.values()):
            raise ConfigError("The model has no activation to convert: it is linear. Nothing in it would spike.")
        clash = sorted({path.split(".")[0] for path in self.parts} & set(dir(Converted((), "input", {}))))
        if clash:
            raise ConfigError(f"A converted model has methods named {', '.join(clash)}. Rename these layers.")


def _rectifies(node: fx.Node) -> bool:
    """Whether a clamp is a ReLU."""
    low, high = (*node.args[1:], None, None)[:2]
    low, high = node.kwargs.get("min", low), node.kwargs.get("max", high)
    return isinstance(low, (int, float)) and low == 0 and high is None


def _pool_options(node: fx.Node, target: Any) -> dict[str, Any]:
    """The options of a max pooling that was called as a function."""
    names = ADAPTIVE_OPTIONS if "adaptive" in str(getattr(target, "__name__", target)) else POOL_OPTIONS
    return dict(zip(names, node.args[1:], strict=False)) | {k: v for k, v in node.kwargs.items() if k != "input"}


def _leaf(root: nn.Module, path: str) -> Any:
    """A parameter or buffer."""
    owner, _, name = path.rpartition(".")
    return getattr(root.get_submodule(owner), name)


def _try(converted: Converted, example: Tensor) -> None:
    """Run it for two and for three steps: who mixes samples cannot get the first dimension right in both."""
    rates = to_rate(converted)
    for steps in (2, 3):
        try:
            with torch.no_grad():
                rates(torch.stack([example] * steps))
        except ShapeError as error:
            raise ConfigError(f"The model mixes the samples of a batch. {error}") from error


@torch.no_grad()
def _compare(converted: Converted, model: nn.Module, example: Tensor) -> None:
    """Raise ConfigError unless the rates are those of the model: what else went wrong shows here."""
    if any(isinstance(part, QCFS) for part in model.modules()):
        return  # a staircase turns the last digit of a folded batch norm into a step
    wanted, got = shared_copy(model).eval()(example.clone()), to_rate(converted).eval()(example.unsqueeze(0))[0][0]
    difference, tolerance = float((got - wanted).abs().max()), torch.finfo(example.dtype).eps ** 0.5
    if not difference <= tolerance * (1 + float(wanted.abs().max())):
        raise ConfigError(
            f"On the example, the rates of the conversion differ from the model by up to {difference:.3g}. Look for "
            "operations in place on what is read again, and for what depends on the mode or on other samples; "
            "strict=False accepts it."
        )


@torch.no_grad()
def activations(converted: Converted, model: nn.Module, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """What the layers of the original model say that became neurons, by their names in the conversion; and its output.

    Raises:
        ConfigError: the model is not the one that was converted.
    """
    neurons = {op.target: op.name.removesuffix(".spikes") for op in converted.ops if _is_neuron(converted, op)}
    root = shared_copy(model).eval()
    stop = {id(part) for name, part in root.named_modules() if name in neurons}
    work = _Translation(root, {}, "none", "error", 0.0, 1.0, None, x)
    names, found = {name: path for path, name in neurons.items()}, dict[str, Tensor]()

    class Keeping(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if n.name in names:
                found[names[n.name]] = value.clone()  # what comes may change it in place
            return value

    output = Keeping(fx.GraphModule(root, work.trace(root, stop))).run(x.clone())
    if lost := sorted(set(neurons) - set(found)):
        raise ConfigError(
            f"{type(model).__name__} has no {', '.join(lost)}, so it is not the model that was converted. Pass that."
        )
    return {path: found[path] for path in neurons}, output


def _is_neuron(converted: Converted, op: Op) -> bool:
    return op.kind == "stateful" and isinstance(converted.get_submodule(op.target), RateNeuron)
