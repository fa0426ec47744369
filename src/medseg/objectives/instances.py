"""Learning to find objects one by one, for networks that do so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from medseg.contracts import Batch, InstanceNetwork, Loss, Progress
from medseg.errors import UserError
from medseg.objectives.components import find_instances


class InstanceSegmentation(nn.Module):
    """The losses that the network itself has for the objects in a patch.

    The objects are the connected components of each class. Two of a class that touch are one: a label map
    does not tell them apart.

    Args:
        loss: goes unused, the network brings its own; it tells whether the labels overlap.
        smallest: components of fewer voxels are ignored: neither learned nor held against the network.

    Raises:
        UserError: the labels are regions that overlap, or ``smallest`` is below 1.
    """

    STREAMS: ClassVar[tuple[str, ...]] = ("labelled",)
    DEEP_SUPERVISION: ClassVar[bool] = False
    NEEDS_INSTANCES: ClassVar[bool] = True

    def __init__(self, loss: Loss, *, smallest: int = 3) -> None:
        super().__init__()
        if smallest < 1:
            raise UserError("objective.smallest", f"{smallest} voxels are no object", "give 1 or more")
        if getattr(getattr(loss, "labels", None), "overlapping", False):
            fix = "use data.labels with exclusive classes, or objective=supervised and a network for regions"
            raise UserError("objective", "objects are of exclusive classes and data.regions overlap", fix)
        self.smallest = smallest
        self.deep_supervision = False

    def attach(self, network: nn.Module) -> None:
        """Needs nothing beside the network.

        Raises:
            UserError: it is not one that finds objects, or several are merged.
        """
        found = [module for module in network.modules() if isinstance(module, InstanceNetwork)]
        if len(found) != 1:
            problem = f"it trains one network that finds objects, here are {len(found)}"
            raise UserError("objective", problem, "use network=mask_rcnn and fusion=early")

    def step(self, network: nn.Module, streams: Mapping[str, Batch], progress: Progress) -> dict[str, Tensor]:
        """``loss``, the sum of the network's own, and each of them.

        Raises:
            UserError: the labelled stream carries no label.
        """
        batch = streams["labelled"]
        if batch.label is None:
            raise UserError("objective", "the labelled stream has a batch without a label", "check the split")
        instances = [find_instances(codes, self.smallest) for codes in batch.label[:, 0]]
        finder = next(module for module in network.modules() if isinstance(module, InstanceNetwork))
        terms = finder.instance_losses(batch.image, instances)
        total = torch.stack(list(terms.values())).sum()
        return {"loss": total, **{name: value.detach() for name, value in terms.items()}}

    def after_step(self, network: nn.Module, progress: Progress) -> None:
        """Keeps nothing between steps."""
