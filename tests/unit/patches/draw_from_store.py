"""Draws patches from stored cases in a process of its own, and says what that took.

python draw_from_store.py FOLDER_OF_CASES SAMPLES HANDLES
"""

from __future__ import annotations

import json
import os
import resource
import sys
from dataclasses import replace
from pathlib import Path

import torch

from medseg.data.plan import Plan
from medseg.data.store import Store
from medseg.data.store_case import open_case
from medseg.patches.loader import PatchLoader
from medseg.patches.patch_queue import PatchQueue
from medseg.patches.settings import AugmentationSettings

PLAN = Plan(
    spatial_dims=3,
    modalities=("t1",),
    axes=(0, 1, 2),
    spacing=(1.0, 1.0, 1.0),
    patch_size=(32, 32, 32),
    batch_size=2,
    strides=((1, 1, 1), (2, 2, 2)),
    kernels=((3, 3, 3), (3, 3, 3)),
    widths=(4, 8),
    normalisation={"t1": {"method": "zscore", "nonzero": False, "lower": 0.0, "upper": 100.0}},
    in_plane_only=False,
    precision="32-true",
)


def status(name: str) -> int:
    """A number of /proc/self/status, in KiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def draw(folder: Path, samples: int) -> dict[str, int]:
    """Draws so many patches at least, and one of each case."""
    cases = {}
    for place in sorted(folder.iterdir()):
        case = open_case(place, json.loads((place / "meta.json").read_text(encoding="utf-8"))["key"])
        assert case is not None, f"{place} is not whole"
        cases[case.id] = case
    # Turned, scaled and bent every time, without the intensities' arrays that depend on what was drawn.
    always = replace(
        AugmentationSettings.off(), rotation_probability=1.0, scaling_probability=1.0, elastic_probability=1.0
    )
    queue = PatchQueue(Store(folder, "key", PLAN.modalities, cases), tuple(cases), PLAN, always, 0, True)
    steps = max(samples, len(cases)) // 2
    loader = PatchLoader({"labelled": queue}, {"labelled": 2}, steps, workers=2)
    drawn, anonymous, opened = set(), [], 0
    for step, batch in enumerate(loader):
        drawn |= set(batch["labelled"].case)
        if step % 5 == 0:
            anonymous.append(status("RssAnon"))
            opened = max(opened, len(os.listdir("/proc/self/fd")))
    loader.close()
    return {
        "cases": len(drawn),
        "handles": opened,
        "begun": anonymous[2],
        "ended": anonymous[-1],
        "most": max(anonymous),
    }


def main(words: list[str]) -> None:
    """Draws, and prints JSON."""
    samples, handles = int(words[0]), int(words[1])
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (handles, handles))
    print(json.dumps([draw(Path(folder), samples) for folder in words[2:]]))


if __name__ == "__main__":
    main(sys.argv[1:])
