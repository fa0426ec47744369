"""With the same weights our networks are MONAI's, number by number.

Intended differences, each of them stated where it is tested: our convolutions before a norm have no bias,
since the norm would take it away again; nor have our transposed convolutions.
"""

from __future__ import annotations

import pytest
import torch
from monai.networks.blocks import Convolution
from monai.networks.nets import AttentionUnet as MonaiAttentionUnet
from monai.networks.nets import BasicUNet, BasicUNetPlusPlus, DynUNet
from monai.networks.nets import SegResNet as MonaiSegResNet
from monai.networks.nets import VNet as MonaiVNet
from monai.networks.nets.attentionunet import AttentionLayer
from torch import nn

from medseg.contracts import Topology
from medseg.networks.attention_unet import AttentionUNet
from medseg.networks.segresnet import SegResNet
from medseg.networks.unet import UNet
from medseg.networks.unet_plus_plus import UNetPlusPlus
from medseg.networks.vnet import VNet

from .topologies import TOPOLOGIES
from .weight_copies import assert_same, copy_weights, count, fold_bias, ready, scramble, swap_halves

FOUR = Topology(3, (16, 16, 8), ((1, 1, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2)), ((3, 3, 3),) * 4, (4, 6, 8, 10))
WIDE = (32, 64, 128, 256)
BASIC = {"act": ("LeakyReLU", {"negative_slope": 0.01}), "norm": ("instance", {"affine": True})}
both_dims = pytest.mark.parametrize("dims", [2, 3])


def halving(dims: int, widths: tuple[int, ...]) -> Topology:
    """Kernels 3 and strides 2 throughout, as the networks have that are not given a plan."""
    size = (2 ** len(widths), *(2 ** (len(widths) - 1),) * (dims - 1))  # two voxels at the deepest level
    strides = ((1,) * dims, *((2,) * dims,) * (len(widths) - 1))
    return Topology(dims, size, strides, ((3,) * dims,) * len(widths), widths)


def numbered(here: str, there: str, parts: tuple[str, ...]) -> dict[str, str]:
    """The modules of a sequence of ours and theirs by name; an empty name is an activation."""
    return {f"{here}.{i}": f"{there}.{part}" for i, part in enumerate(parts) if part}


def surplus(theirs: nn.Module, left: set[str]) -> int:
    return sum(theirs.get_parameter(name).numel() for name in left)


@pytest.mark.parametrize(
    "topology", [TOPOLOGIES["2d"], TOPOLOGIES["3d"], FOUR], ids=["2d", "3d", "four-levels"]
)
def test_unet_is_dynunet(topology: Topology) -> None:
    levels = len(topology.widths)
    heads = levels - 2
    ours = ready(UNet(topology).whole(2, 3, heads > 1))
    theirs = DynUNet(
        topology.spatial_dims, 2, 3, topology.kernels, topology.strides, topology.strides[1:],
        filters=topology.widths, norm_name=("INSTANCE", {"affine": True, "eps": 1e-5}),
        deep_supervision=heads > 1, deep_supr_num=max(1, heads - 1),
    )  # fmt: skip
    scramble(ready(theirs))
    block = ("conv1.conv", "norm1", "", "conv2.conv", "norm2")
    down = ["input_block", *(f"downsamples.{k}" for k in range(levels - 2)), "bottleneck"]
    pairs = {"decoder.heads.0": "output_block.conv.conv"}
    for level, name in enumerate(down):
        pairs |= numbered(f"encoder.stages.{level}", name, block)
    for level in range(levels - 1):
        up = f"upsamples.{levels - 2 - level}"
        pairs[f"decoder.upsamples.{level}"] = f"{up}.transp_conv.conv"
        pairs |= numbered(f"decoder.blocks.{level}", f"{up}.conv_block", block)
    pairs |= {f"decoder.heads.{k}": f"deep_supervision_heads.{k - 1}.conv.conv" for k in range(1, heads)}
    assert copy_weights(ours, theirs, pairs) == set()
    assert count(ours) == count(theirs)
    assert_same(ours, theirs, topology.patch_size)


TWO_CONVS = ("conv_0.conv", "conv_0.adn.N", "", "conv_1.conv", "conv_1.adn.N")


def without_transposed_biases(network: nn.Module, left: set[str]) -> int:
    """Sets them to zero, the one difference that is no equivalence; how many parameters are left."""
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d | nn.ConvTranspose3d):
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    assert all(name.endswith(("conv.bias", "deconv.bias")) for name in left)
    return surplus(network, left)


