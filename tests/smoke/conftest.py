"""A cohort small enough to train on in seconds, as files in the nnU-Net v2 layout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

SHAPE = (20, 18, 16)


def write_case(root: Path, number: int, labelled: bool = True) -> None:
    """A bright ball, a dim one and noise."""
    rng = np.random.default_rng(number)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1)
    label = np.zeros(SHAPE, np.uint8)
    for value, radius in ((1, 5.0), (2, 3.0)):
        centre = rng.uniform(0.35, 0.65, 3) * SHAPE
        label[np.linalg.norm(grid - centre, axis=-1) < radius] = value
    image = 100 + 60.0 * (label == 1) + 120.0 * (label == 2) + rng.normal(0, 15, SHAPE)
    affine = np.diag([1.0, 1.1, 1.4, 1.0])
    name = f"case_{number:02d}"
    nib.save(nib.Nifti1Image(image.astype(np.float32), affine), root / "imagesTr" / f"{name}_0000.nii.gz")
    if labelled:
        nib.save(nib.Nifti1Image(label, affine), root / "labelsTr" / f"{name}.nii.gz")


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """A training sets the number of threads for its whole process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def balls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve labelled cases of twelve patients."""
    root = tmp_path_factory.mktemp("cohort") / "balls"
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for number in range(12):
        write_case(root, number)
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "large": 1, "small": 2},
        "numTraining": 12,
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(description))
    return root


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests of the session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def words(balls: Path, cache: Path, tmp_path: Path) -> list[str]:
    """What every training here says on the command line."""
    return [
        "train", "data=folder", f"data.root={balls}", f"data.cache={cache}",
        f"runs={tmp_path / 'runs'}", "name=balls",
        "tracking=local", "training.minutes=null", "training.steps=6", "training.epoch_steps=2",
        "training.volume_validations=2", "training.volume_cases=2", "training.validation_patches=4",
        "plan.patch_size=[16,16,16]", "plan.batch_size=2", "plan.width=4", "inference.flips=false",
    ]  # fmt: skip
