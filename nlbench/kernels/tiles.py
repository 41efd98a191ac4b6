"""Small dense matrix algebra for Numba kernels: products, transposes and unit-triangular solves that stay in registers and cache.

Matrices are two-dimensional arrays whose last axis has stride 1; the left factor of `gemm` may have any strides, so `A.T` is
free. A product of 64 × 64 matrices runs near the vector units' peak, where a BLAS call spends much of its time on the call.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import extending, types
from numba.core import cgutils
from numba.core.ccallback import CFunc
from numba.np.arrayobj import populate_array

from nlbench.kernels.compilation import by_one_process, compiled, stored

_FEATURES: Final = llvmlite.binding.get_host_cpu_features()
VECTOR_BYTES: Final = 64 if _FEATURES.get("avx512f") else 32 if _FEATURES.get("avx") else 16
TILE_ROWS: Final = 8
L1_BYTES: Final = 24 * 1024
L2_BYTES: Final = 320 * 1024

_I1, _I32, _I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)


def intrinsic(function: Callable[..., Any]) -> Any:
    """Numba's intrinsic, whose callers see neither the typing context nor a type checker's opinion of it."""
    return extending.intrinsic(function)


def kernel(**options: Any) -> Callable[[Callable[..., None]], Any]:
    """A decorator: compile a function that returns nothing for use inside other kernels, which call it out of line.

    Numba inlines whatever it calls and optimises it again with every caller: minutes of compilation for kernels made of kernels.
    """

    def decorate(function: Callable[..., None]) -> Any:
        called = compiled(function, no_cpython_wrapper=True, **options)

        def call(context: Any, *arguments: Any) -> Any:
            signature = context.resolve_function_type(types.Dispatcher(called), arguments, {})

            def emit(context: Any, builder: Any, signature: Any, values: list[Any]) -> Any:
                overload = called.overloads[signature.args]
                context.active_code_library.add_linking_library(overload.library)
                function = context.declare_function(builder.module, overload.fndesc)
                status, result = context.call_conv.call_function(
                    builder, function, signature.return_type, signature.args, values, attrs=("noinline",)
                )
                with cgutils.if_unlikely(builder, status.is_error):
                    context.call_conv.return_status_propagate(builder, status)
                return result

            return signature.replace(pysig=None), emit

        parameters = list(inspect.signature(function).parameters.values())
        context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        call.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
        call.__name__, call.__doc__ = function.__name__, function.__doc__
        return intrinsic(call)

    return decorate


class _Lanes:
    """LLVM vectors of one element type, as wide as the machine's registers."""

    def __init__(self, builder: Any, element: Any) -> None:
        self.builder, self.element = builder, element
        self.bytes = 8 if isinstance(element, ir.DoubleType) else 4
        self.width = VECTOR_BYTES // self.bytes
        self.type = ir.VectorType(element, self.width)
        self.name = f"v{self.width}f{8 * self.bytes}"
        self.zero = ir.Constant(self.type, [0.0] * self.width)

    def declare(self, name: str, result: Any, arguments: list[Any]) -> Any:
        return cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(result, arguments), name)

    def splat(self, value: Any, vector: Any = None) -> Any:
        vector = vector or self.type
        one = self.builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(_I32, 0))
        return self.builder.shuffle_vector(
            one, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(_I32, self.width), [0] * self.width)
        )

    def at(self, address: Any, offset: Any, kind: Any) -> Any:
        """A pointer to `kind`, `offset` elements past the integer `address`."""
        start = self.builder.gep(self.builder.inttoptr(address, self.element.as_pointer()), [offset])
        return start if kind is self.element else self.builder.bitcast(start, kind.as_pointer())

    def first(self, count: Any) -> Any:
        """The mask of lanes 0, 1, … that are below `count`."""
        wide = ir.VectorType(_I64, self.width)
        return self.builder.icmp_signed("<", ir.Constant(wide, list(range(self.width))), self.splat(count, wide))

    def load(self, pointer: Any, mask: Any = None) -> Any:
        if mask is None:
            return self.builder.load(pointer, align=self.bytes)
        kinds = [self.type.as_pointer(), _I32, ir.VectorType(_I1, self.width), self.type]
        masked = self.declare(f"llvm.masked.load.{self.name}.p0{self.name}", self.type, kinds)
        return self.builder.call(masked, [pointer, ir.Constant(_I32, self.bytes), mask, self.zero])

    def store(self, value: Any, pointer: Any, mask: Any = None) -> None:
        if mask is None:
            self.builder.store(value, pointer, align=self.bytes)
            return
        kinds = [self.type, self.type.as_pointer(), _I32, ir.VectorType(_I1, self.width)]
        masked = self.declare(f"llvm.masked.store.{self.name}.p0{self.name}", ir.VoidType(), kinds)
        self.builder.call(masked, [value, pointer, ir.Constant(_I32, self.bytes), mask])

    def prefetch(self, pointer: Any, *, written: bool) -> None:
        """Ask for the cache line at `pointer`, which is going to be `written`, or read after others."""
        address = self.builder.bitcast(pointer, ir.IntType(8).as_pointer())
        prefetch = self.declare("llvm.prefetch.p0i8", ir.VoidType(), [address.type, _I32, _I32, _I32])
        self.builder.call(prefetch, [address, *(ir.Constant(_I32, each) for each in ((1, 3, 1) if written else (0, 2, 1)))])

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        return self.builder.call(self.declare(f"llvm.fma.{self.name}", self.type, [self.type] * 3), [a, b, c])


