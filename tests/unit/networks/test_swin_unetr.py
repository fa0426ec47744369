from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.networks.nets import SwinUNETR as MonaiSwinUNETR
from monai.networks.nets.swin_unetr import compute_mask
from torch import nn

from medseg.contracts import Topology
from medseg.errors import UserError
from medseg.networks.swin_block import (
    DropPath,
    PatchMerging,
    SwinBlock,
    index_distances,
    join_windows,
    mask_of_shift,
    split_windows,
)
from medseg.networks.swin_unetr import SwinUNETR

from .test_unetr import PROJECTED, RESIDUAL, below
from .topologies import TOPOLOGIES
from .weight_copies import assert_same, copy_weights, count, ready, scramble

BLOCK = {
    "norm1": "norm1", "attention.qkv": "attn.qkv", "attention.bias": "attn", "attention.out": "attn.proj",
    "norm2": "norm2", "mlp.0": "mlp.linear1", "mlp.2": "mlp.linear2",
}  # fmt: skip


def six_levels(dims: int, size: tuple[int, ...]) -> Topology:
    strides = ((1,) * dims, *((2,) * dims,) * 5)
    return Topology(dims, size, strides, ((3,) * dims,) * 6, (4, 8, 16, 32, 64, 64))


def monai_names() -> dict[str, str]:
    """Our modules -> MONAI's, for the paper's four stages of two blocks."""
    names = below("encoder.stages.0", "encoder1.layer", PROJECTED)
    names["encoder.stages.1.body.0"] = "swinViT.patch_embed.proj"
    names |= below("encoder.stages.1.tap.1", "encoder2.layer", RESIDUAL)
    for stage in range(4):
        body, there = f"encoder.stages.{stage + 2}.body", f"swinViT.layers{stage + 1}.0"
        for i in range(2):
            names |= below(f"{body}.{i}", f"{there}.blocks.{i}", BLOCK)
        names[f"{body}.2.norm"] = f"{there}.downsample.norm"
        names[f"{body}.2.reduce"] = f"{there}.downsample.reduction"
    for stage, there in ((2, "encoder3"), (3, "encoder4"), (5, "encoder10")):
        names |= below(f"encoder.stages.{stage}.tap.1", f"{there}.layer", RESIDUAL)
    for level in range(5):
        names[f"decoder.upsamples.{level}"] = f"decoder{level + 1}.transp_conv.conv"
        names |= below(f"decoder.blocks.{level}", f"decoder{level + 1}.conv_block", PROJECTED)
    return names | {"decoder.heads.0": "out.conv.conv"}


def reorder_merges(network: nn.Module) -> None:
    """MONAI joins the four tokens of a 2D box along the first axis first, we along the last."""
    for module in network.modules():
        if isinstance(module, PatchMerging):
            for weight in (module.norm.weight, module.norm.bias, module.reduce.weight):
                parts = weight.data.unflatten(-1, (2, 2, -1)).transpose(-3, -2)
                weight.data = parts.flatten(-3).contiguous()


def monai(topology: Topology, window: int, norm: object = ("instance", {"affine": True})) -> nn.Module:
    """MONAI's network; its instance norms have no scale unless asked, ours always do."""
    dims = topology.spatial_dims
    return MonaiSwinUNETR(
        2, 3, window_size=window, feature_size=12, norm_name=norm, downsample="mergingv2", spatial_dims=dims
    )


def test_is_monais_with_its_weights_in_2d() -> None:
    topology = six_levels(2, (64, 32))
    ours, theirs = ready(SwinUNETR(topology, window_size=2).whole(2, 3, False)), ready(monai(topology, 2))
    scramble(theirs)
    assert copy_weights(ours, theirs, monai_names()) == set()
    assert count(ours) == count(theirs)
    reorder_merges(ours)
    assert_same(ours, theirs, topology.patch_size)


def test_is_monais_with_its_weights_in_3d() -> None:
    """Single precision, since convolutions of doubles take half a minute, hence no norms of two voxels."""
    topology = six_levels(3, (32, 32, 32))
    ours = SwinUNETR(topology, window_size=2, norm="batch").whole(2, 3, False).eval()
    theirs = monai(topology, 2, "batch").eval()
    scramble(theirs)
    assert copy_weights(ours, theirs, monai_names()) == set()
    assert count(ours) == count(theirs)
    assert_same(ours, theirs, topology.patch_size, tolerance=1e-5)


def test_is_monais_but_for_distances_that_a_small_patch_has_not() -> None:
    """MONAI's tables are those of full windows, and it reads the wrong rows where a window is clipped."""
    topology = six_levels(2, (64, 32))
    ours, theirs = ready(SwinUNETR(topology).whole(2, 3, False)), ready(monai(topology, 7))
    scramble(theirs)
    for here, there in monai_names().items():
        if here.endswith("attention.bias"):
            for bias in (ours.get_submodule(here), theirs.get_submodule(there)):
                table = bias.get_parameter("relative_position_bias_table")
                table.data = torch.arange(table.shape[1]).double().expand_as(table).clone()
        else:
            found = theirs.get_submodule(there).state_dict()
            ours.get_submodule(here).load_state_dict({k: v for k, v in found.items() if "." not in k})
    reorder_merges(ours)
    assert_same(ours, theirs, topology.patch_size)


