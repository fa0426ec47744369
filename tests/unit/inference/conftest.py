"""Bundles of untrained networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medseg.contracts import Labels
from medseg.data.plan import Plan
from medseg.inference.bundle import save_bundle

from .toys import EARLY, TWO_CLASSES, UNET, make_network, tiny_plan, write_scan


@pytest.fixture(autouse=True)
def _one_thread():
    """Tiny networks are slower on many threads, and far slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Writes the bundle of an untrained network; the seed tells bundles apart."""

    def make(
        name: str = "model",
        plan: Plan | None = None,
        labels: Labels = TWO_CLASSES,
        seed: int = 0,
        **more: Any,
    ) -> Path:
        plan = plan or tiny_plan()
        network = make_network(plan, labels, seed)
        more.setdefault("patients", ["p1", "p2"])
        return save_bundle(
            tmp_path / name, network, UNET, EARLY, plan, labels, "toy", {"fold": 0, "seed": seed}, **more
        )

    return make


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder of three cases of one modality."""
    for n in range(3):
        write_scan(tmp_path / "in" / f"case{n}.nii.gz", n)
    return tmp_path / "in"
