"""Several processes that train one model: `torchrun --nproc-per-node 2 -m spikeloom train ...`.

The batch of an update is the configured batch size times the number of ranks: a task lets every rank draw samples of
its own (store_recall), or its part of one batch of that size (sequential_mnist). Gradients are averaged before each
optimiser step, logged values are means over the ranks, all ranks take every decision on the same numbers, and rank 0
writes. Without torchrun each function does nothing.
"""

import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import ConfigError, SpikeloomError, TrainingError

if TYPE_CHECKING:  # some builds of torch have none
    from torch.distributed.distributed_c10d import Store

ARRIVAL = 300.0
"""Seconds in which all ranks must have come."""
PATIENCE = timedelta(days=7)
"""How long ranks wait for one that evaluates; a rank that dies is noticed at once, by its closed connection."""


@contextmanager
def joined() -> Iterator[tuple[int, int]]:
    """Join the processes that torchrun started; gives (rank, world), which is (0, 1) without torchrun.

    Raises:
        ConfigError: the variables of torchrun are incomplete or no numbers, the processes cannot meet, or there are
            more of them than accelerators.
        TrainingError: one of the others is lost.
    """
    if "WORLD_SIZE" not in os.environ:
        yield 0, 1
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ConfigError(f"WORLD_SIZE is set, {', '.join(missing)} is not. Start with torchrun, or unset WORLD_SIZE.")
    processes = _number("WORLD_SIZE", 1, 1 << 20)
    rank, port = _number("RANK", 0, processes - 1), _number("MASTER_PORT", 0, 65_535)
    # an optimiser imports this module, whose default arguments keep whatever group there is then: a group that is kept
    # keeps its threads, and a process that ends with them may be aborted
    from torch.distributed.nn import functional  # noqa: F401

    if torch.cuda.is_available():
        torch.cuda.set_device(local_device())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    try:
        store = _store(os.environ["MASTER_ADDR"], port, processes, host=rank == 0 and not agent)
        place = meeting(store, rank, processes) if agent else store
        dist.init_process_group(backend, store=place, rank=rank, world_size=processes, timeout=PATIENCE)
    except RuntimeError as error:
        raise ConfigError(
            f"process {rank} of {processes} could not meet the others at {os.environ['MASTER_ADDR']}:{port}: "
            f"{_first_words(error)}. Choose a port that is free, and start as many processes as you announce."
        ) from error
    try:
        yield dist.get_rank(), dist.get_world_size()
        barrier()  # rank 0 evaluates last; all leave together
    finally:
        dist.destroy_process_group()


def _store(address: str, port: int, processes: int, host: bool) -> "Store":
    """Where processes find one another."""
    from torch._C._distributed_c10d import TCPStore

    return TCPStore(
        address, port, processes, is_master=host, timeout=timedelta(seconds=ARRIVAL), wait_for_workers=False
    )


def _number(name: str, least: int, most: int) -> int:
    """The whole number in a variable of torchrun.

    Raises:
        ConfigError: it is none, or out of range.
    """
    text = os.environ[name]
    if not (text.isascii() and text.isdigit() and least <= int(text[:9]) <= most and len(text) < 9):
        raise ConfigError(
            f"{name} must be a whole number from {least} to {most}, but is {text!r:.80}. Start with torchrun, which "
            "sets it, or unset WORLD_SIZE to train in one process."
        )
    return int(text)


def _first_words(error: BaseException) -> str:
    """The first sentence of a message of torch, without the places in its source."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return re.sub(r"^\[[^\]]*\]\s*", "", line)[:200].rstrip(". ")


def meeting(store: "Store", rank: int, processes: int, patience: float = ARRIVAL) -> "Store":
    """A part of torchrun's store that only the processes of this start know.

    Processes that are started again find there what those before them wrote, and would connect to the dead. So each
    says a word that it has drawn, rank 0 answers every word with its own, and waits until all have understood.

    Raises:
        ConfigError: a process does not come.
    """
    from torch.distributed.distributed_c10d import PrefixStore

    word = uuid.uuid4().hex
    if rank > 0:
        store.set(f"hello/{rank}", word)
        word = store.get(f"answer/{word}").decode()
        store.set(f"understood/{word}/{rank}", "")
        return PrefixStore(word, store)
    missing, deadline = set(range(1, processes)), time.monotonic() + patience
    while missing:
        for other in sorted(missing):
            if store.check([f"understood/{word}/{other}"]):
                missing.remove(other)
            elif store.check([f"hello/{other}"]):
                store.set(f"answer/{store.get(f'hello/{other}').decode()}", word)
        if time.monotonic() > deadline:
            raise ConfigError(
                f"{len(missing)} of {processes} processes did not come within {patience:g} s: ranks "
                f"{', '.join(map(str, sorted(missing)))}. Start torchrun on every machine, with the same endpoint."
            )
        time.sleep(0.01)
    return PrefixStore(word, store)


def local_device() -> torch.device:
    """The accelerator of this process, else the CPU.

    Raises:
        ConfigError: there are more processes than accelerators.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    count = torch.cuda.device_count()
    index = _number("LOCAL_RANK", 0, 1 << 20) if "LOCAL_RANK" in os.environ else 0
    if index >= count:
        raise ConfigError(
            f"process {index} of this machine has no GPU of its own: there are {count}. "
            f"Start at most {count} processes, or set CUDA_VISIBLE_DEVICES to nothing to train on the CPU."
        )
    return torch.device("cuda", index)


