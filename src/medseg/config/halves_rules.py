"""Rules about objectives that change features on their way from the encoder to the decoder."""

from __future__ import annotations

from medseg.config.folders import options
from medseg.config.part_facts import Config, of_choice, of_option, short


def perturbed_features(config: Config) -> list[str]:
    """Networks and fusions without one pyramid of features between two halves."""
    if not config["objective"].get("feature_dropout"):
        return []
    told = f"objective: {short(config, 'objective')} drops features between encoder and decoder and"
    off = "use objective.feature_dropout=0, or"
    if not of_choice(config, "network").get("MODULAR", True):
        able = [n for n in options("network") if of_option("network", n).get("MODULAR", True)]
        return [f"{told} {short(config, 'network')} cannot be split; {off} one of network={', '.join(able)}"]
    if not of_choice(config, "fusion").get("ENCODING", False):
        able = [n for n in options("fusion") if of_option("fusion", n).get("ENCODING", False)]
        return [
            f"{told} {short(config, 'fusion')} has no encoder of all modalities; {off} "
            f"fusion={' or '.join(able)}"
        ]
    return []
