"""Two gloo processes train every objective, find_unused_parameters off, on other samples each.

This file is also what each process runs: ``test_objective_ddp.py RANK FOLDER``.
"""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from medseg import targets
from medseg.contracts import Batch, Labels, Progress, Topology

WORLD, STEPS, SECONDS = 2, 3, 600  # only a hang takes so long
LABELS = Labels(("a", "b"), ((1,), (2,)))
CONF = Path(__file__).parents[2] / "conf" / "objective"
TOPOLOGY = Topology(2, (8, 8), ((1, 1), (2, 2), (2, 2)), ((3, 3),) * 3, (4, 6, 8))


def learns_labels(file: Path) -> bool:
    """Whether it learns from labels, voxel by voxel."""
    found = targets.constants(yaml.safe_load(file.read_text())["_target_"])
    return "labelled" in found["STREAMS"] and not found.get("NEEDS_INSTANCES", False)


NAMES = sorted(file.stem for file in CONF.glob("*.yaml") if learns_labels(file))


class Both(nn.Module):
    """What Lightning wraps: network and objective in one module."""

    def __init__(self, network: nn.Module, objective: Any) -> None:
        super().__init__()
        self.network, self.objective = network, objective

    def forward(self, streams: dict[str, Batch], progress: Progress) -> Tensor:
        loss: Tensor = self.objective.step(self.network, streams, progress)["loss"]
        return loss


def batch_of(seed: int, labelled: bool) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        image=torch.randn(2, 2, 8, 8, generator=generator),
        label=torch.randint(0, 3, (2, 1, 8, 8), generator=generator).byte() if labelled else None,
        present=torch.ones(2, 2, dtype=torch.bool),
        index=torch.zeros(2, 2, dtype=torch.int64),
        case=["one", "two"],
    )


def weights_after(name: str, rank: int) -> float:
    """Something that is the same only where all weights are, the teacher's included."""
    torch.manual_seed(0)
    loss = targets.build({"_target_": "medseg.losses.dice_ce.DiceCE"}, "loss", LABELS)
    objective: Any = targets.build(yaml.safe_load((CONF / f"{name}.yaml").read_text()), "objective", loss)
    architecture = targets.build({"_target_": "medseg.networks.unet.UNet"}, "network", TOPOLOGY)
    fusion = {"_target_": "medseg.fusion.early.EarlyFusion"}
    network: Any = targets.build(fusion, "fusion", architecture, 2, 3, objective.deep_supervision)
    objective.attach(network)
    both = Both(network, objective)
    parallel = nn.parallel.DistributedDataParallel(both, find_unused_parameters=False)
    optimizer = torch.optim.SGD([p for p in both.parameters() if p.requires_grad], lr=0.05)
    for step in range(STEPS):  # what one step left unfinished, the next complains of
        torch.manual_seed(100 * step + rank)
        streams = {
            "labelled": batch_of(10 * step + rank, True),
            "unlabelled": batch_of(90 * step + rank, False),
        }
        optimizer.zero_grad()
        parallel(streams, Progress(step, STEPS, 0)).backward()
        missing = [key for key, p in both.named_parameters() if p.requires_grad and p.grad is None]
        assert not missing, missing
        optimizer.step()
        objective.after_step(network, Progress(step + 1, STEPS, 0))
    return float(sum(value.double().abs().sum() for value in both.state_dict().values()))


def work(rank: int, folder: Path) -> None:
    """One of the two processes."""
    torch.set_num_threads(1)
    patience = datetime.timedelta(seconds=SECONDS // 2)
    store = torch.distributed.FileStore(str(folder / "store"), WORLD)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=WORLD, timeout=patience)
    found = {name: weights_after(name, rank) for name in NAMES}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(both_ranks: Callable[[str], list[Any]]) -> list[dict[str, float]]:
    return both_ranks(__file__)


@pytest.mark.parametrize("name", NAMES)
def test_both_processes_come_to_the_same_weights(name: str, found: list[dict[str, float]]) -> None:
    assert found[0][name] == pytest.approx(found[1][name], rel=1e-9)


def test_there_is_something_to_train() -> None:
    assert {"supervised", "mean_teacher", "cross_pseudo_supervision", "unimatch", "copy_paste"} <= {*NAMES}


if __name__ == "__main__":
    work(int(sys.argv[1]), Path(sys.argv[2]))
