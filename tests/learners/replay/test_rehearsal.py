"""What all methods with stored samples have in common."""

from __future__ import annotations

from functools import cache
from tempfile import TemporaryDirectory
from typing import get_args

import numpy as np
import pytest
import torch
from small_replay import SEEDS, STEPS, B, batches, learner, of_seed, steps

import nlbench
from nlbench import Batch, NlbenchError, catalog
from nlbench.batch import needs
from nlbench.state import STRUCTURE, first_difference

KINDS = [kind for kind, row in catalog.LEARNERS.items() if row.place.startswith("nlbench.learners.replay")]


@pytest.mark.parametrize("kind", KINDS)
def test_it_resumes_bit_equal_within_a_task(kind: str) -> None:
    made, other = learner(kind), learner(kind)
    shown = [(task, step, batch) for task in (1, 2, 3) for step, batch in enumerate(batches(task))]
    for count, (_, step, batch) in enumerate(shown):
        losses = made.observe(batch)
        if count > STEPS + 2:
            assert torch.equal(other.observe(batch), losses)
        if step == STEPS - 1:
            made.end_task()
            if count > STEPS + 2:
                other.end_task()
        if count == STEPS + 2:
            other.load_state_dict({name: value.clone() for name, value in made.state_dict().items()})
    assert first_difference(made.state_dict(), other.state_dict()) is None
    x = batches(1)[0].inputs
    assert torch.equal(made.predict(x, None), other.predict(x, None))


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_alone_is_as_it_is_among_others(kind: str) -> None:
    many, alone = learner(kind), learner(kind, seeds=SEEDS[1:2])
    for task in (1, 2, 3):
        for batch in batches(task):
            losses = many.observe(batch)
            torch.testing.assert_close(alone.observe(of_seed(batch, 1)), losses[1:2], rtol=1e-4, atol=1e-5)
        many.end_task()
        alone.end_task()
    x = batches(2)[0].inputs
    torch.testing.assert_close(alone.predict(x[1:2], None), many.predict(x, None)[1:2], rtol=1e-3, atol=1e-4)
    assert alone.memory_bytes() == many.memory_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_prediction_changes_nothing_and_rows_are_independent(kind: str) -> None:
    made = learner(kind)
    for _ in steps(made):
        pass
    before = {name: value.clone() for name, value in made.state_dict().items()}
    x = batches(2)[0].inputs
    logits = made.predict(x, None)
    assert logits.isfinite().all()
    torch.testing.assert_close(made.predict(x[:, 2:3], None), logits[:, 2:3], rtol=1e-4, atol=1e-5)
    assert first_difference(before, made.state_dict()) is None


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_billed_for_what_it_keeps_and_says_so(kind: str) -> None:
    made = learner(kind)
    for _ in steps(made):
        pass
    sizes = made.memory_bytes()
    if "samples" in catalog.keeps(kind):
        assert sizes["samples"] >= 8 * (3 * 4 + 8)
    assert sum(sizes.values()) >= sum(value.nbytes for value in made.parameters.values()) // len(SEEDS)
    declared = catalog.config("learners", kind)
    assert get_args(declared.model_fields["kind"].annotation) == (kind,)
    assert needs(type(made)) == catalog.needs(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_a_task_is_refused_with_the_way_out(kind: str) -> None:
    with pytest.raises(NlbenchError, match="have no head a task in common") as caught:
        learner(kind, scenario="task-il", head="task")
    assert 'head = "one"' in caught.value.hint


def test_the_last_short_batch_is_learned_beside_as_many_stored_samples() -> None:
    made = learner("derpp")
    for batch in batches(1):
        made.observe(batch)
    short = batches(2)[0]
    short = type(short)(short.inputs[:, :1], short.labels[:, :1], short.classes, None)
    assert made.drawn(short) == 1 < B == made.drawn(batch)
    assert made.observe(short).isfinite().all()
    assert np.isfinite(made.buffer.fields["logits"].numpy()).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_captured_steps_are_those_as_written_to_the_bit(kind: str) -> None:
    cuda = torch.device("cuda")
    captured, written = (learner(kind, device=cuda) for _ in "ab")
    written.captured = False
    for task in (1, 2, 3):
        for batch in batches(task):
            given = Batch(batch.inputs.to(cuda), batch.labels.to(cuda), batch.classes.to(cuda), None)
            assert torch.equal(captured.observe(given), written.observe(given))
        captured.end_task()
        written.end_task()
    for name, value in captured.state_dict().items():
        assert name == STRUCTURE or torch.equal(value, written.state_dict()[name])


@cache
def accuracies(recipe: str) -> torch.Tensor:
    """Average accuracy of each of five seeds on split-digits, measured at the end alone."""
    told = {"protocol.evaluate": "final", "protocol.boundaries": "true", "protocol.evaluate_every": "1000000"}
    if recipe == "gdumb":
        told["learner.passes"] = "15"  # a fourth of the recipe's
    with TemporaryDirectory() as results:
        found = nlbench.run(recipe, "split-digits", seeds=5, overrides=told, results=results)
    return torch.tensor([found.metric("average_accuracy")[seed] for seed in range(5)])


@pytest.mark.parametrize("recipe", ["er", "er-ace", "derpp", "mir", "gdumb", "icarl"])
def test_it_beats_plain_fine_tuning_on_split_digits_seed_by_seed(recipe: str) -> None:
    gains = accuracies(recipe) - accuracies("mlp")
    least = gains.mean() - 2.776 * gains.std() / 5**0.5  # the lower end of the 95 % interval of Student's t
    assert least > 0.2
    assert gains.min() > 0
