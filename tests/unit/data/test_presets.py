"""Every preset binds to its settings; those whose sets are beside the checkout open them."""

from __future__ import annotations

import zipfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml
from PIL import Image

from medseg.data.cohort import Cohort, read_label, read_modality
from medseg.data.download import by_hand
from medseg.data.settings import DataSettings
from medseg.data.source import open_cohort
from medseg.data.source_settings import SourceSettings

FOLDER = Path(__file__).resolve().parents[3] / "conf" / "data"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
PUBLIC = [name for name in NAMES if name not in ("folder", "phantom")]
ASKED_FOR = ("hippocampus", "brats", "lits", "acdc", "lgg", "lidc", "chase_db1", "drive", "asoca", "imagecas")


def preset(name: str, **more: Any) -> DataSettings:
    values = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return DataSettings(**{**values, **more})


def test_the_public_sets_are_there() -> None:
    assert {*ASKED_FOR, "prostate", "phantom"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_has_no_problems(name: str) -> None:
    settings = preset(name)
    assert settings.problems() == []
    assert settings.name == name


@pytest.mark.parametrize("name", PUBLIC)
def test_a_preset_says_where_its_set_comes_from(name: str) -> None:
    source = SourceSettings.parse(preset(name).source or {})
    assert source.page
    assert source.page.startswith("http")
    assert source.licence
    assert source.cite
    assert source.instructions
    assert not source.trust
    assert source.checkable or source.url is None
    assert "FOLDER" in by_hand(name, source)


def test_the_decathlon_checksums_are_monais() -> None:
    # Read, not imported: importing MONAI takes seconds.
    text = Path(str(distribution("monai").locate_file("monai/apps/datasets.py"))).read_text(encoding="utf-8")
    for name in ("hippocampus", "prostate", "lits", "brats_msd"):
        source = SourceSettings.parse(preset(name).source or {})
        assert f'"{source.folder}": "{source.url}"' in text
        assert f'"{source.folder}": "{source.md5}"' in text


def opened(shared_data: Path, name: str, folder: str) -> Cohort:
    root = shared_data / folder
    if not root.is_dir():
        pytest.skip(f"no {root}")
    return open_cohort(preset(name, root=str(root)))


@pytest.mark.real
def test_hippocampus(shared_data: Path) -> None:
    cohort = opened(shared_data, "hippocampus", "hippocampus")
    assert len(cohort.cases) == 200
    assert cohort.labels.names == ("anterior", "posterior")
    label = read_label(cohort.cases[0], cohort.labels)
    assert label is not None
    assert set(np.unique(label.array)) == {0, 1, 2}


@pytest.mark.real
def test_lgg(shared_data: Path) -> None:
    cohort = opened(shared_data, "lgg", "lgg")
    assert len(cohort.cases) == 20
    assert cohort.modalities == ("T1", "FLAIR", "T1ce")
    assert {case.centre for case in cohort.cases} == {"CS", "DU", "FG", "HT"}
    assert cohort.cases[0].patient == "TCGA_CS_5395"


@pytest.mark.real
def test_acdc(shared_data: Path) -> None:
    cohort = opened(shared_data, "acdc", "acdc")
    assert len(cohort.cases) == 160
    assert len({case.patient for case in cohort.cases}) == 80
    assert cohort.case("patient002_frame02").patient == "patient002"
    assert cohort.labels.names == ("right_ventricle", "myocardium", "left_ventricle")


@pytest.mark.real
def test_chase_db1(shared_data: Path) -> None:
    cohort = opened(shared_data, "chase_db1", "chase_db1")
    assert len(cohort.cases) == 20
    assert cohort.spatial_dims == 2
    assert {case.patient for case in cohort.cases} == {f"{n:02d}" for n in range(1, 11)}
    case = cohort.case("Image_01L")
    assert list(case.raters) == ["first", "second"]
    assert case.label == case.raters["first"]
    label = read_label(case, cohort.labels)
    assert label is not None
    assert set(np.unique(label.array)) == {0, 1}


@pytest.mark.real
def test_lidc(shared_data: Path) -> None:
    cohort = opened(shared_data, "lidc", "lidc_raters")
    assert len(cohort.cases) == len({case.patient for case in cohort.cases}) == 240
    case = cohort.cases[0]
    assert case.label is None
    assert len(case.raters) == 4
    label = read_label(case, cohort.labels)
    assert label is not None
    assert set(np.unique(label.array)) == {0, 1}


def _nifti(path: Path, value: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros((6, 5, 4), np.uint8)
    array[2:4, 2:4, 1:3] = value
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)


def _picture(path: Path, mode: str, value: int = 255) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros((8, 9, 3) if mode == "RGB" else (8, 9), np.uint8)
    array[2:5, 3:6] = value if mode == "L" else (200, 20, 90)
    Image.fromarray(array).save(path)


def test_brats_reads_the_challenges_folders(tmp_path: Path) -> None:
    for case, ending in (("BraTS2021_00000", ".nii.gz"), ("BraTS20_Training_001", ".nii")):
        for part in ("t1", "t1ce", "t2", "flair", "seg"):
            _nifti(tmp_path / case / f"{case}_{part}{ending}", 4)
    cohort = open_cohort(preset("brats", root=str(tmp_path)))
    assert [case.id for case in cohort.cases] == ["BraTS2021_00000", "BraTS20_Training_001"]
    assert all(list(case.images) == ["t1", "t1ce", "t2", "flair"] for case in cohort.cases)
    assert cohort.labels.overlapping
    assert cohort.labels.painted == (2, 1, 4)


def test_acdc_frames_reads_the_challenges_folders(tmp_path: Path) -> None:
    for frame in ("frame01", "frame12"):
        _nifti(tmp_path / "patient001" / f"patient001_{frame}.nii.gz")
        _nifti(tmp_path / "patient001" / f"patient001_{frame}_gt.nii.gz")
    _nifti(tmp_path / "patient001" / "patient001_4d.nii.gz")
    cohort = open_cohort(preset("acdc_frames", root=str(tmp_path)))
    assert [case.id for case in cohort.cases] == ["patient001_frame01", "patient001_frame12"]
    assert {case.patient for case in cohort.cases} == {"patient001"}
    assert all(case.label is not None for case in cohort.cases)


def test_lgg_slices_reads_kaggles_folders(tmp_path: Path) -> None:
    patient = "TCGA_CS_4941_19960909"
    for number in (1, 2):
        _picture(tmp_path / patient / f"{patient}_{number}.tif", "RGB")
        _picture(tmp_path / patient / f"{patient}_{number}_mask.tif", "L")
    cohort = open_cohort(preset("lgg_slices", root=str(tmp_path)))
    assert cohort.modalities == ("red", "green", "blue")
    assert [(case.id, case.patient, case.centre) for case in cohort.cases] == [
        (f"{patient}_1", "TCGA_CS_4941", "CS"),
        (f"{patient}_2", "TCGA_CS_4941", "CS"),
    ]
    assert read_modality(cohort.cases[0], "green").array.max() == 20


def test_drive_reads_the_challenges_folders(tmp_path: Path) -> None:
    _picture(tmp_path / "training/images/21_training.tif", "RGB")
    _picture(tmp_path / "training/1st_manual/21_manual1.gif", "L")
    _picture(tmp_path / "training/mask/21_training_mask.gif", "L")
    _picture(tmp_path / "test/images/01_test.tif", "RGB")
    _picture(tmp_path / "test/mask/01_test_mask.gif", "L")
    cohort = open_cohort(preset("drive", root=str(tmp_path)))
    assert [(case.id, case.labelled) for case in cohort.cases] == [("01", False), ("21", True)]
    label = read_label(cohort.case("21"), cohort.labels)
    assert label is not None
    assert label.array.sum() == 9


def test_asoca_reads_the_challenges_folders(tmp_path: Path) -> None:
    import SimpleITK as sitk

    for name in ("Normal", "Diseased"):
        for part in ("CTCA", "Annotations"):
            path = tmp_path / name / part / f"{name}_1.nrrd"
            path.parent.mkdir(parents=True)
            sitk.WriteImage(sitk.GetImageFromArray(np.ones((4, 5, 6), np.int16)), str(path))
    cohort = open_cohort(preset("asoca", root=str(tmp_path)))
    assert [case.id for case in cohort.cases] == ["Diseased_1", "Normal_1"]
    assert all(case.labelled for case in cohort.cases)


def test_imagecas_reads_kaggles_folders(tmp_path: Path) -> None:
    for part in ("img", "label"):
        _nifti(tmp_path / "1-200" / f"7.{part}.nii.gz")
    cohort = open_cohort(preset("imagecas", root=str(tmp_path)))
    assert [(case.id, case.labelled) for case in cohort.cases] == [("7", True)]


def test_a_downloaded_preset_opens(tmp_path: Path) -> None:
    """From an archive of the official layout to a cohort, through the preset's own settings."""
    from medseg.data.download import download

    archive = tmp_path / "CHASEDB1.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for name, mode in (
            ("Image_01L.jpg", "RGB"),
            ("Image_01L_1stHO.png", "L"),
            ("Image_01L_2ndHO.png", "L"),
        ):
            _picture(tmp_path / name, mode)
            target.write(tmp_path / name, name)
    settings = preset("chase_db1")
    source = {**(settings.source or {}), "url": archive.as_uri(), "md5": None, "trust": True}
    root = download(preset("chase_db1", source=source), tmp_path / "into")
    cohort = open_cohort(preset("chase_db1", root=str(root)))
    assert [case.id for case in cohort.cases] == ["Image_01L"]
