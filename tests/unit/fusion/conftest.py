"""Tiny tensors: a second thread would only wait for the first. And a tiny architecture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from medseg.contracts import Pyramid


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class TinyEncoder(nn.Module):
    """Two levels, 4 and 6 channels, rows independent of each other."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.pyramid = Pyramid(2, (4, 6), ((1, 1), (2, 2)))
        self.fine = nn.Conv2d(in_channels, 4, 3, padding=1)
        self.coarse = nn.Conv2d(4, 6, 2, stride=2)

    def forward(self, image: Tensor) -> list[Tensor]:
        fine = self.fine(image).tanh()
        return [fine, self.coarse(fine).tanh()]


class TinyDecoder(nn.Module):
    """A head for each level; the coarser one is used in training alone."""

    def __init__(self, pyramid: Pyramid, out_channels: int, deep_supervision: bool) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(pyramid.channels[1], pyramid.channels[0], 2, stride=2)
        self.heads = nn.ModuleList([nn.Conv2d(pyramid.channels[0], out_channels, 1)])
        if deep_supervision:
            self.heads.append(nn.Conv2d(pyramid.channels[1], out_channels, 1))

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        joined = features[0] + self.up(features[1])
        heads = self.heads if self.training else self.heads[:1]
        return tuple(head(level) for head, level in zip(heads, (joined, features[1]), strict=False))


class TinyArchitecture:
    """What a fusion is handed."""

    MODULAR: ClassVar[bool] = True
    DIMS: ClassVar[tuple[int, ...]] = (2,)

    def encoder(self, in_channels: int) -> nn.Module:
        return TinyEncoder(in_channels)

    def decoder(self, pyramid: Pyramid, out_channels: int, deep_supervision: bool) -> nn.Module:
        return TinyDecoder(pyramid, out_channels, deep_supervision)

    def whole(self, in_channels: int, out_channels: int, deep_supervision: bool) -> nn.Module:
        encoder = self.encoder(in_channels)
        return nn.Sequential(encoder, self.decoder(encoder.pyramid, out_channels, deep_supervision))


@pytest.fixture
def architecture() -> TinyArchitecture:
    torch.manual_seed(0)
    return TinyArchitecture()
