"""Several processes that train one model: `torchrun --nproc-per-node 2 -m spikeloom train ...`.

The batch of an update is the configured batch size times the number of ranks: a task lets every rank draw samples of
its own (store_recall), or its part of one batch of that size (sequential_mnist). Gradients are averaged before each
optimiser step, logged values are means over the ranks, all ranks take every decision on the same numbers, and rank 0
writes. Without torchrun each function does nothing.
"""

import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import ConfigError

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
        ConfigError: the variables of torchrun are incomplete, or there are more processes than accelerators.
    """
    if "WORLD_SIZE" not in os.environ:
        yield 0, 1
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ConfigError(f"WORLD_SIZE is set, {', '.join(missing)} is not. Start with torchrun, or unset WORLD_SIZE.")
    # an optimiser imports this module, whose default arguments keep whatever group there is then: a group that is kept
    # keeps its threads, and a process that ends with them may be aborted
    from torch.distributed.nn import functional  # noqa: F401

    if torch.cuda.is_available():
        torch.cuda.set_device(local_device())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        from torch._C._distributed_c10d import TCPStore

        rank, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        address = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
        place = meeting(address, rank, processes)
        dist.init_process_group(backend, store=place, rank=rank, world_size=processes, timeout=PATIENCE)
    else:
        dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield dist.get_rank(), dist.get_world_size()
        barrier()  # rank 0 evaluates last; all leave together
    finally:
        dist.destroy_process_group()


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
    index, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
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
            dist.all_reduce(buffer)
            buffer /= world()


def mean(values: Mapping[str, float]) -> dict[str, float]:
    """The same dictionary with every value averaged over the ranks; all ranks must have the same keys."""
    if world() == 1:
        return dict(values)
    totals = torch.tensor([values[name] for name in sorted(values)], dtype=torch.float64)
    dist.all_reduce(totals)
    return dict(zip(sorted(values), (totals / world()).tolist(), strict=True))


def mean_of(tensor: Tensor) -> Tensor:
    """The mean of a tensor over the ranks, for losses that are not linear in the batch.

    Its gradient goes to this rank's tensor undivided: with `average_gradients` that makes the gradient of the whole.
    """
    if world() == 1:
        return tensor
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return tensor + (total / world() - tensor.detach())


def copy_from_first(module: nn.Module) -> None:
    """Give every rank the parameters and buffers of rank 0."""
    if world() == 1:
        return
    for tensor in [*module.parameters(), *module.buffers()]:
        dist.broadcast(tensor.detach(), src=0)


def gather(value: Any) -> list[Any]:
    """`value` of every rank, in order, on every rank."""
    if world() == 1:
        return [value]
    found: list[Any] = [None] * world()
    dist.all_gather_object(found, value)
    return found


def shared(value: Any) -> Any:
    """`value` of rank 0, on every rank."""
    if world() == 1:
        return value
    found = [value]
    dist.broadcast_object_list(found, src=0)
    return found[0]


def barrier() -> None:
    """Wait until every rank is here."""
    if world() > 1:
        dist.barrier()
