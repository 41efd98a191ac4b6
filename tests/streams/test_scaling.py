from __future__ import annotations

import numpy as np
import pytest
import torch
from small_streams import CPU

from nlbench.streams import scaling
from nlbench.streams.scaling import by_channel


def test_each_channel_of_the_training_set_comes_out_with_mean_0_and_deviation_1(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.Generator(np.random.Philox(2))
    images = np.stack([rng.integers(0, high, (50, 4, 5)) for high in (256, 100, 2)], 1).astype(np.uint8)
    monkeypatch.setattr(scaling, "AT_ONCE", 7)
    shown = by_channel(images, CPU)(torch.from_numpy(images))
    assert shown.dtype == torch.float32
    raw = images.astype(np.float64)
    expected = (raw - raw.mean((0, 2, 3), keepdims=True)) / raw.std((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(shown.numpy(), expected, atol=1e-5)


def test_a_channel_of_one_value_is_shifted_and_not_divided_by_nothing() -> None:
    images = np.full((3, 1, 2, 2), 7, np.uint8)
    assert torch.equal(by_channel(images, CPU)(torch.from_numpy(images + 1)), torch.ones(3, 1, 2, 2))
