"""One function over many cases: in processes, with a progress bar, and with all complaints at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from medseg.errors import Problems, UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
ENOUGH = 50
"""Complaints after which the rest of the cases is not looked at."""


def _guarded(
    function: Callable[[Item], Result], number: int, item: Item
) -> tuple[int, Result | None, str | None]:
    # Complaints travel as text: an exception's own class may not survive the way between processes.
    try:
        return number, function(item), None
    except UserError as error:
        return number, None, str(error)


def _by_itself(
    function: Callable[[Item], Result], number: int, item: Item
) -> tuple[int, Result | None, str | None]:
    """In a new process for this item alone, so that one that dies is known."""
    from joblib.externals.loky import ProcessPoolExecutor
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    with ProcessPoolExecutor(1) as one:
        try:
            answer: tuple[int, Result | None, str | None] = one.submit(
                _guarded, function, number, item
            ).result()
        except TerminatedWorkerError:
            problem = "the process that worked on it was killed, twice; usually memory ran out"
            return number, None, f"{_name(item)}: {problem}; free some, and run the same command again"
        return answer


def _name(item: object) -> str:
    """The id of a case, or of the case that a tuple begins with."""
    first = item[0] if isinstance(item, tuple) else item
    return str(getattr(first, "id", first))


def _all(
    function: Callable[[Item], Result], items: Sequence[Item], processes: int
) -> Iterator[tuple[int, Result | None, str | None]]:
    """Every item's answer, as it comes. Where a process is killed, the rest is done one by one."""
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    calls = (delayed(_guarded)(function, number, item) for number, item in enumerate(items))
    waiting = set(range(len(items)))
    try:
        for answer in Parallel(n_jobs=processes, return_as="generator_unordered")(calls):
            waiting.discard(answer[0])
            yield answer
    except TerminatedWorkerError:
        for number in sorted(waiting):
            yield _by_itself(function, number, items[number])


def for_each(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, title: str, enough: int = 4
) -> list[Result]:
    """The results in the order of ``items``.

    Args:
        function: at the top level of a module, or a `functools.partial` of one.
        items: what to call it with, one by one.
        workers: processes; 0 and 1 stay in this one.
        title: of the progress bar, which is shown on a terminal only.
        enough: items that repay the start of a process, which costs seconds.

    Raises:
        Problems: every `UserError` that a call raised, one line each, and every item whose process was
            killed also when it had one of its own.
    """
    processes = max(1, min(workers, len(items) // enough))
    done = _all(function, items, processes)
    results: dict[int, Result] = {}
    problems: list[str] = []
    for number, result, problem in _shown(done, len(items), title):
        if problem is not None:
            problems.append(problem)
            if len(problems) >= ENOUGH:
                raise Problems([*sorted(problems), f"{title}: stopped after {ENOUGH} problems"])
        elif result is not None:
            results[number] = result
    if problems:
        raise Problems(sorted(problems))
    return [results[number] for number in range(len(items))]


def _shown(done: Iterable[Result], total: int, title: str) -> Iterable[Result]:
    from rich.console import Console
    from rich.progress import track

    return track(
        done, title, total, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    )
