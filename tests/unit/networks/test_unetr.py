from __future__ import annotations

import pytest
import torch
from monai.networks.nets import UNETR as MonaiUNETR

from medseg.contracts import Topology
from medseg.errors import UserError
from medseg.networks.swin_unetr import SwinUNETR
from medseg.networks.unetr import UNETR

from .topologies import TOPOLOGIES
from .weight_copies import assert_same, copy_weights, count, ready, scramble

RESIDUAL = {"body.0": "conv1.conv", "body.1": "norm1", "body.3": "conv2.conv", "body.4": "norm2"}
PROJECTED = {**RESIDUAL, "shortcut.0": "conv3.conv", "shortcut.1": "norm3"}
BLOCK = {
    "norm1": "norm1", "attention.qkv": "attn.qkv", "attention.out": "attn.out_proj",
    "norm2": "norm2", "mlp.0": "mlp.linear1", "mlp.3": "mlp.linear2",
}  # fmt: skip


def five_levels(dims: int) -> Topology:
    size = (32, 16, 32)[:dims]
    strides = ((1,) * dims, *((2,) * dims,) * 4)
    return Topology(dims, size, strides, ((3,) * dims,) * 5, (4, 8, 16, 32, 64))


def below(here: str, there: str, parts: dict[str, str]) -> dict[str, str]:
    return {f"{here}.{mine}": f"{there}.{other}" for mine, other in parts.items()}


def monai_names() -> dict[str, str]:
    """Our modules -> MONAI's, for the paper's 12 blocks and 5 levels."""
    names = below("encoder.stages.0", "encoder1.layer", PROJECTED)
    first = "encoder.stages.1.body"
    names |= {f"{first}.0": "vit.patch_embedding.patch_embeddings", f"{first}.1": "vit.patch_embedding"}
    block = 0
    for level, blocks in enumerate((4, 3, 3, 2), 1):
        start = 2 if level == 1 else 0
        for i in range(blocks):
            names |= below(f"encoder.stages.{level}.body.{start + i}", f"vit.blocks.{block}", BLOCK)
            block += 1
    names["encoder.stages.4.body.2"] = "vit.norm"
    for level, there in ((1, "encoder2"), (2, "encoder3"), (3, "encoder4")):
        tap = f"encoder.stages.{level}.tap"
        names[f"{tap}.1"] = f"{there}.transp_conv_init.conv"
        for i in range(3 - level):
            names[f"{tap}.{2 + 2 * i}"] = f"{there}.blocks.{i}.0.conv"
            names |= below(f"{tap}.{3 + 2 * i}", f"{there}.blocks.{i}.1", RESIDUAL)
    for level in range(4):
        names[f"decoder.upsamples.{level}"] = f"decoder{level + 2}.transp_conv.conv"
        names |= below(f"decoder.blocks.{level}", f"decoder{level + 2}.conv_block", PROJECTED)
    return names | {"decoder.heads.0": "out.conv.conv"}


@pytest.mark.parametrize("dims", [2, 3])
def test_is_monais_with_its_weights(dims: int) -> None:
    topology = five_levels(dims)
    ours = ready(UNETR(topology, hidden_size=24, mlp_ratio=2.0).whole(2, 3, False))
    affine = ("instance", {"affine": True})  # MONAI's norms have no scale unless asked; ours always do
    theirs = ready(
        MonaiUNETR(
            2, 3, topology.patch_size, 4, 24, 48, 12, norm_name=affine, spatial_dims=dims
        )
    )  # fmt: skip
    scramble(theirs)
    left = copy_weights(ours, theirs, monai_names())
    # MONAI keeps a norm for a cross attention that is not there: DDP would wait for its gradient
    assert {name.split(".")[-2] for name in left} == {"norm_cross_attn"}
    assert count(ours) == count(theirs) - 12 * 2 * 24
    assert_same(ours, theirs, topology.patch_size)


def test_the_papers_size_follows_from_a_plan_of_width_32() -> None:
    strides = ((1, 1, 1), *((2, 2, 2),) * 5)
    topology = Topology(3, (96, 96, 96), strides, ((3, 3, 3),) * 6, (32, 64, 128, 256, 320, 320))
    architecture = UNETR(topology)
    assert architecture.pyramid.channels == (32, 64, 128, 256, 768)
    assert architecture.grid == (6, 6, 6)
    with torch.device("meta"):
        tokens = architecture.encoder(1).get_submodule("stages.1.body.1").get_parameter("position_embeddings")
    assert tokens.shape == (1, 216, 768)


