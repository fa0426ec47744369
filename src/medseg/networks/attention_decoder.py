"""The U-Net's way up with attention gates on its skips."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from medseg.contracts import Pyramid, Topology
from medseg.networks.attention_gate import Gating, GridGate, VoxelGate, make_gate
from medseg.networks.layers import Layers
from medseg.networks.pyramid import find_climbs
from medseg.networks.unet_decoder import UNetDecoder
from medseg.networks.upsample import Upsampling


class AttentionDecoder(UNetDecoder):
    """As `UNetDecoder`; a gate scales each skip before it is joined.

    Args:
        pyramid: what the encoder publishes.
        topology: where the kernel sizes come from.
        out_channels: ``K``.
        deep_supervision: whether training gets coarser logits too.
        layers: which layers to use.
        convs_per_level: convolutions after each join.
        upsampling: how a level is enlarged.
        gating: where the gates look.
        gate_finest: whether the encoder's finest level has a gate; it does where it is the only skip.
    """

    def __init__(
        self,
        pyramid: Pyramid,
        topology: Topology,
        out_channels: int,
        deep_supervision: bool,
        *,
        layers: Layers,
        convs_per_level: int,
        upsampling: Upsampling,
        gating: Gating,
        gate_finest: bool,
    ) -> None:
        super().__init__(
            pyramid,
            topology,
            out_channels,
            deep_supervision,
            layers=layers,
            convs_per_level=convs_per_level,
            upsampling=upsampling,
        )
        meeting = [c for c in find_climbs(pyramid) if c.skip]
        self.ungated = 0 if gate_finest or len(meeting) == 1 else 1
        self.gates = nn.ModuleList(
            make_gate(gating, layers, c.skip, c.below, c.step) for c in meeting[self.ungated :]
        )

    def open_gates(self) -> None:
        """Makes every gate let nearly everything pass, as the paper starts."""
        for gate in self.gates:
            cast("GridGate | VoxelGate", gate).open()

    def join(self, level: int, enlarged: Tensor, skip: Tensor, below: Tensor) -> Tensor:
        """The enlarged features beside what the gate lets pass of the skip."""
        if level >= self.ungated:
            skip = self.gates[level - self.ungated](skip, below, enlarged)
        return super().join(level, enlarged, skip, below)
