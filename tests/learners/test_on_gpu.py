"""What learners learn on a GPU, in captured steps."""

import pytest
import torch

import nlbench
from nlbench import runner
from nlbench.kernels.graphs import Captured
from nlbench.plan import Machine
from nlbench.protocol import evaluate_stream


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    ("model", "precision"), [("mlp", "float32"), ("mlp", "bf16"), ("projected-levels", "float32"), ("hope", "float32")]
)
def test_captured_steps_learn_the_same_to_the_bit(model: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def learned(captured: bool) -> dict[str, torch.Tensor]:
        if not captured:
            monkeypatch.setattr(Captured, "__call__", lambda self, state, *inputs, kind=None: self._function(*inputs))
        plan = nlbench.resolve(model, "permuted-digits", seeds=2, precision=precision)
        stream, learner = runner.prepare(plan, Machine(device="cuda"))
        samples = stream.train(1)
        classes = torch.ones(stream.n_classes, dtype=torch.bool, device="cuda")
        with torch.no_grad():
            for inputs, labels in samples.batches(stream.presentation("1/0", len(samples)), 16):
                learner.observe(nlbench.Batch(inputs, labels, classes, None))
        return learner.state_dict()

    captured, written = learned(True), learned(False)
    assert all(torch.equal(captured[name], written[name]) for name in written)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("model", ["mlp", "projected-levels", "random-features", "hope"])
@pytest.mark.parametrize("stream", ["split-digits", "permuted-digits"])
def test_a_gpu_learns_what_the_cpu_learns(model: str, stream: str) -> None:
    """Before and after tasks were learned: on a task yet to come readings are nearly even, and rounding decides by up to 0.04."""

    def accuracy(device: str) -> torch.Tensor:
        plan = nlbench.resolve(model, stream, seeds=2)
        built, learner = runner.prepare(plan, Machine(device=device))
        with torch.no_grad():
            rows = list(evaluate_stream(learner, built, batch=plan.batch))
        cells = [row for row in rows if row.metric == "accuracy" and (not row.after_task or row.on_task <= row.after_task)]
        return torch.tensor([row.value for row in cells], dtype=torch.float64)

    there, here = accuracy("cuda"), accuracy("cpu")
    torch.testing.assert_close(there, here, atol=0.02, rtol=0.0)
    torch.testing.assert_close(there.mean(), here.mean(), atol=0.001, rtol=0.0)
