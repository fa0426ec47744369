"""Every kind of finding, provoked by a real broken file: one line each, and never a traceback."""

from __future__ import annotations

import gzip
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_cohort import LABELS, on_disk

from medseg.contracts import Labels
from medseg.data.checks.finding import Finding, gathered
from medseg.data.checks.voxels import content
from medseg.data.cohort import Case, Cohort
from medseg.data.settings import DataSettings, SplitSettings
from medseg.data.source import open_cohort
from medseg.data.splits import Split, make_split
from medseg.data.verify import inspect, verify

SHAPE = (18, 16, 12)
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def image_of(cohort: Cohort, number: int = 0, modality: str = "T1") -> Path:
    return cohort.cases[number].images[modality]


def label_of(cohort: Cohort, number: int = 0) -> Path:
    label = cohort.cases[number].label
    assert label is not None
    return label


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def raw(path: Path, **fields: Any) -> Path:
    """Overwrites header fields of a .nii.gz file as they stand, without anybody mending them."""
    blob = bytearray(gzip.decompress(path.read_bytes()))
    header = nib.Nifti1Header(bytes(blob[:348]), check=False)
    for field, value in fields.items():
        header[field] = value
    blob[:348] = header.binaryblock
    path.write_bytes(gzip.compress(bytes(blob)))
    return path


def with_case(cohort: Cohort, number: int, **changes: Any) -> Cohort:
    cases = list(cohort.cases)
    cases[number] = replace(cases[number], **changes)
    return replace(cohort, cases=tuple(cases))


def whole(root: Path, cases: int = 4) -> Cohort:
    """A cohort in which nothing is wrong: no modality is missing either."""
    return on_disk(root, cases, modalities=("T1",))


BREAKERS: dict[str, tuple[str, Callable[[Cohort], Cohort | Path]]] = {}


def breaks(kind: str, severity: str = "error") -> Callable[[Any], Any]:
    def register(function: Callable[[Cohort], Cohort | Path]) -> Callable[[Cohort], Cohort | Path]:
        BREAKERS[f"{kind}:{function.__name__}"] = (severity, function)
        return function

    return register


@breaks("label-shape")
def label_cropped(cohort: Cohort) -> Path:
    return save(label_of(cohort), voxels(label_of(cohort))[:, :, :-1])


@breaks("label-spacing")
def label_spacing(cohort: Cohort) -> Path:
    return save(label_of(cohort), voxels(label_of(cohort)), np.diag([1.0, 1.0, 2.5, 1.0]))


@breaks("label-orientation")
def label_flipped(cohort: Cohort) -> Path:
    flipped = np.diag([-1.0, 1.0, 2.0, 1.0])
    flipped[0, 3] = SHAPE[0] - 1
    return save(label_of(cohort), voxels(label_of(cohort)), flipped)


@breaks("label-orientation")
def label_turned_a_little(cohort: Cohort) -> Path:
    angle = np.radians(4)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return save(label_of(cohort), voxels(label_of(cohort)), turn @ AFFINE)


@breaks("label-position")
def label_shifted(cohort: Cohort) -> Path:
    shifted = AFFINE.copy()
    shifted[:3, 3] = (0, 3, 0)
    return save(label_of(cohort), voxels(label_of(cohort)), shifted)


@breaks("label-fractions")
def label_interpolated(cohort: Cohort) -> Path:
    return save(label_of(cohort), voxels(label_of(cohort)).astype(np.float32) * 0.75)


@breaks("label-fractions")
def label_nan(cohort: Cohort) -> Path:
    array = voxels(label_of(cohort)).astype(np.float32)
    array[0, 0, 0] = np.nan
    return save(label_of(cohort), array)


@breaks("label-fractions")
def label_huge(cohort: Cohort) -> Path:
    return save(label_of(cohort), voxels(label_of(cohort)).astype(np.float64) * 1e12)


@breaks("label-undeclared")
def label_seven(cohort: Cohort) -> Path:
    return save(label_of(cohort), np.where(voxels(label_of(cohort)) == 2, 7, 0).astype(np.uint8))


@breaks("label-undeclared")
def label_negative_and_far(cohort: Cohort) -> Path:
    array = voxels(label_of(cohort)).astype(np.int32)
    array[0, 0, :2] = (-3, 2_000_000)
    return save(label_of(cohort), array)


