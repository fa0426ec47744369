"""What a prediction asks of the network that is to be trained first."""

from __future__ import annotations

from medseg.config.folders import conf_folder, options
from medseg.config.part_facts import Config, short
from medseg.targets import parameters


def dropout_passes(config: Config) -> list[str]:
    """Passes with dropout of a network that has none would be found out only after its training."""
    passes, spec = config["inference"].get("mc_dropout", 0), config["network"]
    if not isinstance(passes, int) or passes < 2:
        return []
    if any("dropout" in name and _is_share(value) for name, value in spec.items()):
        return []
    name = short(config, "network")
    if any(p.name == "dropout" for p in parameters(str(spec["_target_"]))):
        return [
            f"inference.mc_dropout: {name} is trained without dropout; use network.dropout=0.2 or so, "
            "or inference.mc_dropout=0"
        ]
    able = [n for n in options("network") if "dropout" in _options(n)]
    return [
        f"inference.mc_dropout: {name} has no dropout; use inference.mc_dropout=0, or a network of "
        f"{', '.join(able)}"
    ]


def finished_run(config: Config) -> list[str]:
    """Only what a run predicts can be finished: folds of a study chose for each other, files stay."""
    if config["run"] is None:
        return ["postprocess: finishes the predictions of a run; leave it out, or add run=FOLDER"]
    if config["missing"] is not None:
        return ["postprocess: is not changed while modalities are left out; leave one of both out"]
    return []


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _options(network: str) -> set[str]:
    import yaml

    text = (conf_folder() / "network" / f"{network}.yaml").read_text(encoding="utf-8")
    return {p.name for p in parameters(str(yaml.safe_load(text)["_target_"]))}
