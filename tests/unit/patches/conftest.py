"""A real store of small seeded cases, and plans for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg.contracts import Labels
from medseg.data.cohort import Case, Cohort
from medseg.data.plan import Plan
from medseg.data.store import Store, build_store
from medseg.patches.patch_queue import PatchQueue
from medseg.patches.settings import AugmentationSettings

from .plans import MODALITIES, PLANS, volume_plan

EVERYTHING = AugmentationSettings(
    **{name: 1.0 for name in vars(AugmentationSettings()) if name.endswith("_probability")}
)

SHAPES = [(30, 28, 26), (24, 34, 20), (33, 21, 29), (26, 26, 26), (18, 40, 22)]


def _write_case(folder: Path, number: int, shape: tuple[int, ...], missing: str | None) -> Case:
    rng = np.random.default_rng(number)
    affine = np.diag([1.0, 1.0, 1.5, 1.0])
    label = np.zeros(shape, np.uint8)
    corner = [int(rng.integers(2, n - 12)) for n in shape]
    big = tuple(slice(c, c + 9) for c in corner)
    small = tuple(slice(c + 3, c + 6) for c in corner)
    label[big], label[small] = 1, 2
    images = {}
    for modality in MODALITIES:
        if modality != missing:
            voxels = rng.standard_normal(shape).astype(np.float32) + 3 * label + 10
            images[modality] = folder / f"case{number}_{modality}.nii.gz"
            nib.save(nib.Nifti1Image(voxels, affine), images[modality])
    path = folder / f"case{number}_label.nii.gz"
    nib.save(nib.Nifti1Image(label, affine), path)
    return Case(f"case{number}", f"patient{number}", images, path)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("scans")
    cases = tuple(_write_case(folder, n, s, "t2" if n == 1 else None) for n, s in enumerate(SHAPES))
    labels = Labels(("big", "small"), ((1,), (2,)))
    cohort = Cohort("blocks", cases, MODALITIES, labels, folder, 3)
    return build_store(cohort, cases, volume_plan(), tmp_path_factory.mktemp("cache"), workers=1)


@pytest.fixture(params=PLANS)
def plan(request: pytest.FixtureRequest) -> Plan:
    return PLANS[request.param]


@pytest.fixture
def make_queue(store: Store) -> Callable[..., PatchQueue]:
    """A queue over all cases; the augmentation changes everything unless said otherwise."""

    def make(
        plan: Plan, augmentation: AugmentationSettings = EVERYTHING, seed: int = 7, **options: Any
    ) -> PatchQueue:
        labelled = options.pop("labelled", True)
        return PatchQueue(store, options.pop("ids", store.ids), plan, augmentation, seed, labelled, **options)

    return make
