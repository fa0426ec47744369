"""``CASE_probabilities.npz``: one array ``probabilities``, float16 ``(K, W, H, D)``, as nnU-Net's."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import UserError
from medseg.files import atomic_path

PROBABILITIES = "_probabilities.npz"
NAME = "probabilities"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_probabilities(path: Path, probabilities: NDArray[np.float32]) -> None:
    """Writes ``(K, W, H, D)`` atomically, compressed; never more than a plane of it is held twice.

    The same numbers give the same bytes.
    """
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo(f"{NAME}.npy", _EPOCH)
        entry.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(entry, "w", force_zip64=True) as target:
            header = {"descr": "<f2", "fortran_order": False, "shape": probabilities.shape}
            np.lib.format.write_array_header_1_0(target, header)
            for row in probabilities:
                for plane in row:
                    target.write(np.ascontiguousarray(plane, dtype="<f2").tobytes())


def read_probabilities(path: Path) -> NDArray[np.float16]:
    """The array ``(K, W, H, D)``; nothing is unpickled.

    Raises:
        UserError: the file is no such thing.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            found: NDArray[Any] = archive[NAME]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        problem = f"holds no probabilities ({' '.join(str(error).split())})"
        raise UserError(str(path), problem, "predict with inference.probabilities=true") from None
    if found.dtype != np.float16 or found.ndim != 4:
        problem = f"holds {found.dtype} of {found.ndim} axes instead of float16 (K, W, H, D)"
        raise UserError(str(path), problem, "predict with inference.probabilities=true")
    return found
