"""Every format against the library that wrote the file, and label maps back onto every grid."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.data.formats import (
    is_scan,
    label_suffix,
    read_header,
    read_volume,
    stem,
    suffix,
    voxel_size,
    write_like,
    write_volume,
)
from medseg.errors import UserError

ITK_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
ORIENTATIONS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    x, y, z = angles
    rx = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    ry = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    rz = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return rz @ ry @ rx


def make_affine(
    order: tuple[int, ...] = (0, 1, 2),
    signs: tuple[int, ...] = (1, 1, 1),
    spacing: tuple[float, ...] = (0.7, 1.3, 5.0),
    angles: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = (rotation(angles) @ np.eye(3)[:, order]) * np.array(signs) * np.array(spacing)
    affine[:3, 3] = (-31.25, 17.5, 90.75)
    return affine


def itk_image(array: np.ndarray, affine: np.ndarray) -> Any:
    """A SimpleITK image made by hand: the other side of the LPS/RAS wall."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    flip = np.diag([-1.0, -1.0, 1.0])
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin((flip @ affine[:3, 3]).tolist())
    image.SetDirection((flip @ affine[:3, :3] / spacing).ravel().tolist())
    return image


def numbers(shape: tuple[int, ...] = (4, 5, 6), dtype: Any = np.int16) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def write_series(
    folder: Path, image: Any, *, skip: int = -1, series: str = "1.2.3", modality: str = "CT"
) -> None:
    """A DICOM series, files named against the order of their positions."""
    folder.mkdir(parents=True, exist_ok=True)
    size, direction = image.GetSize(), np.array(image.GetDirection()).reshape(3, 3)
    for k in range(size[2]):
        if k == skip:
            continue
        plane = image[:, :, k]
        plane.SetMetaData("0008|0060", modality)
        plane.SetMetaData("0020|000e", series)
        plane.SetMetaData("0020|0013", str(k))
        plane.SetMetaData(
            "0020|0032", "\\".join(f"{v:.10g}" for v in image.TransformIndexToPhysicalPoint((0, 0, k)))
        )
        plane.SetMetaData("0020|0037", "\\".join(f"{v:.12g}" for v in [*direction[:, 0], *direction[:, 1]]))
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"IM{size[2] - k:03d}.dcm"))
        writer.Execute(plane)


@settings(deadline=None, max_examples=30)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    ending=st.sampled_from(ITK_SUFFIXES),
    angles=st.tuples(*[st.floats(-0.6, 0.6)] * 3),
    grid=st.tuples(
        st.tuples(*[st.floats(0.2, 8.0)] * 3),
        st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64]),
    ),
)
def test_what_simpleitk_writes_reads_with_one_affine(
    tmp_path_factory: pytest.TempPathFactory, orientation: Any, ending: str, angles: Any, grid: Any
) -> None:
    spacing, dtype = grid
    affine = make_affine(*orientation, spacing, angles)
    array = numbers(dtype=dtype)
    folder = tmp_path_factory.mktemp("itk")
    sitk.WriteImage(itk_image(array, affine), str(folder / f"a{ending}"))
    sitk.WriteImage(itk_image(array, affine), str(folder / "b.nii"))
    volume = read_volume(folder / f"a{ending}")
    reference = nib.load(folder / "b.nii")
    np.testing.assert_allclose(volume.affine, reference.affine, atol=2e-5)
    np.testing.assert_allclose(volume.affine, affine, atol=2e-5)  # NIfTI holds float32
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.header.spacing, spacing, rtol=1e-6)
    assert volume.header.dtype == volume.array.dtype.name == np.dtype(dtype).name


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (0.3, -0.2, 0.11)])
def test_nifti_label_lies_as_its_image(tmp_path: Path, order: Any, signs: Any, angles: Any) -> None:
    affine = make_affine(order, signs, angles=angles)
    image = nib.Nifti1Image(numbers(), affine)
    image.set_sform(affine, code=2)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"a name"
    nib.save(image, tmp_path / "image.nii.gz")
    label = (numbers() % 3).astype(np.int64)
    write_like(label, tmp_path / "image.nii.gz", tmp_path / "label.nii.gz")
    wrote, read = nib.load(tmp_path / "label.nii.gz"), nib.load(tmp_path / "image.nii.gz")
    assert wrote.shape == read.shape
    np.testing.assert_array_equal(wrote.affine, read.affine)
    for field in (
        "pixdim",
        "qform_code",
        "sform_code",
        "xyzt_units",
        "quatern_b",
        "qoffset_x",
        "srow_x",
        "srow_z",
    ):
        np.testing.assert_array_equal(wrote.header[field], read.header[field], err_msg=field)
    assert nib.aff2axcodes(wrote.affine) == nib.aff2axcodes(affine)
    assert wrote.get_data_dtype() == np.uint8
    assert bytes(wrote.header["descrip"]).strip(b"\0") == b""  # free text may name the patient
    np.testing.assert_array_equal(np.asarray(wrote.dataobj), label)
    np.testing.assert_array_equal(read_volume(tmp_path / "label.nii.gz").array, label)