@breaks("nan-voxels")
def image_nan(cohort: Cohort) -> Path:
    array = voxels(image_of(cohort)).copy()
    array[1, 2, 3] = np.nan
    return save(image_of(cohort), array)


@breaks("nan-voxels")
def image_beyond_float32(cohort: Cohort) -> Path:
    array = voxels(image_of(cohort)).astype(np.float64)
    array[1, 2, 3] = 1e300
    return save(image_of(cohort), array)


@breaks("nan-voxels")
def image_all_nan(cohort: Cohort) -> Path:
    return save(image_of(cohort), np.full(SHAPE, np.nan, dtype=np.float32))


@breaks("constant-image", "warning")
def image_blank(cohort: Cohort) -> Path:
    return save(image_of(cohort), np.full(SHAPE, 7, dtype=np.int16))


@breaks("spacing")
def spacing_zero(cohort: Cohort) -> Path:
    return raw(image_of(cohort), pixdim=[1, 1, 0, 2, 1, 1, 1, 1])


@breaks("spacing")
def spacing_negative(cohort: Cohort) -> Path:
    return raw(image_of(cohort), pixdim=[1, 1, 1, -2, 1, 1, 1, 1])


@breaks("spacing")
def spacing_nan_without_affine(cohort: Cohort) -> Path:
    return raw(image_of(cohort), pixdim=[1, 1, np.nan, 2, 1, 1, 1, 1], sform_code=0, qform_code=0)


@breaks("spacing")
def spacing_zero_in_metaimage(cohort: Cohort) -> Cohort:
    path = image_of(cohort).with_name("zero.mha")
    image = sitk.GetImageFromArray(voxels(image_of(cohort)).T)
    sitk.WriteImage(image, str(path), useCompression=False)
    path.write_bytes(path.read_bytes().replace(b"ElementSpacing = 1 1 1", b"ElementSpacing = 1 0 1"))
    return with_case(cohort, 0, images={"T1": path})


@breaks("header-spacing", "warning")
def spacing_disagrees(cohort: Cohort) -> Path:
    return raw(image_of(cohort), pixdim=[1, 1, 1, 3, 1, 1, 1, 1])


@breaks("affine")
def affine_nan(cohort: Cohort) -> Path:
    return raw(image_of(cohort), srow_x=[np.nan] * 4)


@breaks("affine")
def affine_singular(cohort: Cohort) -> Path:
    return raw(label_of(cohort), srow_z=[0, 0, 0, 0])


@breaks("sheared-affine")
def affine_sheared(cohort: Cohort) -> Path:
    sheared = AFFINE.copy()
    sheared[1, 2] = 0.5
    save(label_of(cohort), voxels(label_of(cohort)), AFFINE)
    for path in (image_of(cohort), label_of(cohort)):
        save(path, voxels(path), sheared)
    # One line for the image, one for the label: keep the case's label out of it.
    return image_of(cohort)


@breaks("extra-axes")
def label_4d(cohort: Cohort) -> Path:
    return save(label_of(cohort), np.stack([voxels(label_of(cohort))] * 2, axis=-1))


@breaks("extra-axes")
def image_4d(cohort: Cohort) -> Path:
    return save(image_of(cohort), np.stack([voxels(image_of(cohort))] * 3, axis=-1))


@breaks("singleton-axis")
def one_slice(cohort: Cohort) -> Cohort:
    save(image_of(cohort), voxels(image_of(cohort))[:, :1])
    return with_case(cohort, 0, label=None)


@breaks("trailing-axes", "warning")
def trailing_axis(cohort: Cohort) -> Path:
    return save(label_of(cohort), voxels(label_of(cohort))[..., None])


@breaks("missing-file")
def file_gone(cohort: Cohort) -> Path:
    image_of(cohort).unlink()
    return image_of(cohort)


@breaks("missing-file")
def label_is_a_dead_link(cohort: Cohort) -> Path:
    label_of(cohort).unlink()
    label_of(cohort).symlink_to("nowhere.nii.gz")
    return label_of(cohort)


@breaks("corrupt-file")
def file_truncated(cohort: Cohort) -> Path:
    path = image_of(cohort)
    path.write_bytes(path.read_bytes()[:-300])
    return path


@breaks("corrupt-file")
def file_empty(cohort: Cohort) -> Path:
    label_of(cohort).write_bytes(b"")
    return label_of(cohort)


@breaks("corrupt-file")
def file_is_a_web_page(cohort: Cohort) -> Path:
    image_of(cohort).write_bytes(gzip.compress(b"<html>Please log in</html>" * 40))
    return image_of(cohort)


