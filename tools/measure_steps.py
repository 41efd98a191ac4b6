"""What a training step of hope costs beside the arithmetic of its products, and beside plain learners of the same bytes.

    python tools/measure_steps.py           on one core of the CPU, in processor time
    python tools/measure_steps.py cuda      on the GPU, captured, by the clock

The stream is permuted-mnist in chunks of 32. Operations are those of the products that plain torch makes of a step, counted as it
runs; what is projected, gathered and solved for between steps is in the seconds and not in them. The rate that they are held
against is the fastest of three products of the step's own shapes, all seeds at once.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import sqrt

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from nlbench import runner
from nlbench.batch import Batches, Learner
from nlbench.plan import Machine, Plan, resolve
from nlbench.streams.stream import Stream

CHUNK = 32
WARM = 160
"""Chunks before the clock runs: two refreshes of what is protected, and a context."""
STEPS = {"cpu": 64, "cuda": 512}
"""Chunks between two looks at the clock; it is looked at five times, and the median counts."""
CYCLE = 4
"""Chunks after which grams have gathered keys as often as any."""
SEEDS = (1, 10)


def same_bytes(wanted: int, inputs: int = 784, classes: int = 10) -> str:
    """Return two equal hidden layers of a perceptron of so many bytes in float32."""
    linear = inputs + classes + 2
    return str([round((sqrt(linear**2 + wanted) - linear) / 2)] * 2)


def built(model: str, seeds: int, machine: Machine, **overrides: str) -> tuple[Plan, Stream, Learner]:
    """Return the plan, the stream and the fresh learner."""
    plan = resolve(model, "permuted-mnist", seeds=range(seeds), overrides={"batch": str(CHUNK), **overrides})
    return plan, *runner.prepare(plan, machine)


def taught(stream: Stream, learner: Learner) -> Callable[[int], None]:
    """Return what teaches so many chunks more of the first task."""
    samples = stream.train(1)
    rows, labels = samples.presented(stream.presentation("1/0", len(samples)))
    classes, place = torch.ones(stream.n_classes, dtype=torch.bool, device=stream.device), 0

    def teach(chunks: int) -> None:
        nonlocal place
        if (place + chunks) * CHUNK > rows.shape[1]:
            place = 0
        own = slice(place * CHUNK, (place + chunks) * CHUNK)
        learner.observe_batches(Batches(samples.inputs, rows[:, own], labels[:, own], CHUNK, classes, None))
        place += chunks

    return teach


def operations(model: str, **overrides: str) -> float:
    """Return the floating-point operations of products a chunk and seed, as plain torch makes them: the least of four cycles, as
    some are followed by what is solved for.
    """
    _, stream, learner = built(model, 1, Machine(device="cpu", backend="reference"), **overrides)
    teach, counts = taught(stream, learner), []
    teach(4 * CYCLE)
    for _ in range(4):
        with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.baddbmm_: added_products}) as counter:
            teach(CYCLE)
        counts.append(counter.get_total_flops())
    return min(counts) / CYCLE


def added_products(_: Sequence[int], left: Sequence[int], right: Sequence[int], **__: object) -> int:
    """Return the operations of products (b, n, k) with (b, k, m) that are added to something in place."""
    batch, rows, inner = left
    return 2 * batch * rows * inner * right[2]


def seconds(device: str, run: Callable[[], object]) -> float:
    """Return the seconds that a call takes: of processor time on a CPU, of the clock with the device's work done on a GPU."""
    if device == "cpu":
        start = time.process_time()
        run()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def multiplied(left: Tensor, right: Tensor) -> None:
    """Make one product twenty times."""
    for _ in range(20):
        torch.bmm(left, right)


def rate(device: str, seeds: int) -> float:
    """Return the operations a second of the fastest product of chunks with matrices of the levels' sizes."""
    rates = []
    for inner, outer in ((785, 1000), (1001, 1001), (1001, 500)):
        left, right = torch.randn(seeds, CHUNK, inner, device=device), torch.randn(seeds, inner, outer, device=device)
        run = partial(multiplied, left, right)
        run()
        shortest = min(seconds(device, run) for _ in range(5))
        rates.append(20 * 2 * seeds * CHUNK * inner * outer / shortest)
    return max(rates)


def lines(device: str) -> Iterator[str]:
    """Yield the table."""
    machine = Machine(device=device, threads=1 if device == "cpu" else None)
    _, _, hope = built("hope", 1, Machine(device="cpu"))
    own = same_bytes(sum(hope.memory_bytes().values()))
    models: dict[str, dict[str, str]] = {"hope": {}, "projected-levels": {}, "mlp": {"learner.hidden": own}}
    columns = [f"{seeds} seed{'s' * (seeds > 1)}, ms a seed | times its products" for seeds in SEEDS]
    yield f"| learner | its products, GFLOP | {' | '.join(columns)} |"
    yield f"|{'---|' * (2 + 2 * len(SEEDS))}"
    rates = {seeds: rate(device, seeds) for seeds in SEEDS}
    for model, overrides in models.items():
        work, cells = operations(model, **overrides), []
        for seeds in SEEDS:
            _, stream, learner = built(model, seeds, machine, **overrides)
            teach, steps = taught(stream, learner), STEPS[device]
            teach(WARM)
            times = sorted(seconds(device, partial(teach, steps)) for _ in range(5))
            each = times[2] / steps / seeds
            cells.append(f"{1e3 * each:.3g} | {each * rates[seeds] / work:.2f}")
        yield f"| {model}{f' of {own}' if overrides else ''} | {work / 1e9:.3g} | {' | '.join(cells)} |"


def table(device: str = "cpu") -> str:
    """Return the table as Markdown; each line is printed as it is measured."""
    found = []
    with torch.no_grad():
        threads = torch.get_num_threads()
        torch.set_num_threads(1 if device == "cpu" else threads)
        for line in lines(device):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
            found.append(line)
        torch.set_num_threads(threads)
    return "\n".join(found)


if __name__ == "__main__":
    table(*sys.argv[1:])
