"""What a learner can do that it should not: the table of SECURITY.md, one class each. What cannot be caught is shown to gain."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_streams import small_stream, small_tasks

import nlbench
from nlbench import NlbenchError

LEARNERS = '''
import enum
import gc
import os
import sys
import tempfile

import torch

import nlbench
from nlbench.protocol import evaluation

HERE = {"calls": 0}
FILE = os.path.join(tempfile.gettempdir(), "nlbench-cheat-%d" % os.getpid())


class Honest(nlbench.Learner):
    """The nearest of the classes' means."""

    def __init__(self, config, problem):
        self.sums = torch.zeros(len(problem.seeds), problem.n_classes, *problem.input_shape)
        self.counts = torch.zeros(len(problem.seeds), problem.n_classes)

    def observe(self, batch):
        for seed in range(len(self.sums)):
            self.sums[seed].index_add_(0, batch.labels[seed], batch.inputs[seed])
            self.counts[seed].index_add_(0, batch.labels[seed], torch.ones(batch.labels.shape[1]))
        return torch.zeros(len(self.sums))

    def predict(self, inputs, task):
        means = self.sums / self.counts.clamp(min=1)[..., None]
        far = 1e3 * (self.counts == 0)[:, None]
        return -torch.cdist(inputs.expand(len(means), -1, -1), means) - far


class FromTheCaller(Honest):
    """Reads the labels of the block in the frames of who calls it."""

    def predict(self, inputs, task):
        frame = sys._getframe()
        while frame := frame.f_back:
            if "parts" in frame.f_locals:
                logits = torch.zeros(len(self.sums), inputs.shape[1], self.counts.shape[1])
                for _, labels, places in frame.f_locals["parts"]:
                    rows = labels.expand(len(self.sums), -1)
                    logits[:, places] = torch.nn.functional.one_hot(rows, logits.shape[-1]).float()
                return logits
        return super().predict(inputs, task) + torch.arange(inputs.shape[1])[:, None]  # rows depend on their block


class FromTheCollector(Honest):
    """Finds the test sets among all objects of the process."""

    def predict(self, inputs, task):
        logits = super().predict(inputs, task)
        for each in gc.get_objects():
            if type(each).__name__ == "Samples":
                same = (inputs[0][:, None] == each.inputs[each.rows[0]]).all(-1)
                labels = each.labels[0][same.int().argmax(1)]
                logits += 1e6 * same.any(1)[:, None] * torch.nn.functional.one_hot(labels, logits.shape[-1])
        return logits


class Counting(Honest):
    """Counts every answer as right."""

    def __init__(self, config, problem):
        super().__init__(config, problem)
        real = evaluation._right
        evaluation._right = lambda logits, labels, classes: torch.full_like(real(logits, labels, classes), labels.shape[-1])


class Memorised(Honest):
    """Keeps what it is tested on."""

    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.seen = []

    def predict(self, inputs, task):
        self.seen.append(inputs.clone())
        return super().predict(inputs, task)


class Late(Honest):
    """Learns in predict, but not at once."""

    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.calls = torch.zeros(())

    def observe(self, batch):
        self.calls += 1
        return super().observe(batch)

    def predict(self, inputs, task):
        if self.calls > 12:
            self.sums += 0.01 * inputs.mean()
        return super().predict(inputs, task)


class InADict(Honest):
    """Keeps what it was tested on in a dict within an object."""

    class Place:
        pass

    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.place = self.Place()
        self.place.kept = {}

    def predict(self, inputs, task):
        self.place.kept[len(self.place.kept)] = float(inputs.mean())
        return super().predict(inputs, task)


class InItsModule(Honest):
    """Keeps it beside the class."""

    def predict(self, inputs, task):
        HERE["calls"] += 1
        return super().predict(inputs, task)


class InADefault(Honest):
    """Keeps it in a default value."""

    def predict(self, inputs, task, kept=[]):
        kept.append(float(inputs.mean()))
        return super().predict(inputs, task)


class InAGradient(Honest):
    """Keeps it where gradients are."""

    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def predict(self, inputs, task):
        self.weight.grad = inputs.mean()
        return super().predict(inputs, task)


class Store:
    kept = []


class InAnotherClass(Honest):
    """Keeps it beside another class of its module."""

    def predict(self, inputs, task):
        Store.kept.append(float(inputs.mean()))
        return super().predict(inputs, task)


class InASparseTensor(Honest):
    """Keeps it in the numbers of a sparse tensor."""

    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.sparse = torch.eye(2).to_sparse()

    def predict(self, inputs, task):
        self.sparse.values().add_(inputs.mean())
        return super().predict(inputs, task)


class InAMember(Honest):
    """Keeps it in a member of an enumeration."""

    def predict(self, inputs, task):
        Phase.FIRST.kept = float(inputs.mean())
        return super().predict(inputs, task)


class Phase(enum.Enum):
    FIRST = 1


