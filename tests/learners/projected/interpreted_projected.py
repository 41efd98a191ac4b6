"""Lets levels learn with every product of parts, under Triton's interpreter: a program of its own, since Triton decides when it
is imported. Prints the largest distance from torch's products, relative to the largest number, one JSON line for each table.
"""

import json

import torch
from small_projected import AT_ONCE, AT_ONCE_NAMES, B, N, batch, learner

from nlbench import Batches
from nlbench.kernels import batch_product
from nlbench.kernels.metric_update import whole

STEPS = 11


def taught(table: dict, backend: str) -> list[torch.Tensor]:
    """Memories, what they protect and answers after single steps, several at once, other inputs' order and a restored state."""
    made = learner({**table, "refresh": 4}, backend=backend)
    shown = [batch(step) for step in range(STEPS)]
    for each in shown[:3]:
        made.observe(each)
    images = torch.cat([each.inputs.flatten(0, 1) for each in shown])
    rows = torch.arange(STEPS)[:, None, None] * 2 * B + torch.arange(2)[:, None] * B + torch.arange(B)
    rows, labels = rows.transpose(0, 1).flatten(1), torch.cat([each.labels for each in shown], 1)
    made.observe_batches(Batches(images, rows[:, 3 * B : 9 * B], labels[:, 3 * B : 9 * B], B, shown[0].classes, None))
    if table.get("keys") is None:
        made.permute_inputs(torch.randperm(N, generator=torch.Generator().manual_seed(0)).repeat(2, 1))
    made.observe(shown[9])
    restored = learner({**table, "refresh": 4}, backend=backend)
    restored.load_state_dict(made.state_dict())
    restored.observe(shown[10])
    held = [each for memory in restored.continuum.memories for each in (memory.weights, whole(memory.gram), memory.projection)]
    return [*held, restored.predict(shown[0].inputs, None)]


def main() -> None:
    batch_product.LARGE = 0
    for name, table in list(zip(AT_ONCE_NAMES, AT_ONCE, strict=True))[:2]:
        pairs = [pair for pair in zip(taught(table, "triton"), taught(table, "reference"), strict=True) if pair[1].numel()]
        print(json.dumps({"table": name, "error": max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)}), flush=True)


if __name__ == "__main__":
    main()
