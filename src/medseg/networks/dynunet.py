"""MONAI's DynUNet: nnU-Net's network (Isensee 2021) in the form of the BraTS winners (Futrega 2021)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.contracts import Pyramid, Topology
from medseg.errors import UserError
from medseg.networks.memory_layout import in_fast_layout
from medseg.networks.safe_layers import use_safe_layers


class DynUNet:
    """MONAI's DynUNet as it is, in one piece; `unet` is the same network in halves.

    Args:
        topology: levels, strides, kernels and widths, from the plan.
        residual: whether the blocks have shortcuts.
        norm: ``instance`` or ``batch``.
        activation: ``leaky_relu``, ``relu``, ``gelu`` or ``silu``.

    Raises:
        UserError: for a plan of one level, or for shortcuts over strides above 2.
    """

    MODULAR: ClassVar[bool] = False
    DIMS: ClassVar[tuple[int, ...]] = (2, 3)
    FIXED_PATCH: ClassVar[bool] = False
    MIN_LEVELS: ClassVar[int] = 2
    STAGES: ClassVar[bool] = False

    def __init__(
        self,
        topology: Topology,
        *,
        residual: bool = False,
        norm: Literal["instance", "batch"] = "instance",
        activation: Literal["leaky_relu", "relu", "gelu", "silu"] = "leaky_relu",
    ) -> None:
        if len(topology.widths) < self.MIN_LEVELS:
            raise UserError(
                "network", "the plan has 1 level", "DynUNet needs 2; use a larger plan.patch_size"
            )
        if residual and any(step > 2 for stride in topology.strides for step in stride):
            fix = "use network.residual=false or network=residual_unet"
            raise UserError("network.residual", "MONAI's shortcuts do not stride by more than 2", fix)
        self.topology = topology
        self.residual = residual
        self.norm = _chosen("norm", norm, _NORMS)
        self.activation = _chosen("activation", activation, _ACTIVATIONS)

    def encoder(self, in_channels: int) -> nn.Module:
        """Refused: it cannot be split.

        Raises:
            UserError: always.
        """
        raise _in_one_piece()

    def decoder(self, pyramid: Pyramid, out_channels: int, deep_supervision: bool) -> nn.Module:
        """Refused: it cannot be split.

        Raises:
            UserError: always.
        """
        raise _in_one_piece()

    def whole(self, in_channels: int, out_channels: int, deep_supervision: bool) -> nn.Module:
        """MONAI's network with a head on every level it makes but the coarsest under deep supervision."""
        topology = self.topology
        heads = len(topology.widths) - 3 if deep_supervision else 0  # beside the finest
        network = _monai_dynunet()(
            topology.spatial_dims,
            in_channels,
            out_channels,
            topology.kernels,
            topology.strides,
            topology.strides[1:],
            filters=topology.widths,
            norm_name=self.norm,
            act_name=self.activation,
            deep_supervision=heads > 0,
            deep_supr_num=max(heads, 1),
            res_block=self.residual,
        )
        del network.skip_layers  # names every weight a second time; `_Levels` walks the levels itself
        use_safe_layers(network)
        return DynUNetLevels(network, topology.strides[0])


class DynUNetLevels(nn.Module):
    """MONAI's DynUNet with logits per level, where its own stacks them at the finest size.

    Args:
        network: MONAI's.
        start: its first stride.
    """

    def __init__(self, network: Any, start: tuple[int, ...]) -> None:
        super().__init__()
        self.network = network
        self.start = [float(step) for step in start]
        self.mode = "bilinear" if len(start) == 2 else "trilinear"

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """``(B, M, *S)`` -> logits ``(B, K, *S)``, then coarser ones in training."""
        net = self.network
        skips = [net.input_block(in_fast_layout(image))]
        for block in net.downsamples:
            skips.append(block(skips[-1]))
        now = net.bottleneck(skips[-1])
        made: list[Tensor] = []
        for block, skip in zip(net.upsamples, reversed(skips), strict=True):
            now = block(now, skip)
            made.insert(0, now)
        logits = [net.output_block(made[0])]
        if self.training and net.deep_supervision:
            logits += [h(level) for h, level in zip(net.deep_supervision_heads, made[1:], strict=False)]
        if any(step > 1 for step in self.start):
            logits = [
                functional.interpolate(each, scale_factor=self.start, mode=self.mode) for each in logits
            ]
        return tuple(logits)


_NORMS: dict[str, Any] = {
    "instance": ("INSTANCE", {"affine": True}),
    "batch": "BATCH",
}
_ACTIVATIONS: dict[str, Any] = {
    "leaky_relu": ("leakyrelu", {"inplace": True, "negative_slope": 0.01}),
    "relu": ("relu", {"inplace": True}),
    "gelu": "gelu",
    "silu": "swish",
}


def _chosen(option: str, name: str, known: dict[str, Any]) -> Any:
    if name not in known:
        raise UserError(f"network.{option}", f"{name!r} is unknown", f"choose one of {', '.join(known)}")
    return known[name]


def _in_one_piece() -> UserError:
    return UserError("network", "DynUNet cannot be split", "use network=unet, the same network in halves")


def _monai_dynunet() -> Any:
    """MONAI's class, two levels allowed; imported late, since MONAI takes seconds."""
    # Bundles are read under the meta device, where nothing that an import makes may end up.
    with torch.device("cpu"):
        from monai.networks.nets import DynUNet as MonaiDynUNet

    class AnyDepth(MonaiDynUNet):  # type: ignore[misc]
        """MONAI asks for three levels, but works with two."""

        def check_kernel_stride(self) -> None:
            """Nothing: the plan has been checked."""

    return AnyDepth
