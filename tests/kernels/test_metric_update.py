"""What makes the accumulated metric worth having: order does not matter, and it survives thousands of float32 chunks."""

import pytest
import torch

from nlbench.kernels.metric_update import metric_step, metric_update, protecting

BACKENDS = ("reference", "numba")


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_memory_is_ridge_regression_on_everything_in_any_order(backend: str) -> None:
    keys, values, ridge = drawn(2, 60, 12), drawn(2, 60, 3, seed=1), 0.1
    start = torch.zeros(2, 3, 12, dtype=torch.float64), torch.eye(12, dtype=torch.float64).repeat(2, 1, 1) / ridge
    exact = torch.linalg.inv(ridge * torch.eye(12, dtype=torch.float64) + keys.mT @ keys)
    for order in (torch.arange(60), torch.randperm(60, generator=torch.Generator().manual_seed(2))):
        found = metric_update(*start, keys[:, order], values[:, order], chunk=7, backend=backend)
        torch.testing.assert_close(found.memory, values.mT @ keys @ exact, rtol=0, atol=1e-12)
        torch.testing.assert_close(found.precision, exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_outputs_come_from_before_the_chunk_is_written(backend: str) -> None:
    keys, values = drawn(1, 8, 5), drawn(1, 8, 2, seed=1)
    memory, precision = drawn(1, 2, 5, seed=2), torch.eye(5, dtype=torch.float64)[None]
    found = metric_update(memory, precision, keys, values, chunk=4, backend=backend)
    after = metric_update(memory, precision, keys[:, :4], values[:, :4], chunk=4, backend=backend).memory
    torch.testing.assert_close(found.outputs[:, :4], keys[:, :4] @ memory.mT)
    torch.testing.assert_close(found.outputs[:, 4:], keys[:, 4:] @ after.mT)


def test_float32_stays_symmetric_and_positive_over_thousands_of_chunks_with_refreshes() -> None:
    """Correlated keys of a few directions, 4000 chunks of 8, the worst for recursive least squares in float32."""
    width, ridge, chunks = 48, 1.0, 4000
    basis = drawn(6, width)
    keys = (drawn(1, 8 * chunks, 6, seed=1) @ basis + 0.01 * drawn(1, 8 * chunks, width, seed=2)).float()
    targets = keys @ drawn(1, width, 2, seed=3).float()
    gram = torch.zeros(1, width, width)
    memory, precision = torch.zeros(1, 2, width), torch.eye(width)[None] / ridge
    for start in range(0, 8 * chunks, 8 * 500):
        part = slice(start, start + 8 * 500)
        memory, precision, _ = metric_update(memory, precision, keys[:, part], targets[:, part], chunk=8, backend="numba")
        assert torch.equal(precision, precision.mT)
        gram += keys[:, part].mT @ keys[:, part]
        precision = protecting(gram, ridge, backend="numba") / ridge
        assert torch.linalg.eigvalsh(precision.double()).min() > 0
    exact = torch.linalg.solve(gram[0].double() + ridge * torch.eye(width), keys[0].double().mT @ targets[0].double()).mT
    error = (keys[0].double() @ (memory[0].double() - exact).mT).abs().max() / targets.abs().max()
    assert error < 1e-2


@pytest.mark.parametrize("backend", BACKENDS)
def test_protection_leaves_unseen_directions_alone_and_slows_seen_ones(backend: str) -> None:
    gram = torch.zeros(1, 4, 4, dtype=torch.float64)
    gram[0, 0, 0] = 99.0
    projector = protecting(gram, 1.0, backend=backend)
    torch.testing.assert_close(projector[0].diagonal(), torch.tensor([0.01, 1.0, 1.0, 1.0], dtype=torch.float64))
    weights, keys, surprises = torch.zeros(1, 2, 4, dtype=torch.float64), torch.ones(1, 1, 4, dtype=torch.float64), drawn(1, 1, 2)
    metric_step(weights, gram, projector, keys, surprises, rate=1.0, backend=backend)
    torch.testing.assert_close(weights[0], -surprises[0].mT @ torch.tensor([[0.01, 1.0, 1.0, 1.0]], dtype=torch.float64))
    assert gram[0, 1, 2] == 1.0


def test_a_wide_inverse_matches_float64() -> None:
    keys = drawn(2, 300, 200).float()
    gram = keys.mT @ keys
    found = protecting(gram, 5.0, backend="numba")
    exact = torch.linalg.inv(torch.eye(200) + gram[0].double() / 5.0)
    torch.testing.assert_close(found[0].double(), exact, rtol=0, atol=1e-7)
