"""Probabilities beside a predicted label file, read a channel at a time."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from medseg.contracts import Labels
from medseg.errors import UserError

SUFFIX = "_probabilities.npz"
_MEMBER = "probabilities.npy"
_FIX = "predict the case again with inference.probabilities=true"
# Rounding to 16 bits, and a softmax summed in 16 bits, go no further beyond 0 and 1 than this.
_ROUNDING = 1e-2


def read_channels(file: Path, shape: Sequence[int], labels: Labels) -> Iterator[NDArray[np.floating]]:
    """The probability of each label ``(W, H, D)``, one after another: all at once may not fit into memory.

    Args:
        file: ``CASE_probabilities.npz`` with ``probabilities`` ``(K, W, H, D)``: the background first and
            then a channel per class, or a channel per overlapping region.
        shape: ``(W, H, D)`` of the case's own grid.
        labels: whose channels they are.

    Raises:
        UserError: the file is unusable, on another grid, or holds what is no probability.
    """
    try:
        with zipfile.ZipFile(file) as archive, archive.open(_MEMBER) as stream:
            dtype = _require_header(stream, (labels.out_channels, *shape), file)
            for k in range(labels.out_channels):
                channel = _read(stream, dtype, shape, file)
                if labels.overlapping or k:
                    yield _require_probabilities(channel, file)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(str(file), f"holds no readable probabilities ({error})", _FIX) from error


def _require_header(stream: IO[bytes], expected: tuple[int, ...], file: Path) -> np.dtype[Any]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, columns_first, dtype = read(stream)
    if shape != expected:
        problem = f"holds {shape} probabilities, and {expected} belong to its labels and its grid"
        raise UserError(str(file), problem, _FIX)
    if dtype.kind != "f" or columns_first:
        raise UserError(str(file), f"is {dtype}, or not in C order", "save a C-ordered array of floats")
    return dtype


def _read(stream: IO[bytes], dtype: np.dtype[Any], shape: Sequence[int], file: Path) -> NDArray[np.floating]:
    size = int(np.prod(shape)) * dtype.itemsize
    found = stream.read(size)
    if len(found) != size:
        raise UserError(str(file), "is cut short", _FIX)
    return np.frombuffer(found, dtype).reshape(shape)


def _require_probabilities(channel: NDArray[np.floating], file: Path) -> NDArray[np.floating]:
    low, high = float(channel.min()), float(channel.max())
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
        raise UserError(str(file), f"holds values from {low:g} to {high:g}, not probabilities", _FIX)
    return channel if low >= 0 and high <= 1 else channel.clip(0, 1)