boxes = st.integers(2, 3).flatmap(
    lambda dims: st.tuples(
        st.lists(st.integers(1, 3), min_size=dims, max_size=dims),
        st.lists(st.integers(1, 4), min_size=dims, max_size=dims),
    )
)


@given(boxes)
@settings(deadline=None, max_examples=25)
def test_windows_are_joined_as_they_were_split(drawn: tuple[list[int], list[int]]) -> None:
    counts, window = drawn
    size = tuple(n * w for n, w in zip(counts, window, strict=True))
    tokens = torch.arange(2 * torch.Size(size).numel() * 3).view(2, *size, 3)
    windows = split_windows(tokens, tuple(window))
    assert windows.shape == (2 * torch.Size(counts).numel(), torch.Size(window).numel(), 3)
    assert torch.equal(windows[0, :, 0], tokens[(0, *(slice(w) for w in window), 0)].flatten())
    assert torch.equal(join_windows(windows, size, tuple(window)), tokens)


@given(boxes, st.integers(0, 3))
@settings(deadline=None, max_examples=25)
def test_the_mask_is_monais(drawn: tuple[list[int], list[int]], seed: int) -> None:
    counts, window = drawn
    size = tuple(n * w for n, w in zip(counts, window, strict=True))
    shift = [w // 2 if n > w and seed != i else 0 for i, (n, w) in enumerate(zip(size, window, strict=True))]
    ours = mask_of_shift(size, tuple(window), shift, torch.zeros(1))
    assert torch.equal(ours, compute_mask(list(size), tuple(window), shift, "cpu"))


@pytest.mark.parametrize("window", [(3,), (2, 3), (3, 2, 4)])
def test_equal_numbers_are_equal_distances(window: tuple[int, ...]) -> None:
    places = list(itertools.product(*(range(n) for n in window)))
    apart = [tuple(a - b for a, b in zip(p, q, strict=True)) for p, q in itertools.product(places, places)]
    numbers = index_distances(window).tolist()
    assert len({*zip(apart, numbers, strict=True)}) == len({*apart}) == len({*numbers})
    assert min(numbers) == 0


def test_a_token_sees_its_window_and_the_shifted_one_alone() -> None:
    block = SwinBlock(12, 3, (4, 4), 24, shifted=True, drop_path=0.0)
    tokens = torch.randn(1, 8, 8, 12, requires_grad=True)
    (gradient,) = torch.autograd.grad(block(tokens)[0, 3, 3].sum(), tokens)
    seen = gradient[0].abs().sum(-1) > 0
    assert seen[2:6, 2:6].all()
    assert int(seen.sum()) == 16  # the shift has brought other corners beside it, which the mask hides


def test_windows_are_no_longer_than_the_features() -> None:
    network = SwinUNETR(TOPOLOGIES["3d-anisotropic"]).encoder(1)
    windows = [m.window for m in network.modules() if isinstance(m, SwinBlock)]
    assert windows == [(7, 7, 5)] * 2 + [(4, 6, 5)] * 2


def test_larger_windows_than_the_patch_can_be_computed() -> None:
    topology = TOPOLOGIES["3d"]
    network = SwinUNETR(topology).whole(1, 2, False).eval()
    assert network(torch.randn(1, 1, 12, 20, 8))[0].shape == (1, 2, 12, 20, 8)


def test_drop_path_leaves_out_samples_in_training_and_keeps_the_mean() -> None:
    drop = DropPath(0.25)
    tokens = torch.ones(4000, 2, 3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dropped = drop(tokens)
    assert sorted({*dropped.flatten().tolist()}) == pytest.approx([0.0, 4 / 3])
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.03)
    assert torch.equal(drop.eval()(tokens), tokens)


def test_shares_of_left_out_blocks_grow_with_the_depth() -> None:
    network = SwinUNETR(TOPOLOGIES["2d-anisotropic"], drop_path=0.3).encoder(1)
    shares = [m.share for m in network.modules() if isinstance(m, DropPath)]
    assert shares == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_the_feature_size_is_the_plans_width_rounded_up() -> None:
    topology = six_levels(2, (32, 32))
    for width, expected in ((4, 12), (24, 24), (32, 36)):
        widths = (width, *topology.widths[1:])
        plan = Topology(2, (32, 32), topology.strides, topology.kernels, widths)
        assert SwinUNETR(plan).pyramid.channels == tuple(expected * n for n in (1, 1, 2, 4, 8, 16))


@pytest.mark.parametrize(
    "options",
    [{"feature_size": 20}, {"depths": []}, {"depths": [2, 0]}, {"window_size": 1}, {"drop_path": 1.0}],
)
def test_senseless_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError):
        SwinUNETR(TOPOLOGIES["2d"], **options)  # type: ignore[arg-type]


def test_a_plan_of_one_level_is_refused() -> None:
    with pytest.raises(UserError, match="1 level"):
        SwinUNETR(Topology(2, (8, 8), ((1, 1),), ((3, 3),), (4,)))
