"""One module for each modality, or one for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from medseg.contracts import Encoder, Pyramid
from medseg.errors import UserError
from medseg.fusion.presence import one_by_one, split_again

Weights = Literal["separate", "shared"]


def make_each(make: Callable[[], nn.Module], weights: Weights, modalities: int) -> nn.ModuleList:
    """A module per modality, or a single one.

    Raises:
        UserError: for an unknown choice of weights.
    """
    if weights not in ("separate", "shared"):
        raise UserError("fusion.weights", f"{weights!r} is unknown", "choose separate or shared")
    return nn.ModuleList(make() for _ in range(modalities if weights == "separate" else 1))


def pyramid_of(encoders: nn.ModuleList) -> Pyramid:
    """What the encoders give; they are all alike.

    Raises:
        UserError: they do not say.
    """
    encoder: object = encoders[0]
    if not isinstance(encoder, Encoder):
        fix = "give the encoder an attribute pyramid"
        raise UserError("network", f"{type(encoder).__name__} does not say what levels it has", fix)
    return encoder.pyramid


def run_each(modules: nn.ModuleList, image: Tensor, modalities: int) -> list[list[Tensor]]:
    """``(B, M, C, *S)`` -> per level the ``M`` answers ``(B, C, *S)``, one for each modality.

    A single module sees all modalities in one call. With one module per modality each runs on every
    row, also where nobody has its modality: so each parameter takes part in every step, as distributed
    training wants it.
    """
    if len(modules) == 1:
        return [split_again(level, modalities) for level in modules[0](one_by_one(image))]
    answers = [list(module(image[:, m])) for m, module in enumerate(modules)]
    return [list(level) for level in zip(*answers, strict=True)]
