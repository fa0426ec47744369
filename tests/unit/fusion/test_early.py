from __future__ import annotations

import pytest
import torch

from medseg.contracts import Network
from medseg.fusion.early import EarlyFusion


class Threshold:
    """The least of an architecture: one 1x1 convolution, at two sizes when supervised deeply."""

    MODULAR = False
    DIMS = (2,)

    def whole(self, in_channels: int, out_channels: int, deep_supervision: bool) -> torch.nn.Module:
        class Net(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv = torch.nn.Conv2d(in_channels, out_channels, 1)

            def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
                logits = self.conv(image)
                return (logits, logits[..., ::2, ::2]) if deep_supervision and self.training else (logits,)

        return Net()


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(3, 2, 6, 4, generator=torch.Generator().manual_seed(0))


def test_modalities_are_channels(image: torch.Tensor) -> None:
    fusion = EarlyFusion(Threshold(), 2, 3, True)  # type: ignore[arg-type]
    assert isinstance(fusion, Network)
    assert [logits.shape for logits in fusion(image)] == [(3, 3, 6, 4), (3, 3, 3, 2)]
    assert len(fusion.eval()(image)) == 1


@pytest.mark.parametrize("filling", [0.0, 7.0, float("nan")])
def test_what_fills_a_missing_modality_has_no_effect(image: torch.Tensor, filling: float) -> None:
    fusion = EarlyFusion(Threshold(), 2, 3, False)  # type: ignore[arg-type]
    present = torch.tensor([[True, True], [True, False], [False, True]])
    zeroed, filled = image.clone(), image.clone()
    for sample, modality in ((1, 1), (2, 0)):
        zeroed[sample, modality] = 0
        filled[sample, modality] = filling
    torch.testing.assert_close(fusion(filled, present), fusion(zeroed))


def test_all_present_is_as_if_not_said(image: torch.Tensor) -> None:
    fusion = EarlyFusion(Threshold(), 2, 3, False)  # type: ignore[arg-type]
    torch.testing.assert_close(fusion(image, torch.ones(3, 2, dtype=torch.bool)), fusion(image))
