"""Cases, cohorts and their reading, small and on the public sets."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medseg.contracts import Labels
from medseg.data.cohort import Case, Cohort, read_label, read_modality, read_raters
from medseg.data.settings import DataSettings
from medseg.data.source import open_cohort
from medseg.errors import UserError

LABELS = Labels(("a", "b"), ((1,), (3,)))
AFFINE = np.array([[0, -2.0, 0, 7], [1.5, 0, 0, 8], [0, 0, 3, 9], [0, 0, 0, 1]])


def volume(path: Path, array: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(array, AFFINE), path)
    return path


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    rng = np.random.Generator(np.random.Philox(3))
    label = rng.choice([0, 1, 3], size=(4, 5, 6)).astype(np.float32)
    image = rng.normal(size=(4, 5, 6, 2)).astype(np.float32)
    path = volume(tmp_path / "i.nii.gz", image)
    cases = (
        Case(
            "A",
            "P",
            {"x": path, "y": path},
            volume(tmp_path / "l.nii.gz", label),
            components={"x": 0, "y": 1},
        ),
        Case("B", "P", {"y": path}, components={"y": 1}),
    )
    return Cohort("set", cases, ("x", "y"), LABELS, tmp_path, 3)


def test_reading(cohort: Cohort) -> None:
    case = cohort.case("A")
    image, label = np.asarray(nib.load(case.images["x"]).dataobj), nib.load(str(case.label)).get_fdata()
    for k, modality in enumerate("xy"):
        np.testing.assert_array_equal(read_modality(case, modality).array, image[..., k])
    read = read_label(case, cohort.labels)
    assert read is not None
    assert read.array.dtype == np.uint8
    np.testing.assert_array_equal(read.array, np.select([label == 1, label == 3], [1, 2]))
    np.testing.assert_array_equal(read.affine, AFFINE)
    assert read_label(cohort.case("B"), cohort.labels) is None
    with pytest.raises(UserError, match="no modality 'x'; it has y"):
        read_modality(cohort.case("B"), "x")
    with pytest.raises(UserError, match="no case 'Z'"):
        cohort.case("Z")
    with pytest.raises(UserError, match="not declared"):
        read_label(case, Labels(("a",), ((1,),)))


def test_hidden_labels_cannot_be_read(cohort: Cohort) -> None:
    hidden = cohort.without_labels(["A"])
    assert read_label(hidden.case("A"), hidden.labels) is None
    assert not hidden.case("A").labelled
    assert hidden.subject(hidden.case("A")).get_images_names() == ["x", "y"]
    assert cohort.case("A").labelled  # the first is as it was
    assert len(hidden.case("A").files) == 1
    assert len(cohort.case("A").files) == 2


def test_subject_is_lazy_picklable_and_complete(cohort: Cohort) -> None:
    case = cohort.case("A")
    subject = pickle.loads(pickle.dumps(cohort.subject(case)))
    assert not any(image._loaded for image in subject.get_images(intensity_only=False))
    assert subject["case"] == "A"
    assert subject["x"].data.shape == (1, 4, 5, 6)
    np.testing.assert_array_equal(subject["y"].data[0], read_modality(case, "y").array)
    np.testing.assert_array_equal(subject["y"].affine, AFFINE)
    read = read_label(case, cohort.labels)
    assert read is not None
    np.testing.assert_array_equal(subject["label"].data[0], read.array)
    assert cohort.subject(cohort.case("B")).get_images_names() == ["y"]


def rater_files(tmp_path: Path, arrays: list[Any]) -> dict[str, Path]:
    files = {}
    for k, array in enumerate(arrays):
        Image.fromarray(np.array(array, np.uint8)).save(tmp_path / f"r{k}.png")
        files[str(k)] = tmp_path / f"r{k}.png"
    return files


def test_raters_give_the_reference(tmp_path: Path) -> None:
    labels = Labels(("nodule",), ((255,),))
    files = rater_files(
        tmp_path, [[[255, 255, 0, 0]], [[255, 255, 255, 0]], [[255, 0, 0, 0]], [[255, 0, 0, 0]]]
    )
    case = Case("A", "A", {}, raters=files)
    read = read_label(case, labels)
    assert read is not None
    np.testing.assert_array_equal(read.array[:, 0, 0], [1, 1, 0, 0])  # two of four suffice
    assert [opinion.array.sum() for opinion in read_raters(case, labels).values()] == [2, 3, 1, 1]
    files |= {"odd": rater_files(tmp_path / "..", [[[255, 0]]])["0"]}
    with pytest.raises(UserError, match="one grid"):
        read_label(Case("A", "A", {}, raters=files), labels)


def test_raters_of_other_places_are_not_mixed(tmp_path: Path) -> None:
    opinion, elsewhere = np.ones((4, 5, 6), np.uint8), AFFINE.copy()
    elsewhere[0, 3] += 4
    files = {"one": volume(tmp_path / "one.nii", opinion), "two": tmp_path / "two.nii"}
    nib.save(nib.Nifti1Image(opinion, elsewhere), files["two"])
    with pytest.raises(UserError, match=r"two\.nii: the voxels lie up to 4 mm elsewhere"):
        read_label(Case("A", "A", {}, raters=files), LABELS)


def test_colour_pictures_become_modalities_or_grey(tmp_path: Path) -> None:
    rng = np.random.Generator(np.random.Philox(3))
    for name in ("a", "b"):
        Image.fromarray(rng.integers(0, 255, (6, 7, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
        Image.fromarray((rng.random((6, 7)) > 0.5).astype(np.uint8) * 255).save(tmp_path / f"{name}_mask.png")
    root = str(tmp_path)
    coloured = open_cohort(DataSettings(root=root))
    assert coloured.modalities == ("red", "green", "blue")
    assert coloured.spatial_dims == 2
    assert coloured.labels == Labels(("foreground",), ((255,),))
    assert open_cohort(DataSettings(root=root, modalities=["green"])).modalities == ("green",)
    grey = open_cohort(DataSettings(root=root, modalities=["image"]))
    assert grey.modalities == ("image",)
    assert not grey.cases[0].components
    np.testing.assert_allclose(
        read_modality(grey.cases[0], "image").array,
        sum(
            weight * read_modality(coloured.cases[0], colour).array
            for colour, weight in (("red", 0.299), ("green", 0.587), ("blue", 0.114))
        ),
        atol=1e-3,
    )
    with pytest.raises(UserError, match="may name red, green, blue"):
        open_cohort(DataSettings(root=root, modalities=["infrared"]))


@pytest.mark.real
def test_real_hippocampus(shared_data: Path) -> None:
    cohort = open_cohort(DataSettings(root=str(shared_data / "hippocampus")))
    assert (len(cohort.cases), cohort.modalities, cohort.spatial_dims) == (200, ("MRI",), 3)
    assert cohort.labels == Labels(("Anterior", "Posterior"), ((1,), (2,)))
    kinds = set()
    for case in cohort.cases:
        image, label = read_modality(case, "MRI"), read_label(case, cohort.labels)
        assert label is not None
        assert label.array.shape == image.array.shape
        assert set(np.unique(label.array)) == {0, 1, 2}
        kinds.add(label.header.dtype)
        np.testing.assert_array_equal(image.affine, nib.load(case.images["MRI"]).affine)
    assert "float32" in kinds


@pytest.mark.real
def test_real_lgg_and_acdc(shared_data: Path) -> None:
    lgg = open_cohort(
        DataSettings(
            root=str(shared_data / "lgg"),
            patient_pattern=r"(TCGA_\w\w_\w+)_\d+$",
            centre_pattern=r"TCGA_(\w\w)_",
        )
    )
    assert (len(lgg.cases), lgg.modalities) == (20, ("T1", "FLAIR", "T1ce"))
    assert {case.centre for case in lgg.cases} == {"CS", "DU", "FG", "HT"}
    assert len({case.patient for case in lgg.cases}) == 20
    assert all(len(case.images) == 3 and case.labelled for case in lgg.cases)
    with pytest.raises(UserError, match=r"TCGA_DU_A5TR_19970726: data\.patient_pattern"):
        open_cohort(DataSettings(root=str(shared_data / "lgg"), patient_pattern=r"TCGA_\w\w_\d+"))
    acdc = open_cohort(DataSettings(root=str(shared_data / "acdc"), patient_pattern=r"(patient\d+)_frame"))
    assert (len(acdc.cases), len({case.patient for case in acdc.cases})) == (160, 80)
    label = read_label(acdc.cases[0], acdc.labels)
    assert label is not None
    assert set(np.unique(label.array)) <= {0, 1, 2, 3}


@pytest.mark.real
def test_real_pictures_with_raters(shared_data: Path) -> None:
    chase = open_cohort(
        DataSettings(
            root=str(shared_data / "chase_db1"),
            patterns={"fundus": "Image_*.jpg"},
            label_pattern="Image_*_1stHO.png",
            raters={"first": "Image_*_1stHO.png", "second": "Image_*_2ndHO.png"},
            labels={"vessel": 1},
            patient_pattern=r"^(\d+)",
        )
    )
    assert (len(chase.cases), len({case.patient for case in chase.cases})) == (20, 10)
    assert chase.modalities == ("red", "green", "blue")
    first, second = (opinion.array for opinion in read_raters(chase.cases[0], chase.labels).values())
    assert 0.6 < 2 * (first & second).sum() / (first.sum() + second.sum()) < 0.95
    lidc = open_cohort(DataSettings(root=str(shared_data / "lidc_raters")))
    assert (len(lidc.cases), lidc.modalities, lidc.spatial_dims) == (240, ("image",), 2)
    assert lidc.labels == Labels(("foreground",), ((255,),))
    case = lidc.cases[0]
    opinions = np.stack([opinion.array for opinion in read_raters(case, lidc.labels).values()])
    read = read_label(case, lidc.labels)
    assert read is not None
    np.testing.assert_array_equal(read.array, opinions.sum(axis=0) >= 2)
    second_rater = open_cohort(DataSettings(root=str(shared_data / "lidc_raters"), reference="2"))
    assert second_rater.cases[0].label == case.raters["2"]


@pytest.mark.real
def test_real_files_of_other_programs(shared_data: Path, tmp_path: Path) -> None:
    from medseg.data.formats import label_suffix, read_volume, write_like

    folder = shared_data / "interop"
    series = read_volume(folder / "dcmqi" / "ct-3slice")
    liver = read_volume(folder / "dcmqi" / "liver_seg.nrrd")
    assert series.array.shape == liver.array.shape
    np.testing.assert_allclose(series.affine, liver.affine, atol=1e-4)
    assert series.array[liver.array > 0].mean() > 0  # Hounsfield units of a liver
    assert read_volume(folder / "rt-utils").array.shape == (512, 512, 2)  # its RTSTRUCT is no slice
    for name in ("slicerio/CTChest4.nrrd", "itksnap/MRIcrop-orig.gipl.gz", "dcmqi/ct-3slice"):
        target = tmp_path / f"label{label_suffix(folder / name)}"
        image = read_volume(folder / name)
        label = (image.array > np.median(image.array)).astype(np.uint8)
        write_like(label, folder / name, target)
        np.testing.assert_array_equal(read_volume(target).array, label)
        np.testing.assert_allclose(read_volume(target).affine, image.affine, atol=1e-4)
