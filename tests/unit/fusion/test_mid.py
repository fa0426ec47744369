from __future__ import annotations

from typing import Any

import pytest
import torch

from medseg import targets
from medseg.contracts import Network, Topology
from medseg.errors import UserError
from medseg.fusion.merges.cross_attention import CrossAttentionMerge
from medseg.fusion.merges.mean import MeanMerge
from medseg.fusion.mid import MidFusion

PRESENT = torch.tensor([[True, True, True], [True, False, True], [False, False, True]])


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(3, 3, 6, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("weights", ["separate", "shared"])
def test_the_decoder_reads_the_mean_of_the_features(
    weights: Any, architecture: Any, image: torch.Tensor
) -> None:
    """A loop over rows and modalities, each encoded alone."""
    fusion = MidFusion(architecture, 3, 2, False, weights=weights)
    assert isinstance(fusion, Network)
    assert len(fusion.encoders) == (3 if weights == "separate" else 1)
    rows = []
    for b in range(3):
        there = [m for m in range(3) if PRESENT[b, m]]
        encoders = [fusion.encoders[m if weights == "separate" else 0] for m in there]
        levels = [e(image[b : b + 1, m : m + 1]) for e, m in zip(encoders, there, strict=True)]
        means = [torch.stack(level).mean(0) for level in zip(*levels, strict=True)]
        rows.append(fusion.decoder(means)[0])
    torch.testing.assert_close(fusion(image, PRESENT)[0], torch.cat(rows))


def test_shared_weights_see_all_modalities_in_one_call(architecture: Any, image: torch.Tensor) -> None:
    fusion = MidFusion(architecture, 3, 2, False, weights="shared")
    seen = []
    fusion.encoders[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    fusion(image)
    assert seen == [(9, 1, 6, 4)]


def test_shared_weights_do_not_tell_modalities_apart(architecture: Any, image: torch.Tensor) -> None:
    for merge in ("mean", "max", "gated", "attention", "cross_attention", "mean_variance"):
        fusion = MidFusion(architecture, 3, 2, False, weights="shared", merge=merge)
        turned = fusion(image[:, [2, 0, 1]], PRESENT[:, [2, 0, 1]])[0]
        torch.testing.assert_close(turned, fusion(image, PRESENT)[0], rtol=1e-4, atol=1e-5)


def test_levels_choose_their_merge(architecture: Any) -> None:
    fusion = MidFusion(architecture, 2, 2, False, merge="cross_attention", merge_levels=[-1])
    assert [type(merge) for merge in fusion.merges] == [MeanMerge, CrossAttentionMerge]


@pytest.mark.parametrize("merge", ["mean", "max", "gated", "attention"])
def test_one_modality_is_the_plain_network(merge: Any) -> None:
    topology = Topology(2, (16, 16), ((1, 1), (2, 2), (2, 2)), ((3, 3),) * 3, (4, 6, 8))
    unet = targets.build({"_target_": "medseg.networks.unet.UNet"}, "network", topology)
    fusion, plain = MidFusion(unet, 1, 3, True, merge=merge), unet.whole(1, 3, True)
    plain.encoder.load_state_dict(fusion.encoders[0].state_dict())
    plain.decoder.load_state_dict(fusion.decoder.state_dict())
    image = torch.randn(2, 1, 16, 16)
    for ours, theirs in zip(fusion(image), plain(image), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_any_number_of_modalities_costs_one_decoder(architecture: Any) -> None:
    def count(fusion: torch.nn.Module) -> int:
        return sum(weight.numel() for weight in fusion.parameters())

    encoder = count(architecture.encoder(1))
    one = count(MidFusion(architecture, 1, 2, False))
    assert count(MidFusion(architecture, 4, 2, False)) == one + 3 * encoder
    assert count(MidFusion(architecture, 4, 2, False, weights="shared")) == one


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"weights": "tied"}, "fusion.weights: 'tied' is unknown; choose separate or shared"),
        ({"merge": "sum"}, "fusion.merge: 'sum' is unknown; choose mean, max, "),
        ({"merge_levels": [2]}, "fusion.merge_levels: 2 is no level of this network, which has 2; give 0 "),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_told(architecture: Any, options: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as error:
        MidFusion(architecture, 2, 2, False, **options)
    assert str(error.value).startswith(line)


def test_an_encoder_must_say_what_it_gives(architecture: Any) -> None:
    architecture.encoder = lambda in_channels: torch.nn.Conv2d(in_channels, 4, 1)
    with pytest.raises(UserError, match="network: Conv2d does not say what levels it has; give the encoder"):
        MidFusion(architecture, 2, 2, False)
