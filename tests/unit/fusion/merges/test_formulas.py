"""Each merge against its formula, written as a loop over rows and modalities."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from medseg.fusion.merges.attention import AttentionMerge
from medseg.fusion.merges.concatenation import ConcatenationMerge
from medseg.fusion.merges.cross_attention import CrossAttentionMerge
from medseg.fusion.merges.gated import GatedMerge
from medseg.fusion.merges.maximum import MaxMerge
from medseg.fusion.merges.mean import MeanMerge
from medseg.fusion.merges.mean_variance import MeanVarianceMerge

C, M = 16, 3
PRESENT = torch.tensor([[True, True, True], [False, True, True], [False, False, True]])


@pytest.fixture
def features() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(3, C, 5, 4, generator=generator) for _ in range(M)]


def there(features: list[Tensor]) -> list[list[Tensor]]:
    """Per row the features that it has, each ``(1, C, *S)``."""
    return [[features[m][b : b + 1] for m in range(M) if PRESENT[b, m]] for b in range(len(PRESENT))]


def shaken(merge: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(1)
    for weight in merge.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return merge


def test_mean_to_the_last_bit(features: list[Tensor]) -> None:
    rows = [sum(row[1:], row[0]) / len(row) for row in there(features)]
    assert torch.equal(MeanMerge()(features, PRESENT), torch.cat(rows))


def test_maximum_to_the_last_bit(features: list[Tensor]) -> None:
    rows = [torch.stack(row).amax(0) for row in there(features)]
    assert torch.equal(MaxMerge()(features, PRESENT), torch.cat(rows))


def test_concatenation(features: list[Tensor]) -> None:
    merge = shaken(ConcatenationMerge(C, M, 2))
    weight = merge.project.weight[:, :, 0, 0]
    rows = torch.zeros_like(features[0])
    for b in range(len(PRESENT)):
        for m in range(M):
            if PRESENT[b, m]:
                rows[b] += torch.einsum("kc,cwh->kwh", weight[:, m * C : (m + 1) * C], features[m][b])
    torch.testing.assert_close(merge(features, PRESENT), rows, rtol=1e-4, atol=1e-4)


def test_mean_variance(features: list[Tensor]) -> None:
    merge = shaken(MeanVarianceMerge(C, 2))
    rows = []
    for row in there(features):
        stacked = torch.stack(row)
        variance = stacked.var(0) if len(row) > 1 else torch.zeros_like(row[0])
        rows.append(merge.project(torch.cat((stacked.mean(0), variance), 1)))
    torch.testing.assert_close(merge(features, PRESENT), torch.cat(rows), rtol=1e-4, atol=1e-4)


def test_gated(features: list[Tensor]) -> None:
    merge = shaken(GatedMerge(C, 2))
    rows = []
    for row in there(features):
        mean = torch.stack(row).mean(0)
        scores = torch.stack([merge.score((merge.own(f) + merge.context(mean)).relu()) for f in row])
        rows.append((scores.softmax(0) * torch.stack(row)).sum(0))
    torch.testing.assert_close(merge(features, PRESENT), torch.cat(rows), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_attention(features: list[Tensor], dims: int) -> None:
    merge = shaken(AttentionMerge(C, dims))
    assert merge.spatial.kernel_size == (7,) * 2 if dims == 2 else (3,) * 3
    inputs = features if dims == 2 else [f[..., None].repeat(1, 1, 1, 1, 2) for f in features]
    conv, space = (functional.conv2d, (2, 3)) if dims == 2 else (functional.conv3d, (2, 3, 4))
    rows = []
    for row in there(inputs):
        scores = []
        for f in row:
            channel = merge.channel(f.mean(space)) + merge.channel(f.amax(space))
            views = torch.cat((f.mean(1, keepdim=True), f.amax(1, keepdim=True)), 1)
            spatial = conv(views, merge.spatial.weight, padding="same")
            scores.append(channel.reshape(1, C, *(1,) * dims) + spatial)
        rows.append((torch.stack(scores).softmax(0) * torch.stack(row)).sum(0))
    torch.testing.assert_close(merge(inputs, PRESENT), torch.cat(rows), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("channels", "heads"), [(16, 1), (32, 2), (30, 1), (320, 8)])
def test_heads_are_at_least_sixteen_channels_wide(channels: int, heads: int) -> None:
    assert CrossAttentionMerge(channels).heads == heads


def test_cross_attention(features: list[Tensor]) -> None:
    merge = shaken(CrossAttentionMerge(C))
    rows = []
    for row in there(features):
        mean = torch.stack(row).mean(0)
        asking = merge.queries(merge.norm_queries(mean[0].flatten(1).t()))
        pool = torch.cat([f[0].flatten(1).t() for f in row])
        keys, values = merge.keys_values(merge.norm_keys(pool)).split(C, dim=1)
        answer = (asking @ keys.t() / math.sqrt(C)).softmax(1) @ values
        rows.append(mean + merge.project(answer).t().reshape(mean.shape))
    torch.testing.assert_close(merge(features, PRESENT), torch.cat(rows), rtol=1e-4, atol=1e-4)


def test_attention_in_bfloat16_has_the_right_gradient_on_features_smaller_than_its_kernel() -> None:
    """oneDNN's bfloat16 kernels read memory that was never written there."""
    torch.manual_seed(0)
    inputs = [torch.randn(2, C, 2, 1, 2) for _ in range(M)]
    gradients = []
    for low in (False, True):
        merge = shaken(AttentionMerge(C, 3))
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            merged = merge(inputs, torch.ones(2, M, dtype=torch.bool))
        merged.float().square().sum().backward()
        gradients.append(merge.spatial.weight.grad)
    torch.testing.assert_close(
        gradients[1], gradients[0], rtol=0.1, atol=0.1 * float(gradients[0].abs().max())
    )