@both_dims
def test_unet_is_basic_unet(dims: int) -> None:
    """The max-pooling form; our transposed convolutions have no bias, so theirs must be zero."""
    topology = halving(dims, (4, 4, 8, 16, 32))
    ours = ready(UNet(topology, downsampling="max_pool").whole(2, 3, False))
    theirs = ready(BasicUNet(dims, 2, 3, (*topology.widths, 4), **BASIC))
    scramble(theirs)
    pairs = {"decoder.heads.0": "final_conv"} | numbered("encoder.stages.0", "conv_0", TWO_CONVS)
    for level in range(1, 5):
        pairs |= numbered(f"encoder.stages.{level}", f"down_{level}.convs", ("", *TWO_CONVS))
        pairs |= {f"decoder.upsamples.{level - 1}": f"upcat_{level}.upsample.deconv"}
        pairs |= numbered(f"decoder.blocks.{level - 1}", f"upcat_{level}.convs", TWO_CONVS)
    left = copy_weights(ours, theirs, pairs)
    assert count(ours) == count(theirs) - without_transposed_biases(theirs, left)
    for level in range(4):
        swap_halves(ours.get_submodule(f"decoder.blocks.{level}.0"))  # theirs joins the skip first
    assert_same(ours, theirs, topology.patch_size)


@both_dims
def test_unet_plus_plus_is_monais(dims: int) -> None:
    """With all its heads; our transposed convolutions have no bias, so theirs must be zero."""
    topology = halving(dims, (4, 4, 8, 16, 32))
    ours = ready(UNetPlusPlus(topology, downsampling="max_pool").whole(2, 3, True)).train()
    theirs = ready(BasicUNetPlusPlus(dims, 2, 3, (*topology.widths, 4), True, **BASIC))
    scramble(theirs)
    pairs = numbered("encoder.stages.0", "conv_0_0", TWO_CONVS)
    for level in range(1, 5):
        pairs |= numbered(f"encoder.stages.{level}", f"conv_{level}_0.convs", ("", *TWO_CONVS))
    for level in range(4):
        for column in range(1, 5 - level):
            name = f"{level}_{column}"
            pairs[f"decoder.upsamples.{name}"] = f"upcat_{name}.upsample.deconv"
            pairs |= numbered(f"decoder.blocks.{name}", f"upcat_{name}.convs", TWO_CONVS)
        pairs[f"decoder.heads.{level}"] = f"final_conv_0_{4 - level}"
    left = copy_weights(ours, theirs, pairs)
    assert count(ours) == count(theirs) - without_transposed_biases(theirs, left)
    theirs.register_forward_hook(lambda module, images, logits: logits[::-1])  # theirs ends with the deepest
    assert_same(ours, theirs, topology.patch_size)


def vnet_convs(here: str, there: str, repeats: int) -> dict[str, str]:
    """The convolutions of a residual stage."""
    pairs = {f"{here}.activation": f"{there}.act_function2"}
    for k in range(repeats):
        for i, part in enumerate(("conv_block.conv", "conv_block.adn.N", "act_function")):
            pairs[f"{here}.convs.{3 * k + i}"] = f"{there}.ops.{k}.{part}"
    return pairs


def vnet_modules() -> dict[str, str]:
    """Our modules and MONAI's."""
    pairs = numbered("encoder.stages.0.convs", "in_tr.conv_block", ("conv", "adn.N"))
    pairs["encoder.stages.0.activation"] = "in_tr.act_function"
    out = ("conv_block.conv", "conv_block.adn.N", "act_function1", "conv2")
    pairs |= numbered("decoder.heads.0", "out_tr", out)
    for level, (width, down, up) in enumerate(zip(WIDE, (1, 2, 3, 2), (1, 1, 2, 2), strict=True)):
        stage = f"encoder.stages.{level + 1}"
        pairs |= numbered(stage, f"down_tr{width}", ("down_conv", "bn1", "act_function1"))
        pairs |= vnet_convs(f"{stage}.3", f"down_tr{width}", down)
        pairs |= numbered(f"decoder.upsamples.{level}", f"up_tr{width}", ("up_conv", "bn1", "act_function1"))
        pairs |= vnet_convs(f"decoder.blocks.{level}", f"up_tr{width}", up)
    return pairs


@pytest.mark.parametrize(
    ("dims", "modalities", "activation"), [(2, 2, "prelu"), (2, 1, "elu"), (3, 4, "prelu")]
)
def test_vnet_is_monais(dims: int, modalities: int, activation: str) -> None:
    """The biases of their transposed convolutions go into the batch norms that follow."""
    topology = halving(dims, (16, *WIDE))
    network = VNet(
        topology, kernel_size=5, norm="batch", activation=activation,  # type: ignore[arg-type]
        convs_per_level=(1, 1, 2, 3, 2), decoder_convs=(1, 1, 2, 2),
    )  # fmt: skip
    ours = network.whole(modalities, 3, False).eval()
    theirs = MonaiVNet(dims, modalities, 3, act=activation).eval()
    if dims == 2:  # in 3D they have 46 million parameters
        ours, theirs = ready(ours), ready(theirs)
    scramble(theirs)
    left = copy_weights(ours, theirs, vnet_modules())
    assert left == {f"up_tr{width}.up_conv.bias" for width in WIDE}
    assert count(ours) == count(theirs) - surplus(theirs, left)
    for level, width in enumerate(WIDE):
        convolution = theirs.get_submodule(f"up_tr{width}.up_conv")
        fold_bias(ours.get_submodule(f"decoder.upsamples.{level}.1"), convolution)
    assert_same(ours, theirs, topology.patch_size, modalities, 1e-6 if dims == 2 else 1e-5)


