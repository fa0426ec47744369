"""Broken, truncated and hostile files end in one line that names them, before anything is allocated."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.data.formats import read_header, read_volume, write_like
from medseg.errors import UserError

SHAPE = (9, 8, 7)


def image_file(path: Path, **raw: Any) -> Path:
    """A NIfTI file whose raw header fields are then overwritten."""
    rng = np.random.Generator(np.random.Philox(1))
    image = nib.Nifti1Image(rng.integers(0, 1000, SHAPE).astype(np.int16), np.diag([1.0, 2.0, 3.0, 1.0]))
    if "qform" in raw:
        image.set_sform(None, 0)
        image.set_qform(raw.pop("qform"), 1)
    blob = bytearray(image.to_bytes())
    header = nib.Nifti1Header(bytes(blob[:348]), check=False)
    for field, value in raw.items():
        header[field] = value
    blob[:348] = header.binaryblock
    path.write_bytes(gzip.compress(bytes(blob)) if path.suffix == ".gz" else bytes(blob))
    return path


def test_seventy_bytes_do_not_allocate_35_terabytes(tmp_path: Path) -> None:
    path = image_file(tmp_path / "bomb.nii.gz", dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:352]))
    for read in (read_header, read_volume):
        with pytest.raises(UserError, match=r"32767 x 32767 x 32767 voxels"):
            read(path)


@pytest.mark.parametrize(
    "dim", [[3, 2000, 2000, 1000, 1, 1, 1, 1], [3, 0, 8, 7, 1, 1, 1, 1], [3, -9, 8, 7, 1, 1, 1, 1]]
)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_sizes_that_the_file_cannot_hold(tmp_path: Path, dim: list[int], ending: str) -> None:
    with pytest.raises(UserError, match="announces"):
        read_header(image_file(tmp_path / f"a{ending}", dim=dim))


@pytest.mark.parametrize("field", [{"dim": [9] * 8}, {"datatype": 77}, {"magic": b"xx"}, {"sizeof_hdr": 12}])
def test_nonsense_in_a_nifti_header(tmp_path: Path, field: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"a\.nii"):
        read_header(image_file(tmp_path / "a.nii", **field))


def test_nifti_voxels_that_are_no_scan(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.complex64), np.eye(4)), tmp_path / "complex.nii")
    assert read_header(tmp_path / "complex.nii").dtype == "complex64"
    with pytest.raises(UserError, match="complex"):
        read_volume(tmp_path / "complex.nii")
    with pytest.raises(UserError, match="at byte"):
        read_volume(image_file(tmp_path / "offset.nii", vox_offset=-5))
    with pytest.raises(UserError, match="ends after"):
        read_volume(image_file(tmp_path / "beyond.nii", vox_offset=4000))


@pytest.mark.parametrize("spacing", [0.0, -2.0, np.nan, np.inf])
def test_raw_spacing_is_reported(tmp_path: Path, spacing: float) -> None:
    path = image_file(
        tmp_path / "a.nii.gz", pixdim=[1, 1, spacing, 3, 1, 1, 1, 1], sform_code=0, qform_code=0
    )
    found = read_header(path).spacing
    assert (found[0], found[2]) == (1, 3)
    np.testing.assert_equal(found[1], spacing)
    if not np.isfinite(spacing) or spacing == 0:
        with pytest.raises(UserError, match="affine"):
            read_volume(path)


def test_weird_affines_are_reported_not_raised(tmp_path: Path) -> None:
    nan = image_file(tmp_path / "nan.nii", srow_x=[np.nan] * 4)
    singular = image_file(tmp_path / "flat.nii", srow_z=[0, 0, 0, 0])
    parallel = image_file(tmp_path / "parallel.nii", srow_y=[1, 2, 0, 0], srow_x=[1, 2, 0, 0])
    quaternion = image_file(tmp_path / "q.nii", sform_code=0, qform_code=1, quatern_b=3.0)
    assert np.isnan(read_header(nan).affine).any()
    assert np.linalg.det(read_header(singular).affine) == 0
    assert np.isnan(read_header(quaternion).affine).any()
    for path in (nan, singular, parallel, quaternion):
        with pytest.raises(UserError, match="affine"):
            read_volume(path)


def test_truncated_and_flipped_nifti(tmp_path: Path) -> None:
    plain, zipped = image_file(tmp_path / "a.nii"), image_file(tmp_path / "a.nii.gz")
    plain.write_bytes(plain.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"a\.nii"):
        read_volume(plain)
    whole = zipped.read_bytes()
    zipped.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"a\.nii\.gz"):
        read_volume(zipped)
    zipped.write_bytes(whole[:-8] + bytes(4) + whole[-4:])  # the checksum alone is wrong
    with pytest.raises(UserError, match="CRC"):
        read_volume(zipped)
    zipped.write_bytes(b"")
    with pytest.raises(UserError, match="no NIfTI header"):
        read_header(zipped)


@settings(deadline=None, max_examples=60)
@given(
    position=st.integers(0, 10_000),
    bit=st.integers(0, 7),
    ending=st.sampled_from([".nii.gz", ".nrrd", ".mha", ".gipl"]),
)
def test_a_flipped_bit_never_ends_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, position: int, bit: int, ending: str
) -> None:
    path = tmp_path_factory.mktemp("flip") / f"a{ending}"
    image = sitk.GetImageFromArray((np.arange(504).reshape(7, 8, 9) * 13 % 101).astype(np.int16))
    sitk.WriteImage(image, str(path), useCompression=ending != ".gipl")
    blob = bytearray(path.read_bytes())
    blob[position % len(blob)] ^= 1 << bit
    path.write_bytes(bytes(blob))
    message = ""
    try:
        read_volume(path)
    except UserError as error:
        message = str(error)
    assert not message or (str(path) in message and "\n" not in message)


META = """ObjectType = Image
NDims = 3
BinaryData = True
CompressedData = {compressed}
TransformMatrix = {matrix}
Offset = 0 0 0
ElementSpacing = {spacing}
DimSize = {size}
ElementType = MET_SHORT
ElementDataFile = {data}
"""
NRRD = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: {size}
space directions: {matrix}
kinds: domain domain domain
endian: little
encoding: {compressed}
space origin: (0,0,0)
{data}
"""


