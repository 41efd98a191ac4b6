from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from small_streams import CPU

from nlbench import Problem
from nlbench.errors import DataError
from nlbench.learners.hope import keys
from nlbench.learners.hope.config import HopeConfig

N = 6


def made(shape, sample, seeds=(0, 1), **table):
    problem = Problem(shape, 4, seeds, "class-il", CPU, "auto", 100)
    return keys.of_problem(HopeConfig.model_validate({"kind": "hope", **table}), replace(problem, sample=sample))


def inputs(shape, seeds=2):
    return torch.randn(seeds, N, *shape, generator=torch.Generator().manual_seed(0)).flatten(2)


@pytest.mark.parametrize(
    ("shape", "sample", "width"),
    [
        ((8, 8), "image", 76 * 9),
        ((1, 8, 8), None, 76 * 9),
        ((28, 28), "image", 406 * 9),
        ((3, 32, 32), "image", 444 * 9),
        ((13, 15), "image", 161 * 9),
        ((2, 3, 8, 8), "image", 76 * 9),
        ((4, 28), "image", 2000),
        ((8, 8), "vector", 2000),
        ((64,), None, 2000),
        ((4, 90), None, 75 * 360 ** (2 / 3)),
    ],
)
def test_what_a_stream_declares_decides_how_its_samples_are_read(shape, sample, width):
    encode = made(shape, sample)
    found = encode(inputs(shape))
    assert found.shape == (2, N, round(width) + 1) == (2, N, encode.width)
    torch.testing.assert_close(found[..., :-1].square().mean(2), torch.ones(2, N))
    assert (found[..., -1] == 1).all()


@pytest.mark.parametrize(("shape", "grouped"), [((256,), 2000), ((9,), 1000)])
def test_given_features_are_read_in_groups_whose_grams_take_the_room_of_one(shape, grouped):
    encode, alone = made(shape, "features"), made(shape, "features", groups=False)
    assert (encode.width, encode.groups, alone.width, alone.groups) == (4 * (grouped + 1), 4, 2 * grouped + 1, 1)
    groups = encode(inputs(shape)).unflatten(2, (4, -1))
    torch.testing.assert_close(groups[..., :-1].square().mean(3), torch.ones(2, N, 4))
    assert (groups[..., -1] == 1).all()
    weight, bias = encode.tensors
    expected = (inputs(shape) @ weight.mT + bias[:, None]).relu().unflatten(2, (4, -1))
    torch.testing.assert_close(groups[..., :-1] * expected.square().mean(3, keepdim=True).sqrt(), expected)


@pytest.mark.parametrize(("shape", "sample"), [((8, 8), "image"), ((28, 28), "image"), ((9,), "vector"), ((9,), "features")])
def test_keys_of_a_seed_are_those_it_has_alone_and_of_shared_inputs(shape, sample):
    encode, alone = made(shape, sample), made(shape, sample, seeds=(1,))
    shown = inputs(shape)
    encode.fit(shown)
    alone.fit(shown[1:])
    torch.testing.assert_close(encode(shown)[1:], alone(shown[1:]))
    torch.testing.assert_close(encode(shown[:1])[1], encode.of_seed(1, shown[0]))


def test_filters_of_ones_own_see_patches_as_white_noise_where_they_are_read():
    """Answers of many whitened filters to patches are as independent as the filters: their covariance is that of W Wᵀ."""
    shape = (8, 8)
    encode, plain = made(shape, "image"), made(shape, "image", filters=False)
    images = F.avg_pool2d(torch.randn(2, 4000, 10, 10, generator=torch.Generator().manual_seed(1)), 3, 1)
    for each in (encode, plain):
        each.fit(images.flatten(2))
    patches = F.unfold(images[0][:, None], 3).transpose(1, 2).flatten(0, 1)
    for one, white in ((encode, True), (plain, False)):
        answers = patches @ one.tensors[-1][0].flatten(1).T
        covariance, expected = torch.cov(answers.T), plain.tensors[-1][0].flatten(1) @ plain.tensors[-1][0].flatten(1).T
        distance = float((covariance - expected).norm() / expected.norm())
        assert (distance < 0.3) is white


