"""Counter-based random numbers: the same in every engine, in any order, however a sequence is split.

    z = splitmix64(key + (step + 1) 0x9E3779B97F4A7C15)            one 64-bit word a sample and step: its halves a, b
    x = triple32(0x9E3779B9 neuron + a), with b added by xor after the first product
    U = (x // 512 + 1/2) / 2^23                                     uniform in (0, 1), exact in float32

The key and the step of every sample are in the state: int64 [B, 2]. This file is the definition, on torch tensors;
`draws` implements it for the CPU kernels, `loops.triton_source` for the GPU.
Sources: Steele, Lea and Flood, Fast splittable pseudorandom number generators, 2014 (splitmix64); Wellons, Prospecting
for hash functions, 2018 (triple32).
"""

from collections.abc import Sequence
from functools import lru_cache
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.library import custom_op

from .repeat import repeatable
from .transforms import readable

WORD = 0xFFFFFFFF
GOLDEN = 0x9E3779B97F4A7C15
SPLIT = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
STRIDE = 0x9E3779B9
TRIPLE = (0xED5AD4BB, 0xAC4C1B51, 0x31848BAB)


def keys(batch: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Return a new key for each sample, and the step 0: int64 [batch, 2]."""
    drawn = draw("keys", [batch], torch.int64, torch.device("cpu"), generator)
    return torch.stack([drawn, torch.zeros_like(drawn)], 1).to(device)


def normal(shape: Sequence[int], dtype: torch.dtype, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Sample independent standard normal numbers."""
    return draw("normal", list(shape), dtype, device, generator)


def draw(
    kind: str, shape: list[int], dtype: torch.dtype, device: torch.device, generator: torch.Generator | None
) -> Tensor:
    """Sample numbers from a generator, or from torch's default one: "keys", "normal" or "uniform" in [0, 1).

    Layers that sample in their forward pass use this function: `torch.utils.checkpoint` then repeats the samples when
    it recomputes, and a compiled graph samples the same numbers as the layer.
    """
    if torch.compiler.is_compiling():
        number = 0 if generator is None else _handle(generator)
        drawn: Tensor = _operator(_turn, kind, shape, dtype, device, number)
        return drawn
    return _drawn(kind, shape, dtype, device, None if generator is None else repeatable(generator))


def _drawn(
    kind: str, shape: list[int], dtype: torch.dtype, device: torch.device, generator: torch.Generator | None
) -> Tensor:
    if kind == "keys":
        return torch.randint(-(2**63), 2**63 - 1, shape, generator=generator)
    function = torch.randn if kind == "normal" else torch.rand
    return function(shape, generator=generator, dtype=dtype, device=device)


@custom_op("spikeloom::seeded_uniform", mutates_args=())
def seeded_uniform(shape: Sequence[int], seed: int) -> Tensor:
    """Sample uniform numbers determined by a seed, float32 on the CPU."""
    return torch.rand(list(shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


@seeded_uniform.register_fake
def _(shape: Sequence[int], seed: int) -> Tensor:
    return torch.empty(shape, dtype=torch.float32)


_GENERATORS: WeakValueDictionary[int, torch.Generator] = WeakValueDictionary()
"""Generators that compiled graphs use, by their address: operators take numbers, not objects."""
_turn = torch.zeros(1, dtype=torch.int8)
"""Dummy argument that every draw of a compiled graph mutates, so that no optimiser merges, drops or reorders draws."""


def _handle(generator: torch.Generator) -> int:
    """Return the number of a generator in a graph; the graph is valid as long as the layer has this generator."""
    _GENERATORS[id(generator)] = generator
    return id(generator)


_handle._dynamo_marked_constant = True  # type: ignore[attr-defined]  # assume_constant_result, which loads the compiler


@custom_op("spikeloom::draw", mutates_args=("turn",))
def _operator(
    turn: Tensor, kind: str, shape: Sequence[int], dtype: torch.dtype, device: torch.device, generator: int
) -> Tensor:
    """Operator for `draw`, with the number of a generator (0: torch's default) in its place."""
    return _drawn(kind, list(shape), dtype, device, repeatable(_GENERATORS[generator]) if generator else None)


@_operator.register_fake
def _(
    turn: Tensor, kind: str, shape: Sequence[int], dtype: torch.dtype, device: torch.device, generator: int
) -> Tensor:
    return torch.empty(shape, dtype=torch.int64 if kind == "keys" else dtype, device=device)


def later(noise: Tensor, steps: int) -> Tensor:
    """Return the keys advanced by `steps` steps."""
    if not readable(noise):  # a constant made while tracing must not enter the cache
        return noise + torch.tensor([0, steps], device=noise.device)
    return noise + _increment(steps, noise.device)


@lru_cache(maxsize=64)
def _increment(steps: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # the cached tensor serves later calls outside inference mode, too
        return torch.tensor([0, steps], device=device)


def uniform(noise: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """Return the uniform numbers of one step: [B, size], in (0, 1).

    >>> once = uniform(torch.tensor([[7, 0]]), 2, torch.float64)
    >>> [round(u, 6) for u in once[0].tolist()]
    [0.463861, 0.382073]
    """
    z = noise[:, 0] + (noise[:, 1] + 1) * _signed(GOLDEN)
    z = (z ^ _right(z, 30)) * _signed(SPLIT[0])
    z = (z ^ _right(z, 27)) * _signed(SPLIT[1])
    z = z ^ _right(z, 31)
    a, b = (z & WORD)[:, None], _right(z, 32)[:, None]
    x: Tensor = (torch.arange(size, device=noise.device) * STRIDE + a) & WORD
    x = ((x ^ (x >> 17)) * TRIPLE[0]) & WORD
    x = x ^ b
    x = ((x ^ (x >> 11)) * TRIPLE[1]) & WORD
    x = ((x ^ (x >> 15)) * TRIPLE[2]) & WORD
    x = x ^ (x >> 14)
    return ((x >> 9).to(dtype) + 0.5) / 2**23


def _signed(word: int) -> int:
    """Return a 64-bit word as the signed integer of the same bits: torch has no uint64 arithmetic."""
    return word - 2**64 if word >= 2**63 else word


def _right(z: Tensor, bits: int) -> Tensor:
    """Shift to the right, filling with zeros."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
