"""Measure whole training steps of networks over tokens: the HOPE block, its memories alone, and the block with attention.

    python tools/measure_sequences.py                     on one core of the CPU, in processor time
    python tools/measure_sequences.py cores               on all cores, by the clock: for a machine that does nothing else
    python tools/measure_sequences.py cuda                on the GPU, eager, by kernels, and captured as a graph
    python tools/measure_sequences.py cpu 256x8x2048x16   width x rows x tokens x chunk; more may follow

A step is forward, backward and a step of descent. "Eager" has the memories in plain torch; ratios are to that, and to attention
at the same size, from runs taken in turns; each time is the shortest. "Products" is what torch takes for the products of the
block's layers alone, at the rate of one of them: neither way does without. Before anything is timed, outputs and gradients of
both are compared.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from nlbench.nested.hope import HopeBlock
from nlbench.nested.self_referential import SelfReferential, SelfReferentialConfig

SIZES = {
    "cpu": (
        "256x1x512x2",
        "256x1x512x4",
        "256x1x512x16",
        "256x1x512x64",
        "256x8x256x2",
        "256x8x256x16",
        "64x8x256x2",
        "64x8x256x16",
    ),
    "cuda": ("64x8x256x64", "256x8x256x64", "256x8x2048x64", "512x8x256x64", "64x1x8192x64"),
}
TURNS = {"cpu": 3, "cuda": 15}
HEAD = 64
"""The width of a head."""
AGREES = 1e-3
"""Outputs and gradients of both ways, apart by no more than this share of the largest."""
PLAIN = {
    "cpu": SelfReferentialConfig(form="linear", backend="reference"),
    "cuda": SelfReferentialConfig(form="linear", target_clip=None, truncation=None, backend="reference"),
}
"""With clipped targets and truncated gradients; on a GPU, whose scan has neither, without."""

Step = Callable[[], list[Tensor]]


def networks(width: int, chunk: int, device: str) -> Iterator[tuple[str, nn.Module, nn.Module | None]]:
    """Yield each network's name, its module, and the same in plain torch where the two differ."""
    heads, plain_config = max(1, width // HEAD), replace(PLAIN[device], chunk=chunk, outer_chunk=chunk)
    fast = replace(plain_config, backend="auto")
    yield "attention", HopeBlock(width, heads, (1, 16, 256), mixer="attention").to(device), None
    own, plain = (SelfReferential(width, heads, config).to(device) for config in (fast, plain_config))
    yield "titans", own, plain
    block, plain_block = (HopeBlock(width, heads, (1, 16, 256), config=config).to(device) for config in (fast, plain_config))
    yield "hope", block, plain_block


def stepping(module: nn.Module, x: Tensor) -> Step:
    """Return what trains a module once and returns its output and gradients."""
    parameters = list(module.parameters())

    def step() -> list[Tensor]:
        y = module(x)[0]
        gradients = torch.autograd.grad(y.square().mean(), parameters)
        torch._foreach_add_([each.data for each in parameters], gradients, alpha=-1e-6)
        return [y.detach(), *gradients]

    return step


def captured(step: Step) -> Callable[[], object] | str:
    """Return what launches a step as one graph, or why it cannot be captured."""
    side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    try:
        with torch.cuda.graph(graph):
            step()
    except RuntimeError as error:
        torch.cuda.synchronize()
        return str(error).splitlines()[0]
    return graph.replay


def compare(name: str, own: Step, plain: Step) -> None:
    """End where the two ways disagree."""
    for one, other in zip(own(), plain(), strict=True):
        if float((one - other).abs().max()) > AGREES * float(other.abs().max()):
            raise SystemExit(f"{name}: the kernels and plain torch disagree; nothing was timed.")


def products(width: int, tokens: int, device: str) -> tuple[Callable[[], object], float]:
    """Return a product of one layer of the HOPE block, and how many times its work a step of all of them is.

    Three square layers and a continuum memory of two matrices 2 D wide, each forward, for its inputs and for its weights.
    """
    x, weight = torch.randn(tokens, width, device=device), torch.randn(width, width, device=device)
    return lambda: x @ weight, 3 * (3 + 2 * 2)


def shortest(runs: dict[str, Callable[[], object]], device: str, clock: Callable[[], float]) -> dict[str, float]:
    """Return the shortest seconds of each run, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(TURNS[device] + 1):
        for name, run in runs.items():
            start = clock()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first compiles
                times[name].append(clock() - start)
    return {name: min(each) for name, each in times.items()}


def lines(device: str, sizes: Sequence[str], clock: Callable[[], float]) -> Iterator[str]:
    """Yield the table."""
    head = "network", "width, rows, tokens, chunk", "products ms", "eager ms", "kernels ms", "times eager", "captured ms"
    yield f"| {' | '.join(head)} | tokens/s | times attention |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for size in sizes:
        width, rows, tokens, chunk = map(int, size.split("x"))
        x = torch.randn(rows, tokens, width, generator=torch.Generator().manual_seed(0)).to(device)
        product, times_product = products(width, rows * tokens, device)
        runs: dict[str, Callable[[], object]] = {"product": product}
        for name, module, plain in networks(width, chunk, device):
            runs[name] = own = stepping(module, x)
            if plain is not None:
                plain.load_state_dict(module.state_dict())
                runs[f"{name}, eager"] = eager = stepping(plain, x)
                compare(f"{name} {size}", own, eager)
            graph = captured(own) if device == "cuda" else None
            if isinstance(graph, str):
                yield f"{name} {size}: not captured: {graph}"
            elif graph is not None:
                runs[f"{name}, captured"] = graph
        times = shortest(runs, device, clock)
        attention = times.get("attention, captured", times["attention"])
        for name in ("attention", "titans", "hope"):
            slow, fast, launched = (times.get(key, 0.0) for key in (name + ", eager", name, name + ", captured"))
            best, needed = launched or fast, times_product * times["product"] if name == "hope" else 0.0
            cells = (
                f"{1e3 * needed:.4g}",
                f"{1e3 * slow:.4g}",
                f"{1e3 * fast:.4g}",
                f"{slow / best:.2f}",
                f"{1e3 * launched:.4g}",
            )
            shown = [cell if value else "" for cell, value in zip(cells, (needed, slow, fast, slow, launched), strict=True)]
            yield f"| {name} | {size} | {' | '.join(shown)} | {rows * tokens / best:,.0f} | {attention / best:.2f} |"


if __name__ == "__main__":
    where, *sizes = sys.argv[1:] or ["cpu"]
    device = "cuda" if where == "cuda" else "cpu"
    if where == "cpu":
        torch.set_num_threads(1)
    for line in lines(device, sizes or SIZES[device], time.process_time if where == "cpu" else time.perf_counter):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
