"""The pieces that Numba kernels are made of, against NumPy: ragged sizes, strides, transposes, and what must not be read."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from nlbench.kernels import tiles

SIZES = [(1, 1, 1), (8, 16, 5), (13, 17, 29), (33, 7, 64), (3, 65, 0), (21, 131, 70), (9, 300, 300)]


@numba.njit
def product(alpha, A, B, beta, C):
    tiles.gemm(alpha, A, B, beta, C)


@numba.njit
def transposed_product(alpha, A, B, beta, C):
    tiles.gemm(alpha, A.T, B, beta, C)


@numba.njit
def turned(A, out):
    tiles.transpose(A, out)


@numba.njit
def solved(A, X):
    tiles.solve_unit_lower(A, X)


@numba.njit
def solved_transposed(A, X):
    tiles.solve_unit_lower_transposed(A, X)


@numba.njit
def factored(A, roots):
    tiles.factor(A, roots)


@numba.njit
def sums(A, B, dots, rows):
    tiles.add_row_dots(A, B, dots)
    tiles.row_sums(A, rows)
    return tiles.inner_product(A, B)


def draw(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize(("m", "n", "k"), SIZES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_products_of_ragged_sizes_and_of_transposes(m, n, k, dtype, tolerance):
    A, B, C = draw(m, k, dtype=dtype), draw(k, n, dtype=dtype), draw(m, n, dtype=dtype)
    exact = 0.5 * A.astype(np.float64) @ B.astype(np.float64) + 2.0 * C.astype(np.float64)
    for function, left in ((product, A), (transposed_product, np.ascontiguousarray(A.T))):
        out = C.copy()
        function(0.5, left, B, 2.0, out)
        assert np.abs(out - exact).max() < tolerance


def test_a_product_with_beta_zero_does_not_read_what_it_writes_to():
    out = np.full((13, 17), np.nan)
    product(1.0, draw(13, 5), draw(5, 17), 0.0, out)
    assert np.isfinite(out).all()


def test_a_product_into_a_part_of_a_matrix_leaves_the_rest():
    whole = draw(20, 30)
    before = whole.copy()
    A, B = draw(7, 11), draw(11, 9)
    product(1.0, A, B, 0.0, whole[3:10, 5:14])
    before[3:10, 5:14] = A @ B
    assert np.abs(whole - before).max() < 1e-12


@pytest.mark.parametrize(("m", "n"), [(1, 1), (8, 16), (13, 29), (40, 3)])
def test_transposes(m, n):
    A, out = draw(m, n), np.full((n, m), np.nan)
    turned(A, out)
    assert np.array_equal(out, A.T)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 31])
def test_triangular_solves_use_what_lies_below_the_diagonal(size):
    A, X = draw(size, size), draw(size, 5, seed=1)
    lower = np.eye(size) + np.tril(A, -1)
    for function, matrix in ((solved, lower), (solved_transposed, lower.T)):
        found = X.copy()
        function(A, found)
        assert np.abs(matrix @ found - X).max() < 1e-9 * max(1, np.abs(found).max())


@pytest.mark.parametrize("size", [1, 7, 8, 9, 31])
def test_a_symmetric_matrix_is_factored_from_what_lies_below_its_diagonal(size):
    A, roots = draw(size, size), np.full(size, np.nan)
    exact = A @ A.T + np.eye(size)
    found = np.where(np.tri(size, dtype=bool), exact, np.nan)
    factored(found, roots)
    lower = np.eye(size) + np.tril(found, -1)
    assert np.abs((lower / roots**2) @ lower.T - exact).max() < 1e-11 * exact.max()


def test_sums_of_rows_and_products():
    A, B, dots, rows = draw(6, 21), draw(6, 21, seed=1), np.ones(6), np.empty(6)
    whole = sums(A, B, dots, rows)
    assert np.allclose(dots, 1 + (A * B).sum(1), atol=1e-12)
    assert np.allclose(rows, A.sum(1), atol=1e-12)
    assert whole == pytest.approx((A * B).sum(), abs=1e-11)
