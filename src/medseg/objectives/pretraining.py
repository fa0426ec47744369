"""What objectives share that train an encoder alone, on images without labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import ClassVar

import torch
from torch import Tensor, nn

from medseg.contracts import Batch, Loss, Progress, Pyramid
from medseg.errors import UserError


class Pretraining(nn.Module, ABC):
    """Trains the way down of a network, and heads of its own that nobody needs afterwards.

    Every training case is in its one stream, and no label is read. What it trains is
    ``(B, C, *S)`` and ``(B, M)`` bool -> features per level, with attributes ``levels`` (a `Pyramid`),
    ``in_channels`` (``C``) and ``patch_size``.

    Args:
        loss: goes unused, there are no labels.
        probe_epochs: epochs between two probes of the encoder by training; 0 for none.

    Raises:
        UserError: it is negative.
    """

    STREAMS: ClassVar[tuple[str, ...]] = ("unlabelled",)
    DEEP_SUPERVISION: ClassVar[bool] = False
    PRETRAINS: ClassVar[bool] = True

    def __init__(self, loss: Loss, *, probe_epochs: int = 0) -> None:
        super().__init__()
        if probe_epochs < 0:
            raise UserError("objective.probe_epochs", f"{probe_epochs} is negative", "give 0 or more")
        self.probe_epochs = probe_epochs
        self.deep_supervision = False

    def attach(self, network: nn.Module) -> None:
        """Makes the heads where the network is; its parameters that they do not reach are frozen.

        Raises:
            UserError: it is not the way down of a network, or lacks a level that is asked for.
        """
        levels = getattr(network, "levels", None)
        if not isinstance(levels, Pyramid):
            problem = f"it trains the encoder of a network and {type(network).__name__} is none"
            raise UserError("objective", problem, "use fusion=early or mid and a network that has one")
        self.make_heads(levels, int(network.in_channels))  # type: ignore[arg-type]
        self.to(next(network.parameters()).device)
        freeze_unreached(network, self.outputs)

    def step(self, network: nn.Module, streams: Mapping[str, Batch], progress: Progress) -> dict[str, Tensor]:
        """``loss`` to minimise, and what else is worth logging, detached."""
        return self.terms(network, streams["unlabelled"])

    def after_step(self, network: nn.Module, progress: Progress) -> None:
        """Keeps nothing between steps."""

    @abstractmethod
    def make_heads(self, levels: Pyramid, in_channels: int) -> None:
        """Sets the modules that are trained beside the encoder."""

    def levels_used(self, count: int) -> Sequence[int]:
        """Which of ``count`` levels, 0 the finest, the loss depends on."""
        return range(count)

    def outputs(self, network: nn.Module, image: Tensor) -> list[Tensor]:
        """What the loss depends on, of all that the network makes of an image."""
        levels = network(image)
        return [levels[k] for k in self.levels_used(len(levels))]

    @abstractmethod
    def terms(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The loss of one batch."""


def freeze_unreached(network: nn.Module, outputs: Callable[[nn.Module, Tensor], list[Tensor]]) -> None:
    """Freezes the parameters that the outputs do not depend on; DDP would wait for their gradients.

    Found on a copy without memory, so nothing is computed. Transformers have such parameters: each level
    has convolutions of its own beside the blocks. In a U-Net the deepest level reaches all.
    """
    ghost = deepcopy(network).to("meta")
    image = torch.zeros(1, int(network.in_channels), *network.patch_size, device="meta")  # type: ignore[arg-type, misc]
    with torch.enable_grad():
        total = torch.stack([output.sum() for output in outputs(ghost, image)]).sum()
    trained = [p for p in ghost.parameters() if p.requires_grad]
    found = torch.autograd.grad(total, trained, allow_unused=True)
    reached = {id(p) for p, gradient in zip(trained, found, strict=True) if gradient is not None}
    for own, copied in zip(network.parameters(), ghost.parameters(), strict=True):
        if id(copied) not in reached:
            own.requires_grad_(False)
