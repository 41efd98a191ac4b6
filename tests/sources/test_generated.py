from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nlbench.sources import read
from nlbench.sources.generated import MNIST1D, TEMPLATES, Generated, one_dimensional_digits
from nlbench.sources.symbols import FORMAL_LANGUAGES, RECALL


@pytest.mark.parametrize("source", [MNIST1D, FORMAL_LANGUAGES, RECALL], ids=lambda source: source.name)
def test_what_is_made_is_the_same_each_time_and_no_test_sample_is_learned_from(source: Generated) -> None:
    arrays, again = read(source), read(source)
    np.testing.assert_array_equal(arrays.test_inputs, again.test_inputs)
    learned = {sample.tobytes() for sample in arrays.train_inputs}
    assert len(learned) == len(arrays.train_labels)
    assert not any(sample.tobytes() in learned for sample in arrays.test_inputs)
    assert set(arrays.test_labels) == set(range(source.n_classes))


def test_the_recipe_identifies_what_is_made() -> None:
    changed = replace(MNIST1D, recipe={**MNIST1D.recipe, "noise": 0.03})
    assert len({MNIST1D.checksum, changed.checksum, RECALL.checksum, FORMAL_LANGUAGES.checksum}) == 4
    assert replace(MNIST1D).checksum == MNIST1D.checksum


def test_a_digit_without_any_disturbance_is_its_template() -> None:
    still = {"scale": 0.0, "shift_most": 1, "waves": 0.0, "noise": 0.0, "tilt": 0.0, "padding_least": 60, "steps": 72}
    curves, labels = one_dimensional_digits({**MNIST1D.recipe, **still, "samples": 20})
    assert labels.tolist() == list(range(10)) * 2
    for curve, label in zip(curves[:10, :, 0], labels, strict=False):
        shape = TEMPLATES[label] - TEMPLATES[label][0]
        shape = np.interp(np.linspace(0, 71, 72), np.arange(72), np.concatenate([shape, np.zeros(60)]))
        assert np.corrcoef(curve, shape)[0, 1] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("constant", ["scale", "shift_most", "waves", "noise", "tilt"])
def test_each_constant_disturbs(constant: str) -> None:
    still = {"scale": 0.0, "shift_most": 1, "waves": 0.0, "noise": 0.0, "tilt": 0.0, "samples": 40, "padding_least": 60}
    calm, _ = one_dimensional_digits({**MNIST1D.recipe, **still})
    moved, _ = one_dimensional_digits({**MNIST1D.recipe, **still, constant: MNIST1D.recipe[constant]})
    apart = [np.abs(curves[0] - curves[10]).max() for curves in (calm, moved)]
    assert apart[0] < 1e-6 < 0.05 < apart[1]


def test_digits_are_hard_for_a_line_as_in_the_paper() -> None:
    """Table 1 of the paper: logistic regression reaches .32."""
    arrays = read(MNIST1D)
    x, y = (np.concatenate([part[..., 0], np.ones((len(part), 1))], 1) for part in (arrays.train_inputs, arrays.test_inputs))
    weights = np.linalg.lstsq(x, np.eye(10)[arrays.train_labels], rcond=None)[0]
    assert 0.2 < ((y @ weights).argmax(1) == arrays.test_labels).mean() < 0.45