@breaks("corrupt-file")
def nrrd_truncated(cohort: Cohort) -> Cohort:
    path = image_of(cohort).with_name("cut.nrrd")
    sitk.WriteImage(sitk.GetImageFromArray(voxels(image_of(cohort)).T), str(path), useCompression=True)
    path.write_bytes(path.read_bytes()[:-500])
    return with_case(cohort, 0, images={"T1": path})


@breaks("size")
def size_absurd(cohort: Cohort) -> Path:
    return raw(image_of(cohort), dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])


@breaks("size")
def size_absurd_in_gipl(cohort: Cohort) -> Cohort:
    path = image_of(cohort).with_name("bomb.gipl")
    head = struct.pack(">4HH3f", 65535, 65535, 65535, 1, 15, 1, 1, 1)
    path.write_bytes(head + bytes(230) + struct.pack(">I", 0xEFFFE9B0))
    return with_case(cohort, 0, images={"T1": path})


@breaks("identical-images")
def copied_case(cohort: Cohort) -> Path:
    # As another type and in another file: only the voxels tell.
    array = voxels(image_of(cohort, 1)).astype(np.float64)
    return save(image_of(cohort), array)


@breaks("duplicate-id")
def same_id(cohort: Cohort) -> Cohort:
    return with_case(cohort, 0, id="case1")


@breaks("colliding-id")
def colliding_id(cohort: Cohort) -> Cohort:
    return with_case(cohort, 0, id="CASE1")


@breaks("patient-folds")
def patient_in_two_folds(cohort: Cohort) -> Cohort:
    cohort = with_case(cohort, 0, patient="P", fold=0)
    return with_case(cohort, 1, patient="P", fold=1)


@breaks("no-image")
def no_image(cohort: Cohort) -> Cohort:
    return with_case(cohort, 0, images={})


@breaks("absent-class", "warning")
def class_never_seen(cohort: Cohort) -> Cohort:
    return replace(cohort, labels=Labels(("organ", "lesion", "stone"), ((1,), (2,), (3,))))


@breaks("missing-modality", "warning")
def modality_missing(cohort: Cohort) -> Cohort:
    return replace(cohort, modalities=("T1", "T2"))


@breaks("empty-label", "info")
def label_empty(cohort: Cohort) -> Path:
    return save(label_of(cohort), np.zeros(SHAPE, dtype=np.uint8))


@pytest.mark.parametrize("name", BREAKERS)
def test_each_fault_is_one_line(name: str, tmp_path: Path) -> None:
    severity, breaker = BREAKERS[name]
    cohort = whole(tmp_path)
    broken = breaker(cohort)
    cohort = broken if isinstance(broken, Cohort) else cohort
    if name.startswith("sheared"):
        cohort = with_case(cohort, 0, label=None)
    inspection = inspect(cohort, progress=False)
    lines = [finding.line() for finding in inspection.findings]
    assert [finding.kind for finding in inspection.findings] == [name.partition(":")[0]], lines
    (finding,) = inspection.findings
    assert finding.severity == severity
    assert finding.field
    assert finding.fix
    assert "\n" not in lines[0]
    assert finding.file in lines[0]
    if isinstance(broken, Path):
        named = (str(broken), str(cohort.root))
        assert finding.file in named or str(broken) in finding.problem
    assert inspection.summary.cases == 4
    assert inspection.summary.shape is not None  # the other cases went on


def test_a_clean_cohort_has_nothing_to_tell(tmp_path: Path) -> None:
    cohort = whole(tmp_path, 5)
    label = label_of(cohort)
    save(label, voxels(label).astype(np.float32))  # integers in floats are fine
    assert verify(cohort, make_split(cohort, SplitSettings(folds=2)), progress=False) == []


def test_missing_modalities_and_repeated_warnings_are_one_line_each(tmp_path: Path) -> None:
    cohort = on_disk(tmp_path, 9)
    for number in range(4):
        trailing_axis(with_case(cohort, 0, label=label_of(cohort, number)))
    found = verify(cohort, progress=False)
    assert [(f.kind, f.severity) for f in found] == [
        ("trailing-axes", "warning"),
        ("missing-modality", "warning"),
    ]
    assert "3 of 9 cases (case2, case5, case8)" in found[1].line()
    assert "so too in case1, case2, case3" in found[0].line()
    assert found[0].cases == ("case0", "case1", "case2", "case3")


