"""What a training has cost is summed over restarts."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader

from medseg.training.costs import Costs


class Small(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.layer(batch).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.layer.parameters(), lr=0.1)


def test_costs_of_a_training_on_a_cpu(tmp_path: Path) -> None:
    costs = Costs()
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", callbacks=[costs], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(Small(), DataLoader(torch.zeros(4, 3)))
    facts = costs.facts(minutes=1.5, steps=4)
    assert facts["parameters"] == 8
    assert facts["gpu_hours"] == 0
    assert 0.05 < facts["peak_memory_gb"] < 100
    assert (facts["train_minutes"], facts["steps"]) == (1.5, 4)


def test_a_restart_goes_on_adding() -> None:
    first, second = Costs(), Costs()
    first.gpu_hours, first.peak_memory_gb = 2.5, 11.0
    second.load_state_dict(first.state_dict())
    assert second.facts(0, 0) | {"parameters": 0} == first.facts(0, 0) | {"parameters": 0}
