"""An encoder whose batch norms are replaced, for batches too small for statistics of their own."""

from __future__ import annotations

import math
from typing import Literal

from torch import nn

from medseg.errors import UserError
from medseg.networks.group_norm import GroupNorm
from medseg.networks.smp_encoder import SMPEncoder

EncoderNorm = Literal["batch", "group", "frozen"]
_PER_GROUP = 8


class NormedEncoder(SMPEncoder):
    """Randomly initialised, with the norm asked for.

    Args:
        name: of segmentation-models-pytorch, or ``tu-`` and a name of timm.
        in_channels: any number.
        depth: how often the image is halved.
        norm: ``batch``; ``group``, of 8 channels each (Wu 2018); ``frozen``, a batch norm that keeps the
            statistics and the scale it was loaded with.

    Raises:
        UserError: the encoder's norms cannot be replaced.
    """

    def __init__(self, name: str, in_channels: int, depth: int, norm: EncoderNorm) -> None:
        super().__init__(name, in_channels, depth, None, None)
        if norm != "batch":
            replace_norms(self.body, norm)
            self.kept, self.pyramid, self.parameter_stages = self._look()  # the norms' parameters are others


def replace_norms(module: nn.Module, norm: EncoderNorm) -> None:
    """Every batch norm within ``module`` by a group norm or a frozen one.

    Raises:
        UserError: one of them does more than to normalise.
    """
    for name, child in module.named_children():
        if not isinstance(child, nn.BatchNorm2d):
            replace_norms(child, norm)
        elif type(child) is nn.BatchNorm2d:
            setattr(module, name, _replaced(child, norm))
        else:
            problem = f"this encoder's norms are {type(child).__name__} and stay as they are"
            raise UserError("network.norm", problem, "use norm=batch, or another encoder such as resnet50")


def _replaced(batch: nn.BatchNorm2d, norm: EncoderNorm) -> nn.Module:
    from torchvision.ops import FrozenBatchNorm2d

    channels = batch.num_features
    if norm == "group":
        return GroupNorm(channels // math.gcd(channels, _PER_GROUP), channels)
    frozen: nn.Module = FrozenBatchNorm2d(channels, batch.eps)
    return frozen
