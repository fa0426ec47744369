"""Where a run's numbers go beside its own folder."""

from __future__ import annotations

from dataclasses import dataclass

MODES = ("disabled", "offline", "online")


@dataclass(frozen=True)
class TrackingSettings:
    """Weights & Biases; the run's folder is written in any case.

    Attributes:
        wandb: ``disabled``, ``offline`` (kept in the run's folder, to be sent later) or ``online``.
        project: the W&B project.
        entity: the W&B team or user; ``None`` for the default of whoever is logged in.
        tags: words to find the run by.
        overlays: pictures of validation cases sent with each volume validation.
    """

    wandb: str = "offline"
    project: str = "medseg"
    entity: str | None = None
    tags: tuple[str, ...] = ()
    overlays: int = 2

    def problems(self) -> list[str]:
        """What is wrong with the values, one line each."""
        found = []
        if self.wandb not in MODES:
            found.append(f"wandb: {self.wandb!r} is unknown; use one of {', '.join(MODES)}")
        if self.overlays < 0:
            found.append(f"overlays: {self.overlays} is negative; give 0 or more")
        return found
