"""The model bundle: a folder that holds all that prediction needs (docs/model-bundle.md)."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import medseg
from medseg.contracts import Labels
from medseg.data.plan import Plan
from medseg.data.plan_file import plain
from medseg.errors import Problems, UserError
from medseg.files import file_hash, write_json
from medseg.inference import weights
from medseg.inference.assemble import assemble_network
from medseg.inference.finish import Finish
from medseg.inference.finish_fields import check_finish, read_finish
from medseg.inference.manifest import (
    MANIFEST,
    WEIGHTS,
    read_labels,
    read_manifest,
    read_patients,
    read_weights,
    seal,
)
from medseg.inference.patients import SeenPatients
from medseg.inference.whole_folder import whole_folder
from medseg.targets import constants

if TYPE_CHECKING:
    from torch import nn

MOST_LEVELS = 16


def save_bundle(
    folder: Path,
    network: nn.Module,
    network_spec: Mapping[str, Any],
    fusion_spec: Mapping[str, Any],
    plan: Plan,
    labels: Labels,
    cohort_name: str,
    provenance: Mapping[str, Any],
    postprocess: Sequence[Mapping[str, Any]] = (),
    *,
    patients: Iterable[str],
    flip_axes: Sequence[int] = (),
    missing_modalities: bool = False,
) -> Path:
    """Writes a bundle as a whole: into a folder beside ``folder``, then renamed onto it.

    Args:
        folder: where the bundle goes; a bundle that is there is replaced.
        network: the trained network; weights that only training needs are left out.
        network_spec: what `assemble_network` built it from.
        fusion_spec: the same.
        plan: the plan it was trained with.
        labels: what its outputs mean.
        cohort_name: what it was trained on.
        provenance: JSON values such as split hash, fold, seed and git commit. No patient ids.
        postprocess: specs of `medseg.postprocess`, done one after the other to what it predicts.
        patients: ids of all patients whose images or labels the training saw; kept as salted hashes.
        flip_axes: spatial axes that training mirrored, in the plan's order.
        missing_modalities: whether cases without some of their modalities were trained on.

    Returns:
        ``folder``.

    Raises:
        UserError: the network is not what the specs describe.
    """
    manifest = {
        "network": plain(network_spec),
        "fusion": plain(fusion_spec),
        "modalities": list(plan.modalities),
        "labels": plain(asdict(labels)),
        "plan": plan.to_dict(),
        "flip_axes": sorted({int(axis) for axis in flip_axes}),
        "missing_modalities": missing_modalities,
        "postprocess": plain(postprocess),
        "provenance": origin() | {"cohort": cohort_name} | plain(provenance),
        "patients": SeenPatients.of(patients).to_dict(),
    }
    shapes = weights.expected_shapes(partial(assemble_network, network_spec, fusion_spec, plan, labels))
    _write(folder, manifest, network.state_dict(), shapes)
    return folder


def _write(folder: Path, manifest: Mapping[str, Any], state: weights.State, shapes: weights.Shapes) -> None:
    with whole_folder(folder) as scratch:
        weights.write_weights(scratch / WEIGHTS, state, shapes)
        proof = {"file": WEIGHTS, "sha256": file_hash(scratch / WEIGHTS)}
        write_json(scratch / MANIFEST, seal({**manifest, "weights": proof}))


def origin() -> dict[str, str]:
    """Which medseg wrote a bundle, and when."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"medseg": medseg.__version__, "date": today}


@dataclass(frozen=True)
class Bundle:
    """A checked bundle.

    Attributes:
        folder: where it is.
        network_spec: the architecture.
        fusion_spec: where the modalities meet.
        plan: how images are prepared for it.
        labels: what its outputs mean.
        flip_axes: spatial axes that training mirrored.
        missing_modalities: whether cases may lack modalities.
        provenance: how it came to be.
        patients: whom it has seen.
        weights_hash: SHA-256 of the weights.
        hash: SHA-256 of all else, and so of the whole bundle.
        finish: what is done to its probabilities, and whose labels chose it.
    """

    folder: Path
    network_spec: Mapping[str, Any]
    fusion_spec: Mapping[str, Any]
    plan: Plan
    labels: Labels
    flip_axes: tuple[int, ...]
    missing_modalities: bool
    provenance: Mapping[str, Any]
    patients: SeenPatients
    weights_hash: str
    hash: str
    finish: Finish = field(default_factory=Finish)

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Reads a bundle and checks all of it before a byte of the network is allocated.

        Raises:
            UserError: damaged or altered, names a part that is not allowed, or the weights do not fit.
        """
        manifest = read_manifest(folder)
        where = str(folder / MANIFEST)
        bundle = cls(
            folder=folder,
            network_spec=manifest["network"],
            fusion_spec=manifest["fusion"],
            plan=Plan.from_dict(manifest["plan"], f"{where}: plan"),
            labels=read_labels(manifest["labels"], where),
            flip_axes=tuple(manifest["flip_axes"]),
            missing_modalities=manifest["missing_modalities"],
            provenance=manifest["provenance"],
            patients=read_patients(manifest["patients"], where),
            weights_hash=read_weights(manifest["weights"], where),
            hash=manifest["hash"],
            finish=read_finish(manifest, where),
        )
        bundle._check(manifest)
        return bundle

    @property
    def cohort(self) -> str:
        """The name of the cohort it was trained on."""
        return str(self.provenance.get("cohort", ""))

    @property
    def flexible(self) -> bool:
        """Whether its network takes windows of other sizes: one in halves does unless it says otherwise."""
        facts = constants(str(self.network_spec["_target_"]))
        return not facts.get("FIXED_PATCH", facts.get("MODULAR") is not True)

    @property
    def finds_objects(self) -> bool:
        """Whether its network finds objects one by one."""
        return bool(constants(str(self.network_spec["_target_"])).get("INSTANCES", False))

    def saw(self, patient: str) -> bool:
        """Whether it may not be scored on this patient of its cohort: trained on, or tuned on."""
        return patient in self.patients or self.finish.tuned(patient)

    def network(self) -> nn.Module:
        """The network with its weights, on the CPU, in evaluation mode; every call makes a new one."""
        network = weights.fresh(self._assemble)
        weights.load_weights(network, self.folder / WEIGHTS)
        return network.eval().requires_grad_(False)

    def _assemble(self) -> nn.Module:
        return assemble_network(self.network_spec, self.fusion_spec, self.plan, self.labels)

    def _check(self, manifest: Mapping[str, Any]) -> None:
        where, path = str(self.folder / MANIFEST), self.folder / WEIGHTS
        check_finish(self.finish, self.labels, where)
        if list(self.plan.modalities) != manifest["modalities"]:
            raise UserError(where, "modalities are not those of its plan", "copy the bundle again")
        if len(self.plan.widths) > MOST_LEVELS or any(a >= self.plan.spatial_dims for a in self.flip_axes):
            raise UserError(where, "the plan or flip_axes are out of range", "copy the bundle again")
        if not path.is_file():
            raise UserError(str(path), "does not exist", "copy the bundle again")
        if file_hash(path) != self.weights_hash:
            raise UserError(str(path), "was altered: its SHA-256 is another", "copy the bundle again")
        try:
            shapes = weights.expected_shapes(self._assemble)
        except Problems as found:
            raise Problems(f"{where}: {line}" for line in found.lines) from None
        except UserError:
            raise
        except (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                where, f"its network cannot be built ({reason})", "copy the bundle again"
            ) from None
        weights.check_weights(path, shapes)