@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 1), (3, 4)])
def test_nifti_form_codes_come_back(tmp_path: Path, codes: tuple[int, int]) -> None:
    image = nib.Nifti1Image(numbers(), None)
    image.header.set_zooms((2.0, 3.0, 4.0))
    image.set_qform(make_affine() if codes[0] else None, code=codes[0])
    image.set_sform(make_affine() if codes[1] else None, code=codes[1])
    nib.save(image, tmp_path / "image.nii")
    np.testing.assert_array_equal(
        read_volume(tmp_path / "image.nii").affine, nib.load(tmp_path / "image.nii").affine
    )
    write_like(numbers() % 2, tmp_path / "image.nii", tmp_path / "label.nii")
    header = nib.load(tmp_path / "label.nii").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == codes


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".gipl", ".gipl.gz", ".mhd", ".nhdr"])
@pytest.mark.parametrize("k", range(0, 48, 5))
def test_itk_label_lies_as_its_image(tmp_path: Path, ending: str, k: int) -> None:
    plain = ending.startswith(".gipl")  # GIPL has no directions
    affine = make_affine() if plain else make_affine(*ORIENTATIONS[k], angles=(0.2, 0.1, -0.4))
    if plain:
        affine[:2] *= -1
    source = tmp_path / f"image{ending}"
    sitk.WriteImage(itk_image(numbers(), affine), str(source))
    label = numbers() % 300
    target = tmp_path / f"label{label_suffix(source)}"
    write_like(label, source, target)
    wrote, read = sitk.ReadImage(str(target)), sitk.ReadImage(str(source))
    assert wrote.GetSize() == read.GetSize()
    assert wrote.GetOrigin() == read.GetOrigin()
    np.testing.assert_allclose(wrote.GetSpacing(), read.GetSpacing(), rtol=1e-12)
    np.testing.assert_allclose(wrote.GetDirection(), read.GetDirection(), atol=1e-12)
    assert wrote.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_array_equal(read_volume(target).array, label)
    np.testing.assert_allclose(read_volume(target).affine, read_volume(source).affine, atol=1e-12)


@pytest.mark.parametrize("k", range(0, 48, 7))
def test_dicom_series_and_its_label(tmp_path: Path, k: int) -> None:
    affine = make_affine(*ORIENTATIONS[k], spacing=(0.7, 0.9, 2.5), angles=(0.1, 0.05, 0.2))
    image = itk_image(numbers((6, 5, 4)), affine)
    write_series(tmp_path / "ct", image)
    volume = read_volume(tmp_path / "ct")
    # A left-handed grid comes back right-handed: DICOM's slices follow the cross product of its axes.
    flipped = np.linalg.det(affine[:3, :3] * [[-1], [-1], [1]]) < 0
    expected = numbers((6, 5, 4))[..., ::-1] if flipped else numbers((6, 5, 4))
    np.testing.assert_array_equal(volume.array, expected)
    for index in ((0, 0, 0), (5, 4, 3), (1, 2, 3)):
        there = (index[0], index[1], 3 - index[2]) if flipped else index
        np.testing.assert_allclose(volume.affine @ [*index, 1], affine @ [*there, 1], atol=1e-4)
    np.testing.assert_allclose(volume.spacing, (0.7, 0.9, 2.5), atol=1e-5)
    assert label_suffix(tmp_path / "ct") == ".nii.gz"
    write_like(volume.array % 2, tmp_path / "ct", tmp_path / "out.nii.gz")
    wrote = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_allclose(wrote.affine, volume.affine, atol=1e-5)
    assert (int(wrote.header["qform_code"]), int(wrote.header["sform_code"])) == (1, 1)
    np.testing.assert_array_equal(np.asarray(wrote.dataobj), volume.array % 2)


