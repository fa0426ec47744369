"""The way down of a network alone: what a pretraining trains, and what is fine-tuned afterwards."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from medseg.contracts import Encoder, Pyramid
from medseg.errors import UserError
from medseg.fusion.encode import pyramid_of, run_each
from medseg.fusion.presence import all_present, apart, keep_present


class Encoding(nn.Module):
    """Modalities in, one pyramid of features out.

    It shares its weights with the network that it was taken from. They are called the same for every
    network: ``encoders.N.*``, and ``merges.LEVEL.*`` where modalities are merged.

    Args:
        encoders: one for all modalities as channels of one image; or, with merges, one for each or shared.
        merges: of the modalities, one per level; none where the encoder sees them together.
        modalities: ``M``.
        slices: neighbouring slices per modality (2.5D).

    Attributes:
        levels: what comes out. (``pyramid`` would make it an `Encoder`, which takes no ``present``.)
        in_channels: ``M * slices``.
    """

    def __init__(
        self, encoders: nn.ModuleList, merges: nn.ModuleList | None, modalities: int, slices: int
    ) -> None:
        super().__init__()
        self.encoders = encoders
        self.merges = nn.ModuleList() if merges is None else merges
        self.modalities, self.in_channels = modalities, modalities * slices
        self.levels: Pyramid = pyramid_of(encoders)

    def forward(self, image: Tensor, present: Tensor | None = None) -> list[Tensor]:
        """``(B, M * slices, *S)``, ``(B, M)`` bool -> features ``(B, C, *S)`` per level, finest first."""
        image, present = self._shown(image, present)
        if not len(self.merges):
            return list(self.encoders[0](image.flatten(1, 2)))
        return merge_each(self.encoders, self.merges, image, present)

    def tokens(self, image: Tensor, present: Tensor | None = None, kept: Tensor | None = None) -> Tensor:
        """Of a transformer that sees all modalities together, its last tokens ``(B, n, C)``.

        Args:
            image: ``(B, M * slices, *S)``.
            present: ``(B, M)`` bool.
            kept: ``(B, n)`` int64, the tokens that it is given; the others are left out. ``None`` for all.

        Raises:
            UserError: the encoder is none, or there is one for each modality.
        """
        make = getattr(self.encoders[0], "tokens", None)
        if make is None or len(self.merges):
            what = "one for each modality" if len(self.merges) else type(self.encoders[0]).__name__
            problem = f"tokens are those of one transformer of all modalities, here is {what}"
            raise UserError("network", problem, "use network=unetr and fusion=early")
        image, _ = self._shown(image, present)
        tokens: Tensor = make(image.flatten(1, 2), kept)
        return tokens

    def _shown(self, image: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor]:
        """``(B, M, slices, *S)`` with zeros for what is missing, and which modalities there are."""
        image = apart(image, self.modalities)
        present = all_present(image) if present is None else present
        return keep_present(image, present), present

    def encoding(self) -> Encoding:
        """Itself, so that a pretraining may go on from another."""
        return self


def merge_each(
    encoders: nn.ModuleList, merges: nn.ModuleList, image: Tensor, present: Tensor
) -> list[Tensor]:
    """``(B, M, C, *S)`` with zeros for what is missing -> the merged features per level."""
    levels = run_each(encoders, image, image.shape[1])
    return [merge(level, present) for merge, level in zip(merges, levels, strict=True)]


def encoder_within(network: nn.Module) -> nn.Module:
    """The one encoder of a network of one piece.

    Raises:
        UserError: it has none, or several.
    """
    found = list(_outermost(network))
    if len(found) != 1:
        problem = f"{type(network).__name__} has {len(found)} encoders to take its weights from"
        raise UserError("network", problem, "choose one that comes as one encoder and one decoder")
    return found[0]


def _outermost(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, Encoder):
        yield module
        return
    for child in module.children():
        yield from _outermost(child)
