"""A model that takes any modality is asked for one that it never saw; others refuse."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from medseg.contracts import Labels
from medseg.data.plan import Plan
from medseg.errors import UserError
from medseg.inference.assemble import assemble_network
from medseg.inference.bundle import save_bundle
from medseg.inference.predict import predict_folder
from medseg.inference.settings import InferenceSettings

LABELS = Labels(("thing",), ((1,),))
NETWORK = {"_target_": "medseg.networks.unet.UNet"}
SCHEME = {"method": "zscore", "lower": 0.5, "upper": 99.5, "nonzero": False}
PLAN = Plan(
    spatial_dims=3,
    modalities=("T1", "FLAIR"),
    axes=(0, 1, 2),
    spacing=(1.0, 1.0, 1.0),
    patch_size=(16, 16, 16),
    batch_size=1,
    strides=((1, 1, 1), (2, 2, 2)),
    kernels=((3, 3, 3), (3, 3, 3)),
    widths=(4, 8),
    normalisation={"T1": SCHEME, "FLAIR": SCHEME},
    in_plane_only=False,
    precision="32-true",
)


def bundle(folder: Path, fusion: str) -> Path:
    spec = {"_target_": f"medseg.fusion.{fusion}"}
    torch.manual_seed(0)
    network = assemble_network(NETWORK, spec, PLAN, LABELS)
    save_bundle(folder, network, NETWORK, spec, PLAN, LABELS, "toy", {}, patients=set(), flip_axes=())
    return folder


def scans(folder: Path, *names: str) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in names:
        image = nib.nifti1.Nifti1Image(rng.normal(size=(18, 17, 16)).astype(np.float32), np.eye(4))
        nib.save(image, folder / f"case_{name}.nii.gz")  # type: ignore[attr-defined]
    return folder


def test_an_agnostic_model_takes_a_sequence_it_never_saw(tmp_path: Path) -> None:
    model = bundle(tmp_path / "model", "agnostic.AgnosticFusion")
    settings = InferenceSettings(flips=False)
    only = predict_folder([model], scans(tmp_path / "t2", "T2"), tmp_path / "out", settings, unseen=["T2"])
    assert list(only) == ["case"]
    found = nib.load(only["case"])  # type: ignore[attr-defined]
    assert found.shape == (18, 17, 16)
    both = predict_folder(
        [model], scans(tmp_path / "two", "T2", "T1"), tmp_path / "out2", settings, unseen=["T2"]
    )
    assert list(both) == ["case"]


def test_other_models_refuse_it(tmp_path: Path) -> None:
    model = bundle(tmp_path / "model", "early.EarlyFusion")
    with pytest.raises(UserError, match="fusion=agnostic"):
        predict_folder(
            [model], scans(tmp_path / "t2", "T2"), tmp_path / "out", InferenceSettings(), unseen=["T2"]
        )


def test_a_modality_of_the_model_is_not_unseen(tmp_path: Path) -> None:
    model = bundle(tmp_path / "model", "agnostic.AgnosticFusion")
    with pytest.raises(UserError, match="leave it out of unseen"):
        predict_folder(
            [model], scans(tmp_path / "in", "T1"), tmp_path / "out", InferenceSettings(), unseen=["T1"]
        )
