"""U-Nets whose encoder is one of segmentation-models-pytorch, with ImageNet weights where wanted (2D)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from torch import nn

from medseg.contracts import Pyramid, Topology
from medseg.errors import UserError
from medseg.networks.encoder_decoder import EncoderDecoder
from medseg.networks.initialise import initialise_he
from medseg.networks.lateral import LateralDecoder
from medseg.networks.layers import Layers
from medseg.networks.smp_encoder import SMPEncoder
from medseg.networks.unet_decoder import UNetDecoder
from medseg.networks.weight_file import refuse_hash_alone


class SMPUNet:
    """Any encoder that segmentation-models-pytorch knows, and a U-Net decoder narrowed to a few channels.

    The encoder's levels are its own and halve the image five times: of the topology only the patch is
    used, and its size must be a multiple of 32.

    Args:
        topology: for the spatial dimensions.
        encoder_name: a name of segmentation-models-pytorch, or ``tu-`` and a name of timm.
        weights: ``null`` for random ones, ``imagenet`` to fetch those that segmentation-models-pytorch
            publishes, or a ``.safetensors`` or ``.pth`` file. Read before a training only: a bundle holds
            its own. The first convolution is adapted to any number of channels.
        weights_sha256: what the file's SHA-256 must be; ``null`` does not check it.
        depth: how often the image is halved, from 2 to 5.
        decoder_widths: channels of the decoder per encoder level, finest first; the last number also
            counts for deeper levels.
        norm: of the decoder: ``instance``, ``batch`` or ``group``.
        upsampling: ``transposed`` or ``linear``.

    Raises:
        UserError: a depth or width out of range, or a hash without a file.
    """

    MODULAR: ClassVar[bool] = True
    DIMS: ClassVar[tuple[int, ...]] = (2,)
    DIVISOR: ClassVar[int] = 32

    def __init__(
        self,
        topology: Topology,
        *,
        encoder_name: str = "resnet50",
        weights: str | None = None,
        weights_sha256: str | None = None,
        depth: int = 5,
        decoder_widths: Sequence[int] = (32, 64, 128, 192, 256),
        norm: Literal["instance", "batch", "group"] = "batch",
        upsampling: Literal["transposed", "linear"] = "linear",
    ) -> None:
        if not 2 <= depth <= 5:
            raise UserError("network.depth", f"{depth} is out of range", "give 2 to 5")
        if not decoder_widths or min(decoder_widths) < 1:
            raise UserError("network.decoder_widths", f"{list(decoder_widths)} has no channels", "give 1..")
        refuse_hash_alone(weights, weights_sha256)
        self.topology, self.encoder_name, self.depth = topology, encoder_name, depth
        self.weights, self.weights_sha256 = weights, weights_sha256
        self.decoder_widths = tuple(decoder_widths)
        self.layers = Layers(2, norm, "relu")
        self.upsampling = upsampling

    def encoder(self, in_channels: int) -> SMPEncoder:
        """The library's encoder, randomly initialised; `SMPEncoder.load_pretrained` loads the weights."""
        return SMPEncoder(self.encoder_name, in_channels, self.depth, self.weights, self.weights_sha256)

    def decoder(self, pyramid: Pyramid, out_channels: int, deep_supervision: bool) -> nn.Module:
        """A projection of each level to the decoder's width, then the U-Net's way up."""
        last = len(self.decoder_widths) - 1
        widths = tuple(self.decoder_widths[min(k, last)] for k in range(len(pyramid.channels)))
        narrow = Pyramid(pyramid.spatial_dims, widths, pyramid.strides)
        layers = Layers(pyramid.spatial_dims, self.layers.norm, self.layers.activation)
        way_up = UNetDecoder(
            narrow,
            self.topology,
            out_channels,
            deep_supervision,
            layers=layers,
            convs_per_level=2,
            upsampling=self.upsampling,
        )
        decoder = LateralDecoder(pyramid, narrow, way_up, layers)
        initialise_he(decoder)
        return decoder

    def whole(self, in_channels: int, out_channels: int, deep_supervision: bool) -> nn.Module:
        """Encoder and decoder in one."""
        encoder = self.encoder(in_channels)
        return EncoderDecoder(encoder, self.decoder(encoder.pyramid, out_channels, deep_supervision))
