"""The encoder bundle: a folder with what a pretraining has learned (docs/pretraining.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.data.plan import Plan
from medseg.data.plan_file import plain
from medseg.errors import UserError
from medseg.files import file_hash, value_hash, write_json
from medseg.inference import weights
from medseg.inference.assemble import encoding_of
from medseg.inference.bundle import origin
from medseg.inference.encoder_facts import FORMAT, OPTION, PLAN, VERSION, EncoderFacts, plain_topology
from medseg.inference.manifest import ENCODER_MANIFEST, WEIGHTS
from medseg.inference.patients import SeenPatients
from medseg.inference.whole_folder import whole_folder

if TYPE_CHECKING:
    from torch import nn


def save_encoder(
    folder: Path,
    encoding: nn.Module,
    specs: Mapping[str, Mapping[str, Any]],
    plan: Plan,
    provenance: Mapping[str, Any],
    patients: Iterable[str],
) -> Path:
    """Writes an encoder bundle as a whole: ``encoder.json``, the weights and the plan.

    Args:
        folder: where it goes; what is there is replaced.
        encoding: the way down of a network, see `medseg.inference.assemble.encoding_of`.
        specs: ``network``, ``fusion`` and ``objective``.
        plan: the plan it was trained with.
        provenance: JSON values such as cohort, split hash, seed. No patient ids.
        patients: ids of all patients whose images the training saw; kept as salted hashes.

    Returns:
        ``folder``.
    """
    state = encoding.state_dict()
    with whole_folder(folder) as scratch:
        weights.write_weights(scratch / WEIGHTS, state, _shapes(state))
        plan.save(scratch / PLAN)
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            **{slot: plain(specs[slot]) for slot in ("network", "fusion", "objective")},
            "modalities": list(plan.modalities),
            "topology": plain_topology(plan.topology, plan.slices),
            "provenance": origin() | plain(provenance),
            "patients": SeenPatients.of(patients).to_dict(),
            "weights": {"file": WEIGHTS, "sha256": file_hash(scratch / WEIGHTS)},
        }
        write_json(scratch / ENCODER_MANIFEST, manifest | {"hash": value_hash(manifest)})
    return folder


def load_encoder(facts: EncoderFacts, network: nn.Module) -> None:
    """Gives a network the weights of a pretrained encoder, every one of them.

    Args:
        facts: of the bundle.
        network: as a fusion has put it together.

    Raises:
        UserError: the weights were altered, or do not fit: missing, unexpected and misshapen ones are listed.
    """
    path = facts.folder / WEIGHTS
    if not path.is_file() or file_hash(path) != facts.weights_hash:
        raise UserError(str(path), "is not what encoder.json names", "copy the bundle again")
    encoding = encoding_of(network)
    try:
        weights.check_weights(path, _shapes(encoding.state_dict()))
    except UserError as error:
        fix = f"choose network=, fusion= and their options as in {facts.folder / ENCODER_MANIFEST}"
        raise UserError(OPTION, f"{path} {error.problem}", fix) from None
    weights.load_weights(encoding, path)


def _shapes(state: weights.State) -> weights.Shapes:
    return {name: tuple(value.shape) for name, value in state.items()}
