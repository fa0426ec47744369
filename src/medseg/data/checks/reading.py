"""Reading a file once, so that whatever is wrong with it becomes a finding and never an exception."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

from medseg.data.checks.axes import axes_findings, several_volumes
from medseg.data.checks.finding import Finding
from medseg.data.checks.geometry import geometry_findings
from medseg.data.formats import Volume, is_picture, read_header, read_volume
from medseg.errors import UserError

FAULTS = (ArithmeticError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError)
"""What a library may raise over a file that it does not understand, beside `UserError`."""
BROKEN = (*FAULTS, MemoryError, struct.error, zlib.error)
_SIZE = re.compile(r"announces .*(voxels|absurd)")
_COPY = "the file is truncated or corrupt; copy it again from its source"


def read(
    path: Path, component: int | None, case: str, spatial_dims: int
) -> tuple[Volume | None, list[Finding]]:
    """The volume, or ``None`` where it cannot be used, and what is wrong with file, header and axes."""
    file = str(path)
    try:
        volume = read_volume(path, component)
    except UserError as error:
        return None, [_diagnosis(path, component, case, error)]
    except MemoryError:
        return None, [Finding(file, "size", "does not fit into memory", "crop it", "error", "size", (case,))]
    except BROKEN as error:
        problem = f"cannot be read ({type(error).__name__}: {error})"
        return None, [Finding(file, "file", problem, _COPY, "error", "corrupt-file", (case,))]
    found = [
        *geometry_findings(file, volume.header, case),
        *axes_findings(file, volume.header, case, spatial_dims),
    ]
    return volume, found


def _diagnosis(path: Path, component: int | None, case: str, error: UserError) -> Finding:
    """Why a file could not be read, looked up in its header where it has one."""
    file = str(path)
    if not path.exists():
        fix = "restore the file or correct its name"
        return Finding(file, "file", "is not there", fix, "error", "missing-file", (case,))
    try:
        header = read_header(path)
    except UserError as second:
        problem, fix = _told(path, second)
        field, kind = ("size", "size") if _SIZE.search(problem) else ("file", "corrupt-file")
        return Finding(file, field, problem, fix, "error", kind, (case,))
    except BROKEN as second:
        return Finding(file, "header", f"cannot be read ({second})", _COPY, "error", "corrupt-file", (case,))
    for finding in geometry_findings(file, header, case):
        if finding.severity == "error":
            return finding
    if header.components > 1 and component is None and not is_picture(path):
        return several_volumes(file, header, case)
    problem, fix = _told(path, error)
    return Finding(file, "voxels", problem, fix, "error", "corrupt-file", (case,))


def _told(path: Path, error: UserError) -> tuple[str, str]:
    """An error's problem and fix; one that names another file (a slice of a series) keeps the name."""
    problem = error.problem if error.where == str(path) else f"{error.where}: {error.problem}"
    return problem, error.fix or _COPY
