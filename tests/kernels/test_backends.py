"""Which backend runs, and what is said when the one asked for cannot."""

from types import SimpleNamespace

import pytest
import torch

import nlbench.kernels.memory_scan as scans
from nlbench.errors import BackendError, UnknownNameError
from nlbench.kernels import backends, bind, metric_update, mlp_logits, mlp_step
from nlbench.kernels.backends import available_backends, implementation, resolve
from nlbench.kernels.cases import CASES
from nlbench.kernels.memory_scan import memory_scan

OP = "nlbench.kernels.memory_scan"


def scan_arguments(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    shapes = ((1, 1, 3, 2), (1, 1, 4, 2), (1, 1, 4, 3), (1, 1, 4), (1, 1, 4))
    return tuple(torch.full(shape, 0.5, dtype=dtype) for shape in shapes)


def test_auto_takes_numba_on_the_cpu_and_the_reference_where_numba_cannot() -> None:
    assert resolve(OP, "auto", torch.empty(0)) == "numba"
    assert resolve(OP, "auto", torch.empty(0, dtype=torch.bfloat16)) == "reference"
    assert resolve(OP, "auto", torch.empty(0, device="meta")) == "reference"


def test_auto_takes_a_gpu_kernel_only_as_it_was_verified_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpu = SimpleNamespace(device=SimpleNamespace(type="cuda"), dtype=torch.float32)
    monkeypatch.setattr(backends, "find_spec", lambda name: object())
    monkeypatch.setattr(backends, "version", lambda name: "3.6.0")
    assert resolve(OP, "auto", on_gpu) == "triton"
    assert resolve("nlbench.kernels.block_step", "triton", on_gpu) == "triton"
    assert resolve("nlbench.kernels.block_step", "auto", on_gpu) == "reference"
    monkeypatch.setattr(backends, "version", lambda name: "3.7.1")
    assert resolve(OP, "auto", on_gpu) == "reference"


def test_a_backend_asked_for_and_absent_says_why_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(BackendError, match="'triton' cannot run memory_scan") as raised:
        memory_scan(*scan_arguments(), chunk=2, backend="triton")
    assert raised.value.hint
    with pytest.raises(BackendError, match="float32 and float64, not bfloat16"):
        memory_scan(*scan_arguments(torch.bfloat16), chunk=2, backend="numba")
    with pytest.raises(BackendError, match="tensors are on meta"):
        resolve(OP, "numba", torch.empty(0, device="meta"))
    monkeypatch.setattr(backends, "find_spec", lambda name: None if name == "numba" else object())
    with pytest.raises(BackendError, match=r"numba is not installed.*pip install numba"):
        resolve(OP, "numba", torch.empty(0))


def test_a_bound_op_is_resolved_once_and_gives_what_its_functions_give(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, plain = scan_arguments(), memory_scan(*scan_arguments(), chunk=2, backend="reference")
    bound = {name: bind(scans, name, arguments[0]) for name in ("reference", "auto")}
    assert {name: each.backend for name, each in bound.items()} == {"reference": "reference", "auto": "numba"}
    assert bound["reference"].kernel is implementation(OP, "reference", arguments[0])
    monkeypatch.setattr(backends, "obstacle", lambda *others: pytest.fail("resolved again"))
    for each in bound.values():
        torch.testing.assert_close(each.memory_scan(*arguments, chunk=2).memory, plain.memory)
    assert torch.equal(bound["reference"].memory_scan(*arguments, chunk=2).memory, plain.memory)


def test_what_stands_beside_a_bound_op_runs_on_its_backend_or_in_plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    like = torch.empty(0)
    assert bind(mlp_step, "auto", like).beside(mlp_logits, like).backend == "numba"
    assert bind(mlp_step, "reference", like).beside(mlp_logits, like).backend == "reference"
    rounded = bind(mlp_step, "auto", like, precision="bf16").beside(mlp_logits, like)
    assert rounded.kernel.__name__ == "nlbench.kernels.mlp_logits.bf16"
    monkeypatch.setattr(backends, "find_spec", lambda name: None if name.endswith("mlp_logits._numba") else object())
    assert bind(mlp_step, "numba", like).beside(mlp_logits, like).backend == "reference"


def test_auto_is_plain_torch_where_there_is_too_little_to_do_to_load_machine_code() -> None:
    like, enough = torch.empty(0), mlp_step.WORTH_LOADING
    chosen = {
        (backend, work): bind(mlp_step, backend, like, work=work).backend
        for backend in ("auto", "numba")
        for work in (enough - 1, enough)
    }
    assert [name for (backend, work), name in chosen.items() if name == "reference"] == ["reference"]
    assert chosen["auto", enough - 1] == "reference"


def test_a_bound_op_says_what_its_backend_has_of_its_own() -> None:
    like = torch.empty(0)
    assert [bind(mlp_step, name, like).has("steps") for name in ("reference", "numba")] == [False, True]
    assert [bind(metric_update, name, like).has("step") for name in ("reference", "numba")] == [False, True]


def test_products_in_bf16_are_plain_torch() -> None:
    op = "nlbench.kernels.mlp_step"
    assert resolve(op, "auto", torch.empty(0), "bf16") == "reference"
    assert implementation(op, "auto", torch.empty(0), "bf16").__name__ == f"{op}.bf16"
    with pytest.raises(
        BackendError, match=r"'numba' cannot run mlp_step: its products are not made in bf16.*--precision float32"
    ):
        resolve(op, "numba", torch.empty(0), "bf16")


def test_an_unknown_backend_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="numba"):
        memory_scan(*scan_arguments(), chunk=2, backend="numbers")  # type: ignore[arg-type]


def test_every_op_has_a_reference_and_a_numba_backend() -> None:
    ops = {case.op for case in CASES}
    assert len(ops) == 12
    for op in ops:
        assert available_backends(op, torch.empty(0))[:2] == ("reference", "numba")
        assert implementation(f"nlbench.kernels.{op}", "reference", torch.empty(0)).__name__.endswith(".reference")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": torch.zeros(1, 1, 5, 3)}, "axis L of targets"),
        ({"rate": torch.zeros(1, 4)}, r"rate must have axes \(S, H, L\)"),
        ({"retain": torch.zeros(1, 1, 4, dtype=torch.float64)}, "retain is torch.float64 on cpu, memory is torch.float32"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"residual": "minus"}, "residual must be one of given"),
        ({"residual": "self_generated"}, "values belong to"),
        ({"velocity": torch.zeros(1, 1, 3, 2)}, "without momentum"),
    ],
)
def test_wrong_arguments_are_named(change: dict[str, object], message: str) -> None:
    names = ("memory", "keys", "targets", "rate", "retain")
    arguments: dict[str, object] = {**dict(zip(names, scan_arguments(), strict=True)), "chunk": 2} | change
    with pytest.raises(ValueError, match=message):
        memory_scan(**arguments)  # type: ignore[arg-type]
