"""What every network of encoder stages and a decoder has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import nn

from medseg.contracts import Pyramid, Topology
from medseg.networks.encoder import LevelEncoder
from medseg.networks.encoder_decoder import EncoderDecoder
from medseg.networks.initialise import initialise_he
from medseg.networks.pyramid import make_pyramid


class UNetArchitecture(ABC):
    """An architecture with one encoder stage per level of its topology and a decoder of any pyramid.

    A network says how its stages and its decoder are made; their constructors set ``topology``.
    """

    MODULAR: ClassVar[bool] = True
    DIMS: ClassVar[tuple[int, ...]] = (2, 3)

    topology: Topology

    @abstractmethod
    def make_stages(self, in_channels: int) -> list[nn.Module]:
        """A module per level, finest first; ``(B, in_channels, *S)`` goes into the first."""

    @abstractmethod
    def make_decoder(self, pyramid: Pyramid, out_channels: int, deep_supervision: bool) -> nn.Module:
        """The way up from any pyramid."""

    def encoder(self, in_channels: int) -> nn.Module:
        """The stages one after the other, freshly initialised."""
        encoder = LevelEncoder(self.make_stages(in_channels), make_pyramid(self.topology))
        initialise_he(encoder)
        return encoder

    def decoder(self, pyramid: Pyramid, out_channels: int, deep_supervision: bool) -> nn.Module:
        """The way up from any pyramid, freshly initialised."""
        decoder = self.make_decoder(pyramid, out_channels, deep_supervision)
        initialise_he(decoder)
        return decoder

    def whole(self, in_channels: int, out_channels: int, deep_supervision: bool) -> nn.Module:
        """Encoder and decoder in one."""
        encoder = self.encoder(in_channels)
        decoder = self.decoder(make_pyramid(self.topology), out_channels, deep_supervision)
        return EncoderDecoder(encoder, decoder)
