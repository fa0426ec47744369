"""The encoder of networks whose levels are taken from a transformer, beside the image itself."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from medseg.contracts import Pyramid
from medseg.errors import UserError
from medseg.networks.memory_layout import exporting, in_fast_layout


class TokenStage(nn.Module):
    """A part of the transformer, and what a decoder gets to see of its result.

    Args:
        body: tokens -> tokens; the first one takes the image.
        tap: tokens -> features of this level.
    """

    def __init__(self, body: nn.Module, tap: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.tap = tap

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The next tokens and ``(B, C, *S)``."""
        tokens = self.body(tokens)
        return tokens, self.tap(tokens)


class TokenEncoder(nn.Module):
    """Convolutions of the image for the finest level, one stage of the transformer for each other.

    Args:
        finest: image -> features of the finest level.
        stages: the transformer's parts in order.
        pyramid: the channels and strides that they give.
        patch_size: the only size of image that fits, or ``None`` where others do.
        placed: of the first body, which is then an ``nn.Sequential``, the modules that make placed tokens of
            the image; 0 where tokens are tied to windows, so that none can be left out.
    """

    def __init__(
        self,
        finest: nn.Module,
        stages: Sequence[TokenStage],
        pyramid: Pyramid,
        *,
        patch_size: tuple[int, ...] | None = None,
        placed: int = 0,
    ) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.stages = nn.ModuleList([finest, *stages])
        self.patch_size = patch_size
        self.placed = placed

    def forward(self, image: Tensor) -> list[Tensor]:
        """``(B, M, *S)`` -> features per level, finest first.

        Raises:
            UserError: for an image of another size than the position embeddings have.
        """
        self._check(image)
        tokens = image
        levels = [self.stages[0](in_fast_layout(image))]
        for stage in list(self.stages)[1:]:
            tokens, level = stage(tokens)
            levels.append(level)
        return levels

    def tokens(self, image: Tensor, kept: Tensor | None = None) -> Tensor:
        """What the transformer makes of all tokens, or of some while the others are not there at all.

        Args:
            image: ``(B, M, *S)``.
            kept: ``(B, n)`` int64, which of the ``N`` tokens of each sample; ``None`` for all in order.

        Returns:
            ``(B, n, C)``, in the order of ``kept``.

        Raises:
            UserError: the tokens are tied to windows, or an image of another size.
        """
        if not self.placed:
            problem = "its tokens are tied to windows, so none can be left out"
            raise UserError("network", problem, "use network=unetr")
        self._check(image)
        bodies = [stage.body for stage in list(self.stages)[1:]]
        tokens: Tensor = bodies[0][: self.placed](image)  # type: ignore[index, operator]
        if kept is not None:
            tokens = tokens.gather(1, kept[..., None].expand(-1, -1, tokens.shape[2]))
        for body in (bodies[0][self.placed :], *bodies[1:]):  # type: ignore[index]
            tokens = body(tokens)  # type: ignore[operator]
        return tokens

    def _check(self, image: Tensor) -> None:
        size = tuple(image.shape[2:])
        if self.patch_size is not None and not exporting() and size != tuple(self.patch_size):
            raise UserError("network", f"windows of {list(size)}", f"it takes {list(self.patch_size)} alone")