def restarted() -> bool:
    """Whether torchrun started this process anew, after it had lost one (`--max-restarts`)."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@contextmanager
def _together() -> Iterator[None]:
    """Make a sentence of what torch says when a process is lost.

    Raises:
        TrainingError: one of the others does not answer any more.
    """
    try:
        yield
    except RuntimeError as error:
        raise TrainingError(
            f"process {dist.get_rank()} of {world()} lost another one, which has ended or cannot be reached "
            f"({_first_words(error)}); what that one says is the cause. What was saved is kept: go on with "
            "`torchrun ... -m spikeloom resume`."
        ) from error


def of_first(function: Callable[[], Any]) -> Any:
    """What a function returns on rank 0, on every rank; if it raises an error of spikeloom there, all raise it."""
    if world() == 1:
        return function()
    value, error = None, None
    if dist.get_rank() == 0:
        try:
            value = function()
        except SpikeloomError as raised:
            error = raised
    value, kind, text = shared((value, type(error), str(error)) if error else (value, None, ""))
    if error is not None:
        raise error
    if kind is not None:
        raise kind(text)
    return value


def check_same(**values: Any) -> None:
    """Raise ConfigError unless every rank was started with the same values; dictionaries are compared item by item."""
    flat = {
        (f"{name}.{key}" if name != "options" else key): item
        for name, value in values.items()
        for key, item in (value.items() if isinstance(value, dict) else [("", value)])
    }
    flat = {name.rstrip("."): repr(value) for name, value in flat.items()}
    everyone = gather(flat)
    for other, theirs in enumerate(everyone):
        differing = [name for name in {**everyone[0], **theirs} if everyone[0].get(name) != theirs.get(name)]
        if differing:
            listed = "; ".join(
                f"{name} {theirs.get(name)} there and {everyone[0].get(name)} in process 0" for name in differing
            )
            raise ConfigError(
                f"process {other} was started with other options: {listed}. Start all with the same command, as "
                "torchrun does."
            )


def average_gradients(parameters: nn.Module | Iterable[Tensor]) -> None:
    """Replace every gradient by its mean over the ranks: call it between `backward()` and `optimizer.step()`.

    A parameter without a gradient on some rank counts as zero there. All of one kind travel together.
    """
    if world() == 1:
        return
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for parameter in parameters.parameters() if isinstance(parameters, nn.Module) else parameters:
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        kinds.setdefault((parameter.grad.dtype, parameter.grad.device), []).append(parameter.grad)
    for gradients in kinds.values():
        total = torch.cat([gradient.flatten() for gradient in gradients])
        with _together():
            dist.all_reduce(total)
        total /= world()
        parts = torch.split(total, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def average_buffers(module: nn.Module) -> None:
    """Replace statistics that a module keeps, as batch normalisation does, by their means over the ranks."""
    if world() == 1:
        return
    for buffer in module.buffers():
        if buffer.is_floating_point():
            with _together():
                dist.all_reduce(buffer)
            buffer /= world()


def mean(values: Mapping[str, float]) -> dict[str, float]:
    """The same dictionary with every value averaged over the ranks; all ranks must have the same keys."""
    if world() == 1:
        return dict(values)
    totals = torch.tensor([values[name] for name in sorted(values)], dtype=torch.float64)
    with _together():
        dist.all_reduce(totals)
    return dict(zip(sorted(values), (totals / world()).tolist(), strict=True))


def mean_of(tensor: Tensor) -> Tensor:
    """The mean of a tensor over the ranks, for losses that are not linear in the batch.

    Its gradient goes to this rank's tensor undivided: with `average_gradients` that makes the gradient of the whole.
    """
    if world() == 1:
        return tensor
    total = tensor.detach().clone()
    with _together():
        dist.all_reduce(total)
    return tensor + (total / world() - tensor.detach())


def copy_from_first(module: nn.Module) -> None:
    """Give every rank the parameters and buffers of rank 0."""
    if world() == 1:
        return
    for tensor in [*module.parameters(), *module.buffers()]:
        with _together():
            dist.broadcast(tensor.detach(), src=0)


def gather(value: Any) -> list[Any]:
    """`value` of every rank, in order, on every rank."""
    if world() == 1:
        return [value]
    found: list[Any] = [None] * world()
    with _together():
        dist.all_gather_object(found, value)
    return found


def shared(value: Any) -> Any:
    """`value` of rank 0, on every rank."""
    if world() == 1:
        return value
    found = [value]
    with _together():
        dist.broadcast_object_list(found, src=0)
    return found[0]


def barrier() -> None:
    """Wait until every rank is here."""
    if world() > 1:
        with _together():
            dist.barrier()
