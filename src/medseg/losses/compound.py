"""Any weighted sum of losses, the weights fixed or changing while training goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from medseg import targets
from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.losses.schedule import WeightSchedule
from medseg.losses.target import Prepared
from medseg.losses.term import LossTerm


class Compound(LossTerm):
    """The sum of ``weight * loss`` over named terms, which share softmax and one-hot rows.

    A term whose weight is 0 is not computed.

    Args:
        labels: what the codes mean.
        terms: name -> a loss with its options.
        weights: name -> a number >= 0 or a schedule, see `WeightSchedule`; every term has one.

    Raises:
        UserError: no term, a term without a weight or a weight without a term, or weights that are none.
        Problems: what is wrong with the losses themselves.
    """

    def __init__(
        self,
        labels: Labels,
        *,
        terms: Mapping[str, Mapping[str, Any]],
        weights: Mapping[str, float | Mapping[str, float | str]],
    ) -> None:
        super().__init__(labels)
        if not terms or set(terms) != set(weights):
            problem = (
                f"the terms are {', '.join(terms) or 'none'}, the weights of {', '.join(weights) or 'none'}"
            )
            raise UserError("loss", problem, "give each term of loss.terms one weight in loss.weights")
        self.weights = {name: WeightSchedule(weights[name], f"loss.weights.{name}") for name in terms}
        if not any(max(weight.start, weight.stop) for weight in self.weights.values()):
            raise UserError("loss.weights", "all are 0", "give one of them more")
        # a list, since a ModuleDict refuses names such as "values"
        self.terms = nn.ModuleList(targets.build(spec, "loss", labels) for spec in terms.values())
        self.share = 0.0
        self._latest: dict[str, Tensor] = {}

    def progress(self, share: float) -> None:
        """The weights from now on are those after this share of training."""
        self.share = share

    @property
    def current(self) -> dict[str, float]:
        """Name -> the weight that its term has now."""
        return {name: weight.at(self.share) for name, weight in self.weights.items()}

    def compare(self, target: Prepared) -> Tensor:
        """A scalar."""
        current = self.current
        named = zip(current, self.terms, strict=True)
        found = {name: _compared(term, target) for name, term in named if current[name] > 0}
        self._latest = {name: value.detach() for name, value in found.items()}
        # nothing weighs yet: nothing is learned, and the graph is there all the same
        weighted = [current[name] * value for name, value in found.items()]
        return torch.stack(weighted).sum() if weighted else (target.probabilities * 0).sum()

    def to_log(self) -> dict[str, Tensor]:
        """``loss_NAME`` of each term that was just computed, unweighted, and ``weight_NAME`` of all."""
        values = {f"loss_{name}": value for name, value in self._latest.items()}
        return values | {f"weight_{name}": torch.tensor(weight) for name, weight in self.current.items()}


def _compared(term: nn.Module, target: Prepared) -> Tensor:
    """A loss from elsewhere makes its own preparation."""
    if isinstance(term, LossTerm):
        return term.compare(target)
    value: Tensor = term(target.logits, target.label)
    return value
