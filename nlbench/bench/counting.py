"""The floating point operations that a run trains with: counted, not timed, and so the same on every machine.

Counted are products of matrices, convolutions and attention, two operations a multiply-add, as torch.utils.flop_counter counts
them, and factorisations and solutions of linear systems by the leading terms of Golub & Van Loan (Matrix Computations, 4th ed.).
What is done number by number is not: it is bound by memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from math import prod
from typing import Any, Final

import torch
from torch.utils.flop_counter import FlopCounterMode

from nlbench.plan import Machine, Plan
from nlbench.protocol import Meeting, Position, Schedule
from nlbench.protocol.evaluation import copied
from nlbench.runner import prepare, threads

Shape = Sequence[int]
_ATEN: Final = torch.ops.aten


def _of(terms: Callable[[int, int], float]) -> Callable[..., int]:
    """Return the count of an operation on matrices (…, m, n), by its first argument."""

    def counted(shape: Shape, *others: object, out_shape: object = None, **options: object) -> int:
        *several, m, n = shape
        return round(prod(several) * terms(m, n))

    return counted


def _solved(per_column: float, *, once: float = 0.0, matrix_first: bool = True) -> Callable[..., int]:
    """Return the count of a solution of systems (…, n, n) for k right sides (…, n, k): per_column n² k + once n³."""

    def counted(first: Shape, second: Shape, *others: object, out_shape: object = None, **options: object) -> int:
        matrix, right = (first, second) if matrix_first else (second, first)
        n = matrix[-1]
        columns = prod(right) / n
        return round(per_column * n**2 * columns + once * n**3 * prod(matrix[:-2]))

    return counted


def _added(total: Shape, first: Shape, second: Shape, *others: object, out_shape: object = None, **options: object) -> int:
    """Return the count of a product (…, m, k) @ (…, k, n) or (…, k) that is added to `total`."""
    return 2 * prod(first) * (second[-1] if len(second) == len(first) else 1)


def _product(first: Shape, second: Shape, *others: object, out_shape: object = None, **options: object) -> int:
    """Return the count of a product of a matrix or a vector with a vector."""
    return 2 * prod(first)


FORMULAS: Final[Mapping[Any, Callable[..., int]]] = {
    **dict.fromkeys((_ATEN.addmm_, _ATEN.baddbmm_, _ATEN.addbmm, _ATEN.addbmm_, _ATEN.addmv, _ATEN.addmv_), _added),
    **dict.fromkeys((_ATEN.mv, _ATEN.dot, _ATEN.vdot), _product),
    _ATEN.linalg_cholesky_ex: _of(lambda m, n: n**3 / 3),
    _ATEN.cholesky_inverse: _of(lambda m, n: 2 * n**3 / 3),
    _ATEN.linalg_inv_ex: _of(lambda m, n: 2 * n**3),
    _ATEN._linalg_eigh: _of(lambda m, n: 9 * n**3),
    _ATEN._linalg_svd: _of(lambda m, n: 6 * max(m, n) * min(m, n) ** 2 + 20 * min(m, n) ** 3),
    _ATEN.linalg_qr: _of(lambda m, n: 4 * max(m, n) * min(m, n) ** 2 - 4 / 3 * min(m, n) ** 3),
    _ATEN.cholesky_solve: _solved(2.0, matrix_first=False),
    _ATEN.linalg_solve_triangular: _solved(1.0),
    _ATEN.triangular_solve: _solved(1.0, matrix_first=False),
    _ATEN._linalg_solve_ex: _solved(2.0, once=2 / 3),
}
"""Of what torch's own table leaves out: products in place too."""


@torch.no_grad()
def training_flops(plan: Plan, machine: Machine) -> int:
    """Return the FLOPs of all training of one seed, the first of the plan: batches and ends of tasks, nothing that is measured.

    Counted as it is learned, by the reference backend on the CPU. Cost: the training of one seed in plain torch, and ten to
    twenty microseconds an operation.
    """
    plan = plan.of_seeds(plan.seeds[:1])
    machine = replace(machine, device="cpu", backend="reference")
    stream, learner = prepare(plan, machine)
    schedule = Schedule.of(stream, plan.batch, plan.learner.presents)
    meeting = Meeting(learner, stream, schedule)
    initial = copied(learner.state_dict()) if schedule.anew else {}
    with threads(plan, stream, machine), FlopCounterMode(display=False, custom_mapping=dict(FORMULAS)) as counter:
        for task in filter(schedule.learns, range(1, schedule.n_tasks + 1)):
            if schedule.anew:
                learner.load_state_dict(initial)
            for _, shown in chain.from_iterable(meeting.feed.passes(Position(task))):
                meeting.feed.observe(shown, task)
            if stream.spec.protocol.boundaries:
                learner.end_task()
            meeting.order.show(0)
    return int(counter.get_total_flops())