def meta(path: Path, **fields: str) -> Path:
    usual = {
        "compressed": "False",
        "matrix": "1 0 0 0 1 0 0 0 1",
        "spacing": "1 1 1",
        "size": "9 8 7",
        "data": "LOCAL",
    }
    path.write_bytes(META.format(**{**usual, **fields}).encode() + bytes(9 * 8 * 7 * 2))
    return path


def nrrd(path: Path, **fields: str) -> Path:
    usual = {"compressed": "raw", "matrix": "(1,0,0) (0,1,0) (0,0,1)", "size": "9 8 7", "data": ""}
    text = NRRD.format(**{**usual, **fields}).rstrip("\n") + "\n\n"
    path.write_bytes(text.encode() + bytes(9 * 8 * 7 * 2))
    return path


def test_handmade_itk_headers_read(tmp_path: Path) -> None:
    for path in (meta(tmp_path / "a.mha"), nrrd(tmp_path / "a.nrrd")):
        assert read_volume(path).array.shape == (9, 8, 7)


def test_itk_sizes_that_the_file_cannot_hold(tmp_path: Path) -> None:
    files = [
        meta(tmp_path / "a.mha", size="32767 32767 32767"),
        meta(tmp_path / "b.mha", size="32767 32767 32767", compressed="True"),
        meta(tmp_path / "c.mha", size="9 8 8"),
        nrrd(tmp_path / "a.nrrd", size="32767 32767 32767"),
        nrrd(tmp_path / "b.nrrd", size="32767 32767 32767", compressed="gzip"),
        nrrd(tmp_path / "c.nrrd", size="9 8 8"),
        nrrd(tmp_path / "d.nrrd", size="9 -8 8"),
    ]
    gipl = (
        struct.pack(">4HH3f", 65535, 65535, 65535, 1, 15, 1, 1, 1)
        + bytes(230)
        + struct.pack(">I", 0xEFFFE9B0)
    )
    (tmp_path / "a.gipl").write_bytes(gipl)
    (tmp_path / "a.gipl.gz").write_bytes(gzip.compress(gipl))
    for path in (*files, tmp_path / "a.gipl", tmp_path / "a.gipl.gz"):
        with pytest.raises(UserError, match="announces"):
            read_header(path)


