"""The nested-learning library alone: HOPE as an ordinary module, with an optimizer that steps each level at its own pace."""

import torch
from sklearn.datasets import load_digits

from nlbench.nested.hope import HopeClassifier
from nlbench.nested.level_optimizer import LevelOptimizer

digits = load_digits()
x, y = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
model = HopeClassifier(input_dim=64, hidden_dim=128, output_dim=10, periods=(1, 4, 16), cms="nested", depth=3)
optimizer = LevelOptimizer(model, lambda parameters, period: torch.optim.AdamW(parameters, lr=2e-3))
for step in range(30):
    rows = torch.arange(step * 32, step * 32 + 32)
    loss = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(loss.item())
