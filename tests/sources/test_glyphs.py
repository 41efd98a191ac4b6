from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nlbench.sources import Source, glyphs, read
from nlbench.sources.glyphs import FONTS, SCRIPTS, Glyphs


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


SMALL: dict[str, Glyphs] = {
    "scripts": replace(SCRIPTS, copies=5, letters_each=10),
    "fonts": replace(FONTS, copies=5, alphabet="ABC", n_classes=30),
}


@pytest.mark.parametrize("source", SMALL.values(), ids=SMALL)
def test_letters_are_drawn_whole_and_the_same_each_time(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = read(source)
    monkeypatch.setattr(glyphs, "kept", lambda facts, make: make())
    np.testing.assert_array_equal(arrays.train_inputs, read(source).train_inputs)
    assert arrays.train_inputs.max() == 1.0
    inked = (arrays.train_inputs > 0.2).sum((1, 2, 3))
    assert inked.min() >= 1
    assert 15 < np.median(inked) < 28 * 28 / 3
    learned = {image.tobytes() for image in arrays.train_inputs}
    assert not any(image.tobytes() in learned for image in arrays.test_inputs)


def test_a_script_s_letters_are_of_it_and_no_other_and_each_font_has_them_all() -> None:
    source = SMALL["scripts"]
    drawn = list(source.letters(source.contents()))
    assert all(unicodedata.name(letter).startswith(SCRIPTS.scripts[label]) for _, letter, label in drawn)
    for label in range(source.n_classes):
        each = [{letter for one, letter, own in drawn if (one, own) == (file, label)} for file in source.files]
        assert len(each[0]) == 10
        assert all(letters == each[0] for letters in each)
    arrays = read(source)
    assert (np.bincount(arrays.train_labels).tolist(), np.bincount(arrays.test_labels).tolist()) == ([80] * 10, [20] * 10)


def test_a_task_of_fonts_is_one_font_and_its_labels_are_letters() -> None:
    source = SMALL["fonts"]
    drawn = list(source.letters(source.contents()))
    assert [label for *_, label in drawn] == list(range(30))
    for task, file in enumerate(source.files):
        assert [(letter, label % 3) for one, letter, label in drawn if one == file] == [("A", 0), ("B", 1), ("C", 2)]
        assert {label // 3 for one, _, label in drawn if one == file} == {task}
    arrays = read(source)
    assert (np.bincount(arrays.train_labels).tolist(), np.bincount(arrays.test_labels).tolist()) == ([4] * 30, [1] * 30)


@pytest.mark.parametrize(
    "change", [{"copies": 9}, {"sizes": (10, 12)}, {"degrees": 0.0}, {"files": {"DejaVuSans.ttf": "0" * 64}}]
)
def test_how_letters_are_drawn_and_of_which_fonts_identifies_the_images(change: dict[str, Any]) -> None:
    assert replace(FONTS, **change).checksum != FONTS.checksum
    assert replace(FONTS).checksum == FONTS.checksum


def test_the_program_that_draws_identifies_the_images_too(monkeypatch: pytest.MonkeyPatch) -> None:
    before = FONTS.checksum
    monkeypatch.setattr("PIL.features.version_module", lambda name: "2.0")
    assert FONTS.checksum != before


@pytest.mark.slow
@pytest.mark.parametrize("source", [SCRIPTS, FONTS], ids=lambda source: source.name)
def test_constants_standardise_the_training_set(source: Glyphs) -> None:
    train = read(source).train_inputs.astype(np.float64)
    assert train.mean() == pytest.approx(source.mean, abs=0.002)
    assert train.std() == pytest.approx(source.std, abs=0.002)
