"""What a step of post-processing is: a choice under ``conf/postprocess/``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from medseg.contracts import Labels
from medseg.postprocess.nesting import Nesting
from medseg.postprocess.segmented import Segmented


class Step(ABC):
    """A function of one predicted case.

    ``NEEDS`` names what it reads beside the codes: ``"probabilities"``, ``"image"``. It is read from the
    source, so it must be a literal.

    Args:
        labels: what the codes mean.
        names: the classes or regions that it is done for; ``None`` for each.

    Raises:
        UserError: a name that the labels do not have.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, labels: Labels, *, names: Sequence[str] | None = None) -> None:
        self.labels, self.nesting = labels, Nesting(labels)
        self.positions = self.nesting.positions(names, "postprocess.names")

    @property
    def needs(self) -> frozenset[str]:
        """What it reads beside the codes."""
        return frozenset(self.NEEDS)

    @abstractmethod
    def __call__(self, case: Segmented) -> Segmented:
        """The case with other codes; what is not concerned is kept, and the input is not changed."""


class ObjectStep(Step):
    """A step on the connected objects of a mask.

    Args:
        labels: what the codes mean.
        names: the classes or regions that it is done for; ``None`` for each.
        together: take their union as one mask, as for organs that touch.
    """

    def __init__(self, labels: Labels, *, names: Sequence[str] | None = None, together: bool = False) -> None:
        super().__init__(labels, names=names)
        self.groups = (self.positions,) if together else tuple((k,) for k in self.positions)
