"""The record of a run: what it ran on, with which versions, from which state of the code."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import medseg

PACKAGES = (
    "lightning",
    "torch",
    "torchio",
    "monai",
    "hydra-core",
    "numpy",
    "numba",
    "SimpleITK",
    "nibabel",
    "wandb",
)


def surroundings() -> dict[str, Any]:
    """Versions, the state of the code and the hardware, as JSON values.

    Neither the host's name, the user's, nor any environment variable is in it.
    """
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"medseg": medseg.__version__, "python": platform.python_version()}
        | {name: metadata.version(name) for name in PACKAGES},
        "git": git_state(Path(__file__).resolve().parent),
        "hardware": hardware(),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit that the code stands at and whether it was edited since; ``None`` outside a checkout."""

    def git(*arguments: str) -> str:
        command = ("git", "-C", str(folder), *arguments)
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        # An installed wheel may lie inside somebody else's repository: only our own counts.
        git("ls-files", "--error-unmatch", str(folder / "record.py"))
        return {
            "commit": git("rev-parse", "HEAD"),
            "edited": bool(git("status", "--porcelain", "--", str(folder.parent))),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def hardware() -> dict[str, Any]:
    """Processor, cores, memory and accelerators."""
    import psutil
    import torch

    accelerators = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "accelerators": accelerators,
        "torch_threads": torch.get_num_threads(),
    }


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
