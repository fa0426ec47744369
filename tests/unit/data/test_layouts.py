"""Every layout is recognised from the folder alone, and said plainly where it is not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medseg.contracts import Labels
from medseg.data.cohort import Cohort, read_label, read_modality
from medseg.data.layouts import layouts
from medseg.data.layouts.pattern import template
from medseg.data.settings import DataSettings
from medseg.data.source import open_cohort
from medseg.errors import UserError


def scan(path: Path, value: float = 1, shape: tuple[int, ...] = (4, 5, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.full(shape, value, dtype=np.int16)
    array[0] = 0
    if len(shape) == 4:
        array += np.arange(shape[3], dtype=np.int16)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    return path


def scans(root: Path, names: str, value: int = 1) -> None:
    for name in names.split():
        scan(root / name, value)


def dataset_json(root: Path, **content: Any) -> None:
    (root / "dataset.json").write_text(json.dumps(content))


def opened(root: Path, **settings: Any) -> Cohort:
    return open_cohort(DataSettings(root=str(root), **settings))


def shown(cohort: Cohort) -> dict[str, tuple[str, ...]]:
    """Case id -> modality=file ..., label=file."""
    result = {}
    for case in cohort.cases:
        files: Mapping[str, Path | None] = {**case.images, "label": case.label}
        result[case.id] = tuple(f"{k}={v.relative_to(cohort.root).as_posix()}" for k, v in files.items() if v)
    return result


def test_decathlon_with_modalities_in_one_file(tmp_path: Path) -> None:
    for name in ("b", "a"):
        scan(tmp_path / f"imagesTr/{name}.nii.gz", 5, (4, 5, 6, 2))
        scan(tmp_path / f"labelsTr/{name}.nii.gz", 2)
    scan(tmp_path / "imagesTs/t.nii.gz", 5, (4, 5, 6, 2))
    dataset_json(
        tmp_path,
        name="Tumours",
        modality={"1": "T1w", "0": "FLAIR"},
        labels={"0": "background", "1": "edema", "2": "core"},
        training=[{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in ("b", "a")],
        test=["./imagesTs/t.nii.gz", "./imagesTs/never-downloaded.nii.gz"],
    )
    cohort = opened(tmp_path)
    assert cohort.name == "Tumours"
    assert [case.id for case in cohort.cases] == ["a", "b", "t"]
    assert cohort.modalities == ("FLAIR", "T1w")
    assert cohort.labels == Labels(("edema", "core"), ((1,), (2,)))
    assert [case.labelled for case in cohort.cases] == [True, True, False]
    for modality, value in (("FLAIR", 5), ("T1w", 6)):
        assert read_modality(cohort.case("a"), modality).array.max() == value
    label = read_label(cohort.case("a"), cohort.labels)
    assert label is not None
    assert label.array.max() == 2
    assert opened(tmp_path, modalities=["T1w"], unlabelled_ok=False).modalities == ("T1w",)
    assert len(opened(tmp_path, unlabelled_ok=False).cases) == 2
    assert opened(tmp_path, name="mine", ignore=7).labels.ignore == 7


def test_decathlon_without_a_training_list(tmp_path: Path) -> None:
    scans(
        tmp_path,
        "imagesTr/a.nii.gz imagesTr/b.nii.gz imagesTr/._a.nii.gz labelsTr/a.nii.gz imagesTs/c.nii.gz",
    )
    dataset_json(tmp_path, modality={"0": "CT"}, labels={"0": "background", "1": "liver"})
    assert shown(opened(tmp_path)) == {
        "a": ("CT=imagesTr/a.nii.gz", "label=labelsTr/a.nii.gz"),
        "b": ("CT=imagesTr/b.nii.gz",),
        "c": ("CT=imagesTs/c.nii.gz",),
    }


def test_nnunet_version_1(tmp_path: Path) -> None:
    scans(tmp_path, "imagesTr/a_0000.nii.gz imagesTr/a_0001.nii.gz labelsTr/a.nii.gz")
    entry = {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}
    dataset_json(
        tmp_path, modality={"0": "T1", "1": "T2"}, labels={"0": "background", "1": "x"}, training=[entry]
    )
    assert shown(opened(tmp_path)) == {
        "a": ("T1=imagesTr/a_0000.nii.gz", "T2=imagesTr/a_0001.nii.gz", "label=labelsTr/a.nii.gz")
    }


def test_nnunet_with_regions_ignore_and_a_missing_channel(tmp_path: Path) -> None:
    scans(tmp_path, "imagesTr/P_1_0000.nrrd.nii.gz")
    for name in (
        "imagesTr/P_1_0000",
        "imagesTr/P_1_0001",
        "imagesTr/P_2_0001",
        "imagesTs/P_3_0000",
        "labelsTr/P_1",
    ):
        scan(tmp_path / f"{name}.nii")
    dataset_json(
        tmp_path,
        channel_names={"0": "T1", "1": "FLAIR"},
        labels={"background": 0, "whole": [1, 2], "core": [2], "ignore": 3},
        regions_class_order=[1, 2],
        file_ending=".nii",
    )
    cohort = opened(tmp_path, patient_pattern=r"P_(\d)", centre_pattern="P")
    assert shown(cohort) == {
        "P_1": ("T1=imagesTr/P_1_0000.nii", "FLAIR=imagesTr/P_1_0001.nii", "label=labelsTr/P_1.nii"),
        "P_2": ("FLAIR=imagesTr/P_2_0001.nii",),
        "P_3": ("T1=imagesTs/P_3_0000.nii",),
    }
    assert cohort.labels == Labels(("whole", "core"), ((1, 2), (2,)), True, 3)
    assert [case.patient for case in cohort.cases] == ["1", "2", "3"]
    assert {case.centre for case in cohort.cases} == {"P"}


def test_nnunet_natural_pictures_and_listed_files(tmp_path: Path) -> None:
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "labelsTr").mkdir()
    Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3)).save(tmp_path / "imagesTr/a_0000.png")
    Image.fromarray(np.ones((4, 5), np.uint8)).save(tmp_path / "labelsTr/a.png")
    common: dict[str, Any] = {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "road": 1},
        "file_ending": ".png",
    }
    dataset_json(tmp_path, **common)
    cohort = opened(tmp_path)
    assert cohort.spatial_dims == 2
    assert [read_modality(cohort.cases[0], m).array[1, 0, 0] for m in "RGB"] == [3, 4, 5]
    listed = {"x": {"images": ["imagesTr/a_0000.png"], "label": "labelsTr/a.png"}}
    dataset_json(tmp_path, **common, dataset=listed)
    assert [case.id for case in opened(tmp_path).cases] == ["x"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "not readable JSON"),
        ("[1]", "not a JSON object"),
        ('{"channel_names": {"0": "a", "2": "b"}}', "number the channels"),
        ('{"modality": {"a": "b"}}', "number the modalities"),
        ('{"training": "all"}', "make it a JSON list"),
        ('{"training": [3]}', "give an image and a label"),
        ('{"modality": {"0": "CT"}, "labels": {"x": "liver"}}', "give integers"),
        ('{"channel_names": {"0": "CT"}}', "no case was found"),
    ],
)
def test_a_dataset_json_that_makes_no_sense(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(UserError, match=message) as error:
        opened(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_table(tmp_path: Path) -> None:
    scans(tmp_path, "x/a1.nii.gz x/a2.nii.gz x/al.nii.gz b1.nii.gz r1.nii.gz r2.nii.gz")
    (tmp_path / "cases.csv").write_text(
        "\ufeffid;patient;centre;fold;t1;t2;label;rater_jo;label_al;age\n"
        "007;P7;Rome;0;x/a1.nii.gz;x/a2.nii.gz;x/al.nii.gz;;;61\n"
        "008;P7;;;b1.nii.gz;;;r1.nii.gz;r2.nii.gz;62\n"
        "009;P9;Oslo;1;gone.nii.gz;;;;;\n",
        encoding="utf-8",
    )
    cohort = opened(tmp_path)
    assert cohort.modalities == ("t1", "t2")
    assert shown(cohort) == {
        "007": ("t1=x/a1.nii.gz", "t2=x/a2.nii.gz", "label=x/al.nii.gz"),
        "008": ("t1=b1.nii.gz",),
        "009": ("t1=gone.nii.gz",),  # for `check` to name
    }
    assert [(c.patient, c.centre, c.fold, c.labelled) for c in cohort.cases] == [
        ("P7", "Rome", 0, True),
        ("P7", None, None, True),
        ("P9", "Oslo", 1, False),
    ]
    assert {rater: path.name for rater, path in cohort.case("008").raters.items()} == {
        "jo": "r1.nii.gz",
        "al": "r2.nii.gz",
    }
    assert cohort.labels == Labels(("foreground",), ((1,),))
    pd.read_csv(tmp_path / "cases.csv", sep=";", dtype={"id": str}).to_parquet(tmp_path / "other.parquet")
    for other in (opened(tmp_path, table="other.parquet"), opened(tmp_path / "other.parquet")):
        assert shown(other) == shown(cohort)
        assert [(c.patient, c.centre, c.fold) for c in other.cases] == [
            (c.patient, c.centre, c.fold) for c in cohort.cases
        ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,t1\n", "no rows"),
        ("name,t1\na,b.nii\n", "no column id"),
        ("id,age\na,3\n", "no column holds scans"),
        ("id,t1,fold\n,b.nii,x\n", "(?s)line 2 has no id.*fold 'x'"),
    ],
)
def test_a_table_that_makes_no_sense(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "cases.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        opened(tmp_path)


def test_sub_folder_per_case_is_discovered(tmp_path: Path) -> None:
    for case in ("BraTS-1", "BraTS-2", "BraTS-3"):
        scans(tmp_path / case, " ".join(f"{case}-{m}.nii.gz" for m in ("t1n", "t2f", "seg")))
    (tmp_path / "BraTS-3" / "BraTS-3-t2f.nii.gz").unlink()
    cohort = opened(tmp_path, regions={"WT": [1, 2, 3], "TC": [1, 3], "ET": [3]})
    assert cohort.modalities == ("t1n", "t2f")
    assert cohort.labels.overlapping
    assert shown(cohort)["BraTS-3"] == ("t1n=BraTS-3/BraTS-3-t1n.nii.gz", "label=BraTS-3/BraTS-3-seg.nii.gz")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ("a/t1.nii.gz a/t2.nii.gz a/seg.nii.gz b/t1.nii.gz b/t2.nii.gz", {"t1", "t2"}),
        ("a/scan17.nii a/mask.nii b/scan4.nii b/mask.nii c/scan5.nii", {"image"}),
        ("images/a.nii images/b.nii masks/a_mask.nii masks/b_mask.nii", {"image"}),
        ("imagesTr/a_0000.nii imagesTr/b_0000.nii labelsTr/a.nii labelsTr/b.nii", {"image"}),
        ("a.nii.gz a_seg.nii.gz b.nii.gz b_seg.nii.gz", {"image"}),
        ("a.img.nii.gz a.label.nii.gz b.img.nii.gz b.label.nii.gz", {"image"}),
        ("a_t1.nii a_t2.nii a_seg.nii b_t1.nii b_t2.nii b_seg.nii", {"t1", "t2"}),
        ("a_0000.nii a_0001.nii b_0000.nii b_0001.nii", {"0000", "0001"}),
        ("case_1.nii case_2.nii case_3.nii", {"image"}),
    ],
)
def test_usual_arrangements_are_discovered(tmp_path: Path, files: str, expected: set[str]) -> None:
    scans(tmp_path, files)
    (tmp_path / "notes.txt").write_text("nothing")
    cohort = opened(tmp_path)
    assert set(cohort.modalities) == expected
    labels = sum(any(word in name for word in ("seg", "mask", "label")) for name in files.split())
    assert sum(case.label is not None for case in cohort.cases) == labels
    assert sum(len(case.files) for case in cohort.cases) == len(files.split())


def test_patterns(tmp_path: Path) -> None:
    scans(tmp_path, "s1/p1/p1_t1.nii.gz s1/p1/p1_t2.nii.gz s2/p2/p2_t1.nii.gz seg/p1.nii.gz seg/p2.nii.gz", 3)
    settings: dict[str, Any] = {
        "patterns": {"t2": "*/*/*_t2.nii.gz", "t1": "*/{id}/{id}_t1.nii.gz"},
        "label_pattern": "seg/*.nii.gz",
        "labels": {"x": 3},
    }
    cohort = opened(tmp_path, **settings)
    assert cohort.modalities == ("t2", "t1")
    assert shown(cohort) == {
        "p1": ("t2=s1/p1/p1_t2.nii.gz", "t1=s1/p1/p1_t1.nii.gz", "label=seg/p1.nii.gz"),
        "p2": ("t1=s2/p2/p2_t1.nii.gz", "label=seg/p2.nii.gz"),
    }
    assert [c.id for c in opened(tmp_path, **settings, id_pattern=r"p(\d)[_./]").cases] == ["1", "2"]
    with pytest.raises(UserError, match="finds nothing"):
        opened(tmp_path, patterns={"t1": "*.mha"})
    with pytest.raises(UserError, match="for the case 'p1'"):
        opened(tmp_path, patterns={"t1": "*/*/p1_*.nii.gz"}, id_pattern="(p1)")
    with pytest.raises(UserError, match="does not fit this id"):
        opened(tmp_path, **settings, patient_pattern="q")


def test_a_label_glob_takes_its_files_from_the_image_glob(tmp_path: Path) -> None:
    scans(tmp_path, "Case00.nii Case00_segmentation.nii Case01.nii")  # as PROMISE12 arranges them
    cohort = opened(tmp_path, patterns={"T2": "Case*.nii"}, label_pattern="Case*_segmentation.nii")
    assert shown(cohort) == {
        "00": ("T2=Case00.nii", "label=Case00_segmentation.nii"),
        "01": ("T2=Case01.nii",),
    }


@pytest.mark.parametrize(
    ("glob", "path", "case"),
    [
        ("*_t1.nii.gz", "P1_t1.nii.gz", "P1"),
        ("*/*_t1.nii.gz", "x/P1_t1.nii.gz", "P1"),
        ("*/t1.nii.gz", "P1/t1.nii.gz", "P1"),
        ("{id}/*/t1.nii.gz", "P1/day2/t1.nii.gz", "P1"),
        ("{id}/{id}_t1.nii.gz", "P1/P2_t1.nii.gz", None),
        ("**/volume-*.nii", "a/b/volume-7.nii", "7"),
        ("**/volume-*.nii", "volume-7.nii", "7"),
        ("Image_*_1stHO.png", "Image_01L_1stHO.png", "01L"),
        ("[0-9]*/frame?[!x].nii", "7a/frame1y.nii", "a"),
        ("images/*_*.tif", "images/21_training.tif", "21"),
    ],
)
def test_the_id_in_a_glob(glob: str, path: str, case: str | None) -> None:
    match = template(glob).fullmatch(path)
    assert (match and match.group(1)) == case


def test_nothing_known_says_what_was_tried(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tried .*nnunet.*decathlon.*table.*pattern"):
        opened(tmp_path)
    with pytest.raises(UserError, match="there is no folder"):
        opened(tmp_path / "gone")
    with pytest.raises(UserError, match=r"data\.root=FOLDER"):
        open_cohort(DataSettings())
    with pytest.raises(UserError, match=r"data\.layout: 'zip' is not known"):
        opened(tmp_path, layout="zip")
    for module in layouts().values():
        assert not module.recognises(tmp_path)


def test_each_layout_can_be_asked_for(tmp_path: Path) -> None:
    scans(tmp_path, "a.nii b.nii")
    dataset_json(tmp_path, channel_names={"0": "CT"}, labels={"background": 0}, file_ending=".nii")
    with pytest.raises(UserError, match="no case was found"):
        opened(tmp_path)
    assert len(opened(tmp_path, layout="pattern").cases) == 2
