"""Two gloo processes pretrain as one does on both batches, find_unused_parameters off.

This file is also what each process runs: ``test_pretraining_ddp.py RANK FOLDER``.
"""

from __future__ import annotations

import copy
import datetime
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medseg import targets
from medseg.contracts import Batch, Labels, Progress
from medseg.data.plan import Plan
from medseg.inference.assemble import assemble_encoding
from medseg.losses.nt_xent import gather_rows, nt_xent

WORLD, BATCH, M = 2, 3, 2
SECONDS = 300  # only a hang takes so long
LABELS = Labels(("a",), ((1,),))
PLAN = Plan(
    spatial_dims=2, modalities=("t1", "t2"), axes=(0, 1, 2), spacing=(1.0, 1.0, 1.0), patch_size=(16, 16),
    batch_size=BATCH, strides=((1, 1), (2, 2), (2, 2)), kernels=((3, 3),) * 3, widths=(4, 6, 8),
    normalisation={"t1": {"method": "none"}, "t2": {"method": "none"}}, in_plane_only=False,
    precision="32-true",
)  # fmt: skip
NETWORKS: dict[str, dict[str, Any]] = {
    "unet": {"_target_": "medseg.networks.unet.UNet"},
    "unetr": {"_target_": "medseg.networks.unetr.UNETR", "hidden_size": 12, "blocks": 3},
    "swin_unetr": {"_target_": "medseg.networks.swin_unetr.SwinUNETR", "feature_size": 12},
}
FUSIONS: dict[str, dict[str, Any]] = {
    "early": {"_target_": "medseg.fusion.early.EarlyFusion"},
    "mid": {"_target_": "medseg.fusion.mid.MidFusion", "merge": "gated"},
}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "simclr": {"_target_": "medseg.objectives.simclr.SimCLR"},
    "local": {"_target_": "medseg.objectives.simclr.SimCLR", "local_weight": 0.5},
    "masked": {"_target_": "medseg.objectives.masked_image_modelling.MaskedImageModelling"},
}
CELLS = [f"{n} {f} {o}" for n in NETWORKS for f in FUSIONS for o in OBJECTIVES]
OBJECTIVES["autoencoder"] = {"_target_": "medseg.objectives.masked_autoencoder.MaskedAutoencoder"}
CELLS.append("unetr early autoencoder")


class Trained(nn.Module):
    """What Lightning wraps: the encoder and the objective's heads in one."""

    def __init__(self, encoding: nn.Module, objective: Any) -> None:
        super().__init__()
        self.encoding, self.objective = encoding, objective

    def forward(self, batch: Batch) -> Tensor:
        loss: Tensor = self.objective.step(self.encoding, {"unlabelled": batch}, Progress(0, 1, 0))["loss"]
        return loss


def make(cell: str) -> Trained:
    network, fusion, objective = cell.split()
    torch.manual_seed(0)
    encoding = assemble_encoding(NETWORKS[network], FUSIONS[fusion], PLAN, LABELS)
    loss = targets.build({"_target_": "medseg.losses.dice_ce.DiceCE"}, "loss", LABELS)
    built = targets.build(OBJECTIVES[objective], "objective", loss)
    built.attach(encoding)
    return Trained(encoding, built)


def batch_of(rank: int, step: int) -> Batch:
    generator = torch.Generator().manual_seed(10 * step + rank)
    image = torch.randn(BATCH, M, 16, 16, generator=generator)
    present = torch.ones(BATCH, M, dtype=torch.bool)
    present[0, rank] = False
    image[0, rank] = 0
    return Batch(image, None, present, torch.zeros(BATCH, 2), ["case"] * BATCH)


def joined(batches: list[Batch]) -> Batch:
    first = batches[0]
    return replace(
        first,
        image=torch.cat([b.image for b in batches]),
        present=torch.cat([b.present for b in batches]),
        index=torch.cat([b.index for b in batches]),
        case=[case for b in batches for case in b.case],
    )


