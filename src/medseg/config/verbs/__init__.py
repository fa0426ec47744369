"""The verbs: what each calls, and the keys at the root of its configuration.

The functions are named, not imported, so that the list costs nothing.
"""

from __future__ import annotations

from typing import NamedTuple


class Verb(NamedTuple):
    """One word after ``medseg``.

    Attributes:
        function: ``module:name`` of what it calls with the bound configuration as keywords.
        root: ``module:name`` of the settings that its root keys are bound to.
        records: whether the function also takes ``config``, ``overrides`` and ``flags``, to write them down.
        subject: the root key that a bare word right after the verb sets, as in ``medseg bench data``.
        many: whether it takes a list of such words, as in ``medseg compare FOLDER FOLDER``.
    """

    function: str
    root: str
    records: bool = False
    subject: str | None = None
    many: bool = False


_ROOTS = "medseg.config.roots"

VERBS = {
    "check": Verb("medseg.config.verbs.check:check", f"{_ROOTS}:CheckRoot"),
    "plan": Verb("medseg.config.verbs.plan:plan", f"{_ROOTS}:PlanRoot"),
    "preprocess": Verb("medseg.config.verbs.preprocess:preprocess", f"{_ROOTS}:PreprocessRoot"),
    "status": Verb("medseg.config.verbs.status:status", f"{_ROOTS}:StatusRoot", subject="study"),
    "train": Verb("medseg.training.train:train", f"{_ROOTS}:TrainRoot", records=True),
    "predict": Verb("medseg.config.verbs.predict:predict", f"{_ROOTS}:PredictRoot"),
    "evaluate": Verb("medseg.config.verbs.evaluate:evaluate", f"{_ROOTS}:EvaluateRoot"),
    "tune": Verb("medseg.config.verbs.tune:tune", f"{_ROOTS}:TuneRoot"),
    "compare": Verb(
        "medseg.config.verbs.compare:compare_verb", f"{_ROOTS}:CompareRoot", subject="runs", many=True
    ),
    "sync": Verb("medseg.config.verbs.sync:sync", f"{_ROOTS}:SyncRoot", subject="runs", many=True),
    "bench": Verb("medseg.config.verbs.bench:bench", f"{_ROOTS}:BenchRoot", subject="what"),
    "networks": Verb("medseg.config.verbs.networks:networks", f"{_ROOTS}:NetworksRoot"),
    "download": Verb("medseg.config.verbs.download:download", f"{_ROOTS}:DownloadRoot"),
}