@pytest.mark.parametrize("shape", [(8, 8), (28, 28)])
def test_only_filters_of_ones_own_change_with_the_first_chunk(shape):
    for table, changes in (({}, True), ({"filters": False}, False)):
        encode = made(shape, "image", **table)
        before = [filters.clone() for filters in encode.tensors]
        encode.fit(inputs(shape))
        for old, new in zip(before, encode.tensors, strict=True):
            assert torch.equal(old, new) is not changes


@pytest.mark.parametrize("shape", [(14, 17), (3, 28, 28)])
@pytest.mark.parametrize("even", [True, False])
def test_a_large_image_is_read_at_two_scales_patch_by_patch(shape, even):
    """Patches of all channels less their mean, over their spread; then filters, windows of four and 3 x 3 places, in order."""
    encode, shown = made(shape, "image", contrast=even), inputs(shape)
    encode.fit(shown)
    first, second, near = (filters[1].double() for filters in encode.tensors)
    patches = F.unfold(shown[1].double().view(N, -1, *shape[-2:]), 5)
    if even:
        patches = (patches - patches.mean(1, keepdim=True)) / (patches.var(1, correction=0, keepdim=True) + 0.01).sqrt()
    rows, columns = shape[-2] - 4, shape[-1] - 4
    maps, seen = (torch.relu(filters.flatten(1) @ patches).view(N, -1, rows, columns) for filters in (first, near))
    around = F.pad(maps, (1, 1, 1, 1))
    means = torch.stack(
        [
            torch.stack([around[..., y : y + 4, x : x + 4].sum((2, 3)) / 16 for x in range(0, columns - 1, 2)], 2)
            for y in range(0, rows - 1, 2)
        ],
        2,
    )
    far = torch.relu(F.conv2d(means, second))
    parts = []
    for read in (far, seen):
        ends = [[(i * n // 3, -(-(i + 1) * n // 3)) for i in range(3)] for n in read.shape[-2:]]
        places = torch.stack([read[..., y:b, x:r].mean((2, 3)) for y, b in ends[0] for x, r in ends[1]], 2).flatten(1)
        parts.append(places / places.square().mean(1, keepdim=True).sqrt())
    torch.testing.assert_close(encode.of_seed(1, shown[1])[:, :-1], torch.cat(parts, 1).float(), rtol=1e-4, atol=1e-4)


def test_contrast_and_brightness_of_a_patch_are_not_read():
    shown = inputs((28, 28))
    for even, most in ((True, 0.02), (False, None)):
        encode = made((28, 28), "image", contrast=even)
        encode.fit(shown)
        apart = float((encode(shown) - encode(3 * shown + 5)).norm() / encode(shown).norm())
        assert apart < most if most else apart > 0.2


@pytest.mark.parametrize(("shape", "sample"), [((8, 8), "image"), ((28, 28), "image"), ((9,), "vector")])
def test_inputs_whose_squares_exceed_float32_are_refused_and_no_key_is_zero(shape, sample):
    encode, shown = made(shape, sample), inputs(shape)
    with pytest.raises(DataError, match=r"first batch reach 1e\+19"):
        encode.fit(1e19 * shown / shown.abs().amax())
    encode.fit(1e14 * shown)
    assert encode(1e14 * shown)[..., :-1].square().mean(2).min() > 0.99


@pytest.mark.parametrize("side", [8, 28])
def test_inputs_that_never_vary_leave_filters_finite(side):
    encode = made((side, side), "image")
    encode.fit(torch.zeros(2, N, side**2))
    assert encode(torch.zeros(2, N, side**2)).isfinite().all()


def test_permuting_a_learner_is_permuting_its_inputs():
    shown, order = inputs((9,)), torch.stack([torch.randperm(9, generator=torch.Generator().manual_seed(s)) for s in range(2)])
    permuted, plain = made((9,), "vector"), made((9,), "vector")
    permuted.permute_inputs(order)
    torch.testing.assert_close(permuted(shown.gather(2, order[:, None].expand_as(shown))), plain(shown))
