"""One rank of a validation: predicts and scores its share of 1, 3, 7 and 11 cases.

python sharded.py RANK WORLD RUN FOLDER PORT, with a trained RUN whose model has seen nobody. Writes what
Lightning logged of the volumes to ``FOLDER/N/RANK.json`` and the scores to ``FOLDER/N/cases.csv``.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import lightning as L
import torch
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader

from medseg.data.cohort import Cohort
from medseg.data.settings import DataSettings
from medseg.data.source import open_cohort
from medseg.data.store import Store
from medseg.evaluation.settings import EvaluationSettings
from medseg.inference.bundle import Bundle
from medseg.inference.settings import InferenceSettings
from medseg.training.assess import assess
from medseg.training.group import Group, joined
from medseg.training.parallel import KnownRanks, strategy_for
from medseg.training.ranks import Ranks
from medseg.training.run_folder import RunFolder
from medseg.training.settings import TrainingSettings
from medseg.training.volumes import VolumeValidation

COUNTS = (1, 3, 7, 11)


class Still(L.LightningModule):
    """Learns nothing, so that every number of ranks validates the same network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.unsharded = network.requires_grad_(True), []

    @property
    def deployed(self) -> nn.Module:
        return self.network

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return torch.stack([weight.sum() for weight in self.network.parameters()]).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def logged(group: Group, cohort: Cohort, store: Store, bundle: Bundle, count: int) -> dict[str, float]:
    """What a training would log after a look at so many volumes."""
    ranks = group.ranks
    look = VolumeValidation(
        cohort, store, bundle.plan, cohort.cases[:count], [0], InferenceSettings(), None, group=group
    )
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", devices=ranks.local_world, callbacks=[look], logger=False,
        strategy=strategy_for(TrainingSettings(devices=ranks.world), ranks), plugins=[KnownRanks(ranks)],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Still(bundle.network()), DataLoader(torch.zeros(ranks.world, 1)))
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def main(words: list[str]) -> None:
    """Runs one rank."""
    rank, world, port = int(words[0]), int(words[1]), int(words[4])
    source, folder = Path(words[2]), Path(words[3])
    torch.set_num_threads(1)
    cohort = open_cohort(DataSettings(name="balls", root=words[5], layout="nnunet"))
    store, bundle = Store.open(Path(words[6])), Bundle.load(source / "model")
    with joined(Ranks(rank, world, rank, world, "127.0.0.1", port), "cpu") as group:
        for count in COUNTS:
            run = RunFolder(folder / str(count), writes=group.leads)
            if group.leads:
                shutil.copytree(source, run.path)
            group.from_zero(f"copied/{count}", lambda: True)
            found = logged(group, cohort, store, bundle, count)
            (run.path / f"{rank}.json").write_text(json.dumps(found))
            assess(
                run, cohort, cohort.cases[:count], "validation", InferenceSettings(flips=False),
                EvaluationSettings(), Console(file=io.StringIO()), group=group,
            )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
