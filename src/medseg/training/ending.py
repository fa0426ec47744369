"""How a run has ended is in its record: finished, stopped, or failed, with the reason in one line."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from medseg.errors import UserError
from medseg.files import write_text
from medseg.training.requeue import queue_again
from medseg.training.run_folder import RunFolder
from medseg.training.signals import Interrupt, Stopped, stoppable, stopped

LONGEST = 500


@contextmanager
def ending(run: RunFolder) -> Iterator[None]:
    """While inside, signals stop the run, and however it ends its record says so.

    A run that was stopped in a SLURM job is queued again, unless it was cancelled.

    Raises:
        Stopped: it was asked to stop; the same command goes on.
    """
    with stoppable():
        try:
            yield
        except Interrupt as signal:
            _note_stop(run, stopped(run, f"stopped by {signal} between two steps of its work"))
        except Stopped as stop:
            _note_stop(run, stop)
        except (KeyboardInterrupt, SystemExit):  # Lightning makes the second of the first
            _note(run, status="stopped", reason="interrupted by the user")
            raise KeyboardInterrupt from None
        except UserError as error:
            _note(run, status="failed", reason=_line(str(error)))
            raise
        except Exception as error:
            _note(run, status="failed", reason=_line(f"{type(error).__name__}: {error}"))
            with contextlib.suppress(OSError):
                write_text(run.path / "failure.txt", traceback.format_exc())
            raise


@contextmanager
def ending_of_ranks(run: RunFolder) -> Iterator[None]:
    """The same for the process that has started the ranks: rank zero among them wrote the record.

    Raises:
        Stopped: they were asked to stop.
    """
    try:
        yield
    except UserError:
        if run.record.get("status") == "stopped":
            raise stopped(run, str(run.record["reason"])) from None
        raise


def _note_stop(run: RunFolder, stop: Stopped) -> None:
    _note(run, status="stopped", reason=_line(stop.problem))
    if run.writes:
        with contextlib.suppress(Interrupt):  # SLURM's own, once it has taken the job back
            queue_again(run.checkpoints)
    raise stop from None


def _note(run: RunFolder, **entries: str) -> None:
    with contextlib.suppress(OSError, UserError):  # such as a full disk: what ended the run is worth more
        if run.begun:
            run.note(**entries)


def _line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    more = f" (and {len(lines) - 1} more lines)" if len(lines) > 1 else ""
    return (lines[0][:LONGEST] if lines else "") + more
