from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from monai.networks.blocks.mednext_block import MedNeXtBlock as MonaiBlock
from monai.networks.nets import MedNeXt as MonaiMedNeXt
from torch import nn

from medseg.contracts import Topology
from medseg.errors import UserError
from medseg.networks.layers import Layers
from medseg.networks.mednext import MedNeXt
from medseg.networks.mednext_block import GlobalResponseNorm, make_up
from medseg.targets import build

from .topologies import TOPOLOGIES
from .weight_copies import assert_same, copy_weights, count, ready, scramble

BLOCK = {"spread": "conv1", "norm": "norm", "expand": "conv2", "compress": "conv3"}


def halving(dims: int, widths: tuple[int, ...]) -> Topology:
    size = (2 ** len(widths), *(2 ** (len(widths) - 1),) * (dims - 1))
    strides = ((1,) * dims, *((2,) * dims,) * (len(widths) - 1))
    return Topology(dims, size, strides, ((3,) * dims,) * len(widths), widths)


def monai_names(blocks: tuple[int, ...], response_norm: bool) -> dict[str, str]:
    """Our modules -> MONAI's."""
    plain = BLOCK | ({"response": "response"} if response_norm else {})
    deepest = len(blocks) - 1
    names = {"encoder.stages.0.0": "stem", "decoder.heads.0": "out_0.conv_out"}

    def add(here: str, there: str, parts: dict[str, str]) -> None:
        names.update({f"{here}.{mine}": f"{there}.{other}" for mine, other in parts.items()})

    for level, number in enumerate(blocks):
        encoded = f"encoder.stages.{level}"
        if level:
            add(f"{encoded}.0", f"down_blocks.{level - 1}", {**BLOCK, "shortcut": "res_conv"})
        for i in range(number):
            add(
                f"{encoded}.{i + 1}",
                f"enc_stages.{level}.{i}" if level < deepest else f"bottleneck.{i}",
                plain,
            )
        if level < deepest:
            up = deepest - 1 - level
            add(f"decoder.upsamples.{level}", f"up_blocks.{up}", {**plain, "shortcut": "res_conv"})
            for i in range(number):
                add(f"decoder.blocks.{level}.{i}", f"dec_stages.{up}.{i}", plain)
    return names


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    ("kernel_size", "blocks", "response_norm"), [(3, (2, 2, 2, 2, 2), False), (5, (1, 2, 3), True)]
)
def test_is_monais_with_its_weights(
    dims: int, kernel_size: Any, blocks: tuple[int, ...], response_norm: bool
) -> None:
    levels = len(blocks)
    topology = halving(dims, tuple(4 * 2**i for i in range(levels)))
    ours = ready(
        MedNeXt(
            topology, kernel_size=kernel_size, blocks_per_level=blocks, global_response_norm=response_norm
        ).whole(2, 3, False)
    )
    theirs = ready(
        MonaiMedNeXt(
            dims, 4, 2, 3, kernel_size=kernel_size, use_residual_connection=True, blocks_down=blocks[:-1],
            blocks_bottleneck=blocks[-1], blocks_up=blocks[-2::-1], global_resp_norm=response_norm,
        )
    )  # fmt: skip
    scramble(theirs)
    for module in theirs.modules():  # under the names that ours have
        if isinstance(module, MonaiBlock) and module.global_resp_norm:
            module.response = nn.Module()
            module.response.weight, module.response.bias = module.global_resp_gamma, module.global_resp_beta
    # MONAI's way up ends in transposed 1x1 convolutions as heads: the same with the weight transposed
    theirs.out_0.conv_out.weight.data = theirs.out_0.conv_out.weight.data.transpose(0, 1).contiguous()
    assert copy_weights(ours, theirs, monai_names(blocks, response_norm)) == set()
    theirs.out_0.conv_out.weight.data = theirs.out_0.conv_out.weight.data.transpose(0, 1).contiguous()
    assert count(ours) == sum(p.numel() for p in {*theirs.parameters()})
    assert_same(ours, theirs, topology.patch_size)


