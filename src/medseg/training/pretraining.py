"""A pretraining leaves an encoder, and a training may start from one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from medseg.data.plan import Plan
from medseg.errors import UserError
from medseg.files import write_json
from medseg.inference.encoder_bundle import load_encoder, save_encoder
from medseg.inference.encoder_facts import OPTION, EncoderFacts
from medseg.inference.manifest import read_patients
from medseg.targets import constants
from medseg.training.recipe import Recipe
from medseg.training.run_folder import RunFolder

if TYPE_CHECKING:
    from torch import nn

SEEN = "pretrained.json"
"""In a run's folder: the encoder that it started from, and salted hashes of the patients this has seen."""


def pretrains(recipe: Recipe) -> bool:
    """Whether the objective trains an encoder alone, without labels."""
    return bool(constants(recipe.objective["_target_"]).get("PRETRAINS", False))


def refuse_encoder(recipe: Recipe, run: RunFolder, plan: Plan, cohort: str, held_out: Iterable[str]) -> None:
    """Before anything is preprocessed: an encoder that does not go with this run.

    A run that has a checkpoint goes on without it.

    Args:
        recipe: says which encoder.
        run: the run.
        plan: of the run.
        cohort: its name.
        held_out: patients that the run validates or tests on.

    Raises:
        UserError: there is no such encoder, it is of another network, plan or order of modalities, or it has
            seen a patient that is held out.
    """
    if recipe.finetuning.pretrained is None or run.model.is_dir() or any(run.checkpoints.glob("*.ckpt")):
        return
    facts = EncoderFacts.read(Path(recipe.finetuning.pretrained))
    facts.refuse(recipe.network)
    fixed = constants(recipe.network["_target_"]).get("FIXED_PATCH", False)
    facts.refuse_topology(plan.topology, plan.slices, fixed)
    if facts.modalities != plan.modalities and sorted(facts.modalities) == sorted(plan.modalities):
        problem = f"its modalities are {', '.join(facts.modalities)}, in this order"
        raise UserError(OPTION, problem, f"give data.modalities=[{','.join(facts.modalities)}]")
    if facts.cohort == cohort and (seen := {patient for patient in held_out if patient in facts.patients}):
        problem = f"the encoder has seen {len(seen)} of the patients that this run validates or tests on"
        fix = "use one split.file and fold for both; if these are others of the same names, give data.name="
        raise UserError(OPTION, problem, fix)


def start_from_encoder(
    recipe: Recipe, run: RunFolder, network: nn.Module, console: Console
) -> list[dict[str, Any]]:
    """Loads the encoder that was asked for; where it is from, for the record. Says which options differ."""
    if recipe.finetuning.pretrained is None:
        return []
    facts = EncoderFacts.read(Path(recipe.finetuning.pretrained))
    load_encoder(facts, network)
    if differing := facts.other_options(recipe.network):
        line = f"{OPTION}: the network of the pretraining had other options: {'; '.join(differing)}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    kept = {"hash": facts.hash, "cohort": facts.cohort, "patients": facts.patients.to_dict()}
    if run.writes:
        write_json(run.path / SEEN, kept)
    objective = str(facts.objective["_target_"]).rpartition(".")[2]
    found = {"path": str(facts.folder), "sha256": facts.weights_hash, "hash": facts.hash}
    return [found | {"objective": objective}]


def seen_by_encoder(run: RunFolder, cohort: str, patients: Iterable[str]) -> set[str]:
    """Those of a cohort's patients whose images the encoder has seen that the run started from."""
    file = run.path / SEEN
    if not file.exists():
        return set()
    kept = json.loads(file.read_text(encoding="utf-8"))
    known = read_patients(kept["patients"], str(file))
    return {patient for patient in patients if patient in known} if kept["cohort"] == cohort else set()


def publish_encoder(
    recipe: Recipe, run: RunFolder, plan: Plan, cohort: str, patients: Iterable[str], encoding: nn.Module
) -> None:
    """Writes the encoder bundle of a pretraining."""
    specs = {"network": recipe.network, "fusion": recipe.fusion, "objective": recipe.objective}
    provenance = {
        "cohort": cohort,
        "split": run.record.get("split_hash"),
        "fold": recipe.fold,
        "seed": recipe.seed,
        "run": recipe.run_id,
        "git": run.record.get("git"),
        "steps": run.record["steps"],
    }
    save_encoder(run.model, encoding, specs, plan, provenance, patients)