def test_modalities_must_share_a_grid(tmp_path: Path) -> None:
    cohort = on_disk(tmp_path, 2)
    path = image_of(cohort, 0, "T2")
    save(path, voxels(path), np.diag([1.0, 1.0, 3.0, 1.0]))
    path = image_of(cohort, 1, "T2")
    save(path, voxels(path)[1:])
    found = verify(cohort, progress=False)
    assert [(f.kind, f.file) for f in found] == [
        ("modality-spacing", str(image_of(cohort, 0, "T2"))),
        ("modality-shape", str(path)),
    ]
    assert "1 x 1 x 3 mm, but 1 x 1 x 2 mm in image T1" in found[0].line()


def test_one_file_under_two_modalities(tmp_path: Path) -> None:
    cohort = on_disk(tmp_path, 2)
    shutil.copy(image_of(cohort, 1, "T1"), image_of(cohort, 1, "T2"))
    (finding,) = verify(cohort, progress=False)
    assert (finding.kind, finding.severity) == ("identical-modalities", "warning")


def test_twins_are_errors_only_where_they_can_leak(tmp_path: Path) -> None:
    cohort = whole(tmp_path)
    copied_case(cohort)
    patients = {case.patient: number % 2 for number, case in enumerate(cohort.cases)}
    apart, together = Split(0, 2, patients), Split(0, 2, {**patients, "patient0": 1})
    assert [f.severity for f in verify(cohort, apart, progress=False)] == ["error"]
    assert [f.severity for f in verify(cohort, together, progress=False)] == ["warning"]
    one = with_case(with_case(cohort, 0, patient="P"), 1, patient="P")
    assert [f.severity for f in verify(one, progress=False)] == ["warning"]


def test_a_patient_spelt_twice_in_a_split(tmp_path: Path) -> None:
    cohort = with_case(whole(tmp_path), 0, patient="PATIENT1 ")
    patients = {case.patient: number % 2 for number, case in enumerate(cohort.cases)}
    (finding,) = verify(cohort, Split(0, 2, patients), progress=False)
    assert finding.kind == "patient-folds"
    assert set(finding.cases) == {"case0", "case1"}


def test_a_split_of_other_patients(tmp_path: Path) -> None:
    cohort = whole(tmp_path)
    split = Split(0, 2, {"patient0": 0, "patient1": 1, "patient2": 0, "stranger": 1})
    found = verify(cohort, split, progress=False)
    assert [f.kind for f in found] == ["split", "split"]
    assert "stranger" in found[1].line()


def test_everything_at_once_and_the_others_go_on(tmp_path: Path) -> None:
    cohort = whole(tmp_path, 6)
    file_truncated(cohort)
    label_seven(with_case(cohort, 0, label=label_of(cohort, 1)))
    raw(image_of(cohort, 2), srow_x=[np.nan] * 4)
    save(label_of(cohort, 3), np.zeros(SHAPE, dtype=np.uint8))
    found = verify(cohort, progress=False)
    assert [f.kind for f in found] == ["corrupt-file", "label-undeclared", "affine", "empty-label"]


def test_hidden_labels_are_not_read(tmp_path: Path) -> None:
    cohort = whole(tmp_path)
    label_seven(cohort)
    assert verify(cohort.without_labels(["case0"]), progress=False) == []


def test_raters_are_checked_and_averaged(tmp_path: Path) -> None:
    cohort = whole(tmp_path, 2)
    second = save(tmp_path / "second.nii.gz", np.zeros(SHAPE, dtype=np.uint8))
    cohort = with_case(cohort, 0, label=None, raters={"a": label_of(cohort), "b": second})
    inspection = inspect(cohort, progress=False)
    assert inspection.findings == ()
    organ = inspection.summary.classes[0]
    assert organ.ml is not None
    assert organ.ml[0] == pytest.approx(organ.ml[2] / 2)
    save(second, np.full(SHAPE, 9, dtype=np.uint8))
    (finding,) = verify(cohort, progress=False)
    assert (finding.kind, finding.file) == ("label-undeclared", str(second))