def test_dicom_refuses_what_is_no_volume(tmp_path: Path) -> None:
    image = itk_image(numbers((6, 5, 5)), make_affine())
    write_series(tmp_path / "gap", image, skip=2)
    with pytest.raises(UserError, match="missing or uneven"):
        read_header(tmp_path / "gap")
    write_series(tmp_path / "two", image)
    write_series(tmp_path / "two" / "inner", image, series="1.2.4")
    for path in (tmp_path / "two" / "inner").iterdir():
        path.rename(tmp_path / "two" / f"b{path.name}")
    with pytest.raises(UserError, match="2 image series"):
        read_header(tmp_path / "two")
    write_series(tmp_path / "same", image)
    write_series(tmp_path / "same" / "inner", image)
    for path in (tmp_path / "same" / "inner").iterdir():
        path.rename(tmp_path / "same" / f"b{path.name}")
    with pytest.raises(UserError, match="lies where another slice lies"):
        read_header(tmp_path / "same")
    for k, length in itertools.product((0, 2, 4), (0, 140, 400, -10)):
        write_series(tmp_path / "cut", image)
        (tmp_path / "cut" / "rt.dcm").write_bytes(bytes(128) + b"DICM 1.2.840.10008.5.1.4.1.1.481.3 ")
        (tmp_path / "cut" / "._x.dcm").write_bytes(b"left by a Mac")
        assert read_header(tmp_path / "cut").shape == (6, 5, 5)
        path = sorted((tmp_path / "cut").glob("IM*"))[k]
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(UserError, match=path.name):  # never a shorter volume
            read_header(tmp_path / "cut")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no readable DICOM image"):
        read_header(tmp_path / "empty")
    with pytest.raises(UserError, match=r"use \.nii\.gz"):
        write_like(numbers((6, 5, 1)), tmp_path / "gap" / "IM001.dcm", tmp_path / "x.dcm")


def test_four_dimensions_are_read_by_component(tmp_path: Path) -> None:
    array = numbers((4, 5, 6, 3))
    nib.save(nib.Nifti1Image(array, make_affine()), tmp_path / "a.nii.gz")
    nib.save(nib.Nifti1Image(array, make_affine()), tmp_path / "a.nii")
    vector = sitk.Compose([itk_image(array[..., k], make_affine()) for k in range(3)])
    series = sitk.JoinSeries([itk_image(array[..., k], make_affine()) for k in range(3)])
    for ending in (".nii", ".nrrd", ".mha"):
        sitk.WriteImage(vector, str(tmp_path / f"v{ending}"))
        sitk.WriteImage(series, str(tmp_path / f"s{ending}"))
    files = sorted(tmp_path.iterdir())
    assert len(files) == 8
    for path in files:
        assert read_header(path).components == 3, path
        for k in range(3):
            volume = read_volume(path, k)
            np.testing.assert_array_equal(volume.array, array[..., k], err_msg=path.name)
            np.testing.assert_allclose(volume.affine, make_affine(), atol=1e-5)
        with pytest.raises(UserError, match="holds 3 volumes"):
            read_volume(path)
        with pytest.raises(UserError, match="no volume 3"):
            read_volume(path, 3)
        write_like(array[..., 0] % 2, path, tmp_path / "out" / f"label{label_suffix(path)}")
        np.testing.assert_array_equal(
            read_volume(tmp_path / "out" / f"label{label_suffix(path)}").array, array[..., 0] % 2
        )


