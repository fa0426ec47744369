"""What is pretrained is what the network's decoder is given, by the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from medseg import targets
from medseg.contracts import Topology
from medseg.errors import UserError
from medseg.fusion.encoding import Encoding, encoder_within

TOPOLOGY = Topology(2, (8, 8), ((1, 1), (2, 2), (2, 2)), ((3, 3),) * 3, (4, 6, 8))
M, SLICES = 2, 3
FUSIONS: dict[str, dict[str, Any]] = {
    "early": {"_target_": "medseg.fusion.early.EarlyFusion"},
    "mid": {"_target_": "medseg.fusion.mid.MidFusion"},
    "shared": {"_target_": "medseg.fusion.mid.MidFusion", "weights": "shared", "merge": "gated"},
}
MERGED = {"early": set(), "mid": set(), "shared": {"merges"}}


def make(fusion: str, network: str = "unet.UNet") -> nn.Module:
    torch.manual_seed(0)
    architecture = targets.build({"_target_": f"medseg.networks.{network}"}, "network", TOPOLOGY)
    built: nn.Module = targets.build(FUSIONS[fusion], "fusion", architecture, M, 3, False, False, SLICES)
    return built.eval()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_features_are_those_that_the_decoder_gets(fusion: str) -> None:
    network = make(fusion)
    decoder = next(m for name, m in network.named_modules() if name.endswith("decoder"))
    got: list[torch.Tensor] = []
    decoder.register_forward_pre_hook(lambda _, inputs: got.extend(inputs[0]))
    image, present = torch.randn(2, M * SLICES, 8, 8), torch.tensor([[True, True], [True, False]])
    network(image, present)
    encoding: Encoding = network.encoding()  # type: ignore[operator]
    features = encoding(image, present)
    assert len(features) == len(got) == 3
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(features, got, strict=True))
    assert tuple(f.shape[1] for f in features) == encoding.levels.channels
    assert encoding.in_channels == M * SLICES


MODULAR = (
    "unet.UNet", "unet_plus_plus.UNetPlusPlus", "attention_unet.AttentionUNet", "vnet.VNet", "unetr.UNETR",
    "segresnet.SegResNet", "mednext.MedNeXt",
)  # fmt: skip


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("network", MODULAR)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_encoding_and_decoding_is_what_the_network_does(fusion: str, network: str, training: bool) -> None:
    built = make(fusion, network).train(training)
    image, present = torch.randn(2, M * SLICES, 8, 8), torch.tensor([[True, True], [True, False]])
    found = built.decode(built.encoding()(image, present))  # type: ignore[operator]
    expected = built(image, present)
    assert len(found) == len(expected)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, expected, strict=True))


def test_tokens_are_those_of_one_transformer_of_all_modalities() -> None:
    image, present = torch.randn(2, M * SLICES, 8, 8), torch.tensor([[True, True], [True, False]])
    encoding: Encoding = make("early", "unetr.UNETR").encoding()  # type: ignore[operator]
    cleared = image.clone()
    cleared[1, SLICES:] = 0
    kept = torch.tensor([[3, 0], [1, 2]])
    expected = encoding.encoders[0].tokens(cleared, kept)  # type: ignore[operator]
    assert torch.equal(encoding.tokens(image, present, kept), expected)
    for fusion, network in (("mid", "unetr.UNETR"), ("early", "unet.UNet")):
        with pytest.raises(UserError, match="use network=unetr and fusion=early"):
            make(fusion, network).encoding().tokens(image)  # type: ignore[operator]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_weights_are_shared_and_called_the_same(fusion: str) -> None:
    network = make(fusion)
    encoding: Encoding = network.encoding()  # type: ignore[operator]
    known = {p.data_ptr() for p in network.parameters()}
    assert all(p.data_ptr() in known for p in encoding.parameters())
    assert {name.partition(".")[0] for name in encoding.state_dict()} == {"encoders"} | MERGED[fusion]
    assert encoding.encoding() is encoding


def test_a_network_without_one_encoder_is_refused() -> None:
    with pytest.raises(UserError, match="has 0 encoders"):
        make("early", "dynunet.DynUNet").encoding()  # type: ignore[operator]
    pair = nn.ModuleList(encoder_within(make("early")) for _ in range(2))
    with pytest.raises(UserError, match="has 2 encoders"):
        encoder_within(pair)
