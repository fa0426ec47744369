"""With the same weights our U-Nets are nnU-Net's (dynamic-network-architectures), number by number.

Intended differences, each of them stated where it is tested: our convolutions have no bias (nnU-Net's are
built without here), and of the heads for deep supervision ours leaves out the coarsest, which nnU-Net
weighs zero.
"""

from __future__ import annotations

import pytest
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn

from medseg.contracts import Topology
from medseg.networks.residual_unet import ResidualUNet
from medseg.networks.unet import UNet

from .topologies import TOPOLOGIES
from .weight_copies import assert_same, copy_weights, count, ready, scramble

FULL = {name: t for name, t in TOPOLOGIES.items() if name != "starts-coarse"}
every_topology = pytest.mark.parametrize("topology", FULL.values(), ids=FULL)
either_way = pytest.mark.parametrize("deep", [False, True], ids=["prediction", "training"])


def build(kind: type[nn.Module], topology: Topology, deep: bool, **options: object) -> nn.Module:
    """nnU-Net's network of the same settings, without biases."""
    three = topology.spatial_dims == 3
    return kind(
        input_channels=2,
        n_stages=len(topology.widths),
        features_per_stage=topology.widths,
        conv_op=nn.Conv3d if three else nn.Conv2d,
        kernel_sizes=topology.kernels,
        strides=topology.strides,
        num_classes=3,
        conv_bias=False,
        norm_op=nn.InstanceNorm3d if three else nn.InstanceNorm2d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=deep,
        **options,
    )


def decoder_modules(levels: int, convs: int, heads: int) -> dict[str, str]:
    """Our decoder's modules and theirs, which count from the coarsest level."""
    pairs = {}
    for level in range(levels - 1):
        there = levels - 2 - level
        pairs[f"decoder.upsamples.{level}"] = f"decoder.transpconvs.{there}"
        for k in range(convs):
            pairs[f"decoder.blocks.{level}.{3 * k}"] = f"decoder.stages.{there}.convs.{k}.conv"
            pairs[f"decoder.blocks.{level}.{3 * k + 1}"] = f"decoder.stages.{there}.convs.{k}.norm"
        if level < heads:
            pairs[f"decoder.heads.{level}"] = f"decoder.seg_layers.{there}"
    return pairs


def residual_modules(theirs: nn.Module, blocks: tuple[int, ...]) -> dict[str, str]:
    """Our residual stages' modules, the stem among the first one's, and theirs."""
    stem = "encoder.stem.convs.0"
    pairs = {"encoder.stages.0.0": f"{stem}.conv", "encoder.stages.0.1": f"{stem}.norm"}
    body = {0: "conv1.conv", 1: "conv1.norm", 3: "conv2.conv", 4: "conv2.norm"}
    for level, repeats in enumerate(blocks):
        for k in range(repeats):
            here = f"encoder.stages.{level}.{k + 3 * (level == 0)}"
            there = f"encoder.stages.{level}.blocks.{k}"
            pairs |= {f"{here}.body.{i}": f"{there}.{name}" for i, name in body.items()}
            skip = theirs.get_submodule(there).skip
            for i, module in enumerate(skip if isinstance(skip, nn.Sequential) else ()):
                if hasattr(module, "conv"):
                    pairs[f"{here}.shortcut.{i}"] = f"{there}.skip.{i}.conv"
                    pairs[f"{here}.shortcut.{i + 1}"] = f"{there}.skip.{i}.norm"
    return pairs


def compare(
    ours: nn.Module, theirs: nn.Module, pairs: dict[str, str], topology: Topology, deep: bool
) -> None:
    """Parameters and logits; of the heads, theirs has those of the coarsest level too."""
    levels = len(topology.widths)
    heads = count_heads(topology)
    left = copy_weights(ours, theirs, pairs)
    surplus = range(levels - 1 - heads)
    assert left == {f"decoder.seg_layers.{k}.{end}" for k in surplus for end in ("weight", "bias")}
    assert count(ours) == count(theirs) - sum(theirs.get_parameter(name).numel() for name in left)
    if deep:
        theirs.register_forward_hook(lambda module, images, logits: logits[:heads])
        ours.train()
    assert_same(ours, theirs, topology.patch_size)


def count_heads(topology: Topology) -> int:
    return max(1, len(topology.widths) - 2)


@every_topology
@either_way
def test_unet_is_nnunets(topology: Topology, deep: bool) -> None:
    levels = len(topology.widths)
    ours = ready(UNet(topology).whole(2, 3, True))
    theirs = build(PlainConvUNet, topology, deep, n_conv_per_stage=2, n_conv_per_stage_decoder=2)
    scramble(ready(theirs))
    pairs = decoder_modules(levels, 2, count_heads(topology))
    for level in range(levels):
        for k in range(2):
            here, there = f"encoder.stages.{level}", f"encoder.stages.{level}.0.convs.{k}"
            pairs |= {f"{here}.{3 * k}": f"{there}.conv", f"{here}.{3 * k + 1}": f"{there}.norm"}
    compare(ours, theirs, pairs, topology, deep)


@every_topology
@either_way
def test_residual_unet_is_nnunets(topology: Topology, deep: bool) -> None:
    levels = len(topology.widths)
    blocks = (1, 3, 4, 6)[:levels]
    ours = ready(ResidualUNet(topology).whole(2, 3, True))
    options = {"n_blocks_per_stage": blocks, "n_conv_per_stage_decoder": 1}
    theirs = build(ResidualEncoderUNet, topology, deep, **options)
    scramble(ready(theirs))
    pairs = decoder_modules(levels, 1, count_heads(topology)) | residual_modules(theirs, blocks)
    compare(ours, theirs, pairs, topology, deep)


def test_residual_unet_starts_as_nnunets() -> None:
    """Both start with residual blocks that add nothing."""
    topology, blocks = TOPOLOGIES["3d"], (1, 3, 4)
    ours = ResidualUNet(topology).whole(2, 3, False)
    options = {"n_blocks_per_stage": blocks, "n_conv_per_stage_decoder": 1}
    theirs = build(ResidualEncoderUNet, topology, False, **options)
    theirs.apply(ResidualEncoderUNet.initialize)
    there = {p for p in theirs.parameters() if p.ndim == 1 and not p.any()}
    here = {name for name, p in ours.named_parameters() if name.endswith("weight") and not p.any()}
    ends = residual_modules(theirs, blocks)
    assert here == {f"{name}.weight" for name in ends if name.endswith("body.4")}
    assert all(theirs.get_parameter(f"{ends[name.removesuffix('.weight')]}.weight") in there for name in here)
