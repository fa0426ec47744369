"""Predictions of files come back on the grid of the files, whatever that grid is.

The model is an identity: it turns intensities that are label codes into one-hot logits. So where nothing
is resampled the prediction must be the image, voxel for voxel, and every slip of an axis shows.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.contracts import Labels
from medseg.data.cohort import Case, read_modality
from medseg.data.formats import read_volume, write_volume
from medseg.data.geometry import restore_codes
from medseg.data.plan import Plan
from medseg.data.preprocess import preprocess_case
from medseg.inference.bundle import Bundle, save_bundle
from medseg.inference.predict import predict_folder
from medseg.inference.settings import InferenceSettings
from medseg.targets import build

LABELS = Labels(("organ", "lesion"), ((1,), (2,)))
EARLY = {"_target_": "medseg.fusion.early.EarlyFusion"}
IDENTITY = {"_target_": "identity_part.Identity"}
SETTINGS = InferenceSettings(flips=False, device="cpu")
SPACING = (0.8, 1.1, 2.5)
SHAPE = (13, 14, 9)
PART = """
import torch


class OneHot(torch.nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.register_buffer("gain", torch.tensor(50.0))
        self.channels = channels

    def forward(self, image):
        codes = image.round()
        return (torch.cat([(codes == k) * self.gain for k in range(self.channels)], dim=1),)


class Identity:
    MODULAR = False
    DIMS = (2, 3)

    def __init__(self, topology):
        self.topology = topology

    def whole(self, in_channels, out_channels, deep_supervision):
        return OneHot(out_channels)
"""


@pytest.fixture
def model(tmp_path, monkeypatch):
    """Makes the bundle of an identity; its part is a package of the user's, admitted by name."""
    (tmp_path / "identity_part.py").write_text(PART)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MEDSEG_ALLOW", "identity_part")

    def make(spacing=SPACING, axes=(0, 1, 2), patch_size=(8, 8, 8)) -> Path:
        dims = len(patch_size)
        plan = Plan(
            spatial_dims=dims,
            modalities=("MRI",),
            axes=axes,
            spacing=tuple(spacing[axis] for axis in axes),
            patch_size=patch_size,
            batch_size=4,
            strides=((1,) * dims,),
            kernels=((1,) * dims,),
            widths=(1,),
            normalisation={"MRI": {"method": "none"}},
            in_plane_only=False,
            precision="32-true",
        )
        network = build(EARLY, "fusion", build(IDENTITY, "network", plan.topology), 1, 3, False)
        folder = tmp_path / f"model-{len(list(tmp_path.glob('model-*')))}"
        return save_bundle(folder, network, IDENTITY, EARLY, plan, LABELS, "none", {}, patients=[])

    return make


def blobs(shape=SHAPE) -> np.ndarray:
    """Codes without any symmetry, away from some of the borders."""
    grid = np.stack(np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij"))
    codes = np.zeros(shape, np.uint8)
    codes[np.square(grid - np.reshape((0.45, 0.5, 0.6), (3, 1, 1, 1))).sum(0) < 0.12] = 1
    codes[np.square(grid - np.reshape((0.3, 0.6, 0.7), (3, 1, 1, 1))).sum(0) < 0.02] = 2
    codes[1, 2, 3] = 2
    return codes


def oblique(spacing=SPACING) -> np.ndarray:
    """Axes turned by 20 and 35 degrees, of unequal voxels, off the origin."""
    a, b = np.deg2rad([20, 35])
    first = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    second = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = first @ second @ np.diag(spacing)
    affine[:3, 3] = (-31.5, 12.25, 70.0)
    return affine


def every_orientation():
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            yield np.stack([axes, signs], axis=1)


def write_nifti(path: Path, codes: np.ndarray, affine: np.ndarray, qform: int, sform: int) -> None:
    image = nib.Nifti1Image(codes.astype(np.int16), affine)
    image.set_qform(affine, code=qform)
    image.set_sform(affine, code=sform)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)


def assert_same_grid(prediction: Path, scan: Path) -> None:
    found, expected = nib.load(prediction), nib.load(scan)
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found.affine, expected.affine)
    assert found.header.get_zooms() == expected.header.get_zooms()
    assert nib.aff2axcodes(found.affine) == nib.aff2axcodes(expected.affine)
    for form in ("qform", "sform"):
        (ours, code), (theirs, wanted) = (
            getattr(image.header, f"get_{form}")(coded=True) for image in (found, expected)
        )
        assert code == wanted
        np.testing.assert_array_equal(
            np.nan_to_num(np.asarray(ours, float)), np.nan_to_num(np.asarray(theirs, float))
        )
    assert found.get_data_dtype() == np.uint8


