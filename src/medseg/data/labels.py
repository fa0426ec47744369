"""Numbers in label files <-> codes inside medseg, and what a cohort's files say they mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.contracts import IGNORE, Labels
from medseg.data.formats import read_volume
from medseg.errors import UserError

MAX_VALUE = 65535
_UNDECLARED = 254
_MAX_CODES = 253
_MAX_SCANNED = 64


def table(labels: Labels) -> NDArray[np.uint8]:
    """File value -> code, ``MAX_VALUE + 1`` long; undeclared values have 254."""
    lut = np.full(MAX_VALUE + 1, _UNDECLARED, dtype=np.uint8)
    lut[0] = 0
    for value, code in labels.code_of.items():
        lut[value] = code
    if labels.ignore is not None:
        lut[labels.ignore] = IGNORE
    return lut


def encode(array: NDArray[Any], labels: Labels, where: str) -> NDArray[np.uint8]:
    """File values -> codes, uint8 of the same shape.

    Args:
        array: integers, or floats that are integers.
        labels: what is declared.
        where: the file, for the message.

    Raises:
        UserError: fractions, NaN, or values that are not declared; they are listed.
    """
    values = _integers(array, where)
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if low >= 0 and high <= MAX_VALUE:
        codes: NDArray[np.uint8] = table(labels)[values]
        if not (unknown := codes == _UNDECLARED).any():
            return codes
        strange = np.unique(values[unknown])
    else:
        strange = np.unique(values[(values < 0) | (values > MAX_VALUE)])
    shown = ", ".join(map(str, strange[:8].tolist())) + (", ..." if len(strange) > 8 else "")
    declared = ", ".join(map(str, sorted(labels.code_of))) or "none"
    problem = f"holds values that are not declared ({shown}; declared: {declared})"
    raise UserError(where, problem, "declare them in data.labels or data.regions, or mend the file")


def _integers(array: NDArray[Any], where: str) -> NDArray[Any]:
    if array.dtype.kind in "iub":
        return array.astype(np.uint8) if array.dtype.kind == "b" else array
    if not np.isfinite(array).all():
        raise UserError(where, "the label holds NaN or infinite values", "save it again with integer voxels")
    if (fractions := array != np.rint(array)).any():
        example = float(array[fractions][0])
        problem = f"the label holds values that are not integers (such as {example:g})"
        raise UserError(where, problem, "resample labels by nearest neighbour; save colours as indices")
    integers: NDArray[np.int32] = np.clip(array, -1, MAX_VALUE + 1).astype(np.int32)
    return integers


def decode(codes: NDArray[Any], labels: Labels) -> NDArray[Any]:
    """Codes -> file values, in uint8 or uint16; the inverse of `encode` up to merged values.

    A class of several values gets its painted one; ignored voxels get the ignore value.

    Raises:
        ValueError: a code that these labels do not have.
    """
    values = {code: value for value, code in reversed(labels.code_of.items())}
    if not labels.overlapping:
        values = dict(enumerate(labels.painted, start=1))
    lut = np.full(256, -1, dtype=np.int32)
    lut[0] = 0
    for code, value in values.items():
        lut[code] = value
    if labels.ignore is not None:
        lut[IGNORE] = labels.ignore
    found = lut[codes]
    if found.size and found.min() < 0:
        raise ValueError(f"codes {np.unique(np.asarray(codes)[found < 0]).tolist()} are not of these labels")
    values_out: NDArray[Any] = found.astype(np.uint8 if lut.max() < 256 else np.uint16)
    return values_out


def paint(masks: NDArray[np.bool_], labels: Labels) -> NDArray[np.uint8]:
    """One mask per name ``(K, W, H, D)`` -> codes ``(W, H, D)``; later (inner) regions paint over earlier."""
    codes = np.zeros(masks.shape[1:], dtype=np.uint8)
    code_of = labels.code_of
    for mask, value in zip(masks, labels.painted, strict=True):
        codes[mask] = code_of[value]
    return codes


def majority(opinions: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The code that most raters gave each voxel.

    On a tie foreground wins over background, so that half of the raters suffice (the 50 % consensus that is
    usual for LIDC-IDRI), and the smaller code wins among foreground. ``IGNORE`` is an abstention.
    """
    codes = sorted({int(code) for opinion in opinions for code in np.unique(opinion)} - {0, IGNORE})
    best = np.full(opinions[0].shape, IGNORE, dtype=np.uint8)
    most: NDArray[np.int_] = np.zeros(opinions[0].shape, dtype=np.int_)
    for code in (*codes, 0):  # background last: it must have strictly more
        votes: NDArray[np.int_] = np.sum([opinion == code for opinion in opinions], axis=0)
        wins = votes > most
        best[wins], most[wins] = code, votes[wins]
    return best


