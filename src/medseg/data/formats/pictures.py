"""PNG, JPEG, TIFF, BMP and GIF through Pillow, as volumes of depth 1 (or as many as a TIFF has pages)."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.data.formats.volume import Header, label_dtype, pick_component, refuse_size
from medseg.errors import UserError
from medseg.files import atomic_path

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")
COLOURS = ("red", "green", "blue")
_FIX = "the file is truncated or corrupt; copy it again from its source"
_FAULTS = (OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, RuntimeError, struct.error)
_PLAIN = {"1": "uint8", "L": "uint8", "P": "uint8", "I;16": "uint16", "I;16B": "uint16"} | {
    "I": "int32",
    "F": "float32",
    "LA": "uint8",
    "La": "uint8",
}


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Makes one line of whatever Pillow raises over a broken picture."""
    from PIL import Image

    try:
        yield
    except Image.DecompressionBombError as error:
        problem = f"the header announces an absurd size ({error})"
        raise UserError(str(path), problem, "cut the picture into tiles") from None
    except _FAULTS as error:
        raise UserError(str(path), f"cannot be read ({error})", _FIX) from None


def _open(path: Path) -> Any:
    from PIL import Image

    with _told(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path, formats=("PNG", "JPEG", "TIFF", "BMP", "GIF"))


def read_header(path: Path) -> Header:
    """The header of a picture: shape ``(W, H, pages)``, and 3 colours as a fourth axis; 1 mm pixels.

    A picture with a coloured palette is read as its indices, which is what label editors mean, one with a
    grey palette as its greys. Transparency is dropped.
    """
    with _told(path), _open(path) as picture:
        shape: tuple[int, ...] = (*picture.size, getattr(picture, "n_frames", 1))
        mode = picture.mode
    if mode not in _PLAIN:
        shape = (*shape, 3)
    dtype = _PLAIN.get(mode, "uint8")
    # Flat pictures shrink by more than deflate does; Pillow has its own bound on pixels.
    refuse_size(path, shape, np.dtype(dtype).itemsize, 1 << 62, compressed=True)
    return Header(shape, np.eye(4), (1.0, 1.0, 1.0), dtype)


def read_array(path: Path, header: Header, component: int | None) -> NDArray[Any]:
    """The pixels ``(W, H, D)``, first axis to the right, second down.

    A colour picture of which no component is named is read as its luminance; equal colours are exact.
    A grey picture shows its grey in each of the three colours.
    """
    grey = component is None and header.components == len(COLOURS)
    mono = header.components == 1 and component in range(len(COLOURS))
    chosen = 0 if grey or mono else pick_component(path, header, component)
    pages = []
    with _told(path), _open(path) as picture:
        for page in range(header.grid[2]):
            picture.seek(page)
            pages.append(_page(picture, chosen, grey, header))
    if any(page.shape != header.grid[1::-1] for page in pages):
        raise UserError(str(path), "its pages differ in size", "save each page as a file of its own")
    return np.stack(pages).transpose(2, 1, 0)


def _page(picture: Any, chosen: int, grey: bool, header: Header) -> NDArray[Any]:
    if header.components == 1:
        plain = picture.convert("L") if picture.mode == "P" and _grey_palette(picture) else picture
        plain = plain.getchannel(0) if plain.mode in ("LA", "La") else plain
        return np.asarray(plain).astype(header.dtype)
    colours = np.asarray(picture.convert("RGB"))
    if not grey:
        return colours[..., chosen]
    if (colours == colours[..., :1]).all():
        return colours[..., 0]
    # ITU-R 601, as everybody's greyscale
    return (colours @ np.array([0.299, 0.587, 0.114], dtype=np.float32)).astype(np.float32)


def _grey_palette(picture: Any) -> bool:
    colours = np.array(picture.getpalette("RGB") or (), dtype=np.uint8).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())


def write(array: NDArray[Any], affine: NDArray[np.float64], target: Path, like: Path | None) -> None:
    """Writes a map ``(W, H, D)`` as PNG or TIFF, without loss; atomic. A PNG has one page, no fractions."""
    from PIL import Image

    dtype = label_dtype(array)
    fractions = dtype == np.float32 and target.suffix.lower() in (".tif", ".tiff")
    if dtype not in (np.uint8, np.uint16) and not fractions:
        raise UserError(str(target), f"a picture cannot hold labels of type {dtype}", "use values 0 to 65535")
    if target.suffix.lower() not in (".png", ".tif", ".tiff"):
        raise UserError(str(target), "this format loses or cannot hold labels", "use .png or .tif")
    first, *more = [Image.fromarray(np.ascontiguousarray(page)) for page in array.astype(dtype).T]
    with atomic_path(target) as temporary:
        if target.suffix.lower() == ".png":
            if more:
                raise UserError(str(target), f"a PNG has one page, not {len(more) + 1}", "use .tif")
            first.save(temporary, format="PNG", optimize=False)
        else:
            first.save(temporary, "TIFF", save_all=True, append_images=more, compression="tiff_deflate")