@pytest.mark.parametrize("affine", [np.diag([*SPACING, 1.0]), oblique()], ids=["straight", "oblique"])
@pytest.mark.parametrize(
    ("axes", "patch_size"), [((0, 1, 2), (8, 8, 8)), ((1, 2, 0), (8, 4, 8)), ((0, 2, 1), (8, 8))]
)
def test_the_identity_holds_in_all_48_orientations(model, tmp_path, affine, axes, patch_size):
    codes = blobs()
    for n, turn in enumerate(every_orientation()):
        turned = nib.orientations.apply_orientation(codes, turn)
        placed = affine @ nib.orientations.inv_ornt_aff(turn, SHAPE)
        qform, sform = ((1, 2), (2, 1), (1, 1), (4, 3))[n % 4]
        write_nifti(tmp_path / "in" / f"case{n:02d}.nii.gz", turned, placed, qform, sform)

    written = predict_folder(
        [model(axes=axes, patch_size=patch_size)], tmp_path / "in", tmp_path / "out", SETTINGS
    )

    assert len(written) == 48
    for case, path in written.items():
        scan = tmp_path / "in" / f"{case}.nii.gz"
        assert_same_grid(path, scan)
        np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj), np.asarray(nib.load(scan).dataobj))


@pytest.mark.parametrize(("qform", "sform"), [(0, 0), (1, 0), (0, 1), (0, 4)])
def test_headers_with_one_form_or_none_keep_it(model, tmp_path, qform, sform):
    scan = tmp_path / "in" / "scan.nii"
    write_nifti(scan, blobs(), np.diag([*SPACING, 1.0]), qform, sform)
    written = predict_folder([model()], scan, tmp_path / "out", SETTINGS)
    assert_same_grid(written["scan"], scan)
    np.testing.assert_array_equal(np.asarray(nib.load(written["scan"]).dataobj), blobs())


@pytest.mark.parametrize("ending", [".nii", ".nrrd", ".mha", ".gipl"])
def test_the_file_type_comes_back(model, tmp_path, ending):
    affine = np.diag([-0.8, -1.1, 2.5, 1.0])
    affine[:3, 3] = (10, -20, 5.5)
    scan = tmp_path / f"scan{ending}"
    write_volume(blobs(), affine, scan)
    written = predict_folder([model()], scan, tmp_path / "out", SETTINGS)["scan"]
    assert written.name == f"scan{ending}"
    found, expected = read_volume(written), read_volume(scan)
    np.testing.assert_array_equal(found.array, blobs())
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-6)
    assert found.header.spacing == pytest.approx(expected.header.spacing)


def test_pictures(model, tmp_path):
    picture = blobs((40, 30, 9))[:, :, 5:6]
    scan = tmp_path / "slide.png"
    write_volume(picture, np.eye(4), scan)
    written = predict_folder([model((1.0, 1.0, 1.0), patch_size=(16, 16))], scan, tmp_path / "out", SETTINGS)
    assert written["slide"].suffix == ".png"
    np.testing.assert_array_equal(read_volume(written["slide"]).array, picture)


@pytest.mark.parametrize("patch_size", [(8, 8, 8), (8, 8)])
def test_where_the_grid_is_resampled(model, tmp_path, patch_size):
    """Equal to the whole-volume way back, and close to what went in."""
    scan = tmp_path / "scan.nii.gz"
    codes = np.repeat(np.repeat(np.repeat(blobs(), 2, 0), 2, 1), 2, 2)
    write_nifti(scan, codes, oblique(), 1, 1)
    bundle = model((0.9, 1.0, 2.0), axes=(2, 0, 1), patch_size=patch_size)
    written = predict_folder([bundle], scan, tmp_path / "out", SETTINGS)["scan"]
    assert_same_grid(written, scan)
    found = np.asarray(nib.load(written).dataobj)

    plan = Bundle.load(bundle).plan
    case = Case("scan", "scan", {"MRI": scan})
    prepared = preprocess_case({"MRI": read_modality(case, "MRI")}, None, plan, LABELS)
    assert prepared.geometry.shape != prepared.geometry.cropped_shape
    stored = np.rint(prepared.image[0])
    stored[(stored < 0) | (stored > 2)] = 255
    naive = restore_codes(np.where(stored == 255, 3, stored).astype(np.uint8), prepared.geometry)
    known = naive != 3
    np.testing.assert_array_equal(found[known], naive[known])
    for code in (1, 2):
        dice = 2 * np.sum((found == code) & (codes == code)) / (np.sum(found == code) + np.sum(codes == code))
        assert dice > 0.9
