"""Weights & Biases: the curves and pictures of a run, and nothing that names a patient or a machine."""

from __future__ import annotations

import hashlib
import os
import secrets
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.files import write_text
from medseg.tracking.settings import TrackingSettings

if TYPE_CHECKING:
    import wandb
    from lightning.pytorch.loggers import WandbLogger

ALLOWED = (
    "seed",
    "fold",
    "plan",
    "network",
    "fusion",
    "loss",
    "objective",
    "optimizer",
    "schedule",
    "augmentation",
    "queue",
    "training",
    "inference",
)
"""The parts of the configuration that are sent. What holds paths (data, split, runs) stays here."""
PATIENCE = 30
"""Seconds to wait for W&B's server at the start of a run."""


def build_wandb(
    settings: TrackingSettings, folder: Path, run_id: str, study: str, config: Mapping[str, Any]
) -> WandbLogger:
    """A logger that writes under ``folder/wandb`` and sends only where ``settings.wandb`` is online.

    Code, git remote, command line, console, host and user are not recorded. A server that does not answer
    costs `PATIENCE` seconds and a warning; the run is then kept offline.
    """
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    folder.mkdir(parents=True, exist_ok=True)
    logger = _logger(settings, folder, run_id, study, config, offline=settings.wandb == "offline")
    try:
        _ = logger.experiment
    except (wandb.errors.CommError, wandb.errors.UsageError) as error:
        reason = str(error).splitlines()[0]
        warnings.warn(
            f"W&B cannot be reached ({reason}); the run is kept offline, `medseg sync {folder}` sends it",
            stacklevel=2,
        )
        wandb.teardown()
        logger = _logger(settings, folder, run_id, study, config, offline=True)
    return logger


def _logger(
    settings: TrackingSettings,
    folder: Path,
    run_id: str,
    study: str,
    config: Mapping[str, Any],
    *,
    offline: bool,
) -> WandbLogger:
    from lightning.pytorch.loggers import WandbLogger

    logger = WandbLogger(
        project=settings.project,
        entity=settings.entity,
        name=run_id,
        id=run_id,
        resume="allow",
        group=study,
        tags=list(settings.tags),
        save_dir=str(folder),
        offline=offline,
        config=allowed_config(config),
        settings=private_settings(system_metrics=True),
    )
    # Lightning always hands this over, and W&B warns of it at every start.
    logger._wandb_init.pop("anonymous", None)
    return logger


def private_settings(*, system_metrics: bool) -> wandb.Settings:
    """Settings under which a run names neither host nor user, folder, command or code.

    Args:
        system_metrics: whether the use of processors, GPUs, memory, disk and network is sampled. W&B calls
            their switch "machine info"; what would tell which machine it is comes with "meta", which is off.
    """
    import wandb

    return wandb.Settings(
        console="off",
        disable_git=True,
        disable_code=True,
        save_code=False,
        silent=True,
        host="undisclosed",
        username="undisclosed",
        program="medseg",
        program_relpath="medseg",
        x_disable_meta=True,
        x_disable_machine_info=not system_metrics,
        x_disable_stats=not system_metrics,
        x_stats_disk_paths=("/",),
        x_save_requirements=False,
        init_timeout=PATIENCE,
    )


def allowed_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a configuration that may leave the machine; values that look like paths are blanked."""

    def clean(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {
                str(key): "(path)" if key == "file" and item else clean(item) for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [clean(item) for item in value]
        return "(path)" if isinstance(value, str) and ("/" in value or "\\" in value) else value

    return {name: clean(config[name]) for name in ALLOWED if name in config}


class Pseudonyms:
    """Names for cases that mean nothing to a stranger; the key stays in the run's folder.

    A random salt makes them impossible to guess from a list of likely ids.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            write_text(path, secrets.token_hex(16) + "\n")
        self._salt = path.read_text(encoding="utf-8").strip()

    def __call__(self, case: str) -> str:
        """The pseudonym of a case id."""
        return "case-" + hashlib.sha256(f"{self._salt}{case}".encode()).hexdigest()[:8]


def send_pictures(logger: WandbLogger, name: str, pictures: Sequence[tuple[str, bytes]], step: int) -> None:
    """Sends PNG pictures with their captions under one name, each on a ground of the largest one's size."""
    import io

    import wandb
    from PIL import Image, ImageOps

    opened = [(caption, Image.open(io.BytesIO(png)).convert("RGB")) for caption, png in pictures]
    size = (max(image.width for _, image in opened), max(image.height for _, image in opened))
    images = [wandb.Image(ImageOps.pad(image, size), caption=caption) for caption, image in opened]
    logger.experiment.log({name: images, "trainer/global_step": step})


def finish_wandb() -> None:
    """Ends the run, so that its files are whole."""
    import wandb

    wandb.finish()