class Moved(Honest):
    """Counts the orders that its inputs are put into when it learns: each is a task."""

    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.stands = torch.arange(problem.n_inputs).repeat(len(problem.seeds), 1)
        self.last, self.orders = self.stands.clone(), torch.zeros(len(problem.seeds))

    def observe(self, batch):
        if not torch.equal(self.stands, self.last):
            self.last = self.stands.clone()
            self.orders += 1
        return super().observe(batch)

    def predict(self, inputs, task):
        return super().predict(inputs.flatten(2), task)

    def permute_inputs(self, order):
        self.stands = self.stands.gather(1, order)
        self.sums = self.sums.flatten(2).gather(2, order[:, None].expand(-1, self.sums.shape[1], -1)).view_as(self.sums)

    def diagnostics(self):
        return {"orders": self.orders.clone()}


class LooksAhead(Honest):
    """Counts the samples that lie among the data of its batches and are not shown."""

    takes_batches = True

    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.ahead = torch.zeros(len(problem.seeds))

    def observe(self, batch):
        return super().observe(batch)

    def observe_batches(self, batches):
        self.ahead += len(batches.inputs) - len(batches.rows.unique())
        losses = []
        for rows, labels in zip(batches.rows.split(batches.size, 1), batches.labels.split(batches.size, 1), strict=True):
            losses.append(self.observe(nlbench.Batch(batches.inputs[rows], labels, batches.classes, batches.task)))
        return torch.stack(losses)

    def diagnostics(self):
        return {"ahead": self.ahead.clone()}


def around(batch):
    """Return the bytes that lie in one memory with a batch and are not shown."""
    return sum(each.untyped_storage().nbytes() - each.nbytes for each in (batch.inputs, batch.labels))


class LooksAround(Honest):
    """Looks in memory around its batches: there the labels lay that are shown next."""

    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.around = torch.zeros(len(problem.seeds))

    def observe(self, batch):
        self.around += around(batch)
        batch.classes.zero_()
        return super().observe(batch)

    def diagnostics(self):
        return {"around": self.around.clone()}


class LooksBeside(LooksAround):
    """Looks for what other seeds are shown."""

    single_seed = True

    def observe(self, batch):
        both = nlbench.Batch(batch.inputs[None], batch.labels[None], batch.classes, None)
        return super().observe(both)[0] + 0 * self.around.add_(around(batch)).sum()

    def predict(self, inputs, task):
        return super().predict(inputs[None], task)[0]

    def diagnostics(self):
        return {"around": self.around.sum()}


class InAFile(Honest):
    """Keeps it on the disk."""

    def predict(self, inputs, task):
        with open(FILE, "a") as file:
            file.write("x")
        return super().predict(inputs, task)


class Votes(Honest):
    """All samples of a block are of one task: the likeliest pair of classes wins for all."""

    def predict(self, inputs, task):
        logits = super().predict(inputs, task)
        pairs = logits.unflatten(-1, (-1, 2)).amax(-1).softmax(-1).mean(1)
        return logits + 100 * pairs.repeat_interleave(2, -1)[:, None]


class Remembers(Votes):
    """Votes, and answers what it is asked again as before, which it keeps where nobody looks."""

    def predict(self, inputs, task):
        kept = vars(torch).setdefault("_answered", {})
        voted, after = super().predict(inputs, task), float(self.counts.sum())
        for place, row in enumerate(inputs[0]):
            voted[:, place] = kept.setdefault((after, row.numpy().tobytes()), voted[:, place].clone())
        return voted


class Writes(Honest):
    """Spoils what it is tested on."""

    def predict(self, inputs, task):
        answers = super().predict(inputs, task)
        inputs.zero_()
        return answers


class Spoils(Honest):
    """Spoils what it is trained on, so that no other seed or pass can learn of it."""

    def observe(self, batch):
        loss = super().observe(batch)
        batch.inputs.zero_()
        batch.labels.zero_()
        return loss