def _function(builder: Any, name: str, element: Any, arguments: list[Any], body: Callable[[Any, _Lanes, list[Any]], None]) -> Any:
    """The LLVM function `name`, written by `body` once per module and kept out of line: a tile is larger than a call to it."""
    name = f"nlbench.{name}.{element}"
    existing = builder.module.globals.get(name)
    if existing is not None:
        return existing
    function = ir.Function(builder.module, ir.FunctionType(ir.VoidType(), arguments), name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    inside = ir.IRBuilder(function.append_basic_block("entry"))
    body(inside, _Lanes(inside, element), list(function.args))
    inside.ret_void()
    return function


def _write_product_tile(height: int, vectors: int, ahead: bool) -> Callable[[Any, _Lanes, list[Any]], None]:
    """The body of one tile of C = alpha A B + beta C: up to `height` rows, one or two registers wide; if `ahead`, it asks for as
    many columns of B behind its own.

    Rows past `rows` repeat the last one and are not stored; of one register, lanes past `columns` are masked. Addresses are
    integers, strides count elements, and beta = 0 never reads C.
    """

    number = partial(ir.Constant, _I64)

    def body(builder: Any, lanes: _Lanes, arguments: list[Any]) -> None:
        a, a_row, a_column, b, b_row, c, c_row, rows, columns, depth, alpha, beta = arguments
        masks = [lanes.first(columns)] if vectors == 1 else [None] * vectors
        exists = [builder.icmp_signed("<", number(row), rows) for row in range(height)]
        last = builder.sub(rows, number(1))
        starts = [builder.mul(builder.select(exists[row], number(row), last), a_row) for row in range(height)]
        for row in range(height):
            for v in range(vectors):
                place = builder.add(builder.mul(number(row), c_row), number(v * lanes.width))
                lanes.prefetch(lanes.at(c, place, lanes.type), written=True)
        before = builder.block
        test, inner, end = (builder.append_basic_block(name) for name in ("depth.test", "depth.body", "depth.end"))
        builder.branch(test)
        builder.position_at_end(test)
        step, a_offset, b_offset = (builder.phi(_I64) for _ in range(3))
        sums = [[builder.phi(lanes.type) for _ in range(vectors)] for _ in range(height)]
        builder.cbranch(builder.icmp_signed("<", step, depth), inner, end)

        builder.position_at_end(inner)
        places = [lanes.at(b, builder.add(b_offset, number(v * lanes.width)), lanes.type) for v in range(vectors * (1 + ahead))]
        right = [lanes.load(place, mask) for place, mask in zip(places, masks, strict=False)]
        for place in places[vectors:]:
            lanes.prefetch(place, written=False)
        for row in range(height):
            left = lanes.splat(builder.load(lanes.at(a, builder.add(starts[row], a_offset), lanes.element), align=lanes.bytes))
            for v in range(vectors):
                sums[row][v].add_incoming(lanes.zero, before)
                sums[row][v].add_incoming(lanes.multiply_add(left, right[v], sums[row][v]), inner)
        for counter, stride in ((step, number(1)), (a_offset, a_column), (b_offset, b_row)):
            counter.add_incoming(number(0), before)
            counter.add_incoming(builder.add(counter, stride), inner)
        builder.branch(test)

        builder.position_at_end(end)
        fresh = builder.fcmp_ordered("==", beta, ir.Constant(beta.type, 0.0))
        alphas, betas = lanes.splat(alpha), lanes.splat(beta)
        for row in range(height):
            with builder.if_then(exists[row]):
                for v in range(vectors):
                    place = lanes.at(c, builder.add(builder.mul(number(row), c_row), number(v * lanes.width)), lanes.type)
                    product = builder.fmul(alphas, sums[row][v])
                    with builder.if_else(fresh) as (write, accumulate):
                        with write:
                            lanes.store(product, place, masks[v])
                        with accumulate:
                            lanes.store(lanes.multiply_add(betas, lanes.load(place, masks[v]), product), place, masks[v])

    return body


def _product_tile(height: int, vectors: int, *, ahead: bool = False) -> Any:
    """The intrinsic that calls one product tile."""
    name, body = f"product{height}x{vectors}{'ahead' if ahead else ''}", _write_product_tile(height, vectors, ahead)

    @intrinsic
    def tile(context, a, a_row, a_column, b, b_row, c, c_row, rows, columns, depth, alpha, beta):  # type: ignore[no-untyped-def]
        def emit(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            element = arguments[-1].type
            builder.call(_function(builder, name, element, [_I64] * 10 + [element] * 2, body), arguments)
            return context.get_dummy_value()

        return types.void(*(types.intp,) * 10, alpha, beta), emit

    return tile


_tall_wide = _product_tile(TILE_ROWS, 2)
_tall_ahead = _product_tile(TILE_ROWS, 2, ahead=True)
_tall_narrow = _product_tile(TILE_ROWS, 1)
_low_wide = _product_tile(TILE_ROWS // 2, 2)
_low_narrow = _product_tile(TILE_ROWS // 2, 1)


def _write_transpose_tile(builder: Any, lanes: _Lanes, arguments: list[Any]) -> None:
    """The body that stores `rows` × `columns` elements at address `a`, at most one register square, transposed at `b`."""
    a, a_row, b, b_row, rows, columns = arguments
    width, last = lanes.width, builder.sub(rows, ir.Constant(_I64, 1))
    inside, outside = lanes.first(columns), lanes.first(rows)
    tile = []
    for r in range(width):
        row = ir.Constant(_I64, r)
        row = builder.select(builder.icmp_signed("<", row, rows), row, last)
        tile.append(lanes.load(lanes.at(a, builder.mul(row, a_row), lanes.type), inside))
    low = [i // 2 + (i % 2) * width for i in range(width)]
    high = [i + width // 2 for i in low]
    # Interleaving row r with row r + width/2 rotates the bits of (row, lane) by one; log2(width) rotations swap row and lane.
    for _ in range(width.bit_length() - 1):
        pairs = [(tile[r // 2], tile[r // 2 + width // 2], high if r % 2 else low) for r in range(width)]
        tile = [builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(_I32, width), lane)) for x, y, lane in pairs]
    for r in range(width):
        row = ir.Constant(_I64, r)
        with builder.if_then(builder.icmp_signed("<", row, columns)):
            lanes.store(tile[r], lanes.at(b, builder.mul(row, b_row), lanes.type), outside)


@intrinsic
def _transpose_tile(context, a, a_row, b, b_row, rows, columns, one):  # type: ignore[no-untyped-def]
    """Transpose up to one register square from address `a` to `b`; `one` only carries the element type."""

    def emit(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        element = arguments[-1].type
        builder.call(_function(builder, "transpose", element, [_I64] * 6, _write_transpose_tile), arguments[:-1])
        return context.get_dummy_value()

    return types.void(*(types.intp,) * 6, one), emit


def _product(alpha, beta, a, a_row, a_column, b, b_row, c, c_row, m, n, k, size):  # type: ignore[no-untyped-def]
    """C (m, n) = alpha A (m, k) B (k, n) + beta C on addresses; the larger of A and B is the one that passes through L1 once."""
    lanes = VECTOR_BYTES // size
    narrow = 2 * lanes * k * size
    strip = n if n * k * size <= (L1_BYTES if narrow <= L1_BYTES else L2_BYTES) or m > 4 * n else 2 * lanes
    for left in range(0, n, max(strip, 1)):
        right = min(left + strip, n)
        for i in range(0, m, TILE_ROWS):
            rows, first, out = m - i, a + i * a_row * size, c + i * c_row * size
            for j in range(left, right, 2 * lanes):
                second, place = b + j * size, out + j * size
                if j + 2 * lanes <= n:
                    if rows > TILE_ROWS // 2 and strip < n:
                        _tall_ahead(first, a_row, a_column, second, b_row, place, c_row, rows, 2 * lanes, k, alpha, beta)
                    elif rows > TILE_ROWS // 2:
                        _tall_wide(first, a_row, a_column, second, b_row, place, c_row, rows, 2 * lanes, k, alpha, beta)
                    else:
                        _low_wide(first, a_row, a_column, second, b_row, place, c_row, rows, 2 * lanes, k, alpha, beta)
                    continue
                for edge in range(0, n - j, lanes):
                    column, spot, columns = second + edge * size, place + edge * size, n - j - edge
                    if rows > TILE_ROWS // 2:
                        _tall_narrow(first, a_row, a_column, column, b_row, spot, c_row, rows, columns, k, alpha, beta)
                    else:
                        _low_narrow(first, a_row, a_column, column, b_row, spot, c_row, rows, columns, k, alpha, beta)


def _transposed(one, a, a_row, b, b_row, m, n, size):  # type: ignore[no-untyped-def]
    """B (n, m) = A (m, n) transposed, on addresses."""
    lanes = VECTOR_BYTES // size
    for i in range(0, m, lanes):
        for j in range(0, n, lanes):
            source, place = a + (i * a_row + j) * size, b + (j * b_row + i) * size
            _transpose_tile(source, a_row, place, b_row, min(lanes, m - i), min(lanes, n - j), one)


def _register(function: Callable[..., None], floats: int, integers: int) -> None:
    """Compile a function on addresses once per element type, outside the kernels, which then call it by its symbol.

    Numba would otherwise inline it into every kernel and optimise it again with each: minutes of compilation.
    """
    for element in (types.float32, types.float64):
        kinds = (element,) * floats + (types.intp,) * integers
        pointer = stored(CFunc(function, (kinds, types.void), {}, {}), function)
        with by_one_process(function):
            pointer.compile()
        llvmlite.binding.add_symbol(f"nlbench{function.__name__}_{element}", pointer.address)


_register(_product, floats=2, integers=11)
_register(_transposed, floats=1, integers=7)


def _call(context: Any, builder: Any, symbol: str, arguments: list[Any]) -> None:
    """Emit a call of a registered function."""
    kind = ir.FunctionType(ir.VoidType(), [each.type for each in arguments])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, symbol), arguments)


def _matrix(context: Any, builder: Any, kind: Any, value: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Address, the two strides in elements, and the shape of an array argument."""
    array = context.make_array(kind)(context, builder, value)
    size = ir.Constant(_I64, kind.dtype.bitwidth // 8)
    strides = [builder.sdiv(each, size) for each in cgutils.unpack_tuple(builder, array.strides)]
    return builder.ptrtoint(array.data, _I64), *strides, *cgutils.unpack_tuple(builder, array.shape)


@intrinsic
def gemm(context, alpha, A, B, beta, C):  # type: ignore[no-untyped-def]
    """C (m, n) becomes alpha A (m, k) B (k, n) + beta C; beta = 0 does not read C. C overlaps neither A nor B."""

    def emit(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kinds, element = signature.args, signature.args[4].dtype
        alpha, beta = (context.cast(builder, arguments[i], kinds[i], element) for i in (0, 3))
        a, a_row, a_column, m, k = _matrix(context, builder, kinds[1], arguments[1])
        b, b_row, _, _, n = _matrix(context, builder, kinds[2], arguments[2])
        c, c_row, *_ = _matrix(context, builder, kinds[4], arguments[4])
        size = ir.Constant(_I64, element.bitwidth // 8)
        _call(
            context, builder, f"nlbench_product_{element}", [alpha, beta, a, a_row, a_column, b, b_row, c, c_row, m, n, k, size]
        )
        return context.get_dummy_value()

    return types.void(alpha, A, B, beta, C), emit


@intrinsic
def transpose(context, A, out):  # type: ignore[no-untyped-def]
    """out (n, m) becomes A (m, n) transposed."""

    def emit(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        element = signature.args[0].dtype
        a, a_row, _, m, n = _matrix(context, builder, signature.args[0], arguments[0])
        b, b_row, *_ = _matrix(context, builder, signature.args[1], arguments[1])
        one, size = context.get_constant(element, 1), ir.Constant(_I64, element.bitwidth // 8)
        _call(context, builder, f"nlbench_transposed_{element}", [one, a, a_row, b, b_row, m, n, size])
        return context.get_dummy_value()

    return types.void(A, out), emit


@kernel()
def solve_unit_lower(A, X):  # type: ignore[no-untyped-def]
    """X (C, n) becomes (I + L)⁻¹ X, with L the part of A (C, C) below its diagonal: substitution in blocks of TILE_ROWS rows."""
    for start in range(0, X.shape[0], TILE_ROWS):
        stop = min(start + TILE_ROWS, X.shape[0])
        if start > 0:
            gemm(-1.0, A[start:stop, :start], X[:start], 1.0, X[start:stop])
        for i in range(start + 1, stop):
            for j in range(start, i):
                factor = A[i, j]
                for n in range(X.shape[1]):
                    X[i, n] -= factor * X[j, n]


@kernel()
def solve_unit_lower_transposed(A, X):  # type: ignore[no-untyped-def]
    """X (C, n) becomes (I + L)⁻ᵀ X, with L the part of A (C, C) below its diagonal."""
    size = X.shape[0]
    for start in range((size - 1) // TILE_ROWS * TILE_ROWS, -1, -TILE_ROWS):
        stop = min(start + TILE_ROWS, size)
        if stop < size:
            gemm(-1.0, A[stop:, start:stop].T, X[stop:], 1.0, X[start:stop])
        for i in range(stop - 2, start - 1, -1):
            for j in range(i + 1, stop):
                factor = A[j, i]
                for n in range(X.shape[1]):
                    X[i, n] -= factor * X[j, n]


@kernel()
def factor(A, roots):  # type: ignore[no-untyped-def]
    """What lies below the diagonal of A (n, n), symmetric and positive, becomes that of the unit lower M with A = M D Mᵀ, and
    roots (n) D^(-1/2). What lies above it is neither read nor kept.
    """
    size, one = A.shape[0], A.dtype.type(1)
    panel = np.empty((size, TILE_ROWS), A.dtype)
    for start in range(0, size, TILE_ROWS):
        stop = min(start + TILE_ROWS, size)
        for j in range(start):
            for i in range(start, stop):
                panel[j, i - start] = A[i, j] / (roots[j] * roots[j])
        if start > 0:
            gemm(-1.0, A[start:, :start], panel[:start, : stop - start], 1.0, A[start:, start:stop])
        for j in range(start, stop):
            pivot = A[j, j]
            roots[j] = one / np.sqrt(pivot)
            for i in range(j + 1, size):
                value = A[i, j]
                A[i, j] = value / pivot
                for column in range(j + 1, min(i + 1, stop)):
                    A[i, column] -= value * A[column, j]


@kernel()
def add(A, out):  # type: ignore[no-untyped-def]
    """out += A."""
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            out[i, j] += A[i, j]


@kernel(fastmath={"reassoc", "contract"})
def dot(x, y):  # type: ignore[no-untyped-def]
    """Σ x_i y_i of two vectors of stride 1, in as many partial sums as a register has lanes."""
    total = x.dtype.type(0)
    for i in range(x.shape[0]):
        total += x[i] * y[i]
    return total


@kernel(fastmath={"reassoc", "contract"})
def add_row_dots(A, B, out):  # type: ignore[no-untyped-def]
    """out[i] += Σ_j A[i, j] B[i, j]."""
    for i in range(A.shape[0]):
        total = A.dtype.type(0)
        for j in range(A.shape[1]):
            total += A[i, j] * B[i, j]
        out[i] += total


@kernel(fastmath={"reassoc", "contract"})
def inner_product(A, B):  # type: ignore[no-untyped-def]
    """Σ A[i, j] B[i, j]."""
    total = A.dtype.type(0)
    for i in range(A.shape[0]):
        part = A.dtype.type(0)
        for j in range(A.shape[1]):
            part += A[i, j] * B[i, j]
        total += part
    return total


@kernel(fastmath={"reassoc", "contract"})
def row_sums(A, out):  # type: ignore[no-untyped-def]
    """out[i] becomes Σ_j A[i, j]."""
    for i in range(A.shape[0]):
        total = A.dtype.type(0)
        for j in range(A.shape[1]):
            total += A[i, j]
        out[i] = total


@kernel()
def copy(A, out):  # type: ignore[no-untyped-def]
    """out becomes A; unlike `out[:] = A` it compiles to the loop alone."""
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            out[i, j] = A[i, j]


@kernel()
def fill_zero(out):  # type: ignore[no-untyped-def]
    """out becomes zero."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = 0


@intrinsic
def matrix_at(context, address, index, rows, columns, like):  # type: ignore[no-untyped-def]
    """Matrix number `index` of those (rows, columns) stacked at an address, with elements as in `like`; it owns no memory."""
    kind = types.Array(like.dtype, 2, "C")

    def emit(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        address, index, rows, columns, _ = arguments
        array = context.make_array(kind)(context, builder)
        size = ir.Constant(_I64, kind.dtype.bitwidth // 8)
        address = builder.add(address, builder.mul(builder.mul(index, size), builder.mul(rows, columns)))
        populate_array(
            array,
            data=builder.inttoptr(address, context.get_value_type(kind.dtype).as_pointer()),
            shape=[rows, columns],
            strides=[builder.mul(columns, size), size],
            itemsize=size,
            meminfo=None,
        )
        return array._getvalue()

    return kind(types.intp, types.intp, types.intp, types.intp, like), emit
