"""What a run was made with, for the verbs that go on with it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from medseg.config.yaml_guard import check_yaml
from medseg.data.settings import DataSettings
from medseg.errors import UserError
from medseg.evaluation.settings import EvaluationSettings
from medseg.inference.manifest import MANIFEST, parse_json
from medseg.inference.settings import InferenceSettings

KINDS: dict[str, Any] = {
    "data": DataSettings,
    "inference": InferenceSettings,
    "evaluation": EvaluationSettings,
}


def recorded(run: Path, group: str, given: Any) -> Any:
    """The settings that the run was made with, with what the command line says otherwise."""
    import yaml

    kind = KINDS[group]
    file = run / "config.yaml"
    if not file.is_file():
        raise UserError("run", f"{run} is not a run's folder: it has no config.yaml", "give runs/NAME/ID")
    check_yaml(file)
    kept: dict[str, Any] = dict(yaml.safe_load(file.read_text(encoding="utf-8"))[group])
    for key in ("labels", "regions") if group == "data" else ():
        if isinstance(kept.get(key), dict):
            kept[key] = _in_order(kept[key], run / "model" / MANIFEST)
    usual = asdict(kind())
    said = {k: v for k, v in asdict(given).items() if v != usual[k]} if given else {}
    return kind(**kept | said)


def _in_order(labels: dict[str, Any], manifest: Path) -> dict[str, Any]:
    """The labels as the model has them: a run's configuration is sorted by name, and codes go by order."""
    if not manifest.is_file():
        return labels
    names = parse_json(manifest, "").get("labels", {}).get("names", [])
    return {name: labels[name] for name in names} if {*names} == {*labels} else labels
