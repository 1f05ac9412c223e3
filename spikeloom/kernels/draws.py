"""`noise.uniform` in Numba, for rows of random numbers, and an exponential that vectorises.

Numba calls the C library for every exp, 10 times slower than vector instructions; `exp32` and `exp64` are plain
arithmetic (x = n log 2 + r, a Taylor polynomial of r, 2^n by its bits), accurate to about one unit in the last place.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .. import compiled
from .noise import GOLDEN, SPLIT, STRIDE, TRIPLE

njit = compiled.njit()
inlined = numba.njit(inline="always", error_model="numpy")
Array = Any

_GOLDEN, _SPLIT0, _SPLIT1 = np.uint64(GOLDEN), np.uint64(SPLIT[0]), np.uint64(SPLIT[1])
_STRIDE, _T0, _T1, _T2 = np.uint32(STRIDE), np.uint32(TRIPLE[0]), np.uint32(TRIPLE[1]), np.uint32(TRIPLE[2])


@njit
def draw(noise: Array, t: int, lo: int, hi: int, size: int, out: Array) -> None:
    """out[: hi - lo] = uniform numbers of step t for the elements lo .. hi of a row [B * size]; noise is [B, 2].

    The integers are those of `noise.uniform`; every result is cast back to its width, as NumPy types would widen it.
    """
    unit, half = out.dtype.type(2.0**-23), out.dtype.type(0.5)
    sample = lo // size
    start = lo
    while start < hi:  # one pass per sample that the range touches: each has a key of its own
        stop = min((sample + 1) * size, hi)
        # splitmix64 of the sample's key and step: two 32-bit words a, b
        z = np.uint64(noise[sample, 0]) + (np.uint64(noise[sample, 1]) + np.uint64(t) + np.uint64(1)) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _SPLIT0
        z = (z ^ (z >> np.uint64(27))) * _SPLIT1
        z = z ^ (z >> np.uint64(31))
        a, b = np.uint32(z), np.uint32(z >> np.uint64(32))
        first = np.uint32(start - sample * size)
        row = out[start - lo : stop - lo]
        for i in range(len(row)):  # triple32 of the neuron's index, with b mixed in
            x = np.uint32(np.uint32(np.uint32(first + np.uint32(i)) * _STRIDE) + a)
            x = np.uint32(np.uint32(x ^ np.uint32(x >> np.uint32(17))) * _T0)
            x = np.uint32(x ^ b)
            x = np.uint32(np.uint32(x ^ np.uint32(x >> np.uint32(11))) * _T1)
            x = np.uint32(np.uint32(x ^ np.uint32(x >> np.uint32(15))) * _T2)
            x = np.uint32(x ^ np.uint32(x >> np.uint32(14)))
            row[i] = (out.dtype.type(np.int32(x >> np.uint32(9))) + half) * unit
        start = stop
        sample += 1


def _from_bits(bits: int) -> Any:
    @intrinsic
    def power(typing: Any, n: Any) -> Any:
        """Return 2^n as a float of this many bits: n + bias, shifted into the bits of the exponent."""
        integer, real = (types.int32, types.float32) if bits == 32 else (types.int64, types.float64)
        bias, shift = (127, 23) if bits == 32 else (1023, 52)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = context.get_value_type(integer)
            lifted = builder.shl(builder.add(args[0], ir.Constant(kind, bias)), ir.Constant(kind, shift))
            return builder.bitcast(lifted, context.get_value_type(real))

        return real(integer), generate

    return power


_power32, _power64 = _from_bits(32), _from_bits(64)
_F: Any = np.float32


@inlined
def exp32(x: float) -> float:
    """Return exp(x) of a float32: 0 below -86.6, inf on overflow, NaN for NaN."""
    y = _F(-86.6) if x < _F(-86.6) else (min(x, _F(88.8)))
    n = (y * _F(1.4426950408889634) + _F(12582912.0)) - _F(12582912.0)  # y / log 2, rounded: adding 1.5 2^23 rounds
    r = (y - n * _F(0.693359375)) + n * _F(2.12194440e-4)  # y - n log 2, with log 2 in two parts for accuracy
    p = _F(1 / 5040)  # Taylor polynomial of exp(r), by Horner's rule
    p = p * r + _F(1 / 720)
    p = p * r + _F(1 / 120)
    p = p * r + _F(1 / 24)
    p = p * r + _F(1 / 6)
    p = p * r + _F(0.5)
    p = p * r + _F(1.0)
    p = p * r + _F(1.0)
    value: float = p * _power32(np.int32(n) - np.int32(1)) * _F(2.0)  # 2^(n - 1) 2: n = 128 has no bits
    return _F(0.0) if x < _F(-86.6) else value


@inlined
def exp64(x: float) -> float:
    """Return exp(x) of a float64: 0 below -707, inf on overflow, NaN for NaN; see `exp32`."""
    y = -707.0 if x < -707.0 else (min(x, 709.9))
    n = (y * 1.4426950408889634 + 6755399441055744.0) - 6755399441055744.0
    r = (y - n * 6.93145751953125e-1) - n * 1.42860682030941723212e-6
    p = 1 / 6227020800
    p = p * r + 1 / 479001600
    p = p * r + 1 / 39916800
    p = p * r + 1 / 3628800
    p = p * r + 1 / 362880
    p = p * r + 1 / 40320
    p = p * r + 1 / 5040
    p = p * r + 1 / 720
    p = p * r + 1 / 120
    p = p * r + 1 / 24
    p = p * r + 1 / 6
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    value = p * _power64(np.int64(n) - np.int64(1)) * 2.0
    return 0.0 if x < -707.0 else value
