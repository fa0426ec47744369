"""The plan: what was decided from the fingerprint, a small file that a user may edit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.contracts import Topology
from medseg.data import plan_file
from medseg.errors import Problems
from medseg.files import value_hash, write_text

if TYPE_CHECKING:
    from medseg.contracts import Labels
    from medseg.data.fingerprint import Fingerprint
    from medseg.data.machine import Machine
    from medseg.data.settings import PlanSettings


@dataclass(frozen=True)
class Plan:
    """How a cohort is preprocessed and what network fits it.

    Attributes:
        spatial_dims: 2 or 3.
        modalities: the image's channels, in order.
        axes: the canonical axis behind each axis of the store; the slice axis comes last.
        spacing: mm per voxel of the store. With ``spatial_dims`` 2 the last is not resampled to.
        patch_size: voxels per axis, ``spatial_dims`` long.
        batch_size: patches per training step.
        strides: per level the step from the level above, per axis.
        kernels: per level the kernel size, per axis.
        widths: per level the channels.
        normalisation: modality -> ``{"method": ..., parameters}``, see `medseg.data.normalise`.
        in_plane_only: whether to rotate and deform within slices only.
        precision: ``"32-true"``, ``"bf16-mixed"`` or ``"16-mixed"``.
        reasons: decision -> why, one line each; not part of the hash.
        multiple: what each axis of the patch must be a multiple of, besides the strides.
        slices: neighbouring slices that a 2D network sees of each modality (2.5D); its own is the middle one.
        fingerprint_hash: the fingerprint that the plan was derived from.
    """

    spatial_dims: int
    modalities: tuple[str, ...]
    axes: tuple[int, int, int]
    spacing: tuple[float, float, float]
    patch_size: tuple[int, ...]
    batch_size: int
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    widths: tuple[int, ...]
    normalisation: Mapping[str, Mapping[str, Any]]
    in_plane_only: bool
    precision: str
    multiple: int = 1
    slices: int = 1
    fingerprint_hash: str = ""
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def topology(self) -> Topology:
        """What a network is built from."""
        return Topology(
            self.spatial_dims, self.patch_size, self.strides, self.kernels, self.widths, self.multiple
        )

    @property
    def hash(self) -> str:
        """The SHA-256 of all decisions, the reasons apart."""
        decisions = self.to_dict()
        del decisions["reasons"]
        return value_hash(decisions)

    @property
    def preprocessing(self) -> dict[str, Any]:
        """The decisions that a store depends on; stores are keyed by them."""
        decisions = self.to_dict()
        keys = ("spatial_dims", "modalities", "axes", "spacing", "normalisation")
        return {key: decisions[key] for key in keys}

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain lists, numbers and strings."""
        return {key: plan_file.plain(value) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "plan") -> Plan:
        """A plan from plain values, as in a plan file or a model bundle.

        Raises:
            Problems: every field that cannot be used, each with its name.
        """
        required = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]
        if problems := plan_file.problems(values, required, [f.name for f in fields(cls)]):
            raise Problems(f"{source}: {problem}" for problem in problems)
        frozen = {key: plan_file.frozen(key, value) for key, value in values.items()}
        return cls(**frozen)

    def save(self, path: Path) -> None:
        """Writes the plan as YAML."""
        write_text(path, plan_file.dump(self.to_dict()))

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Reads a plan, maybe edited.

        Raises:
            Problems: every field that cannot be used, each with its name.
        """
        return cls.from_dict(plan_file.read(path), str(path))


def make_plan(
    fingerprint: Fingerprint, labels: Labels, settings: PlanSettings, machine: Machine | None = None
) -> Plan:
    """Decides the plan for a cohort on a machine (the one it runs on unless given).

    Raises:
        UserError: a setting contradicts the cohort, or the plan file does.
        Problems: several.
    """
    from medseg.data.machine import find_machine
    from medseg.data.planning import Planner

    if settings.file is not None:
        plan = Plan.load(Path(settings.file))
        if plan.modalities != fingerprint.modalities:
            raise Problems(
                [
                    f"{settings.file}: modalities: {list(plan.modalities)} are not the cohort's "
                    f"{list(fingerprint.modalities)}; make a new plan"
                ]
            )
        return plan
    return Plan(**Planner(fingerprint, labels, settings, machine or find_machine()).decisions())
