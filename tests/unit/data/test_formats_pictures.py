"""Pictures: colours as components, masks as they are, nothing trusted."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.data.formats import label_suffix, read_header, read_volume, write_like
from medseg.errors import UserError


def picture(shape: tuple[int, ...], high: int = 256) -> np.ndarray:
    return (np.arange(np.prod(shape)) * 7 % high).reshape(shape).astype(np.uint8)


@pytest.mark.parametrize("ending", ["png", "tif", "bmp", "gif"])
def test_grey_pictures_are_read_exactly(tmp_path: Path, ending: str) -> None:
    rows = picture((5, 8))
    Image.fromarray(rows).save(tmp_path / f"a.{ending}")
    volume = read_volume(tmp_path / f"a.{ending}")
    assert volume.array.shape == (8, 5, 1)  # width first
    np.testing.assert_array_equal(volume.array[..., 0].T, rows)
    np.testing.assert_array_equal(volume.affine, np.eye(4))
    for colour in range(3):  # a grey picture among coloured ones
        np.testing.assert_array_equal(read_volume(tmp_path / f"a.{ending}", colour).array, volume.array)


def test_colours_are_components(tmp_path: Path) -> None:
    rows = picture((5, 8, 3))
    Image.fromarray(rows).save(tmp_path / "a.png")
    Image.fromarray(np.concatenate([rows, rows[..., :1]], axis=-1)).save(tmp_path / "alpha.png")
    for name in ("a.png", "alpha.png"):
        assert read_header(tmp_path / name).shape == (8, 5, 1, 3)
        for k in range(3):
            np.testing.assert_array_equal(read_volume(tmp_path / name, k).array[..., 0].T, rows[..., k])
    np.testing.assert_allclose(
        read_volume(tmp_path / "a.png").array[..., 0].T, rows @ np.array([0.299, 0.587, 0.114]), atol=1e-3
    )
    grey = np.repeat(rows[..., :1], 3, axis=-1)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_volume(tmp_path / "grey.png").array[..., 0].T, rows[..., 0])


def test_masks_of_every_kind(tmp_path: Path) -> None:
    mask = picture((5, 8)) % 3
    Image.fromarray(mask > 0).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_volume(tmp_path / "bits.png").array[..., 0].T, mask > 0)
    palette = Image.fromarray(mask, mode="P")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    palette.save(tmp_path / "palette.png")  # as PASCAL VOC and label editors write them
    np.testing.assert_array_equal(read_volume(tmp_path / "palette.png").array[..., 0].T, mask)
    Image.fromarray(mask.astype(np.uint16) * 9000).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_volume(tmp_path / "deep.png").array[..., 0].T, mask.astype(int) * 9000)


def test_label_goes_with_its_picture(tmp_path: Path) -> None:
    Image.fromarray(picture((5, 8, 3))).save(tmp_path / "a.jpg")
    label = picture((5, 8)).T[..., None] % 3
    write_like(label.astype(np.int64), tmp_path / "a.jpg", tmp_path / f"a{label_suffix(tmp_path / 'a.jpg')}")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), label[..., 0].T)
    write_like(label.astype(np.int64) * 300, tmp_path / "a.jpg", tmp_path / "b.png")
    np.testing.assert_array_equal(read_volume(tmp_path / "b.png").array, label.astype(int) * 300)


def test_pages_are_slices(tmp_path: Path) -> None:
    stack = picture((8, 5, 3), 11)
    pages = [Image.fromarray(np.ascontiguousarray(stack[..., k].T)) for k in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array, stack)
    write_like(stack, tmp_path / "a.tif", tmp_path / "b.tif")
    np.testing.assert_array_equal(read_volume(tmp_path / "b.tif").array, stack)


def test_broken_pictures_are_named(tmp_path: Path) -> None:
    Image.fromarray(picture((64, 64))).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "short.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.tif").write_bytes(b"")
    huge = bytearray(whole)
    huge[16:24] = (60_000).to_bytes(4, "big") * 2
    (tmp_path / "bomb.png").write_bytes(bytes(huge))
    for name in ("short.png", "text.png", "empty.tif", "bomb.png"):
        with pytest.raises(UserError, match=name):
            read_volume(tmp_path / name)


def test_damage_anywhere_in_a_picture_is_told_as_such(tmp_path: Path) -> None:
    pages = [Image.fromarray(picture((6, 7))) for _ in range(3)]
    for name, more in (("a.tif", pages[1:]), ("a.gif", pages[1:])):
        pages[0].save(tmp_path / name, save_all=True, append_images=more)
    Image.fromarray(picture((6, 7, 3))).save(tmp_path / "a.png")
    random = np.random.Generator(np.random.Philox(5))
    for name in ("a.tif", "a.gif", "a.png"):
        whole = (tmp_path / name).read_bytes()
        for _ in range(60):
            broken = bytearray(whole)
            for place in random.integers(0, len(broken), 4):
                broken[place] = random.integers(0, 256)
            (tmp_path / f"x{name}").write_bytes(bytes(broken))
            for read in (read_header, read_volume):
                with contextlib.suppress(UserError):
                    read(tmp_path / f"x{name}")


def test_a_page_without_dimensions_is_named(tmp_path: Path) -> None:
    pages = [Image.fromarray(picture((6, 7))) for _ in range(2)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    whole = (tmp_path / "a.tif").read_bytes()
    assert whole[:2] == b"II"
    width = whole.rindex(b"\x00\x01\x04\x00\x01\x00\x00\x00")  # tag 256 of the second page
    (tmp_path / "none.tif").write_bytes(whole[:width] + b"\x09" + whole[width + 1 :])
    for read in (read_header, read_volume):
        with pytest.raises(UserError, match=r"none\.tif.*Missing dimensions"):
            read(tmp_path / "none.tif")
