"""What a person did wrong, in one line each: where, what, and how to mend it."""

from __future__ import annotations

import errno
from collections.abc import Iterable


class UserError(Exception):
    """Bad input. The command line prints it without a traceback and exits non-zero.

    Args:
        where: the file, field or argument at fault.
        problem: what is wrong with it.
        fix: what to do about it.
    """

    code = 2
    """What the command line exits with."""

    def __init__(self, where: str, problem: str, fix: str = "") -> None:
        self.where, self.problem, self.fix = where, problem, fix
        super().__init__(f"{where}: {problem}" + (f"; {fix}" if fix else ""))


class Problems(UserError):
    """Several problems found in one pass, one line each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.lines = tuple(problems)
        super().__init__("\n".join(self.lines), "")
        self.args = ("\n".join(self.lines),)

    def __str__(self) -> str:
        return "\n".join(self.lines)


_DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "may not be written or read",
    errno.EPERM: "may not be written or read",
    errno.EIO: "the disk does not answer",
}
_DISK_WORDS = ("No space left on device", "inline_container", " requested and ")
_MEMORY_WORDS = ("can't allocate memory", "out of memory", "Cannot allocate memory")


def explained(error: BaseException) -> UserError | None:
    """What the machine refused, as one line; ``None`` where the fault is our own.

    A full disk reaches us as an `OSError`, and from torch and safetensors as errors of their own classes,
    which are told by their words; memory as `MemoryError` or torch's ``OutOfMemoryError``. Notes that were
    added to the error, such as which cases were being worked on, are kept.
    """
    notes = " ".join(getattr(error, "__notes__", ()))
    told = f" ({notes})" if notes else ""
    words = str(error)
    if isinstance(error, OSError) and error.errno in _DISK:
        where = str(error.filename2 or error.filename or "disk")
        return UserError(where, _DISK[error.errno] + told, "mend that and run the same command again")
    if isinstance(error, MemoryError) or any(part in words for part in _MEMORY_WORDS):
        fix = "give a smaller plan.batch_size or plan.patch_size, or fewer workers"
        return UserError("memory", f"there is not enough{told}", fix)
    if any(part in words for part in _DISK_WORDS):
        return UserError("disk", _DISK[errno.ENOSPC] + told, "free some of it and run the same command again")
    return None
