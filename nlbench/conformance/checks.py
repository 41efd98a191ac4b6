"""The rules that every learner keeps. Each check returns what breaks its rule, or "" where it is kept.

Shapes: S seeds, B samples of a batch, N test samples of all tasks, C logits, d numbers in a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from nlbench.batch import Batch
from nlbench.conformance.material import ALONE, BATCH, SEEDS, TASKS, TEST, Candidate, Trial
from nlbench.learners.adapter import EachSeed
from nlbench.protocol import Position
from nlbench.protocol.mixing import agree
from nlbench.runner.checkpoint import Checkpoint, Saved
from nlbench.runner.proving import difference
from nlbench.seeds import permutation
from nlbench.state import first_difference, left_out, same

PEEKED: Final = 0.1
"""Share of a task's test samples that rounding may decide otherwise; one that looks up labels decides all."""

GROWTH: Final = 2.0
"""Times the work of the first task's batches that those of the last may take: heads and bases grow a little."""


class Check(NamedTuple):
    """A rule under its name, in words, what to mend where it is broken, and the check; it says nothing of a learner that breaks
    one of the rules it rests on.
    """

    name: str
    rule: str
    mend: str
    broken: Callable[[Candidate], str]
    rests_on: tuple[str, ...] = ()


def answers(candidate: Candidate) -> str:
    """It learns every batch and answers with finite logits (S, N, C)."""
    logits = candidate.answered
    wanted = (len(SEEDS), TASKS * TEST, candidate.fed.stream.n_classes)
    if logits.shape != wanted:
        return f"predict returned {tuple(logits.shape)} in place of {wanted}"
    return "" if (logits < torch.inf).all() else "a logit is not finite"


def deterministic(candidate: Candidate) -> str:
    """Two of its kind, made and taught alike, are equal to the bit."""
    return _difference(candidate, candidate.trial().feed())


def seed_independent(candidate: Candidate) -> str:
    """A seed alone learns what it learns among others."""
    alone = candidate.trial(seeds=(ALONE,)).feed().answers()
    if agree(candidate.answered[SEEDS.index(ALONE)][None], alone):
        return ""
    return f"seed {ALONE} alone answers otherwise than among seeds {', '.join(map(str, SEEDS))}"


def resumable(candidate: Candidate) -> str:
    """One made of a checkpoint from within a task goes on as the saved one did, to the bit."""
    first, second = candidate.trial(), candidate.trial()
    steps = first.meeting.steps()
    for _ in steps:
        if first.meeting.position > Position(2):
            break
    state = first.learner.state_dict()
    if missing := left_out(state):
        return f"it holds what cannot be saved: {'; '.join(missing)}"
    progress, backend = first.meeting.progress(), first.learner.backend
    with TemporaryDirectory() as folder:
        checkpoint = Checkpoint(Path(folder, "trial.checkpoint"), "trial")
        checkpoint.save(Saved(first.stream.device.type, backend, None, progress, [], [], state))
        saved = checkpoint.load()
    assert saved is not None
    if different := difference(first.learner, second.learner, saved.state, second.stream):
        return f"one made of its checkpoint differs in {different}"
    second.meeting.resume(saved.progress)
    for _ in second.meeting.steps():
        pass
    different = _difference(candidate, second)
    return f"gone on from its checkpoint, {different}" if different else ""


def pure_evaluation(candidate: Candidate) -> str:
    """To be measured, at boundaries and within tasks, changes nothing."""
    measured = candidate.trial()
    for _ in measured.meeting.steps():
        pass
    different = _difference(candidate, measured)
    return f"measured on the way, {different}" if different else ""


def independent_rows(candidate: Candidate) -> str:
    """What it answers to a sample does not depend on what else is asked, nor on whether seeds are asked in common."""
    trial, whole = candidate.fed, candidate.answered
    inputs, told = trial.tests, trial.stream.scenario == "task-il"
    if not agree(trial.answers(inputs.expand(len(SEEDS), *inputs.shape[1:])), whole):
        return "inputs (1, N, …), shared by the seeds, and the same as (S, N, …) get other answers"
    sizes = (0, 1, 8, TEST) if told else (0, 1, 9, 40, TASKS * TEST)
    for first, last in pairwise(sizes):
        alone = trial.learner.predict(inputs[:, first:last], 1 if told else None)
        if not agree(alone, whole[:, first:last]):
            return f"{last - first} of {sizes[-1]} samples, asked alone, get other answers than in one block"
    return ""


