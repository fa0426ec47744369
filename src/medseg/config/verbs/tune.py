"""``medseg tune``: post-processing and a temperature chosen on validation cases."""

from __future__ import annotations

from pathlib import Path

from medseg.config.verbs.recorded import recorded
from medseg.data.settings import DataSettings
from medseg.inference.settings import InferenceSettings
from medseg.training.tuning_settings import TuningSettings


def tune(
    run: str | None,
    study: str | None,
    steps: list[str],
    temperature: bool,
    noise: float,
    least: float,
    inference: InferenceSettings,
    data: DataSettings | None = None,
) -> None:
    """Chooses on the validation cases of a run, or on the out-of-fold cases of a study.

    Raises:
        UserError: a run is not usable, or runs do not belong to one study.
    """
    tuning = TuningSettings(tuple(steps), temperature, noise, least)
    if run is not None:
        from medseg.training.tune_run import tune_run

        where = Path(run)
        tune_run(where, recorded(where, "data", data), recorded(where, "inference", inference), tuning)
        return
    assert study is not None
    from medseg.training.tune_study import study_runs, tune_study

    first = study_runs(Path(study))[0][0]
    tune_study(Path(study), recorded(first, "data", data), recorded(first, "inference", inference), tuning)
