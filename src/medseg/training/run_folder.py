"""A run's folder: its files, its record, and who may write to it."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from medseg.errors import UserError
from medseg.files import sweep, write_json, write_text
from medseg.tracking.record import surroundings
from medseg.training.recipe import Recipe, computed

TRIES = 3
"""Times that a run's folder is asked for."""


class RunFolder:
    """The files of one run, under ``runs/NAME/ID``.

    Args:
        path: the folder; it is made when something is written.
        writes: whether the record may be written; of several ranks rank zero alone does.

    Attributes:
        begun: whether this process has begun, or gone on with, the run that is here.
    """

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path, self.writes = path, writes
        self.checkpoints = path / "checkpoints"
        self.model = path / "model"
        self.predictions = path / "predictions"
        self.metrics = path / "metrics.csv"
        self.cases = path / "cases.csv"
        self.split = path / "split.json"
        self.plan = path / "plan.yaml"
        self.config = path / "config.yaml"
        self.begun = False
        self._lock: int | None = None

    @property
    def record(self) -> dict[str, Any]:
        """``record.json``, empty where there is none yet."""
        path = self.path / "record.json"
        if not path.exists():
            return {}
        try:
            loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(
                str(path), f"is not JSON ({error})", "remove the run's folder and start anew"
            ) from None
        return loaded

    def note(self, **entries: Any) -> None:
        """Adds entries to ``record.json``."""
        if not self.writes:
            return
        write_json(self.path / "record.json", self.record | entries)

    def claim(self) -> None:
        """Makes sure that no other process trains in this folder; the lock goes with the process.

        Raises:
            UserError: another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR)
        for _ in range(TRIES):  # who only looks whether somebody trains here holds it for a moment
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for folder in (self.path, *(path for path in self.path.iterdir() if path.is_dir())):
                    sweep(folder)
                return
            except BlockingIOError:
                time.sleep(0.1)
        os.close(self._lock)
        self._lock = None
        raise UserError(
            str(self.path), "another process is training here", "wait for it, or give another id="
        )

    def release(self) -> None:
        """Gives the folder free."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def begin(self, recipe: Recipe) -> None:
        """Writes what the run is, the first time; on a resume makes sure that it is the same run.

        Raises:
            UserError: the folder holds a run with another configuration.
        """
        if self.config.exists():
            kept = yaml.safe_load(self.config.read_text(encoding="utf-8"))
            changed = sorted(_differences(computed(kept), computed(recipe.config)))
            if changed:
                raise UserError(
                    str(self.path),
                    f"holds a run with other settings ({', '.join(changed[:5])})",
                    "give another id=, or remove the folder",
                )
            self.begun = True
            if self.record.get("status") != "finished":
                self.note(status="started", reason=None)
            return
        self.note(
            name=recipe.name,
            id=recipe.run_id,
            seed=recipe.seed,
            fold=recipe.fold,
            status="started",
            overrides=recipe.overrides,
            **surroundings(),
        )
        write_text(self.path / "overrides.txt", "".join(line + "\n" for line in recipe.overrides))
        self.begun = True
        # Last: where it is there, so is the rest.
        write_text(self.config, yaml.safe_dump(recipe.config, sort_keys=False, allow_unicode=True))

    def write_reproduce(self, recipe: Recipe, steps: int) -> None:
        """``reproduce.sh``: the same command with this run's plan, split, number of steps and of threads."""
        fixed = {"steps": steps, "minutes": "null", "threads": self.record["threads"]}
        replaced = (*(f"training.{name}=" for name in fixed), "id=", "plan.file=", "split.file=")
        kept = [word for word in recipe.overrides if not word.startswith(replaced)]
        chosen = [f"training.{name}={value}" for name, value in fixed.items()]
        words = ["medseg", "train", *recipe.flags, *kept, *chosen]
        command = " ".join(shlex.quote(word) for word in words)
        back = shlex.quote(os.path.relpath(Path.cwd(), self.path))
        text = (
            "#!/usr/bin/env bash\n"
            "# Runs this training again under another id: reproduce.sh [ID]\n"
            "set -euo pipefail\n"
            'here=$(cd "$(dirname "$0")" && pwd)\n'
            f'cd "$here"/{back}\n'
            f'{command} plan.file="$here/plan.yaml" split.file="$here/split.json" id="${{1:-reproduced}}"\n'
        )
        target = self.path / "reproduce.sh"
        write_text(target, text)
        target.chmod(0o755)


def _differences(left: Mapping[str, Any], right: Mapping[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for key in left.keys() | right.keys():
        a, b = left.get(key), right.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found |= _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.add(f"{prefix}{key}")
    return found