def projections(model: Trained, batch: Batch) -> tuple[Tensor, Tensor]:
    """Of a patch and of its mirror image: looks that draw nothing, so that one process sees the same."""
    from medseg.objectives.simclr import pool

    rows = [
        model.objective.head(pool(model.encoding(image, batch.present)[-1]))
        for image in (batch.image, batch.image.flip(2))
    ]
    return rows[0], rows[1]


class Contrast(nn.Module):
    """The contrast alone, as the objective computes it."""

    def __init__(self, model: Trained, gather: bool) -> None:
        super().__init__()
        self.model, self.gather = model, gather

    def forward(self, batch: Batch) -> Tensor:
        left, right = projections(self.model, batch)
        if self.gather:
            left, right = gather_rows(torch.cat([left, right], 1)).chunk(2, dim=1)
        return nt_xent(left, right, 0.2)[0]


def contrast_of_one_process(rank: int) -> dict[str, Any]:
    """The value, and the parameters whose gradient is not that of one process with both batches."""
    alone = Contrast(make("unet early simclr"), gather=False)
    parallel = nn.parallel.DistributedDataParallel(Contrast(copy.deepcopy(alone.model), gather=True))
    batches = [batch_of(r, 0) for r in range(WORLD)]
    values = []
    for model, batch in ((parallel, batches[rank]), (alone, joined(batches))):
        value = model(batch)
        value.backward()
        values.append(float(value.detach()))
    pairs = zip(parallel.module.named_parameters(), alone.parameters(), strict=True)
    wrong = [
        name for (name, mine), his in pairs if not torch.allclose(mine.grad, his.grad, rtol=1e-3, atol=1e-6)
    ]
    largest = max(float(p.grad.abs().max()) for p in alone.parameters())
    return {"values": values, "wrong": wrong, "largest": largest}


def steps(cell: str, rank: int) -> dict[str, Any]:
    """Three steps of what is really trained: what one leaves unfinished, the next complains of."""
    model = make(cell)
    parallel = nn.parallel.DistributedDataParallel(model, find_unused_parameters=False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.01)
    losses = []
    for step in range(3):
        torch.manual_seed(100 * step + rank)
        loss = parallel(batch_of(rank, step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    return {"losses": losses, "weights": float(weights.double().sum()), "missing": missing}


def work(rank: int, folder: Path) -> None:
    """One of the two processes."""
    torch.set_num_threads(1)
    patience = datetime.timedelta(seconds=SECONDS // 2)
    store = torch.distributed.FileStore(str(folder / "store"), WORLD)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=WORLD, timeout=patience)
    found = {"contrast": contrast_of_one_process(rank), "cells": {cell: steps(cell, rank) for cell in CELLS}}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(both_ranks: Callable[[str], list[Any]]) -> list[dict[str, Any]]:
    return both_ranks(__file__)


def test_nt_xent_over_two_ranks_is_that_of_one_process(found: list[dict[str, Any]]) -> None:
    for rank in found:
        mine, alone = rank["contrast"]["values"]
        assert mine == pytest.approx(alone, rel=1e-5)
        assert rank["contrast"]["wrong"] == []
        assert rank["contrast"]["largest"] > 1e-3, "there is a gradient to compare"


@pytest.mark.parametrize("cell", CELLS)
def test_every_objective_steps_in_two_processes(cell: str, found: list[dict[str, Any]]) -> None:
    first, second = (rank["cells"][cell] for rank in found)
    assert first["missing"] == second["missing"] == []
    assert first["weights"] == second["weights"], "both have the same weights afterwards"
    if cell.endswith("simclr"):
        assert first["losses"] == pytest.approx(second["losses"], rel=1e-5), "both see all rows"


if __name__ == "__main__":
    work(int(sys.argv[1]), Path(sys.argv[2]))