def test_colours_of_one_broken_picture_are_one_line(tmp_path: Path) -> None:
    random = np.random.Generator(np.random.Philox(3))
    images = []
    for number in range(2):
        path = tmp_path / f"p{number}.png"
        Image.fromarray(random.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(path)
        images.append(path)
    colours = ("red", "green", "blue")
    cases = tuple(
        Case(
            f"p{n}",
            f"p{n}",
            dict.fromkeys(colours, path),
            components=dict(zip(colours, range(3), strict=True)),
        )
        for n, path in enumerate(images)
    )
    cohort = Cohort("pictures", cases, colours, LABELS, tmp_path, 2)
    assert verify(cohort, progress=False) == []
    images[0].write_bytes(images[0].read_bytes()[:200])
    (finding,) = verify(cohort, progress=False)
    assert (finding.kind, finding.file) == ("corrupt-file", str(images[0]))


def test_summary(tmp_path: Path) -> None:
    cohort = on_disk(tmp_path, 6)
    save(label_of(cohort, 5), np.zeros(SHAPE, dtype=np.uint8))
    summary = inspect(with_case(cohort, 4, label=None), progress=False).summary
    assert (summary.cases, summary.labelled, summary.unlabelled, summary.patients) == (6, 5, 1, 6)
    assert summary.centres == {"A": 3, "B": 3}
    assert summary.modalities == {"T1": 6, "T2": 4}
    assert summary.shape == tuple((n, n, n) for n in SHAPE)
    assert summary.spacing == ((1, 1, 1), (1, 1, 1), (2, 2, 2))
    assert summary.empty == 1
    organ, lesion = summary.classes
    assert (organ.name, organ.cases, lesion.cases) == ("organ", 4, 4)
    assert lesion.ml == pytest.approx((0.036, 0.036, 0.036))  # 3 x 2 x 3 voxels of 2 mm3


def test_a_line_is_one_line_of_printable_characters() -> None:
    finding = Finding("a\nb\x1b[31m.nii", "voxels", "is\nbroken", "mend it", "error", "corrupt-file")
    assert finding.line() == "error: a b [31m.nii: voxels: is broken; mend it"


def test_gathering_keeps_errors_apart_and_orders_by_severity() -> None:
    def one(severity: Any, case: str) -> Finding:
        return Finding(f"{case}.nii", "voxels", "odd", "mend", severity, "k", (case,))

    order = [one("info", "a"), one("warning", "b"), one("error", "c"), one("warning", "d"), one("error", "e")]
    found = gathered(order)
    assert [f.severity for f in found] == ["error", "error", "warning", "info"]
    assert found[2].cases == ("b", "d")


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), broken=st.integers(0, 5))
def test_content_sees_what_numpy_sees(seed: int, broken: int) -> None:
    random = np.random.Generator(np.random.Philox(seed))
    array = random.integers(-3, 3, (4, 3, 2)).astype(np.float64)
    array.reshape(-1)[random.permutation(24)[:broken]] = np.nan
    found = content(array)
    assert found.broken == broken
    assert (found.low, found.high) == (np.nanmin(array), np.nanmax(array))
    assert found.hash == content(np.asfortranarray(array.astype(np.float32))).hash
    assert found.hash != content(array.transpose(1, 0, 2)).hash


@settings(deadline=None, max_examples=40)
@given(position=st.integers(0, 4000), bit=st.integers(0, 7), of_label=st.booleans())
def test_a_flipped_bit_never_ends_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, position: int, bit: int, of_label: bool
) -> None:
    cohort = on_disk(tmp_path_factory.mktemp("flip"), 1, (6, 5, 4), ("T1",))
    path = (label_of if of_label else image_of)(cohort)
    blob = bytearray(gzip.decompress(path.read_bytes()))
    blob[position % len(blob)] ^= 1 << bit
    path.write_bytes(gzip.compress(bytes(blob)))
    for finding in verify(cohort, progress=False):
        assert "\n" not in finding.line()


@pytest.mark.real
@pytest.mark.parametrize("name", ["hippocampus", "lgg", "lidc_raters"])
def test_public_sets_are_clean(shared_data: Path, name: str) -> None:
    cohort = open_cohort(DataSettings(root=str(shared_data / name)))
    assert verify(cohort, progress=False) == []


@pytest.mark.real
def test_acdc_has_one_patient_twice(shared_data: Path) -> None:
    """Patients 074 and 076 of this copy have the same images, with labels that differ a little."""
    cohort = open_cohort(DataSettings(root=str(shared_data / "acdc"), patient_pattern="^([^_]+)"))
    found = verify(cohort, progress=False)
    assert [(f.kind, f.severity) for f in found] == [("identical-images", "error")] * 2
    assert {case[:10] for f in found for case in f.cases} == {"patient074", "patient076"}