def attention_units(theirs: nn.Module) -> dict[str, tuple[str, str]]:
    """The first module of each pair of convolution and norm of ours -> their convolution and norm."""
    layers = [name for name, module in theirs.named_modules() if isinstance(module, AttentionLayer)]
    blocks = ["model.0", *(f"{name}.submodule.0" for name in layers[:-1]), f"{layers[-1]}.submodule"]
    units = {
        f"encoder.stages.{level}.{3 * k}": (f"{block}.conv.{k}.conv", f"{block}.conv.{k}.adn.N")
        for level, block in enumerate(blocks)
        for k in range(2)
    }
    for level, layer in enumerate(layers):
        units[f"decoder.upsamples.{level}.0"] = (f"{layer}.upconv.up.conv", f"{layer}.upconv.up.adn.N")
        units[f"decoder.blocks.{level}.0"] = (f"{layer}.merge.conv", f"{layer}.merge.adn.N")
        for here, there in (("of_signal", "W_g"), ("of_skip", "W_x"), ("score", "psi")):
            gate = f"{layer}.attention.{there}"
            units[f"decoder.gates.{level}.{here}.0"] = (f"{gate}.0.conv", f"{gate}.1")
    return units


@both_dims
def test_attention_unet_is_monais(dims: int) -> None:
    """Their joins have an instance norm and a PReLU whatever else is chosen; here they get the network's.

    The biases before their batch norms go into these.
    """
    topology = halving(dims, (4, 6, 8, 10))
    network = AttentionUNet(
        topology, gating="fine", gate_finest=True, norm="batch", activation="relu", decoder_convs=1,
        upsampling="overlapping",
    )  # fmt: skip
    ours = ready(network.whole(2, 3, False))
    theirs = MonaiAttentionUnet(dims, 2, 3, topology.widths, (2, 2, 2))
    layers = [module for module in theirs.modules() if isinstance(module, AttentionLayer)]
    for layer, width in zip(layers, topology.widths, strict=False):
        layer.merge = Convolution(dims, 2 * width, width, adn_ordering="NDA", act="relu", norm="batch")
    scramble(ready(theirs))
    units = attention_units(theirs)
    after = {here: f"{here[:-1]}{int(here[-1]) + 1}" for here in units}
    pairs = {here: convolution for here, (convolution, _) in units.items()}
    pairs |= {after[here]: norm for here, (_, norm) in units.items()}
    left = copy_weights(ours, theirs, pairs | {"decoder.heads.0": "model.2.conv"})
    assert left == {f"{convolution}.bias" for convolution, _ in units.values()}
    assert count(ours) == count(theirs) - surplus(theirs, left)
    for here, (convolution, _) in units.items():
        fold_bias(ours.get_submodule(after[here]), theirs.get_submodule(convolution))
    for level in range(len(layers)):
        swap_halves(ours.get_submodule(f"decoder.blocks.{level}.0"))  # theirs joins the skip first
    assert_same(ours, theirs, topology.patch_size)


@both_dims
@pytest.mark.parametrize("norm", ["group", "instance"])
def test_segresnet_is_monais(dims: int, norm: str) -> None:
    topology = halving(dims, (8, 16, 32, 64))
    ours = ready(SegResNet(topology, norm=norm).whole(2, 3, False))  # type: ignore[arg-type]
    kind = ("group", {"num_groups": 8}) if norm == "group" else ("instance", {"affine": True})
    theirs = ready(MonaiSegResNet(dims, 8, 2, 3, norm=kind))
    scramble(theirs)
    pairs = {"encoder.stages.0.0": "convInit.conv"}
    pairs |= numbered("decoder.heads.0", "conv_final", ("0", "", "2.conv"))
    body = ("norm1", "", "conv1.conv", "norm2", "", "conv2.conv")
    for level, repeats in enumerate((1, 2, 2, 4)):
        if level:
            pairs[f"encoder.stages.{level}.0"] = f"down_layers.{level}.0.conv"
        for k in range(1, repeats + 1):
            pairs |= numbered(f"encoder.stages.{level}.{k}.body", f"down_layers.{level}.{k}", body)
    for level in range(3):
        pairs[f"decoder.upsamples.{level}.project"] = f"up_samples.{2 - level}.0.conv"
        pairs |= numbered(f"decoder.blocks.{level}.0.body", f"up_layers.{2 - level}.0", body)
    assert copy_weights(ours, theirs, pairs) == set()
    assert count(ours) == count(theirs)
    assert_same(ours, theirs, topology.patch_size)


def test_the_comparison_notices_a_wrong_weight() -> None:
    topology = TOPOLOGIES["2d"]
    one, other = (ready(UNet(topology).whole(2, 3, False)) for _ in range(2))
    scramble(other)
    names = {name.rpartition(".")[0] for name in other.state_dict()}
    assert copy_weights(one, other, {name: name for name in names}) == set()
    assert_same(one, other, topology.patch_size)
    with torch.no_grad():
        one.get_parameter("encoder.stages.2.0.weight")[0, 0, 0, 0] += 0.01
    with pytest.raises(AssertionError):
        assert_same(one, other, topology.patch_size)
