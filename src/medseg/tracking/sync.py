"""Offline W&B runs sent to the server; what was sent already is left alone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from medseg.errors import UserError

_SECONDS = 5.0


@dataclass(frozen=True)
class Offline:
    """An offline run of W&B: its folder, and whether it was sent already."""

    folder: Path
    sent: bool


def offline_runs(folders: Sequence[Path]) -> list[Offline]:
    """The offline W&B runs of run folders, of studies, or of folders of studies, oldest first.

    Raises:
        UserError: a folder is not there.
    """
    found: dict[Path, Offline] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(
                str(folder), "is not there", "give runs/NAME for a study or runs/NAME/ID for a run"
            )
        for level in (".", "*", "*/*"):
            for run in sorted(folder.glob(f"{level}/wandb/offline-run-*")):
                # Without its transaction log it was never begun.
                if logs := sorted(run.glob("*.wandb")):
                    sent = all(log.with_name(log.name + ".synced").exists() for log in logs)
                    found.setdefault(run.resolve(), Offline(run, sent))
    return sorted(found.values(), key=lambda run: run.folder.name)


def send_offline_runs(runs: Sequence[Offline], entity: str | None, project: str | None) -> int:
    """Sends those that were not sent yet; how many.

    Raises:
        UserError: nobody is logged in, the server cannot be reached, or it refuses.
    """
    waiting = [run for run in runs if not run.sent]
    if not waiting:
        return 0
    _require_server()
    words = [sys.executable, "-m", "wandb", "sync", "--skip-synced"]
    words += ["--entity", entity] if entity else []
    words += ["--project", project] if project else []
    words += [str(run.folder) for run in waiting]
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_MODE"}
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=environment
    )
    if done.returncode:
        raise UserError(
            "wandb", f"did not take the runs ({_last_line(done.stderr + done.stdout)})", "try again"
        )
    return len(waiting)


def _require_server() -> None:
    """Says in one line what W&B says in many, and sooner."""
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        known = wandb.login(prompt=False, verify=False)
    except (wandb.errors.Error, ValueError) as error:
        raise UserError("wandb", f"cannot log in ({_last_line(str(error))})", "run `wandb login`") from None
    if not known:
        raise UserError("wandb", "nobody is logged in here", "run `wandb login`, or set WANDB_API_KEY")
    address = urlsplit(str(wandb.setup().settings.base_url))
    host, port = address.hostname or "", address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((host, port), timeout=_SECONDS).close()
    except OSError:
        fix = "try again where there is a network; the runs stay in their folders"
        raise UserError("wandb", f"{host} cannot be reached", fix) from None


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("Error:")] or lines or ["no reason given"]
    return told[-1].removeprefix("Error:").strip()[:200]