def test_flat_plans_get_flat_tokens() -> None:
    topology = TOPOLOGIES["3d-anisotropic"]
    architecture = UNETR(topology)
    assert architecture.strides[-1] == (8, 12, 1)
    assert architecture.grid == (2, 2, 5)
    features = architecture.encoder(1)(torch.randn(1, 1, *topology.patch_size))
    assert [tuple(level.shape[2:]) for level in features] == [(16, 24, 5), (8, 12, 5), (4, 6, 5), (2, 2, 5)]


def test_every_token_sees_the_whole_patch() -> None:
    topology = TOPOLOGIES["2d"]
    image = torch.zeros(1, 1, *topology.patch_size, requires_grad=True)
    tokens = UNETR(topology).encoder(1)(image)[-1]
    (gradient,) = torch.autograd.grad(tokens[0, :, 0, 0].square().sum(), image)
    assert (gradient != 0).all()


@pytest.mark.parametrize("blocks", [1, 2, 5, 12])
def test_all_blocks_are_used_however_many(blocks: int) -> None:
    topology = five_levels(2)
    network = UNETR(topology, blocks=blocks, hidden_size=12).whole(1, 2, True)
    assert sum(type(m).__name__ == "TransformerBlock" for m in network.modules()) == blocks
    torch.stack(
        [level.square().mean() for level in network(torch.randn(1, 1, *topology.patch_size))]
    ).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_a_window_of_another_size_is_refused() -> None:
    network = UNETR(TOPOLOGIES["2d"]).whole(1, 2, False)
    with pytest.raises(UserError, match=r"\[20, 12\]"):
        network(torch.zeros(1, 1, 20, 12))


def test_dropout_falls_in_training_alone() -> None:
    network = UNETR(TOPOLOGIES["2d"], dropout=0.3).whole(1, 2, False)
    image = torch.randn(1, 1, 16, 12)
    assert not torch.equal(network(image)[0], network(image)[0])
    network.eval()
    assert torch.equal(network(image)[0], network(image)[0])


@pytest.mark.parametrize(
    "options",
    [
        {"hidden_size": 20},
        {"blocks": 0},
        {"levels": 1},
        {"dropout": 1.0},
        {"mlp_ratio": 0.0},
        {"norm": "layer"},
    ],
)
def test_senseless_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError):
        UNETR(TOPOLOGIES["2d"], **options)  # type: ignore[arg-type]


def test_too_many_tokens_are_refused_before_memory_is_asked_for() -> None:
    shallow = Topology(3, (128, 128, 128), ((1, 1, 1), (2, 2, 2)), ((3, 3, 3),) * 2, (32, 64))
    with pytest.raises(UserError, match="262144 tokens"):
        UNETR(shallow)


@pytest.mark.parametrize("dims", [2, 3])
def test_tokens_may_be_left_out(dims: int) -> None:
    topology = five_levels(dims)
    encoder = UNETR(topology, hidden_size=24).encoder(2)
    image = torch.randn(2, 2, *topology.patch_size)
    every = encoder.tokens(image)
    assert torch.equal(every.transpose(1, 2).reshape(encoder(image)[-1].shape), encoder(image)[-1])
    count = every.shape[1]
    turned = torch.stack([torch.arange(count).flip(0), torch.arange(count).roll(1)])
    found = encoder.tokens(image, turned)
    for sample in range(2):
        assert torch.allclose(found[sample], every[sample, turned[sample]], atol=1e-5), "nothing is hidden"
    kept = turned[:, :1]
    blocks = [m for m in encoder.modules() if type(m).__name__ == "TransformerBlock"]
    tokens = encoder.stages[1].body[:2](image)
    alone = torch.stack([tokens[sample, kept[sample]] for sample in range(2)])
    for block in blocks:
        alone = block(alone)
    assert torch.allclose(encoder.tokens(image, kept), encoder.stages[-1].body[-1](alone), atol=1e-5)


def test_tokens_of_windows_may_not() -> None:
    topology = five_levels(2)
    with pytest.raises(UserError, match="tied to windows"):
        SwinUNETR(topology, feature_size=12).encoder(1).tokens(torch.zeros(1, 1, *topology.patch_size))
    with pytest.raises(UserError, match=r"\[8, 8\]"):
        UNETR(topology).encoder(1).tokens(torch.zeros(1, 1, 8, 8))