def told_only(candidate: Candidate) -> str:
    """It knows no label and no later task that it was not shown: where these are others, it answers the same."""
    honest = candidate.trial().feed(tasks=1)
    logits = honest.answers()
    blind = candidate.trial(declared=candidate.blind)
    rows = []
    for step in blind.meeting.steps():
        rows += step
        if blind.meeting.position >= Position(2):
            break
    expected = blind.right(logits, tasks_seen=1)
    for row in rows:
        if row.metric == "accuracy" and row.after_task == 1 and row.seed is not None and row.on_task is not None:
            likely = float(expected[SEEDS.index(row.seed), row.on_task - 1])
            if row.value is None or abs(row.value - likely) > PEEKED:
                return f"of task {row.on_task} it has {row.value:.2f} right where it was shown enough for {likely:.2f}"
    return ""


def stored_samples(candidate: Candidate) -> str:
    """The training samples it holds are within the bytes of samples that it declares."""
    trial = candidate.fed
    declared = trial.learner.memory_bytes().get("samples", 0)
    found = _stored_bytes(trial)
    return f"holds {found:,} bytes of training samples a seed, and declares {declared:,}" if found > declared else ""


def one_pass(candidate: Candidate) -> str:
    """A batch takes no more work in the last task than in the first, and the end of a task no more than its batches, but for one
    look at each sample that it declares to store. Counted are torch's own products.
    """
    trial = candidate.trial()
    with FlopCounterMode(display=False) as asked:
        trial.learner.predict(trial.tests[:, :BATCH], 1 if trial.stream.scenario == "task-il" else None)
    learning, ending = [], []
    for task in range(1, TASKS + 1):
        with FlopCounterMode(display=False) as counted:
            for shown in trial.batches(task):
                trial.meeting.learn(shown)
        learning.append(counted.get_total_flops())
        with FlopCounterMode(display=False) as counted:
            trial.end_task()
        ending.append(counted.get_total_flops())
    sample = 4 * trial.tests[0, 0].numel()
    batches = learning[0] * BATCH / trial.meeting.schedule.sizes[0]
    look = max(batches, 3 * asked.get_total_flops()) / BATCH * (trial.learner.memory_bytes().get("samples", 0) / sample)
    steps = trial.meeting.schedule.sizes[-1] / BATCH
    if learning[-1] > GROWTH * (learning[0] + steps * look):
        return f"a batch of the last task takes {learning[-1] / max(learning[0], 1):.1f} times the work of one of the first"
    if ending[-1] > GROWTH * (max(learning) + look):
        return f"the end of a task takes {ending[-1] / max(*learning, 1):.1f} times the work of its batches"
    return ""


def permuted_exactly(candidate: Candidate) -> str:
    """`permute_inputs` moves every input axis, and back to the bit."""
    still, moved = candidate.trial().feed(tasks=1), candidate.trial().feed(tasks=1)
    d = still.tests[0, 0].numel()
    order = torch.from_numpy(permutation(SEEDS, "conformance/order", d)).to(still.tests.device)
    permute = moved.learner.permute_inputs  # type: ignore[attr-defined]
    permute(order)
    if not agree(moved.answers(_reordered(still.tests, order)), still.answers()):
        return "permuted inputs get other answers than the inputs before"
    shown = next(each for each in still.batches(2) if isinstance(each, Batch))
    still.learner.observe(shown)
    moved.learner.observe(Batch(_reordered(shown.inputs, order), shown.labels, shown.classes, shown.task))
    permute(order.argsort(1))
    if not agree(moved.answers(), still.answers()):
        return "a batch learned with inputs permuted is not the batch learned as it is: something that belongs to inputs stays"
    before = {name: value.clone() for name, value in moved.learner.state_dict().items()}
    permute(order)
    permute(order.argsort(1))
    different = first_difference(before, moved.learner.state_dict())
    return f"permuted and back, {different} differs" if different else ""


def _reordered(inputs: Tensor, order: Tensor) -> Tensor:
    flat = inputs.flatten(2).expand(len(order), -1, -1)
    return flat.gather(2, order[:, None].expand_as(flat)).view(len(order), -1, *inputs.shape[2:])


def _difference(candidate: Candidate, second: Trial) -> str:
    """Return in what another learner differs from the candidate when it was taught, an attribute or answers; "" if in nothing."""
    if different := first_difference(candidate.taught, second.learner.state_dict()):
        return f"{different} differs"
    return "" if same(candidate.answered, second.answers()) else "its answers differ"


