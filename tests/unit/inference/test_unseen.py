"""A model that takes any modality is asked for one that it never saw; others refuse."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from medseg.contracts import Labels
from medseg.data.normalise import normalise
from medseg.data.plan import Plan
from medseg.errors import UserError
from medseg.inference.assemble import assemble_network
from medseg.inference.bundle import Bundle, save_bundle
from medseg.inference.predict import predict_folder
from medseg.inference.predictor import with_unseen
from medseg.inference.settings import InferenceSettings

FILM = "film.table"
LABELS = Labels(("thing",), ((1,),))
NETWORK = {"_target_": "medseg.networks.unet.UNet"}
SCHEME = {"method": "zscore", "lower": 0.5, "upper": 99.5, "nonzero": False}
PERCENTILE = {"method": "percentile", "lower": 1.0, "upper": 99.0, "nonzero": True}
CT = {"method": "ct", "lower": 0.0, "upper": 9.0, "mean": 4.0, "std": 2.0}
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
    for name, weight in network.named_parameters():
        if FILM in name:  # untrained it is zero: every modality would be treated alike
            torch.nn.init.normal_(weight, std=0.5)
    save_bundle(folder, network, NETWORK, spec, PLAN, LABELS, "toy", {}, patients=set(), flip_axes=())
    return folder


def scans(folder: Path, *names: str) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in names:
        image = nib.nifti1.Nifti1Image(rng.normal(size=(18, 18, 16)).astype(np.float32), np.eye(4))
        nib.save(image, folder / f"case_{name}.nii.gz")  # type: ignore[attr-defined]
    return folder


def prepared(path: Path, scheme: dict[str, Any]) -> torch.Tensor:
    """``(1, 1, 18, 18, 16)``, normalised."""
    array = np.asarray(nib.load(path).dataobj, dtype=np.float32)  # type: ignore[attr-defined]
    return torch.from_numpy(normalise(array, scheme))[None, None]


def test_an_agnostic_model_takes_a_sequence_it_never_saw(tmp_path: Path) -> None:
    """What is written is what the network says of the image when it is told *unknown*."""
    model = bundle(tmp_path / "model", "agnostic.AgnosticFusion")
    network: Any = Bundle.load(model).network()
    assert network.film.table.any()
    settings = InferenceSettings(flips=False, precision="32", device="cpu")
    folder = scans(tmp_path / "two", "T2", "T1")
    alone = tmp_path / "t2"
    alone.mkdir()
    shutil.copy(folder / "case_T2.nii.gz", alone)
    images = [prepared(folder / f"case_{name}.nii.gz", SCHEME) for name in ("T1", "T2")]
    unknown, trained = network.unknown, 0
    wrote = {}
    for name, inputs, given, ids in (
        ("only", alone, images[1:], [unknown]),
        ("both", folder, images, [trained, unknown]),
    ):
        out = predict_folder([model], inputs, tmp_path / name, settings, unseen=["T2"])
        wrote[name] = np.asarray(nib.load(out["case"]).dataobj)  # type: ignore[attr-defined]
        image = torch.cat(given, dim=1)  # a single window of 18 x 18 x 16 voxels holds it
        with torch.no_grad():
            logits = network(image, None, torch.tensor([ids]))[0][0]
            as_known = network(image, None, torch.tensor([[0 for _ in ids]]))[0][0]
        assert not torch.equal(logits, as_known), "the slot matters"
        expected = logits.argmax(0).numpy()
        assert 0.02 < expected.mean() < 0.98
        assert (wrote[name] == expected).mean() > 0.999
        assert (wrote[name] == as_known.argmax(0).numpy()).mean() < 0.999
    assert (wrote["only"] != wrote["both"]).any()


@pytest.mark.parametrize(
    ("trained", "expected"),
    [
        ([SCHEME, SCHEME], SCHEME),
        ([{"method": "none"}] * 2, {"method": "none"}),
        ([PERCENTILE, PERCENTILE], PERCENTILE),
        ([SCHEME, PERCENTILE], SCHEME | {"nonzero": True}),
        ([CT, CT], SCHEME),
    ],
)
def test_it_is_normalised_as_the_others_are(trained: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    plan = replace(PLAN, normalisation=dict(zip(PLAN.modalities, trained, strict=True)))
    found = with_unseen(plan, ["T2"])
    assert found.modalities == (*PLAN.modalities, "T2")
    assert found.normalisation == {**plan.normalisation, "T2": expected}


def test_an_unseen_modality_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unseen: T2 is named twice"):
        with_unseen(PLAN, ["T2", "PD", "T2"])


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
