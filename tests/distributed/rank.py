"""One rank of a job: draws patches, writes what it got and the loader's state after each batch.

python rank.py STORE PLAN OUT RANK WORLD WORKERS BATCH_SIZE EPOCHS STEPS RENDEZVOUS [STATE]
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from medseg.data.plan import Plan
from medseg.data.store import Store
from medseg.patches.loader import PatchLoader
from medseg.patches.patch_queue import PatchQueue
from medseg.patches.settings import AugmentationSettings

# Everything, on every patch: nothing that could differ between processes stays unused.
ALWAYS = {f.name: 1.0 for f in fields(AugmentationSettings) if f.name.endswith("_probability")}


def print_of(batch: Any, place: int) -> str:
    """A hash of all that belongs to one sample."""
    found = hashlib.sha256(batch.image[place].numpy().tobytes())
    if batch.label is not None:
        found.update(batch.label[place].numpy().tobytes())
    found.update(batch.present[place].numpy().tobytes())
    found.update(batch.case[place].encode())
    return found.hexdigest()


def draw(loader: PatchLoader, epochs: int) -> list[dict[str, Any]]:
    """What every batch held, and where the loader stood afterwards."""
    found = []
    while loader.state_dict()["epoch"] < epochs:
        for batch in loader:
            samples = [
                [name, *part.index[k].tolist(), print_of(part, k)]
                for name, part in batch.items()
                for k in range(len(part.case))
            ]
            found.append({"samples": samples, "state": loader.state_dict()})
        dist.barrier()  # as validation and checkpoints are: the ranks end an epoch together
    return found


def main(words: list[str]) -> None:
    """Runs one rank."""
    store, plan, out = Store.open(Path(words[0])), Plan.load(Path(words[1])), Path(words[2])
    rank, world, workers, size, epochs, steps = (int(word) for word in words[3:9])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{words[9]}", rank=rank, world_size=world)
    augmentation = AugmentationSettings(**ALWAYS)
    queues = {
        "labelled": PatchQueue(store, store.ids, plan, augmentation, 11, True),
        "unlabelled": PatchQueue(store, store.ids[:3], plan, augmentation, 11, False),
    }
    sizes = {"labelled": size, "unlabelled": 2 * size}
    loader = PatchLoader(queues, sizes, steps, workers, dist.get_rank(), dist.get_world_size())
    if len(words) > 10:
        loader.load_state_dict(json.loads(words[10]))
    found = draw(loader, epochs)
    # Every rank tells all others, so that what they agree on is what they really drew.
    told: list[Any] = [None] * world
    dist.all_gather_object(told, found)
    out.write_text(json.dumps(told))
    dist.destroy_process_group()
    loader.close()


if __name__ == "__main__":
    main(sys.argv[1:])
