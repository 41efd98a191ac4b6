"""The Triton kernels by the case table's rule: everywhere under Triton's interpreter, and compiled where there is a GPU.

The interpreter is chosen when triton is first imported, for the whole process, and would offer the backend to every other test
of it; so all interpreted cases of one run share one process of their own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nlbench.kernels.backends import implementation
from nlbench.kernels.cases import CASES
from nlbench.kernels.judging import Case, judge

pytest.importorskip("triton")

OPS = (
    "batch_product",
    "memory_scan",
    "mlp_step",
    "metric_update",
    "newton_schulz",
    "continuum_step",
    "contexts",
    "block_step",
    "ridge_scan",
    "self_referential_scan",
)
SLOW = (  # what other cases of the op compute too, here in many more tiles or at other sizes: left to the GPU
    "memory_scan-l2",
    "memory_scan-own-targets",
    "memory_scan-d16",
    "mlp_step-digits",
    "mlp_step-mnist",
    "metric_update-many-rows",
    "metric_update-keys-of-a-large-metric",
    "block_step-silu-many-rows",
    "ridge_scan-no-loss",
    "ridge_scan-fading",
)
HALF = (
    "memory_scan-own-targets",
    "memory_scan-momentum-exact-read",
    "memory_scan-d64",
    "memory_scan-chunk-of-several-tiles-own",
    "memory_scan-edge-gates",
    "mlp_step-momentum",
    "metric_update-ragged",
    "metric_update-read-out",
    "newton_schulz-tall",
    "continuum_step-sum",
    "block_step-gelu",
    "ridge_scan-ragged-chunks",
    "ridge_scan-d64",
    "self_referential_scan-one-clock",
)
RUN = [case for case in CASES if case.op in OPS and "triton" not in case.refused_by]
SMALL = [str(case) for case in RUN if not case.timed and str(case) not in SLOW]
SOLVED = [f"solve {size}" for size in (16, 32, 64)]
UNSOLVED = ["unsolved ridge_scan-ragged-chunks"]
INTERPRETED = [*(f"{case} float32" for case in SMALL), *(f"{case} bfloat16" for case in HALF), *SOLVED, *UNSOLVED]


@pytest.fixture(scope="module")
def judgements(request: pytest.FixtureRequest) -> dict[str, list[dict]]:
    """What the interpreter's process found, by line of `INTERPRETED`."""
    wanted = [item.callspec.params["line"] for item in request.session.items if "judgements" in getattr(item, "fixturenames", ())]
    program = Path(__file__).with_name("interpreted.py")
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    result = subprocess.run(
        [sys.executable, program], input="\n".join(wanted), env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-4000:]
    found: dict[str, list[dict]] = {}
    for each in map(json.loads, result.stdout.splitlines()):
        found.setdefault(each["line"], []).append(each)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("line", INTERPRETED)
def test_interpreted_kernels_stay_within_what_plain_torch_makes(line: str, judgements: dict[str, list[dict]]) -> None:
    failed = [f"{each['tensor']}: {each['error']:.2e} > {each['allowed']:.2e}" for each in judgements[line] if not each["passed"]]
    assert not failed, failed


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    ("case", "dtype"),
    [pytest.param(case, dtype, id=f"{case}-{str(dtype).removeprefix('torch.')}") for case in RUN for dtype in case.dtypes],
)
def test_kernels_on_the_gpu_stay_within_what_plain_torch_makes(case: Case, dtype: torch.dtype) -> None:
    failed = [
        f"{each.tensor}: {each.error:.2e} > {each.allowed:.2e}"
        for each in judge(case, "triton", dtype=dtype, device="cuda")
        if not each.passed
    ]
    assert not failed, failed


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_other_lengths_of_a_shape_class_compile_nothing() -> None:
    from nlbench.kernels.memory_scan import memory_scan

    module = implementation("nlbench.kernels.memory_scan", "triton", torch.empty(0, device="cuda"))
    sizes = []
    for tokens in (64, 50, 33, 128, 1):
        shape = torch.rand(1, 2, tokens, 32, device="cuda")
        memory_scan(
            shape.new_zeros(1, 2, 32, 32), shape, shape, shape[..., 0], shape[..., 1], chunk=16, queries=shape, backend="triton"
        )
        sizes.append(
            [len(cache) for kernel in (module.solve, module.states, module.read) for cache, *_ in kernel.device_caches.values()]
        )
    assert sizes[1:] == sizes[:1] * 4
