"""Shares of cases, and a store that several processes fill at once."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.data.shard import Shard
from medseg.errors import UserError


@dataclass(frozen=True)
class Named:
    id: str


@given(st.lists(st.text(), unique=True), st.integers(1, 9))
@settings(deadline=None, max_examples=50)
def test_each_case_is_in_exactly_one_share(names: list[str], of: int) -> None:
    cases = [Named(name) for name in names]
    shares = [Shard(number, of).among(cases) for number in range(of)]
    assert sorted(case.id for share in shares for case in share) == sorted(names)


def test_shares_are_about_equal_and_stay() -> None:
    cases = [Named(f"case_{number:04d}") for number in range(1000)]
    sizes = [len(Shard(number, 4).among(cases)) for number in range(4)]
    assert min(sizes) > 200
    assert Shard(1, 4).takes("case_0002") == (Named("case_0002") in Shard(1, 4).among(cases[:3]))


@pytest.mark.parametrize("text", ["", "1", "4/4", "-1/4", "a/b", "0/0", "1/2/3"])
def test_what_names_no_share(text: str) -> None:
    with pytest.raises(UserError, match="names no share"):
        Shard.read(text)


SMALL = [
    "data=phantom", "data.phantom.cases=10", "data.phantom.repeats=0", "data.phantom.unlabelled=0",
    "data.phantom.empty=0", "data.phantom.missing=0", "data.phantom.shape=[24,24,16]", "split.folds=2",
]  # fmt: skip


def test_shares_fill_a_store_at_once(tmp_path: Path) -> None:
    """Three processes; then a fourth that builds the store whole makes none again."""
    environment = os.environ | {"MEDSEG_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    medseg = [sys.executable, "-m", "medseg.cli"]

    def run(*words: str) -> subprocess.Popen[str]:
        command = [*medseg, *words, *SMALL]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    plan = tmp_path / "plan.yaml"
    assert run("plan", f"output={plan}", "plan.width=4").wait() == 0
    refused = run("preprocess", "shard=0/3")
    assert "all shares must have one plan" in refused.communicate()[1]
    shares = [run("preprocess", f"shard={n}/3", f"plan.file={plan}", "workers=1") for n in range(3)]
    told = [share.communicate() for share in shares]
    assert [share.returncode for share in shares] == [0, 0, 0], told
    made = [int(out.split()[0]) for out, _ in told]
    assert sum(made) == 10
    folders = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*/cases/*")}
    assert len(folders) == 10
    whole = run("preprocess", f"plan.file={plan}", "workers=1")
    assert "10 cases in" in whole.communicate()[0]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*/cases/*")} == folders
    again = run("preprocess", "shard=1/3", f"plan.file={plan}", "workers=1")
    assert again.communicate()[0].startswith(f"0 cases made, {made[1]} were there")
