"""Two gloo processes train every fusion with every merge, find_unused_parameters off.

The first process has no case with modality 0, so with separate weights one encoder sees nothing there.
This file is also what each process runs: ``test_fusion_ddp.py RANK FOLDER``.
"""

from __future__ import annotations

import copy
import datetime
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medseg import targets
from medseg.contracts import Topology

WORLD, BATCH, M, K = 2, 2, 3, 3
UNET = {"_target_": "medseg.networks.unet.UNet"}
TOPOLOGY = Topology(2, (8, 8), ((1, 1), (2, 2), (2, 2)), ((3, 3),) * 3, (4, 6, 8))
MERGES = ("mean", "max", "concatenation", "gated", "attention", "cross_attention", "mean_variance")
OPINIONS = ("mean", "learned", "product", "vote")
COMBINATIONS: dict[str, dict[str, Any]] = {
    "early": {"_target_": "medseg.fusion.early.EarlyFusion"},
    **{
        f"mid-{merge}-{weights}": {
            "_target_": "medseg.fusion.mid.MidFusion", "merge": merge, "weights": weights
        }
        for merge in MERGES
        for weights in ("separate", "shared")
    },
    **{
        f"late-{merge}-{weights}": {
            "_target_": "medseg.fusion.late.LateFusion", "merge": merge, "weights": weights
        }
        for merge in OPINIONS
        for weights in ("separate", "shared")
    },
    **{
        f"agnostic-{merge}": {
            "_target_": "medseg.fusion.agnostic.AgnosticFusion", "merge": merge, "unknown_probability": 0.0
        }
        for merge in ("mean_variance", "mean", "max", "gated", "attention")
    },
    "agnostic-untold": {"_target_": "medseg.fusion.agnostic.AgnosticFusion", "told": False},
}  # fmt: skip
SECONDS = 600  # only a hang takes so long


def batch_of(rank: int, step: int) -> tuple[Tensor, Tensor]:
    """Image and presence; nobody in rank 0 has modality 0."""
    generator = torch.Generator().manual_seed(10 * step + rank)
    image = torch.randn(BATCH, M, *TOPOLOGY.patch_size, generator=generator)
    present = torch.ones(BATCH, M, dtype=torch.bool)
    present[:, 0] = rank > 0
    present[0, 1] = rank == 0
    return image, present


def loss_of(network: nn.Module, image: Tensor, present: Tensor) -> Tensor:
    """Of all levels, the mean over rows."""
    return torch.stack([level.square().mean() for level in network(image, present)]).sum()


def two_steps(name: str, rank: int) -> list[str]:
    """The parameters whose gradient is not the one that a single process finds on both batches."""
    torch.manual_seed(0)
    architecture = targets.build(UNET, "network", TOPOLOGY)
    network = targets.build(COMBINATIONS[name], "fusion", architecture, M, K, True)
    for weight in network.parameters():  # also those that start from zero
        weight.data += 0.05 * torch.randn(weight.shape)
    alone = copy.deepcopy(network)
    parallel = nn.parallel.DistributedDataParallel(network, find_unused_parameters=False)
    wrong = set()
    for step in range(2):  # what the first left unfinished, the second complains of
        batches = [batch_of(r, step) for r in range(WORLD)]
        for model, batch in ((parallel, batches[rank]), (alone, map(torch.cat, zip(*batches, strict=True)))):
            model.zero_grad()
            loss_of(model, *batch).backward()
        for (key, ours), theirs in zip(network.named_parameters(), alone.parameters(), strict=True):
            if not torch.allclose(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5):
                wrong.add(key)
            for weight in (ours, theirs):
                weight.data -= 0.01 * theirs.grad
    return sorted(wrong)


def work(rank: int, folder: Path) -> None:
    """One of the two processes."""
    torch.set_num_threads(1)
    patience = datetime.timedelta(seconds=SECONDS // 2)
    store = torch.distributed.FileStore(str(folder / "store"), WORLD)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=WORLD, timeout=patience)
    found = {name: two_steps(name, rank) for name in COMBINATIONS}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(both_ranks: Callable[[str], list[Any]]) -> list[dict[str, list[str]]]:
    return both_ranks(__file__)


@pytest.mark.parametrize("name", COMBINATIONS)
def test_two_processes_find_the_gradient_of_one(name: str, found: list[dict[str, list[str]]]) -> None:
    assert [rank[name] for rank in found] == [[]] * WORLD


if __name__ == "__main__":
    work(int(sys.argv[1]), Path(sys.argv[2]))
