"""``encoder.json``: what the weights of a pretrained encoder are. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medseg.contracts import Topology
from medseg.errors import Problems, UserError
from medseg.files import value_hash
from medseg.inference.manifest import ENCODER_MANIFEST, is_sha256, parse_json, read_patients, read_weights
from medseg.inference.patients import SeenPatients

FORMAT = "medseg-encoder"
VERSION = 1
PLAN = "plan.yaml"
OPTION = "finetuning.pretrained"


def _is_spec(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("_target_"), str)


def _is_names(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) and name for name in value)


def _is_topology(value: object) -> bool:
    if not isinstance(value, dict) or value.keys() != {*Topology.__dataclass_fields__, "slices"}:
        return False
    rows = ("strides", "kernels")
    return (
        all(isinstance(value[key], int) for key in ("spatial_dims", "multiple", "slices"))
        and all(_is_row(value[key]) for key in ("patch_size", "widths"))
        and all(isinstance(value[key], list) and all(map(_is_row, value[key])) for key in rows)
    )


def _is_row(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(n) is int and n > 0 for n in value)


_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "network": (_is_spec, "a spec"),
    "fusion": (_is_spec, "a spec"),
    "objective": (_is_spec, "a spec"),
    "modalities": (_is_names, "a list of names"),
    "topology": (_is_topology, "a topology"),
    "provenance": (lambda v: isinstance(v, dict), "a mapping"),
    "patients": (lambda v: isinstance(v, dict), "a mapping"),
    "weights": (lambda v: isinstance(v, dict), "a mapping"),
    "hash": (is_sha256, "a SHA-256"),
}


@dataclass(frozen=True)
class EncoderFacts:
    """What an encoder bundle says of itself.

    Attributes:
        folder: where it is.
        network: the spec of the network whose encoder it is.
        fusion: the spec of the fusion.
        objective: the spec of what it was pretrained by.
        modalities: its channels, in order.
        topology: of the plan, and its ``slices``, as plain values.
        provenance: how it came to be.
        patients: whose images it has seen.
        weights_hash: SHA-256 of the weights.
        hash: SHA-256 of all of this.
    """

    folder: Path
    network: Mapping[str, Any]
    fusion: Mapping[str, Any]
    objective: Mapping[str, Any]
    modalities: tuple[str, ...]
    topology: Mapping[str, Any]
    provenance: Mapping[str, Any]
    patients: SeenPatients
    weights_hash: str
    hash: str

    @classmethod
    def read(cls, path: Path) -> EncoderFacts:
        """Of a bundle, or of the run that wrote it; the weights are not opened.

        Raises:
            UserError: there is none, or it was altered.
            Problems: fields that are missing or of a wrong kind.
        """
        folder = _bundle_folder(path)
        file = folder / ENCODER_MANIFEST
        found = parse_json(file, f"give {OPTION} the folder of a pretrained encoder")
        if (found.get("format"), found.get("version")) != (FORMAT, VERSION):
            problem = f"is not of format {FORMAT} {VERSION}"
            raise UserError(str(file), problem, "pretrain with this medseg")
        lines = [
            f"{file}: {name} is missing or not {what}"
            for name, (fits, what) in _FIELDS.items()
            if name not in found or not fits(found[name])
        ]
        lines += [
            f"{file}: {name} is unknown" for name in found.keys() - _FIELDS.keys() - {"format", "version"}
        ]
        if lines:
            raise Problems(lines)
        if found["hash"] != value_hash({k: v for k, v in found.items() if k != "hash"}):
            raise UserError(
                str(file), "was altered: its hash does not fit its content", "copy the bundle again"
            )
        return cls(
            folder=folder,
            modalities=tuple(found["modalities"]),
            patients=read_patients(found["patients"], str(file)),
            weights_hash=read_weights(found["weights"], str(file)),
            hash=found["hash"],
            **{key: found[key] for key in ("network", "fusion", "objective", "topology", "provenance")},
        )

    @property
    def cohort(self) -> str:
        """The name of the cohort that it was pretrained on."""
        return str(self.provenance.get("cohort", ""))

    def refuse(self, network: Mapping[str, Any]) -> None:
        """What the choice of a network alone tells.

        Raises:
            UserError: it is another class than that of the pretraining.
        """
        mine, theirs = self.network["_target_"], network.get("_target_")
        if mine != theirs:
            problem = f"{self.folder} has the encoder of {_short(mine)} and the network is {_short(theirs)}"
            raise UserError(OPTION, problem, "choose the same network=, or another encoder")

    def other_options(self, network: Mapping[str, Any]) -> list[str]:
        """Options of the network that the pretraining had otherwise; they may be the decoder's."""
        return [
            f"{key} {network.get(key)} here, {self.network.get(key)} there"
            for key in sorted({*network, *self.network})
            if network.get(key) != self.network.get(key)
        ]

    def refuse_topology(self, topology: Topology, slices: int, fixed_patch: bool) -> None:
        """A plan whose network would have other shapes or see another grid than that of the pretraining.

        Raises:
            UserError: it names what differs, and how to share the plan.
        """
        here = plain_topology(topology, slices)
        matters = [key for key in here if key not in ("patch_size", "multiple") or fixed_patch]
        differing = [
            f"{key} {here[key]} here, {self.topology[key]} there"
            for key in matters
            if here[key] != self.topology[key]
        ]
        if differing:
            raise UserError(
                OPTION,
                f"this run's plan gives another network than that of the pretraining: {'; '.join(differing)}",
                f"take its plan with plan.file={self.folder / PLAN}",
            )


def plain_topology(topology: Topology, slices: int) -> dict[str, Any]:
    """As JSON has it."""
    return {key: _listed(value) for key, value in asdict(topology).items()} | {"slices": slices}


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def _bundle_folder(path: Path) -> Path:
    """Itself, or what is in a run's folder.

    Raises:
        UserError: a folder of something else, or none.
    """
    for folder in (path, path / "model"):
        if (folder / ENCODER_MANIFEST).is_file():
            return folder
    segments = any((folder / "model.json").is_file() for folder in (path, path / "model"))
    what = "is a model that segments, not a pretrained encoder" if segments else f"has no {ENCODER_MANIFEST}"
    if not path.exists():
        what = "does not exist"
    fix = "give the run, or its model folder, of medseg train with a pretraining objective, as simclr"
    raise UserError(OPTION, f"{path} {what}", fix)


def _short(target: object) -> str:
    return str(target).rpartition(".")[2]