def _stored_bytes(trial: Trial) -> int:
    """Return the bytes of those tensors' rows that are training samples, of the seed that holds most; equal rows count once."""
    shown = torch.cat([trial.stream.train(task).inputs for task in range(1, TASKS + 1)]).flatten(1).cpu()
    known = {row.numpy().tobytes(): index for index, row in enumerate(shown)}
    found: list[dict[int, int]] = [{} for _ in SEEDS]
    for name, value in trial.held().items():
        for seed, rows in _rows(name, value, trial):
            for row in rows:
                index = known.get(row.numpy().tobytes())
                if index is not None:
                    size = row.numel() * value.element_size()
                    for each in found if seed is None else [found[seed]]:
                        each[index] = max(size, each.get(index, 0))
    return max(sum(each.values()) for each in found)


def _rows(name: str, value: Tensor, trial: Trial) -> Iterator[tuple[int | None, Tensor]]:
    """Yield whose seed rows (n, d) of a tensor are, as far as it can be cut into any; None: all seeds'."""
    d = trial.tests[0, 0].numel()
    sizes = [int(torch.Size(value.shape[axis:]).numel()) for axis in range(value.ndim)]
    if d not in sizes or value.is_complex():
        return
    cut = value.detach().float().cpu()
    if isinstance(trial.learner, EachSeed):
        yield int(name.partition("/")[0]), cut.reshape(-1, d)
    elif sizes.index(d) and len(cut) == len(SEEDS):
        yield from ((seed, part.reshape(-1, d)) for seed, part in enumerate(cut))
    else:
        yield None, cut.reshape(-1, d)


CHECKS: Final = (
    Check(
        "answers",
        "it learns every batch, and predict returns finite logits (S, N, C)",
        "See help(nlbench.Learner) for what observe and predict are given and return; --shape is of samples that it can take.",
        answers,
    ),
    Check(
        "deterministic",
        "made and taught alike, it is the same to the bit",
        "Draw from nlbench.seeds, or from the global generators of torch, NumPy and random, which nlbench sets for it; not from "
        "the clock, from ids or from a set's order.",
        deterministic,
    ),
    Check(
        "pure evaluation",
        "to be measured changes nothing in it",
        "Let predict write to no attribute and draw nothing; call eval() on modules before they predict.",
        pure_evaluation,
        rests_on=("deterministic",),
    ),
    Check(
        "seed-independent",
        "a seed learns alone what it learns among others",
        "Draw by nlbench.seeds, for each seed of problem.seeds its own; take sums and means over a seed's samples, never over "
        "the seed axis. A learner of one seed says single_seed = True.",
        seed_independent,
        rests_on=("deterministic",),
    ),
    Check(
        "resumable",
        "made of a checkpoint from within a task, it goes on to the bit",
        "Hold all state in attributes: tensors, modules, optimizers, numbers and containers of these, as nlbench.state collects "
        "it. A state_dict of its own must have all of it.",
        resumable,
        rests_on=("deterministic", "pure evaluation"),
    ),
    Check(
        "independent rows",
        "what it answers to a sample does not depend on what else is asked",
        "Take no statistic over the rows that predict is given: call eval(), and compare no row with another.",
        independent_rows,
        rests_on=("deterministic", "pure evaluation"),
    ),
    Check(
        "told only",
        "it knows no label and no later task that it was not shown",
        "Use what observe and predict are given, and nothing else of the process.",
        told_only,
        rests_on=("deterministic", "pure evaluation"),
    ),
    Check(
        "stored samples",
        "the training samples it holds are within what it declares",
        'Keep samples in a buffer whose bytes memory_bytes() returns as "samples", and drop the batch when it is learned.',
        stored_samples,
    ),
    Check(
        "one pass",
        "work does not grow with what was seen, but for one look at each sample it declares to store",
        "Present no sample again: passes are the stream's to decide (--set protocol.passes=2). What goes over its samples by "
        'nature says so in its class: exempt = {"one pass": "why"}.',
        one_pass,
    ),
    Check(
        "permutation",
        "permute_inputs moves all that belongs to inputs, and back to the bit",
        "Index the input axis of first-layer weights, momenta and statistics by [..., order]; or leave permute_inputs out.",
        permuted_exactly,
        rests_on=("deterministic", "pure evaluation", "seed-independent"),
    ),
)