def test_itk_geometry_is_reported(tmp_path: Path) -> None:
    for path in (
        meta(tmp_path / "zero.mha", spacing="1 0 3"),
        nrrd(tmp_path / "zero.nrrd", matrix="(1,0,0) (0,0,0) (0,0,3)"),
    ):
        header = read_header(path)
        assert header.shape == (9, 8, 7)
        assert header.spacing == (1, 0, 3)
        with pytest.raises(UserError, match="affine"):
            read_volume(path)
    nan = read_header(meta(tmp_path / "nan.mha", spacing="1 nan 3"))
    np.testing.assert_equal(nan.spacing, (1, np.nan, 3))


def test_detached_data_stays_beside_its_header(tmp_path: Path) -> None:
    (tmp_path / "secret.raw").write_bytes(bytes(9 * 8 * 7 * 2))
    (tmp_path / "in").mkdir()
    for path in (
        meta(tmp_path / "in" / "a.mhd", data="../secret.raw"),
        nrrd(tmp_path / "in" / "a.nhdr", data="data file: ../secret.raw"),
    ):
        with pytest.raises(UserError, match="another folder"):
            read_header(path)
    for path in (
        meta(tmp_path / "in" / "b.mhd", data="LIST"),
        nrrd(tmp_path / "in" / "b.nhdr", data="data file: a%02d.raw 1 3 1"),
    ):
        with pytest.raises(UserError, match="file of its own"):
            read_header(path)
    with pytest.raises(UserError, match=r"c\.mhd"):
        read_header(meta(tmp_path / "in" / "c.mhd", data="gone.raw"))


def test_itk_files_that_are_something_else(tmp_path: Path) -> None:
    for name in ("a.nrrd", "a.mha", "a.gipl", "a.nii", "a.nii.gz", "a.dcm", "a.gipl.gz"):
        (tmp_path / name).write_bytes(b"this is no image\n" * 40)
        with pytest.raises(UserError, match=name):
            read_header(tmp_path / name)
    with pytest.raises(UserError, match="is not there"):
        read_header(tmp_path / "gone.nii.gz")
    with pytest.raises(UserError, match="not known"):
        read_header(meta(tmp_path / "a.img"))


def test_truncated_compressed_itk(tmp_path: Path) -> None:
    rng = np.random.Generator(np.random.Philox(2))
    image = sitk.GetImageFromArray(rng.integers(0, 1000, SHAPE).astype(np.int16))
    for ending in (".nrrd", ".mha", ".gipl.gz"):
        path = tmp_path / f"a{ending}"
        sitk.WriteImage(image, str(path), useCompression=True)
        blob = path.read_bytes()
        path.write_bytes(blob[: len(blob) - len(blob) // 3])
        with pytest.raises(UserError, match=str(path)):
            read_volume(path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    image = image_file(tmp_path / "a.nii.gz")
    write_like(np.ones(SHAPE, np.uint8), image, tmp_path / "label.nii.gz")
    before = (tmp_path / "label.nii.gz").read_bytes()
    with pytest.raises(UserError, match="grid"):
        write_like(np.ones((3, 3, 3), np.uint8), image, tmp_path / "label.nii.gz")
    assert (tmp_path / "label.nii.gz").read_bytes() == before
    write_like(np.ones(SHAPE, np.uint8), image, tmp_path / "again.nii.gz")
    assert (tmp_path / "again.nii.gz").read_bytes() == before  # no clock in the file
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii.gz", "again.nii.gz", "label.nii.gz"]
