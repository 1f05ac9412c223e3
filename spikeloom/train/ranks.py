"""Data-parallel training: `torchrun --nproc-per-node 2 -m spikeloom train ...`.

The batch of an update is the configured batch size times the number of ranks: a task lets every rank sample its own
(store_recall), or take its share of one batch of that size (sequential_mnist). Gradients are averaged before each
optimiser step, logged values are means over the ranks, all ranks take every decision on the same numbers, and only rank
0 writes files. Without torchrun every function of this module is a no-op.
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

if TYPE_CHECKING:  # some builds of torch lack it
    from torch.distributed.distributed_c10d import Store

ARRIVAL = 300.0
"""Seconds to wait until all ranks have connected."""
PATIENCE = timedelta(days=7)
"""Time that ranks wait for one that evaluates; the death of a rank is noticed at once, by its closed connection."""


@contextmanager
def joined() -> Iterator[tuple[int, int]]:
    """Join the process group of torchrun; yield (rank, world), which is (0, 1) without torchrun.

    Raises:
        ConfigError: the variables of torchrun are incomplete or not numbers, the processes cannot connect, or there are
            more of them than accelerators.
        TrainingError: another process is lost.
    """
    if "WORLD_SIZE" not in os.environ:
        yield 0, 1
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ConfigError(f"WORLD_SIZE is set, {', '.join(missing)} is not. Start with torchrun, or unset WORLD_SIZE.")
    processes = _number("WORLD_SIZE", 1, 1 << 20)
    rank, port = _number("RANK", 0, processes - 1), _number("MASTER_PORT", 0, 65_535)
    # An optimiser imports this module, whose default arguments keep the process group that exists at that time; a group
    # that is kept alive keeps its threads, and may abort the process at exit. So import it before there is a group.
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
    """Create the store through which the processes connect."""
    from torch._C._distributed_c10d import TCPStore

    return TCPStore(
        address, port, processes, is_master=host, timeout=timedelta(seconds=ARRIVAL), wait_for_workers=False
    )


def _number(name: str, least: int, most: int) -> int:
    """Return the whole number in an environment variable of torchrun.

    Raises:
        ConfigError: the value is not a whole number, or out of range.
    """
    text = os.environ[name]
    if not (text.isascii() and text.isdigit() and least <= int(text[:9]) <= most and len(text) < 9):
        raise ConfigError(
            f"{name} must be a whole number from {least} to {most}, but is {text!r:.80}. Start with torchrun, which "
            "sets it, or unset WORLD_SIZE to train in one process."
        )
    return int(text)


def _first_words(error: BaseException) -> str:
    """Return the first sentence of an error message of torch, without source locations."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return re.sub(r"^\[[^\]]*\]\s*", "", line)[:200].rstrip(". ")


def meeting(store: "Store", rank: int, processes: int, patience: float = ARRIVAL) -> "Store":
    """Return torchrun's store with a prefix that is unique to this start.

    After a restart, the store still holds the keys of the previous processes, and new processes would connect to the
    dead ones. So each rank writes a random word, rank 0 answers every word with its own, which becomes the prefix, and
    waits until all ranks have acknowledged it.

    Raises:
        ConfigError: a process does not connect in time.
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
    """Return the accelerator of this process, else the CPU.

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
    """Return whether torchrun restarted this process after a failure (`--max-restarts`)."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def world() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@contextmanager
def _together() -> Iterator[None]:
    """Convert errors of torch about a lost process to a TrainingError.

    Raises:
        TrainingError: another process does not respond.
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
    """Call a function on rank 0 and return its result on every rank; errors of spikeloom are raised on all ranks."""
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
    """Raise ConfigError unless all ranks have the same values; dictionaries are compared item by item."""
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
    """Replace every gradient by its mean over the ranks; to be called between `backward()` and `optimizer.step()`.

    A gradient that is None on some rank counts as zero. Gradients of one type are reduced together.
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
        for gradient, mean_part in zip(gradients, parts, strict=True):
            gradient.copy_(mean_part.view_as(gradient))


def average_buffers(module: nn.Module) -> None:
    """Replace floating point buffers, such as batch norm statistics, by their means over the ranks."""
    if world() == 1:
        return
    for buffer in module.buffers():
        if buffer.is_floating_point():
            with _together():
                dist.all_reduce(buffer)
            buffer /= world()


def mean(values: Mapping[str, float]) -> dict[str, float]:
    """Average every value over the ranks; all ranks must have the same keys."""
    if world() == 1:
        return dict(values)
    totals = torch.tensor([values[name] for name in sorted(values)], dtype=torch.float64)
    with _together():
        dist.all_reduce(totals)
    return dict(zip(sorted(values), (totals / world()).tolist(), strict=True))


def mean_of(tensor: Tensor) -> Tensor:
    """Return the mean of a tensor over the ranks, for losses that are not linear in the batch.

    The gradient passes to the tensor of this rank undivided; `average_gradients` then gives the gradient of the total
    loss.
    """
    if world() == 1:
        return tensor
    total = tensor.detach().clone()
    with _together():
        dist.all_reduce(total)
    return tensor + (total / world() - tensor.detach())


def copy_from_first(module: nn.Module) -> None:
    """Copy the parameters and buffers of rank 0 to all ranks."""
    if world() == 1:
        return
    for tensor in [*module.parameters(), *module.buffers()]:
        with _together():
            dist.broadcast(tensor.detach(), src=0)


def gather(value: Any) -> list[Any]:
    """Return `value` of every rank, in order, on every rank."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    with _together():
        dist.all_gather_object(values, value)
    return values


def shared(value: Any) -> Any:
    """Return `value` of rank 0 on every rank."""
    if world() == 1:
        return value
    values = [value]
    with _together():
        dist.broadcast_object_list(values, src=0)
    return values[0]


def barrier() -> None:
    """Wait for all ranks."""
    if world() > 1:
        with _together():
            dist.barrier()
