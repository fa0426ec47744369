"""What a person did wrong, in one line each: where, what, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(Exception):
    """Bad input. The command line prints it without a traceback and exits non-zero.

    Args:
        where: the file, field or argument at fault.
        problem: what is wrong with it.
        fix: what to do about it.
    """

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
