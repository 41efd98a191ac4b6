"""HOPE as a continual learner: fixed features, a continuum memory from slow to fast, and a read-out memory that remember.

A batch is a chunk of tokens of one stream: predict, then write; labels enter only as what is written. Every memory retains in
the metric of the keys it has been written with (`kernels.metric_update`), and the read-out makes its own values and rates from
what it reads. Keys, rates and retentions may come from memories of their own (`hope_self_reference`).

Shapes: S seeds, B tokens of a chunk, D width of a key, C classes.
Source: Behrouz et al. 2025 (arXiv 2512.24695), eq. 59 with an accumulated metric, eq. 70-71 and 88.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from nlbench.batch import Batch, Batches, Learner, Problem
from nlbench.kernels import batch_product, bind, metric_update, mlp_logits
from nlbench.kernels.batch_product import Directions
from nlbench.kernels.branches import Branches
from nlbench.kernels.graphs import Captured
from nlbench.kernels.metric_update import own_rates, protecting_at_once, through_relu, token_errors
from nlbench.learners.features import KEYS, Convolution, permuted_square
from nlbench.learners.hope_memories import (
    initial,
    joined,
    kept_widths,
    own_values,
    rectified,
    with_constant,
    with_last,
)
from nlbench.learners.hope_products import Products
from nlbench.learners.hope_self_reference import SelfReferences, Writes
from nlbench.learners.trial import try_on_gpu
from nlbench.nested.clocks import check_all_fire, due, renews, until_renewal
from nlbench.nested.rules import dgd
from nlbench.specs.hope import HopeConfig

READOUT_GAIN: Final = 0.1
"""A read-out that learns by steps starts at this share of the usual scale, so that its first readings are nearly even."""

AT_ONCE: Final = 8
"""Chunks learned at once, at most."""


class Hope(Learner):
    """Features, levels from slow to fast, read-out. A memory is a matrix whose last column is its bias; the last of `memories`
    is the read-out.

    `metrics[i]` is the Gram matrix of the keys of memory i, `inverses[i]` what it protected at the last refresh, `pending[i]`
    the steps that a slow level has gathered in its period, `products` the Σ k vᵀ of an exact read-out. What a memory does not
    need is empty.
    """

    def __init__(self, config: HopeConfig, problem: Problem) -> None:
        check_all_fire([level.period for level in config.levels], problem.steps)
        self._config, self._levels, self._readout = config, config.levels, config.readout
        self._features = None if config.keys.kind == "inputs" else KEYS[config.keys.kind](config.keys, problem)
        self.features = self._features.tensors if self._features else []  # the same list: saved and restored with the learner
        seeds, n, device = len(problem.seeds), problem.n_inputs, problem.device
        slow = self._features.width if self._features else n
        self._self_references = SelfReferences(config.self_reference, slow, problem) if config.self_reference else None
        self.self_references = self._self_references.tensors if self._self_references else []
        widths = [slow, *(level.width for level in config.levels), problem.n_classes]
        self.memories = [initial(problem, f"memory{i}", *sizes) for i, sizes in enumerate(pairwise(widths))]
        self.memories[-1] *= READOUT_GAIN if self._readout.rule == "protected" else 0.0
        self._protects = [config.metric] * len(config.levels) + [self._readout.rule == "protected"]
        exact = self._readout.rule == "exact"
        asked = problem.backend if exact or any(self._protects) else self.backend
        self._op = bind(metric_update, asked, self.memories[0])
        self.backend = self._op.backend
        self._reading, self._multiplying = (self._op.beside(op, self.memories[0]) for op in (mlp_logits, batch_product))
        self._whole_steps = self._op.has("step")  # project, bound and gather
        self.metrics = [
            torch.zeros(seeds, size, size, device=device)
            for size in kept_widths(widths, [*self._protects[:-1], self._protects[-1] or exact])
        ]
        self.inverses = [torch.eye(size, device=device).repeat(seeds, 1, 1) for size in kept_widths(widths, self._protects)]
        self.products = torch.zeros(seeds, widths[-2] + 1 if exact else 0, problem.n_classes, device=device)
        self.pending = [
            torch.zeros_like(memory) if level.period > 1 else memory[:, :0].clone()
            for level, memory in zip(config.levels, self.memories, strict=False)
        ]
        self.step = torch.zeros((), dtype=torch.int64)
        self._rates = [*(level.rate for level in config.levels), self._readout.rate]
        self._retains = [*(level.retain for level in config.levels), self._readout.retain]
        self._periods = [*(level.period for level in config.levels), 1]
        self._fast = self._periods.index(1)
        self._ridges = [*(level.ridge for level in config.levels), self._readout.ridge]
        self._kept = [i for i, inverse in enumerate(self.inverses) if inverse.numel()]
        self._products = self._factors()
        self._now = 0  # the step of the last of the chunks being learned at once
        self._warm_up = config.keys.warm_up if config.keys.kind == "random" else 0
        self._captured = not (self._self_references or self._readout.rule == "dgd")  # torch's solver cannot be
        self.takes_batches = self._captured and not self._whole_steps
        self._learned, self._protected = Captured(self._learn), Captured(self._protect_at_once)
        self._branches = Branches(2 * len(self.memories), device)
        self.owed_order = torch.arange(n, device=device).repeat(seeds, 1)
        self._owes = False
        if not (isinstance(self._features, Convolution) or (self._self_references and not self._features)):
            self.permute_inputs = self._permute_inputs  # convolutions, and memories that read inputs, need these in place
        self._op.load(exact=exact, protects=any(self._protects))
        self._reading.load()
        self._products.load()
        try_on_gpu(self, problem)

    def _factors(self) -> Products:
        return Products(self.memories, self.inverses, self._multiplying, projects=not self._whole_steps)

    def observe(self, batch: Batch) -> Tensor:
        return self._observe(batch.inputs.flatten(2)[:, None], batch.labels[:, None], batch.classes)[0]

    def observe_batches(self, batches: Batches) -> Tensor:
        images, rows, labels = batches.inputs.flatten(1), batches.rows, batches.labels
        losses, start = [], 0
        while start < rows.shape[1]:
            chunks = self._at_once((rows.shape[1] - start) // batches.size)
            own = slice(start, start + chunks * batches.size)
            shown = rows[:, own].unflatten(1, (chunks, -1))
            inputs = images.index_select(0, shown.flatten()).view(*shown.shape, -1)
            losses.append(self._observe(inputs, labels[:, own].unflatten(1, (chunks, -1)), batches.classes))
            start = own.stop
        return torch.cat(losses)

    def _at_once(self, most: int) -> int:
        """Return how many chunks to learn in one call: none but the last is followed by a refresh, and calls are of few kinds."""
        step, every = int(self.step), self._config.refresh
        chunks = AT_ONCE if self.takes_batches and step >= self._warm_up else 1
        while chunks > 1 and (step % chunks or chunks > min(most, until_renewal(step, every))):
            chunks //= 2
        return chunks

    def _observe(self, inputs: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
        """Learn n chunks, inputs (S, n, B, D_in) and labels (S, n, B); return their losses (n, S)."""
        before = int(self.step)
        self.step = self.step + labels.shape[1]
        self._settle_order()
        if self._features and self._features.gather(inputs.flatten(1, 2)):
            self._forget()
        held = [
            *self.features,
            *self.memories,
            *self.metrics,
            *self.inverses,
            *self.pending,
            self.products,
            *self._products.parts,
        ]
        periods = (self._config.share, *self._periods)
        kind = tuple(due(step, period) for step in range(before + 1, int(self.step) + 1) for period in periods)
        learn = partial(self._learned, held, kind=kind) if self._captured else self._learn
        losses = learn(inputs, labels, classes)
        self._refresh()
        return losses

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        """Seed by seed: what lies between two memories stays in the cache."""
        readings = []
        for seed in range(len(self.memories[0])):
            read = inputs[min(seed, len(inputs) - 1)].flatten(1)
            read = self._features.of_seed(seed, read) if self._features else read
            read = self._self_references.of_seed(seed, read) if self._self_references else read
            own = [memory[seed : seed + 1] for memory in self.memories]
            weights, biases = [each[..., :-1] for each in own], [each[..., -1] for each in own]
            readings.append(self._reading.mlp_logits(weights, biases, read[None]))
        return torch.cat(readings)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        super().load_state_dict(state)
        self._products = self._factors()
        self._owes = True

    def memory_bytes(self) -> dict[str, int]:
        seeds = len(self.memories[0])

        def size(*tensors: Tensor) -> int:
            return sum(tensor.nbytes for tensor in tensors) // seeds

        return {
            "parameters": size(*self.memories, *self.features, *self.self_references[:1]),
            "optimizer": size(*self.pending),
            "memory": size(*self.metrics, *self.inverses, self.products, *self.self_references[1:]),
        }

    def diagnostics(self) -> dict[str, Tensor]:
        """Updates of each level, and its plasticity: the mean share of a step that its metric lets through."""
        found = {}
        for level, memory, inverse in zip(self._config.levels, self.memories, self.inverses, strict=False):
            updates = float(self.step // level.period)
            found[f"level.{level.period}.updates"] = torch.full((len(memory),), updates, device=memory.device)
            if inverse.numel():
                found[f"level.{level.period}.plasticity"] = inverse.diagonal(dim1=1, dim2=2).mean(1)
        return found

    def _learn(self, inputs: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
        """Predict, then write, chunk after chunk: return the losses (n, S) before each."""
        chunks, size = labels.shape[1:]
        before = int(self.step) - chunks
        slow = inputs.flatten(1, 2).expand(len(self.memories[0]), -1, -1)
        if self._features:
            slow = joined([self._features(chunk) for chunk in inputs.unbind(1)])
        ends = [i for i in range(1, chunks) if any(due(before + i, period) for period in self._periods[: self._fast])]
        keys = with_constant(self._self_references.keys(slow) if self._self_references else slow)
        parts = [slice(first * size, last * size) for first, last in pairwise([0, *ends, chunks])]
        with self._branches.branch(0, keys):
            projected = self._products.projected(0, keys)
            along = [self._products.laid(0, projected[:, own].contiguous()) for own in parts]
        above = self.memories[: min(self._fast + 1, len(self._levels))]
        blanks = [keys.new_ones(*keys.shape[:2], memory.shape[1] + 1) for memory in above]
        losses, labels = list[Tensor](), labels.flatten(1, 2)
        for own, directions in zip(parts, along, strict=True):
            self._now = before + own.stop // size
            read = slow[:, own], keys[:, own], directions, [blank[:, own] for blank in blanks]
            losses += self._learn_at_once(*read, labels[:, own].unflatten(1, (-1, size)), classes)
        self._branches.join()
        return joined(losses).unflatten(1, (chunks, size)).mean(2).mT

    def _learn_at_once(
        self, slow: Tensor, first: Tensor, towards: Directions, blanks: list[Tensor], labels: Tensor, classes: Tensor
    ) -> list[Tensor]:
        """Learn n chunks, of which only the last is followed by a step of a slow level, from slow keys, the first memory's keys,
        its directions, and tensors of ones for the keys above: return the losses (S, B) before each. Steps may still run in their
        branches.

        The slow levels read all chunks at once. So does the fast memory after them, as it is before the first: its step -rate Δᵀ
        X by a chunk's errors Δ and directions X adds -rate K Xᵀ Δ to what later keys K read, and -rate E Δᵀ X to what their
        errors E are below.
        """
        (chunks, size), fast, last = labels.shape[1:], self._fast, len(self._levels)
        keys, directions, answers = self._read(first, towards, blanks)
        steps = fast < last or self._readout.rule == "protected"
        parts = [slice(start, start + size) for start in range(0, chunks * size, size)] if steps else [slice(None)]
        along = directions[fast].numbers
        with self._branches.branch(fast):
            overlaps = [
                [self._products.inner(fast, keys[-1][:, own], along[:, past]) for past in parts[:i]]
                for i, own in enumerate(parts)
            ]
        losses, errors, read, moves, effects, told = [], [], [], list[Tensor](), [], tuple[Tensor, ...]()
        for own, overlap, labelled in zip(parts, overlaps, labels.split(1 if steps else chunks, 1), strict=True):
            answer = answers[:, own]
            for products, move in zip(overlap, moves, strict=True):
                self._branches.wait(fast)
                answer.baddbmm_(products, move, alpha=-self._rates[fast])
            if fast < last:
                read.append(rectified(answer, blanks[fast][:, own]))
                loss, error = self._learn_readout(read[-1], labelled, classes, slow)
            else:
                loss, error, told = self._errors(answer, labelled, classes, slow)
            losses.append(loss)
            errors.append(error)
            if steps:
                with self._branches.branch(len(self.memories) + fast):
                    effects.append([error @ move.mT for move in moves])
                with self._branches.branch(fast):
                    moves.append(self._bounded(fast, error, along[:, own], size))
        self._write(keys, directions, errors, moves, effects, size)
        self._write_pairs(keys[-1], told, size)
        for i, chunk_keys in enumerate([*(key.split(size, 1) for key in keys), read][: last + 1]):
            self._gather(i, chunk_keys)
        self._branches.keep(*keys, *errors, *moves, *[each for some in (*effects, *overlaps, *directions) for each in some])
        return losses

    def _read(self, first: Tensor, towards: Directions, blanks: list[Tensor]) -> tuple[list[Tensor], list[Directions], Tensor]:
        """Return the keys, (S, N, D) with the constant 1 last, of the slow levels and the fast memory, the directions of their
        steps, and what the fast memory answers, (S, N, V), for the first memory's keys and directions.
        """
        keys, directions = [first], [towards]
        for i in range(self._fast):
            keys.append(rectified(self._products.answers(i, keys[i]), blanks[i]))
            self._branches.wait(i + 1)  # for what was written before
            if i + 1 < self._fast:
                directions.append(self._directions(i + 1, keys[i + 1]))
        answers = self._products.answers(self._fast, keys[-1])
        if self._fast > 0:
            directions.append(self._directions(self._fast, keys[-1]))
        return keys, directions, answers

    def _learn_readout(self, keys: Tensor, labels: Tensor, classes: Tensor, slow: Tensor) -> tuple[Tensor, Tensor]:
        """Write a read-out that is not the fast memory: return the losses (S, B), and the errors of what its keys were before the
        ReLU.
        """
        last, pairs = len(self._levels), tuple[Tensor, ...]()
        self._branches.wait(last)  # for what the chunk before has written
        memory, directions = self.memories[last], self._directions(last, keys)
        if self._readout.rule == "protected" and not self._self_references:
            surprise = self._readout.surprise
            losses, errors, below = self._op.read_out(keys, memory, labels.flatten(1), classes, surprise=surprise)
        else:
            losses, errors, pairs = self._errors(self._products.answers(last, keys), labels, classes, slow)
            below = through_relu(self._products.below(last, errors), keys)
        with self._branches.branch(last, keys, errors, *pairs):
            self._write_pairs(keys, pairs, labels.shape[2])
            if not pairs:
                self._step(last, keys, directions, self._bounded(last, errors, directions.numbers, labels.shape[2]), 1)
        return losses, below

    def _errors(
        self, answers: Tensor, labels: Tensor, classes: Tensor, slow: Tensor
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Return the losses (S, N) and the errors of the read-out's answers (S, N, C) for labels (S, n, B), and, unless it steps
        along the errors, what it is to be told: values (S, N, C), how far answers are from them, and each token's rate (S, N, 1).

        Values and rates are the read-out's own: they depend on what it reads now.
        """
        fade = self._fade(self._self_references.write(slow)) if self._self_references else 1.0
        if self._readout.rule == "protected":
            losses, errors = token_errors(answers, labels.flatten(1), classes, self._readout.surprise)
            return losses, errors * fade, ()
        one_hot = F.one_hot(labels.flatten(1), answers.shape[-1]).to(answers.dtype)
        values = own_values(answers, one_hot, self._readout.slack)
        surprises, rates = answers - values, own_rates(answers, one_hot, classes, self._readout.surprise) * fade
        losses = (answers - one_hot).square().sum(-1) / 2
        return losses, surprises * (rates / labels.shape[2]), (values, surprises, rates)

    def _write(
        self,
        keys: list[Tensor],
        directions: list[Directions],
        errors: list[Tensor],
        moves: list[Tensor],
        effects: list[list[Tensor]],
        size: int,
    ) -> None:
        """Step the fast memory by its moves, and the slow levels, for the errors of what the fast memory answered to chunks of
        `size` tokens; `effects` are the products of each chunk's errors with the moves before. Waits for the first memory alone.
        """
        fast, above = self._fast, joined(errors)
        for i in range(fast, -1, -1):
            if i > 0:
                product = self._products.below(i, above)
            with self._branches.branch(i, above):
                own = moves if i == fast else [self._bounded(i, above, directions[i].numbers, size)]
                if own:
                    self._step(i, keys[i], directions[i], joined(own), above.shape[1] // size)
            if i == fast > 0:
                self._branches.wait(len(self.memories) + fast)
                for chunk, on in zip(product.split(size, 1), effects, strict=False):
                    for past, effect in enumerate(on):
                        along = directions[fast].numbers[:, past * size : (past + 1) * size]
                        chunk.baddbmm_(effect, along, alpha=-self._rates[fast])
            if i > 0:
                above = through_relu(product, keys[i])
        self._branches.wait(0)

    def _directions(self, i: int, keys: Tensor) -> Directions:
        """Return the directions of memory i's step by keys (S, N, D), made in its branch."""
        with self._branches.branch(i, keys):
            return self._products.directions(i, keys)

    def _bounded(self, i: int, errors: Tensor, directions: Tensor, size: int) -> Tensor:
        """Return each chunk's errors (S, N, V), less where memory i's step by them would be too long."""
        if self._protects[i] and self._whole_steps:
            return errors  # its step bounds them
        return self._op.bounded(errors, directions, self._config.bound, chunk=size)

    def _step(self, i: int, keys: Tensor, directions: Directions, moves: Tensor, chunks: int) -> None:
        """Step memory i by moves (S, N, V) along directions (S, N, D); a slow level adds them to those pending, and makes their
        mean when its period ends.
        """
        memory, period, rate = self.memories[i], self._periods[i], self._rates[i] / self._periods[i]
        ends = due(self._now, period)
        at_once = ends and chunks == period
        target = memory if at_once or period == 1 else self.pending[i]
        scale = -rate if target is memory else 1.0
        if self._protects[i] and self._whole_steps:
            gathers, share = due(self._now, self._config.share), self._config.share / keys.shape[1]
            options = {"share": share, "retain": self._retains[i]} if gathers else {"share": 0.0}
            options |= {"rate": -scale, "bound": self._config.bound}
            self._op.metric_step(target, self.metrics[i], self.inverses[i], keys, moves, **options)
        elif target is memory:
            self._products.step(i, moves, directions, scale)
        else:
            target.baddbmm_(moves.mT, directions.numbers, alpha=scale)
        if ends and target is not memory:
            memory.sub_(target, alpha=rate)
            target.zero_()
            self._products.renew_memory(i)

    def _gather(self, i: int, chunks: Sequence[Tensor]) -> None:
        """Take the keys (S, B, D) of every `share`-th chunk into what memory i protects, as many times; a chunk counts one,
        whatever its length.
        """
        share, retain = self._config.share, self._retains[i]
        due_now = [keys for back, keys in enumerate(reversed(chunks)) if due(self._now - back, share)]
        if not (due_now and self._protects[i]) or self._whole_steps:
            return
        weights = [retain**after * share / keys.shape[1] for after, keys in enumerate(due_now)]
        with self._branches.branch(len(self.memories) + i, *due_now):
            rows = torch.cat([weight**0.5 * keys for weight, keys in zip(weights, due_now, strict=True)], 1)
            self._op.accumulate(self.metrics[i], rows, retain=retain ** len(due_now))

    def _write_pairs(self, keys: Tensor, pairs: tuple[Tensor, ...], size: int) -> None:
        """Write what chunks of `size` tokens say, (S, N, ...) as in `_errors`, into the sums of an exact read-out, or one chunk
        into one that learns by delta gradient descent.
        """
        if not pairs:
            return
        values, surprises, rates = pairs
        if self._readout.rule == "dgd":
            per_length = self._readout.rate / keys.shape[-1]  # keys are as long as the root of their width
            self.memories[-1].copy_(dgd(self.memories[-1], keys, surprises, per_length * rates[..., 0]).weights)
            return
        retain, chunks = self._readout.retain, keys.shape[1] // size
        if retain < 1 and chunks > 1:
            kept = retain ** torch.arange(chunks - 1, -1, -1, device=rates.device)
            rates = rates * kept.repeat_interleave(size)[:, None]
        self._op.accumulate(self.metrics[-1], rates.sqrt() * keys, retain=retain**chunks)
        self.products.mul_(retain**chunks).baddbmm_(keys.mT, rates * values)

    def _refresh(self) -> None:
        """Every `refresh` steps bring up to date what the metrics protect, and the memory that an exact read-out solves for.

        Before that, what protects is renewed at steps 1, 2, 4, …: from one to the next the metrics double.
        """
        step, every = int(self.step), self._config.refresh
        if renews(step, every):
            self._protect()
        if self._readout.rule == "exact" and due(step, every):
            solved = self._op.least_squares(self.metrics[-1], self.products, self._readout.ridge)
            self.memories[-1].copy_(solved)

    def _protect(self) -> None:
        """Bring up to date what the metrics protect."""
        missing = self._kept
        if missing and self.metrics[missing[0]].device.type == "cuda":
            failed = self._protected([each[i] for each in (self.metrics, self.inverses) for i in self._kept])
            missing = [i for i, minor in zip(self._kept, failed.tolist(), strict=True) if minor]
        for i in missing:
            self.inverses[i].copy_(self._op.protecting(self.metrics[i], self._ridges[i]))
        for i in self._kept:
            self._products.renew_projection(i)

    def _protect_at_once(self) -> Tensor:
        """Bring up to date what the metrics protect, on a GPU: return where each failed, or 0."""
        found, failed = protecting_at_once([self.metrics[i] for i in self._kept], [self._ridges[i] for i in self._kept])
        for i, inverse in zip(self._kept, found, strict=True):
            self.inverses[i].copy_(inverse)
        return failed

    def _fade(self, writes: Writes) -> Tensor:
        """Let metrics and sums, and a memory that has none, keep what the chunk leaves of them; return its tokens' rates
        (S, B, 1), each with what later tokens of the chunk leave of it.
        """
        left = F.pad(writes.retained, (0, 1), value=1.0).flip(1).cumprod(1).flip(1)
        held = [*self.metrics, self.products, *(self.memories[-1:] if self._readout.rule == "dgd" else [])]
        for tensor in held:
            tensor.mul_(left[:, :1, None])
        return (writes.rates * left[:, 1:])[..., None]

    def _forget(self) -> None:
        """Empty all metrics: the features changed, and what was gathered of the old ones says nothing of the new."""
        for tensor in (*self.metrics, self.products):
            tensor.zero_()
        if self._self_references:
            self._self_references.forget()

    def _permute_inputs(self, order: Tensor) -> None:
        """Reorder the inputs, order (S, D_in), in place: steps captured on a GPU know where tensors lie. Metrics follow when
        they are used next: evaluation reorders to and fro.
        """
        if self._features:
            self._features.permute_inputs(order)
            return
        columns = with_last(order)[:, None]
        for tensors in (self.memories, self.pending):
            if tensors and tensors[0].numel():
                tensors[0].copy_(tensors[0].gather(2, columns.expand_as(tensors[0])))
        self._products.renew_memory(0)
        self.owed_order = self.owed_order.gather(1, order)
        self._owes = True

    def _settle_order(self) -> None:
        """Bring the first memory's metric into the order its columns stand in."""
        if not self._owes:
            return
        self._owes = False
        home = torch.arange(self.owed_order.shape[1], device=self.owed_order.device).expand_as(self.owed_order)
        if torch.equal(self.owed_order, home):
            return
        order = with_last(self.owed_order)
        for tensors in (self.metrics, self.inverses):
            if tensors[0].numel():
                tensors[0].copy_(permuted_square(tensors[0], order))
        self._products.renew_projection(0)
        if len(self.memories) == 1 and self.products.numel():
            self.products.copy_(self.products.gather(1, order[..., None].expand_as(self.products)))
        self.owed_order = home.clone()
