"""Starts `medseg` in processes of their own without paying for the imports each time.

Reads a JSON line ``{"words": [...], "log": PATH, "environment": {...}}`` and answers with the process id of
a fork that runs the command line's own entry point; reads ``{"wait": PID}`` and answers with the exit code,
negative for a signal; ``{"poll": PID}`` asks whether it still runs (1 or 0). Nothing has been computed before
the fork, so no thread is lost by it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
from pathlib import Path

import medseg.config.run
import medseg.config.verbs.predict
import medseg.config.verbs.preprocess
import medseg.training.train  # noqa: F401
from medseg.cli import main


def run(words: list[str], log: str, environment: dict[str, str]) -> None:
    """In the fork: never returns. ``MEMORY`` in the environment limits what it may take more, in bytes."""
    os.setsid()
    if more := environment.pop("MEMORY", None):
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + int(more),) * 2)
    os.environ.update(environment)
    with Path(log).open("ab", buffering=0) as target:
        os.dup2(target.fileno(), 1)
        os.dup2(target.fileno(), 2)
    code = 70
    try:
        code = main(words)
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    """Answers until its input ends."""
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        elif "poll" in order:
            answer = os.waitid(os.P_PID, order["poll"], os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        else:
            answer = os.fork()
            if answer == 0:
                run(order["words"], order["log"], order["environment"])
        print(int(answer), flush=True)


if __name__ == "__main__":
    serve()
