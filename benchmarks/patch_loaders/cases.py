"""What is measured: volumes, patches, augmentations, workers; and the ratios that must hold."""

from __future__ import annotations

from dataclasses import dataclass

LOADERS = ("ours", "nnunet", "monai-cache", "monai-persistent", "torchio-1", "torchio-4", "torchio-16")
"""In the order in which they take turns. TorchIO's number is its ``samples_per_volume``."""

PEERS = ("ours", "nnunet", "monai-cache", "torchio-4")
CLASSES = 3
BATCH = 2
FOREGROUND = 0.34


@dataclass(frozen=True)
class Volume:
    """A synthetic cohort: ``cases`` volumes of ``shape`` voxels and ``channels`` modalities."""

    name: str
    shape: tuple[int, int, int]
    channels: int
    cases: int


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        name: for ``--cases``.
        volume: the cohort.
        patch: voxels per axis of the cubic patch.
        augmentation: ``default`` (nnU-Net's probabilities) or ``heavy`` (affine and elastic on every patch,
            noise and gamma on every patch, flips).
        workers: 0 makes patches in the consumer.
        every_round: the loaders that are measured in each round.
        once: those that are measured in the first round only, to bound the time.
    """

    name: str
    volume: Volume
    patch: int
    augmentation: str
    workers: int
    every_round: tuple[str, ...]
    once: tuple[str, ...] = ()

    @property
    def loaders(self) -> tuple[str, ...]:
        """All of them, in order."""
        return tuple(name for name in LOADERS if name in self.every_round + self.once)


SMALL = Volume("64", (64, 64, 64), 1, 8)
MEDIUM = Volume("192", (192, 192, 192), 1, 8)
LARGE = Volume("384", (384, 384, 384), 1, 3)
BRAIN = Volume("4x240x240x155", (240, 240, 155), 4, 4)
TINY = Volume("48", (48, 48, 48), 1, 3)

_NNUNET = ("ours", "nnunet")
_OTHERS = ("monai-cache", "torchio-4")
_PEERS = ("nnunet", *_OTHERS)

CASES = (
    Case("192-heavy", MEDIUM, 96, "heavy", 0, (*PEERS, "torchio-16"), ("monai-persistent",)),
    Case("192-default", MEDIUM, 96, "default", 0, PEERS, ("monai-persistent", "torchio-1", "torchio-16")),
    Case("4x240-heavy", BRAIN, 96, "heavy", 0, _NNUNET, _OTHERS),
    Case("4x240-default", BRAIN, 96, "default", 0, _NNUNET, _OTHERS),
    Case("64-patch64", SMALL, 64, "default", 0, ("ours",), _PEERS),
    Case("192-patch64", MEDIUM, 64, "default", 0, ("ours",), _PEERS),
    Case("384-patch64", LARGE, 64, "default", 0, ("ours",), _PEERS),
    Case("64-workers", SMALL, 64, "default", 2, (), PEERS),
    Case("192-workers", MEDIUM, 96, "default", 2, _NNUNET, (*_OTHERS, "monai-persistent")),
    Case("192-heavy-workers", MEDIUM, 96, "heavy", 2, (), PEERS),
    Case("384-workers", LARGE, 64, "default", 2, (), PEERS),
    Case("4x240-workers", BRAIN, 96, "default", 2, (), PEERS),
)
"""As many rounds as a quarter of a minute per measurement allows; more with ``--all-rounds``."""

QUICK = (
    Case("48-heavy", TINY, 32, "heavy", 0, LOADERS),
    Case("48-default", TINY, 32, "default", 0, LOADERS),
    Case("48-workers", TINY, 32, "default", 2, PEERS),
)
"""Seconds instead of minutes: shows that everything works, and says nothing about speed."""

BARS: dict[str, dict[str, float]] = {
    "192-heavy": {"nnunet": 15, "monai-cache": 30, "torchio-4": 60, "torchio-16": 20},
    "192-default": {"nnunet": 10, "monai-cache": 4, "torchio-4": 10},
    "4x240-heavy": {"nnunet": 7},
    "4x240-default": {"nnunet": 7},
}
"""Case -> peer -> how many times its patches per CPU-second ours must be."""

GROWTH = ("64-patch64", "384-patch64", 1.3)
"""The CPU time of a patch in the second case may be this many times that in the first."""
