"""One case of a store: a folder that is whole or counts as not there.

image.npy        (M, W, H, D) float32, C order, so that a box of it is read without the rest
label.npy        (W, H, D) uint8 codes; absent where the case is kept without its label
foreground.npy   (n, 3) int32 voxel positions, code after code; absent with the label
meta.json        shapes, sizes, hashes, geometry
"""

from __future__ import annotations

import errno
import json
import mmap
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.data.geometry import Geometry
from medseg.data.preprocess import Prepared, labelled_positions
from medseg.errors import UserError
from medseg.files import TEMPORARY, file_hash, sync, value_hash

FORMAT = 1
SYNCING_THREADS = 16
SETTLED = "settled"
FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota is used up", errno.EROFS: "is read-only"}


@dataclass(frozen=True)
class StoredCase:
    """A case of a store. Arrays are mapped anew at each access, and a map ends with its array.

    So any number of cases costs neither file handles nor memory. Keeping maps would save 0.1 ms of the
    page faults of a 96^3 box, and only where its pages are visited again, at the price of a handle each
    and of a resident size that grows with the cohort.

    Attributes:
        id: the case id.
        folder: where it lies.
        meta: the content of ``meta.json``.
    """

    id: str
    folder: Path
    meta: Mapping[str, Any]

    @property
    def image(self) -> NDArray[np.float32]:
        """``(M, W, H, D)`` float32, memory-mapped and read-only; a missing modality is all zero."""
        return self._map("image")

    @property
    def label(self) -> NDArray[np.uint8] | None:
        """``(W, H, D)`` uint8 codes, memory-mapped and read-only, or ``None``."""
        return self._map("label") if self.labelled else None

    @property
    def foreground(self) -> dict[int, NDArray[np.int32]]:
        """Code -> ``(n, 3)`` int32 positions of its voxels, at most 10,000, memory-mapped."""
        codes = self.meta["foreground_codes"]
        if not codes:
            return {}
        positions = self._map("foreground")
        return {int(code): positions[start : start + count] for code, (start, count) in codes.items()}

    @property
    def labelled(self) -> bool:
        """Whether there is a label."""
        return "label" in self.meta["arrays"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(W, H, D)`` in voxels."""
        _, w, h, d = self.meta["arrays"]["image"]["shape"]
        return w, h, d

    @property
    def present(self) -> NDArray[np.bool_]:
        """``(M,)`` bool, which modalities the case has."""
        return np.array(self.meta["present"], dtype=bool)

    @cached_property
    def geometry(self) -> Geometry:
        """The way back to the files' grid."""
        return Geometry.from_dict(self.meta["geometry"])

    def damaged(self) -> list[str]:
        """The files whose bytes are not what was written; reads all of them."""
        arrays = self.meta["arrays"].items()
        return [name for name, facts in arrays if file_hash(self.folder / f"{name}.npy") != facts["sha256"]]

    def _map(self, name: str) -> NDArray[Any]:
        facts = self.meta["arrays"][name]
        # What np.memmap does, in half the time: 10 us, and the array's own slicing is a plain array's.
        with open(self.folder / f"{name}.npy", "rb", buffering=0) as file:
            memory = mmap.mmap(file.fileno(), facts["bytes"], access=mmap.ACCESS_READ)
        return np.frombuffer(memory, facts["dtype"], offset=facts["offset"]).reshape(facts["shape"])


def open_case(folder: Path, key: str) -> StoredCase | None:
    """The case in ``folder``, or ``None`` unless it is whole and was made from what ``key`` says.

    Looks at sizes, and at every byte only where a power cut might have lost some.
    """
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        stated = meta.pop("hash")
        if stated != value_hash(meta) or meta["format"] != FORMAT or meta["key"] != key:
            return None
        for name, facts in meta["arrays"].items():
            if (folder / f"{name}.npy").stat().st_size != facts["bytes"]:
                return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    case = StoredCase(meta["id"], folder, meta)
    return case if (folder / SETTLED).exists() or not case.damaged() else None


def settle(folders: Iterable[Path]) -> None:
    """Makes cases survive a power cut. Many at once: one by one each file waits for the disk alone."""
    new = [folder for folder in folders if not (folder / SETTLED).exists()]
    with ThreadPoolExecutor(SYNCING_THREADS) as pool:
        list(pool.map(sync, [path for folder in new for path in (*folder.iterdir(), folder)]))
    for folder in new:
        (folder / SETTLED).touch()


def write_case(folder: Path, case_id: str, key: str, prepared: Prepared) -> None:
    """Writes a case beside ``folder`` and renames it there; a kill leaves no part of it under that name.

    Raises:
        UserError: there is no room, or no right to write.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=folder.parent))
        try:
            _fill(temporary, case_id, key, prepared)
            if folder.exists():
                discard(folder)
            temporary.chmod(0o755)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        if error.errno in (*FULL, errno.EACCES, errno.EPERM):
            problem = FULL.get(error.errno, "may not be written to")
            raise UserError(str(folder.parent), problem, "make room or set data.cache elsewhere") from None
        raise


def _fill(folder: Path, case_id: str, key: str, prepared: Prepared) -> None:
    arrays: dict[str, NDArray[Any]] = {"image": prepared.image}
    codes: dict[str, tuple[int, int]] = {}
    if prepared.label is not None:
        arrays["label"] = prepared.label
        found = labelled_positions(prepared.label, [int(value_hash(case_id)[:12], 16)])
        start = 0
        for code, positions in found.items():
            codes[str(code)] = (start, len(positions))
            start += len(positions)
        if found:
            arrays["foreground"] = np.concatenate(list(found.values()))
    meta = {
        "format": FORMAT,
        "id": case_id,
        "key": key,
        "present": [bool(there) for there in prepared.present],
        "arrays": {name: _write_array(folder / f"{name}.npy", array) for name, array in arrays.items()},
        "foreground_codes": codes,
        "geometry": prepared.geometry.to_dict(),
    }
    plain = json.loads(json.dumps(meta, allow_nan=False))
    text = json.dumps({**plain, "hash": value_hash(plain)}, indent=1)
    (folder / "meta.json").write_text(text, encoding="utf-8")


def _write_array(path: Path, array: NDArray[Any]) -> dict[str, Any]:
    np.save(path, np.ascontiguousarray(array), allow_pickle=False)
    size = path.stat().st_size
    return {
        "dtype": array.dtype.str,
        "shape": list(array.shape),
        "offset": size - array.nbytes,
        "bytes": size,
        "sha256": file_hash(path),
    }


def discard(folder: Path) -> None:
    """Removes a folder; it first loses its name, so that no one takes it half removed for whole."""
    doomed = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}doomed-", dir=folder.parent)) / "it"
    folder.rename(doomed)
    shutil.rmtree(doomed.parent, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Removes what killed builds left; only while no other process builds here."""
    if folder.is_dir():
        for left in folder.glob(f"{TEMPORARY}*"):
            discard(left) if left.is_dir() else left.unlink(missing_ok=True)
