from __future__ import annotations

import numpy as np
import pytest
import torch
from small_streams import CPU, Spy, declared_stream, problem_of, rows_of
from torch import Tensor

from nlbench.streams.augmentation import MARGIN, augmentation

SEEDS, N = (0, 3), 400


@pytest.fixture
def images() -> Tensor:
    """Images (S, N, 2, 6, 5) whose bytes all differ within an image and are never black."""
    one = torch.arange(1, 61, dtype=torch.uint8).view(2, 6, 5)
    return one.expand(len(SEEDS), N, 2, 6, 5).contiguous()


def crop(image: np.ndarray, row: int, column: int) -> np.ndarray:
    """Return the crop of an image with a black margin."""
    return np.pad(image, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))[:, row : row + 6, column : column + 5]


def test_each_image_is_the_crop_at_its_corner_and_turned_over_where_it_is_said(images: Tensor) -> None:
    changed = augmentation(("crop", "flip"), SEEDS, "1/0", N, CPU)
    assert changed is not None
    assert changed.corners is not None
    assert changed.flips is not None
    shown = changed(images).numpy()
    for seed in range(2):
        for place in range(0, N, 13):
            row, column = changed.corners[seed, place].tolist()
            expected = crop(images[seed, place].numpy(), row, column)
            expected = expected[..., ::-1] if changed.flips[seed, place] else expected
            np.testing.assert_array_equal(shown[seed, place], expected)


def test_corners_are_uniform_and_half_are_turned_over() -> None:
    changed = augmentation(("crop", "flip"), range(20), "1/0", N, CPU)
    assert changed is not None
    counts = torch.bincount(changed.corners.flatten(), minlength=2 * MARGIN + 1).double()  # type: ignore[union-attr]
    expected = 20 * N * 2 / (2 * MARGIN + 1)
    assert ((counts - expected) ** 2 / expected).sum() < 26.1  # chi squared of 8 degrees, 1 in 1,000
    assert changed.flips.double().mean() == pytest.approx(0.5, abs=0.02)  # type: ignore[union-attr]


def test_a_seed_is_changed_the_same_alone_and_each_pass_anew() -> None:
    together, alone = (augmentation(("crop", "flip"), seeds, "2/1", N, CPU) for seeds in (SEEDS, (3,)))
    other = augmentation(("crop", "flip"), (3,), "2/2", N, CPU)
    assert torch.equal(together.corners[1], alone.corners[0])  # type: ignore[union-attr, index]
    assert torch.equal(together.flips[1], alone.flips[0])  # type: ignore[union-attr, index]
    assert not torch.equal(alone.corners, other.corners)  # type: ignore[union-attr, arg-type]


def test_part_of_a_pass_is_changed_as_in_the_whole(images: Tensor) -> None:
    changed = augmentation(("crop", "flip"), SEEDS, "1/0", N, CPU)
    assert changed is not None
    part = slice(96, 128)
    assert torch.equal(changed.part(part)(images[:, part]), changed(images)[:, part])


def test_only_what_is_named_is_changed(images: Tensor) -> None:
    assert augmentation((), SEEDS, "1/0", N, CPU) is None
    flipped = augmentation(("flip",), SEEDS, "1/0", N, CPU)
    assert flipped is not None
    shown = flipped(images)
    same = (shown == images).flatten(2).all(2)
    assert torch.equal(same, ~flipped.flips)  # type: ignore[operator]
    assert torch.equal(shown[~same], images[~same].flip(-1))


def test_a_margin_is_black_by_channel(images: Tensor) -> None:
    black = torch.tensor([-1.0, -2.0]).view(1, 2, 1, 1)
    changed = augmentation(("crop",), SEEDS, "1/0", N, CPU, black)
    zero = augmentation(("crop",), SEEDS, "1/0", N, CPU)
    assert changed is not None
    assert zero is not None
    shown, plain = changed.part(slice(0, N))(images.float()), zero(images.float())
    assert torch.equal(shown, torch.where(plain == 0, black, plain))


def test_a_learner_is_shown_crops_whose_margin_is_black() -> None:
    stream = declared_stream("split", tasks=5, protocol={"augment": ["crop"]})
    learner = Spy(None, problem_of(stream))
    rows_of(learner, stream)
    first_rows = torch.cat([batch.inputs[0, :, 0, 0] for batch in learner.batches])
    assert torch.isclose(first_rows, torch.tensor(stream.black)).all(1).double().mean() > 0.4  # 4 of 9 crops begin in the margin
    assert not (first_rows == 0).any()