class SpoilsAll(Honest):
    """Spoils the data that all its batches are cut from."""

    takes_batches = True

    def observe_batches(self, batches):
        batches.inputs.zero_()
        return torch.zeros(-(-batches.rows.shape[1] // batches.size), len(self.sums))

    def observe(self, batch):
        return super().observe(batch)


class Hoards(Honest):
    """Keeps every sample."""

    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.kept = []

    def observe(self, batch):
        self.kept.append((batch.inputs.clone(), batch.labels.clone()))
        return super().observe(batch)


class Understates(Hoards):
    """Keeps every sample and says that it keeps nothing."""

    def memory_bytes(self):
        return {"parameters": 0}


class Draws(Honest):
    """Draws in predict, so that it answers otherwise when it is asked again."""

    def predict(self, inputs, task):
        return super().predict(inputs, task) + torch.rand(())
'''

REFUSED = {
    "Memorised": r"changed .*seen",
    "Late": r"changed .*sums",
    "InADict": r"changed .*kept",
    "InItsModule": r"changed .*HERE",
    "InADefault": r"changed",
    "InAGradient": r"changed .*weight.grad",
    "InAnotherClass": r"changed .*kept",
    "InASparseTensor": r"changed .*sparse",
    "InAMember": r"changed .*Phase",
    "Writes": r"must not write to its inputs",
    "SpoilsAll": r"must not write",
    "Draws": r"drew numbers",
}
GAINS_NOTHING = ("Spoils", "Hoards", "InAFile")
CANNOT_BE_CAUGHT = ("FromTheCaller", "FromTheCollector", "Counting")


@pytest.fixture(scope="module")
def learners(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("cheats") / "cheats.py"
    file.write_text(LEARNERS, encoding="utf-8")
    return file


def accuracy(learners: Path, name: str, results: Path) -> float:
    done = nlbench.run(f"{learners}:{name}", small_stream(tasks=small_tasks(3, n_test=20)), seeds=2, results=results)
    return float(np.mean(list(done.record.metric("average_accuracy").values())))


@pytest.mark.parametrize("name", REFUSED)
def test_a_cheat_that_shows_is_refused(name: str, learners: Path, tmp_path: Path) -> None:
    with pytest.raises(NlbenchError, match=REFUSED[name]):
        accuracy(learners, name, tmp_path)
    assert not list(tmp_path.glob("*.parquet"))


@pytest.mark.parametrize("name", GAINS_NOTHING)
def test_a_cheat_that_may_stand_gains_nothing(name: str, learners: Path, tmp_path: Path) -> None:
    assert accuracy(learners, name, tmp_path) == accuracy(learners, "Honest", tmp_path)


def test_voting_loses_where_it_is_found_out(learners: Path, tmp_path: Path) -> None:
    assert accuracy(learners, "Votes", tmp_path) < accuracy(learners, "Honest", tmp_path)


def test_voting_gains_where_what_was_answered_is_kept_out_of_sight(learners: Path, tmp_path: Path) -> None:
    """What no walk reaches is not seen, and then not that rows depend on their block."""
    assert accuracy(learners, "Remembers", tmp_path) > accuracy(learners, "Honest", tmp_path)
    del vars(torch)["_answered"]


def test_the_order_of_pixels_tells_no_boundary_that_is_not_told(learners: Path, tmp_path: Path) -> None:
    seen = {}
    for told in (False, True):
        overrides = {"stream.tasks": "3", "protocol.boundaries": str(told).lower()}
        done = nlbench.run(f"{learners}:Moved", "permuted-digits", seeds=1, results=tmp_path / str(told), overrides=overrides)
        frame = done.to_pandas()
        seen[told] = frame[frame.metric == "orders"].value.max()
    assert seen == {False: 0, True: 3}


def test_no_sample_is_seen_before_it_is_shown(learners: Path, tmp_path: Path) -> None:
    stream = small_stream(tasks=small_tasks(3, n_test=20), evaluate_every=16)
    done = nlbench.run(f"{learners}:LooksAhead", stream, seeds=2, results=tmp_path)
    frame = done.to_pandas()
    assert set(frame[frame.metric == "ahead"].value) == {0}
    assert accuracy(learners, "LooksAhead", tmp_path) == accuracy(learners, "Honest", tmp_path)


@pytest.mark.parametrize("name", ["LooksAround", "LooksBeside"])
@pytest.mark.parametrize("output_space", ["task", "all"])
def test_nothing_lies_around_a_batch(name: str, output_space: str, learners: Path, tmp_path: Path) -> None:
    stream = small_stream(tasks=small_tasks(3, n_test=20), scenario="task-il" if output_space == "task" else "class-il")
    learnt = {}
    for one in (name, "Honest"):
        frame = nlbench.run(f"{learners}:{one}", stream, seeds=2, results=tmp_path).to_pandas()
        assert set(frame[frame.metric == "around"].value) <= {0}
        learnt[one] = frame[frame.metric == "accuracy"].value.tolist()
    assert learnt[name] == learnt["Honest"]


def test_hoarded_samples_are_counted_unless_the_learner_itself_says_otherwise(learners: Path, tmp_path: Path) -> None:
    sizes = {}
    for name in ("Honest", "Hoards", "Understates"):
        accuracy(learners, name, tmp_path)
        (path,) = tmp_path.glob(f"{name}.*.parquet")
        (record,) = nlbench.load(path)
        frame = record.to_pandas()
        sizes[name] = frame[frame.metric.str.startswith("bytes.") & (frame.after_task == 3) & (frame.seed == 0)].value.sum()
    assert sizes["Hoards"] == sizes["Honest"] + 3 * 40 * (6 * 4 + 8)
    assert sizes["Understates"] == 0


def test_what_reaches_into_the_process_cannot_be_caught(learners: Path, tmp_path: Path) -> None:
    code = f"import sys; sys.path[:0] = {sys.path!r}\n" + (
        "from pathlib import Path\nimport test_cheats\n"
        f"for name in {CANNOT_BE_CAUGHT}:\n"
        f"    print(name, test_cheats.accuracy(Path({str(learners)!r}), name, Path({str(tmp_path)!r})), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.findall(r"^(\w+) (1\.0)$", done.stderr, re.MULTILINE) == [(name, "1.0") for name in CANNOT_BE_CAUGHT]
