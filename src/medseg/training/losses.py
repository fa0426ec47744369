"""The loss of a run: what it leaves to the data is filled in from the plan and the training cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medseg.contracts import Labels
from medseg.data.plan import Plan
from medseg.targets import build, parameters
from medseg.training.class_weights import balanced_weights
from medseg.training.run_folder import RunFolder

Spec = Mapping[str, Any]


def build_loss(spec: Spec, labels: Labels, plan: Plan, run: RunFolder) -> Any:
    """The loss; class weights that were made by a rule are kept in the run's record, by their place.

    Raises:
        UserError: a rule, and no labelled voxel among the training cases.
        Problems: what is wrong with the spec.
    """
    counts = {int(code): count for code, count in run.record.get("class_voxels", {}).items()}
    made: dict[str, list[float]] = {}
    filled = _filled(spec, labels, plan, counts, made, "loss")
    if made and run.record.get("class_weights") != made:
        run.note(class_weights=made)
    return build(filled, "loss", labels)


def _filled(
    spec: Any, labels: Labels, plan: Plan, counts: Mapping[int, int], made: dict[str, list[float]], where: str
) -> Any:
    """With the plan's spacing where a loss asks for one, and numbers for the names of rules; terms too."""
    if not isinstance(spec, Mapping):
        return spec
    found = {key: _filled(value, labels, plan, counts, made, f"{where}.{key}") for key, value in spec.items()}
    if "_target_" not in spec:
        return found
    takes = {p.name for p in parameters(str(spec["_target_"]))}
    if "spacing" in takes and found.get("spacing") is None:
        found["spacing"] = [float(step) for step in plan.spacing[: plan.spatial_dims]]
    if "class_weights" in takes and (rule := found.get("class_weights")) in ("balanced", "balanced_sqrt"):
        found["class_weights"] = balanced_weights(rule, counts, labels)
        made[f"{where}.class_weights"] = found["class_weights"]
    return found
