from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from medseg.tracking.weights_and_biases import Pseudonyms, allowed_config

SCRIPT = """
import sys
from pathlib import Path
from medseg.tracking.settings import TrackingSettings
from medseg.tracking.weights_and_biases import build_wandb, finish_wandb
config = {"seed": 3, "data": {"root": "/secret/folder/patients"}, "split": {"file": "/secret/split.json"},
          "network": {"_target_": "medseg.networks.unet.UNet", "pretrained": "/secret/weights"}}
logger = build_wandb(TrackingSettings(), Path(sys.argv[1]), "abc123", "study", config)
logger.log_metrics({"train/loss": 0.5}, step=1)
finish_wandb()
"""


def test_an_offline_run_holds_no_path_no_host_no_key(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    environment |= {"WANDB_API_KEY": "local-" + "0123456789" * 4, "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "run")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files = [p for p in (tmp_path / "run").rglob("*.wandb") if p.is_file() and not p.is_symlink()]
    assert len(files) == 1
    content = files[0].read_bytes()
    assert b"train/loss" in content
    assert b"/secret" not in content
    assert b"0123456789" * 2 not in content
    assert os.uname().nodename.encode() not in content or len(os.uname().nodename) < 4


def test_paths_and_data_stay_out_of_the_config() -> None:
    config = {
        "seed": 1,
        "data": {"root": "/a/b"},
        "network": {"_target_": "x.Y", "weights": "/a/c"},
        "runs": "/r",
    }
    assert allowed_config(config) == {"seed": 1, "network": {"_target_": "x.Y", "weights": "(path)"}}


def test_pseudonyms_are_stable_in_a_run_and_differ_between_runs(tmp_path: Path) -> None:
    first, again, other = Pseudonyms(tmp_path / "a"), Pseudonyms(tmp_path / "a"), Pseudonyms(tmp_path / "b")
    assert first("hippocampus_001") == again("hippocampus_001") != other("hippocampus_001")
    assert re.fullmatch(r"case-[0-9a-f]{8}", first("hippocampus_001"))
