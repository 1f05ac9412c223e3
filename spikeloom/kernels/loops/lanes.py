"""The innermost loops over vectors of 16 lanes, written directly in LLVM instructions.

    nonzero_lanes bit mask of the lanes of 16 values that are not zero
    dense_rows    out[r, :]  = sum_k weight[r, k] * source[k, :]              a few rows at once
    listed_rows   out[:]     = sum_k weight[k] * source[line[k], :]

Numba cannot know that these arrays do not overlap, and then does not use vector instructions: as plain loops these sums
run at 4 GFLOP/s, written like this at 110 (dense) and 45 (listed) on one AVX-512 core, the rates of BLAS. Only backward
passes use them: the multiply and the add may be contracted into one fused instruction.

Names: an intrinsic returns its Numba signature and `generate`, which emits its instructions with

    builder, args   llvmlite's IRBuilder, and the LLVM values of the arguments; signature.args: their Numba types
    data            pointer to the first element of an array; gep: address of an element (LLVM's getelementptr)
    emit            instructions shared by both sums: vectors of LANES elements, addresses, accumulation
    slot, sums      stack variables [LANES] for the partial sums; LLVM keeps them in registers
    loop.index      the counter of a loop that is emitted; Python loops unroll
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
ROWS = 8
"""Rows of the result that dense_rows holds in registers."""
_CHAINS = 4
"""Independent partial sums of listed_rows, which hide the latency of an addition."""


class _Emit:
    """Emits the instructions that both sums use, for one builder and element type."""

    def __init__(self, context: Any, builder: Any, dtype: Any) -> None:
        self.builder = builder
        self.index = context.get_value_type(types.intp)
        self.vector = ir.VectorType(context.get_value_type(dtype), LANES)
        self.align = dtype.bitwidth // 8  # NumPy's arrays are aligned to elements only, not to vectors
        self.undefined = ir.Constant(self.vector, ir.Undefined)
        self.first = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)  # shuffle mask: lane 0, LANES times

    def pointer(self, data: Any, row: Any) -> Any:
        """Emit the address of row `row` of an array [rows, LANES], as a pointer to a vector."""
        address = self.builder.gep(data, [self.builder.mul(row, ir.Constant(self.index, LANES))])
        return self.builder.bitcast(address, self.vector.as_pointer())

    def broadcast(self, address: Any) -> Any:
        """Emit the load of one element into all lanes of a vector."""
        value = self.builder.insert_element(self.undefined, self.builder.load(address), ir.Constant(ir.IntType(32), 0))
        return self.builder.shuffle_vector(value, self.undefined, self.first)

    def sums(self, count: int) -> list[Any]:
        """Emit `count` sums of LANES zeros."""
        slots = [cgutils.alloca_once(self.builder, self.vector) for _ in range(count)]
        for slot in slots:
            self.builder.store(ir.Constant(self.vector, [0.0] * LANES), slot)
        return slots

    def accumulate(self, slot: Any, weight: Any, source: Any) -> None:
        """Emit slot += weight * source; the flag "contract" allows a fused multiply-add."""
        product = self.builder.fmul(weight, source, flags=("contract",))
        self.builder.store(self.builder.fadd(self.builder.load(slot), product, flags=("contract",)), slot)


def _dense(rows: int) -> Callable[..., Any]:
    """Return `dense_rows` for this number of rows."""

    @intrinsic
    def dense(typing: Any, out: Any, weight: Any, source: Any, size: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            emit = _Emit(context, builder, signature.args[0].dtype)
            out, weight, source = (
                context.make_array(signature.args[i])(context, builder, args[i]).data for i in range(3)
            )
            starts = [builder.gep(weight, [builder.mul(args[3], ir.Constant(emit.index, row))]) for row in range(rows)]
            sums = emit.sums(rows)
            with cgutils.for_range(builder, args[3], intp=emit.index) as loop:
                vector = builder.load(emit.pointer(source, loop.index), align=emit.align)
                for start, slot in zip(starts, sums, strict=True):
                    emit.accumulate(slot, emit.broadcast(builder.gep(start, [loop.index])), vector)
            for row, slot in enumerate(sums):
                builder.store(builder.load(slot), emit.pointer(out, ir.Constant(emit.index, row)), align=emit.align)
            return context.get_dummy_value()

        return types.void(out, weight, source, types.intp), generate

    kernel: Callable[..., Any] = dense
    return kernel


dense_rows = _dense(ROWS)
"""dense_rows(out [ROWS * LANES], weight [ROWS * n], source [n * LANES], n): out = weight @ source."""
dense_row = _dense(1)
"""dense_row(out [LANES], weight [n], source [n * LANES], n): out = weight @ source."""


@intrinsic
def listed_rows(typing: Any, out: Any, weight: Any, line: Any, start: Any, stop: Any, source: Any) -> Any:
    """out [LANES] = sum over k in start .. stop - 1 of weight[k] * source[line[k]]; source [rows * LANES]."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _Emit(context, builder, signature.args[0].dtype)
        data = {i: context.make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 1, 2, 5)}
        start, stop = args[3], args[4]
        chains = ir.Constant(emit.index, _CHAINS)
        sums = emit.sums(_CHAINS)

        def add(k: Any, slot: Any) -> None:
            row = builder.load(builder.gep(data[2], [k]))
            source = builder.load(emit.pointer(data[5], row), align=emit.align)
            emit.accumulate(slot, emit.broadcast(builder.gep(data[1], [k])), source)

        # k = start + 4 * index + chain in the main loop, then the remaining 0 to 3 synapses
        whole = builder.sdiv(builder.sub(stop, start), chains)
        with cgutils.for_range(builder, whole, intp=emit.index) as loop:
            base = builder.add(start, builder.mul(loop.index, chains))
            for chain, slot in enumerate(sums):
                add(builder.add(base, ir.Constant(emit.index, chain)), slot)
        done = builder.add(start, builder.mul(whole, chains))
        with cgutils.for_range(builder, builder.sub(stop, done), intp=emit.index) as loop:
            add(builder.add(done, loop.index), sums[0])
        total = builder.load(sums[0])
        for slot in sums[1:]:
            total = builder.fadd(total, builder.load(slot))
        builder.store(total, emit.pointer(data[0], ir.Constant(emit.index, 0)), align=emit.align)
        return context.get_dummy_value()

    return types.void(out, weight, line, types.intp, types.intp, source), generate


@intrinsic
def nonzero_lanes(typing: Any, values: Any, start: Any) -> Any:
    """Return an integer whose bit k < LANES is set if values[start + k] is not zero (NaN counts as non-zero)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _Emit(context, builder, signature.args[0].dtype)
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        address = builder.bitcast(builder.gep(data, [args[1]]), emit.vector.as_pointer())
        bits = builder.fcmp_unordered(
            "!=", builder.load(address, align=emit.align), ir.Constant(emit.vector, [0.0] * LANES)
        )
        return builder.zext(builder.bitcast(bits, ir.IntType(LANES)), emit.index)

    return types.intp(values, types.intp), generate


@intrinsic
def lowest_bit(typing: Any, bits: Any) -> Any:
    """Return the index of the lowest set bit; `bits` is not zero."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.intp(types.intp), generate
