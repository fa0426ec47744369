"""A light way up from any pyramid to an image, for objectives that guess one."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from medseg.contracts import Pyramid

_CONV: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
_LINEAR = {2: "bilinear", 3: "trilinear"}


class ReconstructionHead(nn.Module):
    """Each level narrowed to a few channels, enlarged and added to the next finer one.

    It is kept weak on purpose: what it needs to know, the encoder has to learn.

    Args:
        levels: of the encoder.
        out_channels: of the image.
        width: channels of each level.
    """

    def __init__(self, levels: Pyramid, out_channels: int, width: int) -> None:
        super().__init__()
        conv = _CONV[levels.spatial_dims]
        self.mode = _LINEAR[levels.spatial_dims]
        self.narrow = nn.ModuleList(conv(channels, width, 1) for channels in levels.channels)
        self.out = conv(width, out_channels, 1)

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Features per level, finest first -> ``(B, out_channels, *size)``."""
        guess: Tensor | None = None
        for narrow, level in zip(reversed(self.narrow), reversed(features), strict=True):
            here = narrow(level)
            guess = functional.relu(here if guess is None else here + self._enlarged(guess, level.shape[2:]))
        assert guess is not None
        return self._enlarged(self.out(guess), size)

    def _enlarged(self, features: Tensor, size: Sequence[int]) -> Tensor:
        if tuple(features.shape[2:]) == tuple(size):
            return features
        return functional.interpolate(features, list(size), mode=self.mode, align_corners=False)