def parse_labels(
    declared: Mapping[str, Any], where: str, *, ignore: int | None = None, regions: bool = False
) -> Labels:
    """``{name: value or values}`` -> `Labels`.

    ``background`` and ``ignore`` are understood as in nnU-Net. Names whose values overlap are regions; an
    outer region that comes after an inner one is put before it.

    Args:
        declared: name -> an integer or a list of integers.
        where: the file or setting, for the message.
        ignore: the value to ignore, where no entry says it.
        regions: names are regions even where they do not overlap.

    Raises:
        UserError: values that are no integers from 1 to 65535, a background other than 0, and the like.
    """
    rows: dict[str, tuple[int, ...]] = {}
    for name, value in declared.items():
        row = _row(str(name), value, where)
        if str(name).lower() == "background":
            if row != (0,):
                raise UserError(where, f"background is {list(row)}", "background is 0; recode the files")
        elif str(name).lower() == "ignore" and len(row) == 1:
            ignore = row[0]
        else:
            rows[str(name)] = row
    taken = [value for row in rows.values() for value in row]
    overlapping = regions or len(set(taken)) < len(taken)
    if overlapping and _inside_out(list(rows.values())):
        rows = dict(sorted(rows.items(), key=lambda item: -len(item[1])))
    _refuse(taken, ignore, where)
    return Labels(tuple(rows), tuple(rows.values()), overlapping, ignore)


def _refuse(taken: Sequence[int], ignore: int | None, where: str) -> None:
    if bad := [v for v in taken if not 1 <= v <= MAX_VALUE]:
        raise UserError(where, f"label values {bad} are impossible", f"use 1 to {MAX_VALUE}; 0 is background")
    if len(set(taken)) > _MAX_CODES:
        raise UserError(where, f"{len(set(taken))} label values are too many", f"use at most {_MAX_CODES}")
    if ignore is not None and (ignore in taken or not 0 < ignore <= MAX_VALUE):
        raise UserError(where, f"the ignore value {ignore} is a label too", "give it a value of its own")


def _row(name: str, value: Any, where: str) -> tuple[int, ...]:
    row = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not row or not all(isinstance(v, (int, str)) and not isinstance(v, bool) for v in row):
        raise UserError(where, f"label {name!r} is {value!r}", "give an integer or a list of integers")
    try:
        numbers = tuple(int(v) for v in row)
    except ValueError:
        raise UserError(where, f"label {name!r} is {value!r}", "give integers") from None
    return tuple(dict.fromkeys(numbers))


def _inside_out(rows: Sequence[tuple[int, ...]]) -> bool:
    sets = [set(row) for row in rows]
    return any(inner < outer for k, inner in enumerate(sets) for outer in sets[k + 1 :])


def scan_labels(paths: Iterable[Path], where: str) -> Labels:
    """The labels that occur in files of which nothing is declared: ``foreground``, or ``label_VALUE`` each.

    Unreadable files and fractions are passed over: `medseg.data.verify` names them.

    Raises:
        UserError: so many values that the files are no label maps.
    """
    seen: set[int] = set()
    for path in paths:
        try:
            values = np.unique(_integers(read_volume(path).array, str(path)))
        except UserError:
            continue
        seen |= set(values.tolist()) - {0}
        if len(seen) > _MAX_SCANNED or (values < 0).any():
            problem = f"holds {len(values)} different values, from {values[0]} to {values[-1]}"
            raise UserError(str(path), problem, f"if it is a label map, declare data.labels for {where}")
    if len(seen) == 1:
        return Labels(("foreground",), ((seen.pop(),),))
    return Labels(tuple(f"label_{v}" for v in sorted(seen)), tuple((v,) for v in sorted(seen)))