def test_nifti_scaling_byte_order_and_nifti2(tmp_path: Path) -> None:
    image = nib.Nifti1Image(numbers(), make_affine())
    image.header.set_slope_inter(0.5, -10)
    raw = image.header.copy()
    nib.save(image, tmp_path / "scaled.nii")
    np.testing.assert_allclose(
        read_volume(tmp_path / "scaled.nii").array, nib.load(tmp_path / "scaled.nii").get_fdata(), rtol=1e-6
    )
    write_like(numbers() % 5, tmp_path / "scaled.nii", tmp_path / "label.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "label.nii").array, numbers() % 5)
    swapped = nib.Nifti1Image(numbers(), make_affine(), header=raw.as_byteswapped(">"))
    nib.save(swapped, tmp_path / "big.nii.gz")
    assert read_volume(tmp_path / "big.nii.gz").array.dtype.isnative
    np.testing.assert_allclose(
        read_volume(tmp_path / "big.nii.gz").array, nib.load(tmp_path / "big.nii.gz").get_fdata(), atol=1e-3
    )
    nib.save(nib.Nifti2Image(numbers(), make_affine()), tmp_path / "two.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "two.nii").array, numbers())
    write_like(numbers() % 5, tmp_path / "two.nii", tmp_path / "two-label.nii")
    assert isinstance(nib.load(tmp_path / "two-label.nii"), nib.Nifti2Image)


def test_axes_of_the_reference_stay(tmp_path: Path) -> None:
    for shape in ((7, 5), (7, 5, 1), (7, 5, 4, 1)):
        nib.save(nib.Nifti1Image(numbers(shape), make_affine()), tmp_path / "image.nii.gz")
        grid = read_header(tmp_path / "image.nii.gz").grid
        write_like(numbers(grid) % 2, tmp_path / "image.nii.gz", tmp_path / "label.nii.gz")
        assert nib.load(tmp_path / "label.nii.gz").shape == shape
    sitk.WriteImage(sitk.GetImageFromArray(numbers((5, 7))), str(tmp_path / "flat.mha"))
    volume = read_volume(tmp_path / "flat.mha")
    assert volume.array.shape == (7, 5, 1)
    write_like(volume.array % 2, tmp_path / "flat.mha", tmp_path / "flat-label.mha")
    assert sitk.ReadImage(str(tmp_path / "flat-label.mha")).GetSize() == (7, 5)


@settings(deadline=None, max_examples=20)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    source=st.sampled_from([".nrrd", ".mha", ".nii.gz"]),
    target=st.sampled_from([".nii.gz", ".nrrd", ".mha"]),
    high=st.sampled_from([1, 200, 4000]),
)
def test_a_label_may_change_its_format(
    tmp_path_factory: pytest.TempPathFactory, orientation: Any, source: str, target: str, high: int
) -> None:
    folder = tmp_path_factory.mktemp("cross")
    affine = make_affine(*orientation, angles=(0.1, 0.2, 0.3))
    sitk.WriteImage(itk_image(numbers(), affine), str(folder / f"image{source}"))
    label = (numbers() * 37) % (high + 1)
    write_like(label, folder / f"image{source}", folder / f"label{target}")
    volume = read_volume(folder / f"label{target}")
    np.testing.assert_array_equal(volume.array, label)
    np.testing.assert_allclose(volume.affine, affine, atol=2e-5)
    assert volume.array.dtype == np.min_scalar_type(int(label.max()))


def test_write_refuses_what_does_not_fit(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(numbers(), make_affine()), tmp_path / "image.nii.gz")
    for array, target, message in (
        (numbers((5, 4, 6)), "label.nii.gz", "does not fit the grid"),
        (numbers(dtype=np.float32), "label.nii.gz", "holds integers"),
        (numbers(), "label.xyz", "file type is not known"),
        (numbers(), "label.mhd", "apart from its voxels"),
        (numbers(), "label.jpg", "loses or cannot hold"),
        (numbers(), "label.png", "one page"),
        (-numbers(), "label.tif", "cannot hold labels of type int32"),
    ):
        with pytest.raises(UserError, match=message):
            write_like(array, tmp_path / "image.nii.gz", tmp_path / target)
    assert [p.name for p in tmp_path.iterdir()] == ["image.nii.gz"]


def test_a_sheared_affine_is_kept_in_the_sform(tmp_path: Path) -> None:
    affine = make_affine()
    affine[0, 2] = 1.5
    write_volume(numbers() % 2, affine, tmp_path / "sheared.nii.gz")
    np.testing.assert_allclose(read_volume(tmp_path / "sheared.nii.gz").affine, affine, atol=1e-6)
    np.testing.assert_allclose(
        read_header(tmp_path / "sheared.nii.gz").spacing, voxel_size(affine), rtol=1e-6
    )


def test_names() -> None:
    assert suffix(Path("a/B.NII.GZ")) == ".nii.gz"
    assert stem(Path("a/B.v2.nii.gz")) == "B.v2"
    assert suffix(Path("a.txt")) == ""
    assert stem(Path("a.txt")) == "a.txt"
    assert not is_scan(Path("._a.nii.gz"))
    assert label_suffix(Path("a.jpg")) == ".png"
    assert label_suffix(Path("a.dcm")) == ".nii.gz"
    assert label_suffix(Path("a.mhd")) == ".mha"
