"""Comparisons of methods: what is paired, what is left out, which verdict, and how often it is wrong."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from medseg.evaluation.compare import compare
from medseg.evaluation.comparison import Rules, turned
from medseg.evaluation.methods import Method, Training, scores_of

from .methods_of import method, rows

RULES = Rules(resamples=1000)
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    """``benchmarks/verdicts.py``, whose table docs/compare.md shows."""
    spec = importlib.util.spec_from_file_location("verdicts", ROOT / "benchmarks" / "verdicts.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["verdicts"] = module
    spec.loader.exec_module(module)
    return module


def scores(shift: float, n: int = 20, seed: int = 0, noise: float = 0.02) -> dict[str, float]:
    """``n`` patients with the same difficulty for every seed."""
    base = np.random.default_rng(0).uniform(0.5, 0.85, n)
    own = np.random.default_rng(100 + seed).normal(0, noise, n)
    return {f"p{i:02d}": float(base[i] + shift + own[i]) for i in range(n)}


def test_the_difference_is_paired_and_averaged_over_seeds() -> None:
    ours = method("ours", {"a": 0.8, "b": 0.6}, {"a": 0.9, "b": 0.6})
    theirs = method("theirs", {"a": 0.7, "b": 0.5})
    (pair,) = compare([ours, theirs], ["dice"], RULES).pairs["dice"]
    assert (pair.method, pair.reference) == ("ours", "theirs")
    assert pair.mean == pytest.approx(((0.85 - 0.7) + (0.6 - 0.5)) / 2)
    assert pair.patients == pair.cells == 2
    assert pair.p_seeds is None, "one of them has one seed"


def test_patients_are_the_unit_and_not_their_cases() -> None:
    """Twelve scans of two patients tell no more than two patients."""
    ours = {f"{p}/{p}{k}": 0.8 for p in "ab" for k in range(6)}
    theirs = dict.fromkeys(ours, 0.7)
    (pair,) = compare([method("ours", ours), method("theirs", theirs)], ["dice"], RULES).pairs["dice"]
    assert (pair.cells, pair.patients) == (12, 2)
    assert pair.p_patients == pytest.approx(0.5)
    assert pair.verdict == "not distinguishable"


def test_a_case_counts_only_where_both_give_a_number() -> None:
    nan = math.nan
    ours = method("ours", {"a": 0.8, "b": nan, "c": nan, "d": 0.6})
    theirs = method("theirs", {"a": 0.7, "b": 0.0, "c": nan, "d": 0.7})
    found = compare([ours, theirs], ["dice"], RULES)
    (pair,) = found.pairs["dice"]
    assert (pair.cells, pair.one_sided) == (2, 1)
    assert found.standings["dice"]["ours"].n_nan == 2
    assert found.standings["dice"]["theirs"].n_nan == 1


def test_missed_cases_are_averaged_as_their_penalty_and_counted() -> None:
    lost = Training("t", 0, 0, tuple(rows({"a": 0.0, "b": 0.8}, missed=["a"])))
    ours = Method("ours", (("m", "ours"),), (lost,))
    found = compare([ours, method("theirs", {"a": 0.5, "b": 0.8})], ["dice"], RULES)
    assert found.standings["dice"]["ours"].n_missed == 1
    assert found.standings["dice"]["ours"].mean == pytest.approx(0.4)


def test_only_cases_that_every_method_scored_are_compared() -> None:
    found = compare([method("x", {"a": 0.8, "b": 0.1}), method("y", {"a": 0.7, "c": 0.9})], ["dice"], RULES)
    assert (found.cases, found.left_out) == (1, 2)
    assert found.standings["dice"]["x"].mean == pytest.approx(0.8)


def test_the_mean_over_labels_is_that_of_the_summary() -> None:
    one = [*rows({"a": 0.8, "b": 0.6}, "liver"), *rows({"a": math.nan, "b": 0.2}, "cyst")]
    only = Method("x", (), (Training("t", 0, 0, tuple(one)),))
    found = scores_of(only, "dice", {"a", "b"})
    assert compare([only], ["dice"], RULES).standings["dice"]["x"].mean == pytest.approx((0.7 + 0.2) / 2)
    assert found.labels == ("liver", "cyst")


def test_a_planted_difference_is_found_and_turned() -> None:
    better = method("better", scores(0.06, seed=1), scores(0.06, seed=2))
    worse = method("worse", scores(0.0, seed=3), scores(0.0, seed=4))
    found = compare([worse, better], ["dice"], RULES)
    assert [m.name for m in found.methods] == ["better", "worse"]
    (pair,) = found.pairs["dice"]
    assert pair.verdict == "better"
    assert pair.interval is not None
    assert pair.interval[0] > 0
    assert pair.p_seeds is not None
    assert found.winner("dice") == "better"
    back = turned(pair)
    assert (back.method, back.verdict, back.mean) == ("worse", "worse", -pair.mean)
    assert back.interval == (-pair.interval[1], -pair.interval[0])
    assert found.difference("dice", "worse", "better") == back


def test_one_seed_wins_nothing_for_its_method() -> None:
    """The trained networks differ; whether the methods do is not known, and nothing is set in bold."""
    found = compare([method("x", scores(0.06)), method("y", scores(0.0, seed=5))], ["dice"], RULES)
    (pair,) = found.pairs["dice"]
    assert pair.verdict == "better"
    assert pair.p_seeds is None
    assert found.winner("dice") is None


def test_the_noise_of_seeds_does_not_pass_for_progress() -> None:
    """Every patient is better with x, by less than what another seed changes."""
    x = method("x", scores(0.05, seed=1, noise=0.002), scores(-0.01, seed=2, noise=0.002))
    y = method("y", scores(0.02, seed=3, noise=0.002), scores(-0.02, seed=4, noise=0.002))
    (pair,) = compare([x, y], ["dice"], RULES).pairs["dice"]
    assert pair.p_patients < 0.001
    assert pair.verdict == "not distinguishable"
    assert pair.p_seeds is not None
    assert pair.p_seeds > 0.3


def test_equal_methods_are_not_distinguishable() -> None:
    found = compare([method("x", scores(0)), method("y", scores(0))], ["dice"], RULES)
    (pair,) = found.pairs["dice"]
    assert (pair.mean, pair.p_patients, pair.verdict) == (0.0, 1.0, "not distinguishable")
    standing = found.standings["dice"]["x"].rank
    assert standing is not None
    assert (standing.mean, standing.first) == (1.5, 0.5)


def test_lower_is_better_for_distances() -> None:
    def distances(name: str, shift: float) -> Method:
        own = {f"p{i}": 5.0 + i + shift for i in range(12)}
        trainings = [Training(f"{name}{s}", s, 0, tuple(rows(own, metric="hd95"))) for s in (0, 1)]
        return Method(name, (("m", name),), tuple(trainings))

    found = compare([distances("far", 3.0), distances("near", 0.0)], ["hd95"], RULES)
    assert found.methods[0].name == "near"
    assert found.pairs["hd95"][0].verdict == "better"
    assert found.pairs["hd95"][0].mean == pytest.approx(-3.0)


def test_ranks_under_resampling_by_hand() -> None:
    """Two patients: x leads by the first alone. A resample holds it twice, once or never: 1/4, 1/2, 1/4."""
    x, y = method("x", {"a": 0.9, "b": 0.5}), method("y", {"a": 0.6, "b": 0.6})
    found = compare([x, y], ["dice"], Rules(resamples=20_000)).standings["dice"]["x"].rank
    assert found is not None
    assert found.first == pytest.approx(0.75, abs=0.02)
    assert found.mean == pytest.approx(1.25, abs=0.02)


def test_a_reference_makes_a_family_of_its_own() -> None:
    shifts = {"a": 0.0, "b": 0.03, "c": 0.05}
    methods = [method(name, scores(shift, seed=k)) for k, (name, shift) in enumerate(shifts.items())]
    reference = methods[0]
    found = compare(methods, ["dice"], RULES, lambda m: None if m is reference else reference)
    assert [(d.method, d.reference) for d in found.against["dice"]] == [("c", "a"), ("b", "a")]
    assert len(found.pairs["dice"]) == 3
    for family in (found.against["dice"], found.pairs["dice"]):
        assert max(d.p_holm / d.p for d in family) == pytest.approx(len(family))


def test_the_order_of_methods_and_of_rows_does_not_matter() -> None:
    methods = [
        method("x", scores(0.02), scores(0.03, seed=8)),
        method("y", scores(0, seed=9), scores(0, seed=3)),
    ]
    found, other = (compare(order, ["dice"], RULES).pairs["dice"] for order in (methods, methods[::-1]))
    assert found == other


def test_folds_are_pooled_and_their_seeds_give_the_noise() -> None:
    folds = [{f"p{k}": 0.6 + 0.01 * k for k in range(f, 12, 2)} for f in (0, 1)]
    trainings = tuple(
        Training(f"{s}{f}", s, f, tuple(rows({p: v + 0.02 * s for p, v in folds[f].items()})))
        for s in (0, 1)
        for f in (0, 1)
    )
    own = compare([Method("x", (), trainings)], ["dice"], RULES).standings["dice"]["x"]
    assert own.n == 12
    assert own.seeds == pytest.approx({0: 0.655, 1: 0.675})
    assert own.noise is not None
    # Each fold's two scores are 0.02 apart: variance 0.0002 of one training, half of it for two folds.
    assert own.noise.sd == pytest.approx(math.sqrt(0.0001))
    lonely = Method("x", (), trainings[:3])
    assert compare([lonely], ["dice"], RULES).standings["dice"]["x"].noise is None


def test_500_null_pairs_are_told_apart_no_more_often_than_alpha(simulation: ModuleType) -> None:
    """Bounded skewed Dice, two seeds and folds, and noise that the patients alone would take for progress."""
    world = simulation.World(patients=30, training_sd=0.15)
    verdicts, wilcoxon, _ = simulation.told_apart(world, 500, resamples=400)
    assert verdicts <= 0.05
    assert wilcoxon > 0.1, "the simulation is too easy to prove anything"


def test_a_planted_difference_is_seen(simulation: ModuleType) -> None:
    world = simulation.World(patients=40, seeds=3, shift=0.5)
    verdicts, _, difference = simulation.told_apart(world, 60)
    assert verdicts > 0.9
    assert 0.04 < difference < 0.09
