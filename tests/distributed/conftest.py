"""A real store of the phantom for processes that share it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faults.conftest import forks  # noqa: F401
from medseg.data.plan import Plan
from medseg.data.settings import DataSettings
from medseg.data.source import open_cohort
from medseg.data.store import build_store
from smoke.conftest import balls, cache, words  # noqa: F401

MODALITIES = ("t1", "flair")
PLAN = Plan(
    spatial_dims=3,
    modalities=MODALITIES,
    axes=(0, 1, 2),
    spacing=(1.0, 1.0, 2.0),
    patch_size=(16, 16, 8),
    batch_size=2,
    strides=((1, 1, 1), (2, 2, 2)),
    kernels=((3, 3, 3), (3, 3, 3)),
    widths=(4, 8),
    normalisation={
        m: {"method": "zscore", "nonzero": False, "lower": 0.0, "upper": 100.0} for m in MODALITIES
    },
    in_plane_only=False,
    precision="32-true",
)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of a store of seven cases, and the file of its plan."""
    root = tmp_path_factory.mktemp("phantom")
    asked = {"cases": 7, "shape": [28, 28, 16], "repeats": 0, "unlabelled": 0, "empty": 1, "missing": 1}
    cohort = open_cohort(DataSettings(name="phantom", root=str(root), layout="phantom", phantom=asked))
    PLAN.save(root / "plan.yaml")
    return build_store(cohort, cohort.cases, PLAN, root / "cache").folder, root / "plan.yaml"


WORLD, SECONDS = 2, 600  # only a hang takes so long
Ranks = Callable[[str], list[Any]]


@pytest.fixture(scope="session")
def both_ranks(tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    """Runs ``FILE RANK FOLDER`` in a process per rank, and gives what each wrote to ``FOLDER/RANK.json``."""

    def run(file: str) -> list[Any]:
        folder = tmp_path_factory.mktemp("gloo")
        processes = [
            subprocess.Popen(
                [sys.executable, file, str(rank), str(folder)], stderr=subprocess.PIPE, text=True
            )
            for rank in range(WORLD)
        ]
        try:
            errors = [process.communicate(timeout=SECONDS)[1] for process in processes]
        finally:
            for process in processes:
                process.kill()
        codes = [process.returncode for process in processes]
        assert codes == [0] * WORLD, "\n".join(error[-2000:] for error in errors)
        return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(WORLD)]

    return run
