"""Judges Triton kernels under Triton's interpreter: a program of its own, since Triton decides when it is imported.

Takes lines "op-case dtype", "solve C", or "unsolved op-case", whose conjugate gradients end after one step, and prints one JSON
line for every judged tensor. Memory handed to a kernel to fill holds NaN.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
import triton.language as tl

from nlbench.kernels import gpu_products
from nlbench.kernels.backends import implementation
from nlbench.kernels.cases import CASES
from nlbench.kernels.judging import Case, judge
from nlbench.kernels.ridge_scan import _triton_conjugate

STEPS = _triton_conjugate.STEPS


def poisoned(shape, like, dtype=None):
    return torch.full(shape, torch.nan, dtype=dtype or like.dtype, device=like.device)


def fewer(case: Case, programs: int) -> Case:
    """A scan of at most so many programs and of few small chunks: the interpreter takes a quarter of a second for each."""
    sizes = dict(case.sizes)
    if {"S", "H", "L"} <= sizes.keys():
        tokens = 21 if case.options["chunk"] > 1 else 5
        sizes |= {"S": 1, "H": min(programs, sizes["H"])} | (
            {"L": min(tokens, sizes["L"])} if case.options["chunk"] <= 16 else {}
        )
    return replace(case, sizes=sizes)


def solved(size: int) -> Iterator[dict[str, Any]]:
    """What `solve` makes of tiles of `size` tokens whose keys are alike, against float64: every block counts, none is rounded."""
    module = implementation("nlbench.kernels.memory_scan", "triton", torch.empty(0))
    draw, L, d = torch.Generator().manual_seed(0), 2 * size - 5, 8
    keys = torch.nn.functional.normalize(1 + 0.5 * torch.randn(2, L, d, generator=draw), dim=-1).bfloat16()
    rate, retain = (low + span * torch.rand(2, L, generator=draw) for low, span in ((0.05, 0.2), (0.95, 0.05)))
    plan = module.planned(2, L, d, d, low=True, chunk=size, residual="given", read="stale", momentum=False)
    found = [torch.full(shape, torch.nan) for shape in ((2, 2, size, size), (2, L), (2, L), (2, 2))]
    plan.launch(module.solve, 4, keys, rate, retain, *found, warps=1)
    exact = [torch.zeros(each.shape, dtype=torch.float64) for each in found]
    for program in range(2):
        for tile, start in enumerate((0, size)):
            k, eta, alpha = (each[program, start : start + size].double() for each in (keys, rate, retain))
            products = torch.cat([alpha.new_ones(1), alpha.cumprod(0)])
            system = (eta[:, None] * products[:-1, None] / products[None, 1:] * (k @ k.mT)).tril(-1)
            exact[0][program, tile] = torch.eye(size)
            exact[0][program, tile, : len(k), : len(k)] = torch.linalg.inv(system + torch.eye(len(k)))
            exact[1][program, start : start + size], exact[2][program, start : start + size] = (
                products[:-1],
                products[-1] / products[1:],
            )
            exact[3][program, tile] = products[-1]
    for name, each, wanted in zip(("T", "before", "after", "total"), found, exact, strict=True):
        error = float((each - wanted).abs().max())
        yield {"line": f"solve {size}", "tensor": name, "error": error, "allowed": 2e-5, "passed": error <= 2e-5}


def main(lines: list[str]) -> None:
    cases = {str(case): case for case in CASES}
    for line in lines:
        name, dtype = line.split()
        if name == "solve":
            for each in solved(int(dtype)):
                print(json.dumps(each), flush=True)
            continue
        _triton_conjugate.STEPS = tl.constexpr(1) if name == "unsolved" else STEPS
        if name == "unsolved":
            name, dtype = dtype, "bfloat16"
        case = fewer(cases[name], programs=1 if dtype == "float32" else 2)
        module = implementation(f"nlbench.kernels.{case.op}", "triton", torch.empty(0))
        for filled in (module, gpu_products, implementation("nlbench.kernels.memory_scan", "triton", torch.empty(0))):
            filled.empty = poisoned
        for each in judge(case, "triton", dtype=getattr(torch, dtype)):
            found = {"line": line, "tensor": each.tensor, "error": each.error, "allowed": each.allowed, "passed": each.passed}
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.stdin.read().splitlines())
