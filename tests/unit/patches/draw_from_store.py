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

import numba
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


def main(words: list[str]) -> None:
    """Draws, and prints JSON."""
    folders, samples, handles = sorted(Path(words[0]).iterdir()), int(words[1]), int(words[2])
    torch.set_num_threads(1)
    # Turned, scaled and bent every time, without the intensities' arrays that depend on what was drawn.
    always = replace(
        AugmentationSettings.off(), rotation_probability=1.0, scaling_probability=1.0, elastic_probability=1.0
    )
    numba.get_num_threads()
    resource.setrlimit(resource.RLIMIT_NOFILE, (handles, handles))
    cases = {}
    for folder in folders:
        case = open_case(folder, json.loads((folder / "meta.json").read_text(encoding="utf-8"))["key"])
        assert case is not None, f"{folder} is not whole"
        cases[case.id] = case
    store = Store(Path(words[0]), "key", PLAN.modalities, cases)
    queue = PatchQueue(store, store.ids, PLAN, always, 0, True)
    loader = PatchLoader({"labelled": queue}, {"labelled": 2}, -(-samples // 2), workers=2)
    drawn, anonymous, resident, opened = set(), [], [], 0
    for step, batch in enumerate(loader):
        drawn |= set(batch["labelled"].case)
        if step % 5:
            continue
        anonymous.append(status("RssAnon"))
        resident.append(status("RssFile"))
        opened = max(opened, len(os.listdir("/proc/self/fd")))
    loader.close()
    found = {"cases": len(drawn), "anonymous": max(anonymous), "file": max(resident), "handles": opened}
    print(json.dumps(found | {"begun": anonymous[2], "ended": anonymous[-1]}))


if __name__ == "__main__":
    main(sys.argv[1:])