@pytest.mark.parametrize(
    ("preset", "kernel_size", "millions"),
    [
        ("mednext", 3, 5.6), ("mednext_b", 3, 10.5), ("mednext_m", 3, 17.6), ("mednext_l", 3, 61.8),
        ("mednext_b", 5, 11.0), ("mednext_m", 5, 18.3), ("mednext_l", 5, 63.0),
    ],
)  # fmt: skip
def test_presets_have_the_papers_number_of_parameters(preset: str, kernel_size: int, millions: float) -> None:
    """Roy 2023, table 1: three dimensions, 32 channels, four times halved, 14 classes."""
    file = Path(__file__).parents[3] / "conf" / "network" / f"{preset}.yaml"
    spec = yaml.safe_load(file.read_text()) | {"kernel_size": kernel_size}
    with torch.device("meta"):
        network = build(spec, "network", halving(3, (32, 64, 128, 256, 512))).whole(1, 14, True)
    assert count(network) / 1e6 == pytest.approx(millions, abs=0.051)


@pytest.mark.parametrize("stride", [(2, 2, 2), (2, 1, 1), (1, 3, 2), (1, 1, 1)])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (7, 7, 1)])
def test_the_way_up_multiplies_the_size(stride: tuple[int, ...], kernel: tuple[int, ...]) -> None:
    up = make_up(Layers(3), 4, 6, kernel, stride, expansion=2, response_norm=False)
    made = up(torch.randn(1, 4, 2, 3, 4))
    assert made.shape == (1, 6, 2 * stride[0], 3 * stride[1], 4 * stride[2])


def test_kernels_stay_within_slices_where_the_plan_says_so() -> None:
    stages = MedNeXt(TOPOLOGIES["3d-anisotropic"], kernel_size=7).encoder(1).get_submodule("stages")
    kernels = [stage[-1].spread.kernel_size for stage in stages]  # type: ignore[index, union-attr, operator]
    assert kernels == [(7, 7, 1), (7, 7, 1), (7, 7, 7), (7, 7, 7)]


def test_response_norm_starts_as_nothing_and_is_one_in_the_mean() -> None:
    norm = GlobalResponseNorm(3, 2)
    features = torch.randn(2, 3, 4, 5)
    assert torch.equal(norm(features), features)
    norm.weight.data.fill_(1.0)
    share = (norm(features) - features) / features
    torch.testing.assert_close(share.mean(dim=1), torch.ones(2, 4, 5), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(norm(features[1:]), norm(features)[1:])


@pytest.mark.parametrize("kernel_size", [5, 7])
def test_large_kernels_train_in_bfloat16_where_features_are_smaller(kernel_size: Any) -> None:
    """The gradients of single precision, within what bfloat16 can hold."""
    topology = TOPOLOGIES["3d-anisotropic"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MedNeXt(topology, kernel_size=kernel_size).whole(1, 2, True)
    image = torch.randn(2, 1, *topology.patch_size, generator=torch.Generator().manual_seed(1))
    found = []
    for low in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            logits = network(image)
        loss = torch.stack([level.float().square().mean() for level in logits]).sum()
        found.append(torch.autograd.grad(loss, [*network.parameters()]))
    for (name, _), low_gradient, exact in zip(network.named_parameters(), *found, strict=True):
        if not name.endswith("spread.bias"):  # the norm takes it away: its gradient is rounding alone
            error = float((low_gradient - exact).norm() / exact.norm())
            assert error < 0.2, (name, error)


@pytest.mark.parametrize(
    "options",
    [{"kernel_size": 4}, {"blocks_per_level": []}, {"expansion": [0]}, {"blocks_per_level": [2, 0]}],
)
def test_senseless_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        MedNeXt(TOPOLOGIES["2d"], **options)
