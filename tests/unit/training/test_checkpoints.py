from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from medseg.errors import UserError
from medseg.training.checkpoints import NAME, AtomicCheckpointIO, generations, newest_whole


def save(folder: Path, step: int) -> None:
    AtomicCheckpointIO().save_checkpoint(
        {"global_step": step, "weights": torch.full((1000,), float(step))}, folder
    )


def test_two_generations_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step)
    assert [int(path.name[:8]) for path in generations(tmp_path)] == [3, 2]
    assert len(list(tmp_path.iterdir())) == 2, "nothing else is left in the folder"


def test_a_broken_last_one_falls_back_and_says_so(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    last = generations(tmp_path)[0]
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    with pytest.warns(UserWarning, match="broken"):
        chosen = newest_whole(tmp_path)
    assert chosen is not None
    assert AtomicCheckpointIO().load_checkpoint(chosen)["global_step"] == 1


def test_all_broken_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 1)
    generations(tmp_path)[0].write_bytes(b"")
    with pytest.warns(UserWarning, match="broken"), pytest.raises(UserError, match="no checkpoint is whole"):
        newest_whole(tmp_path)


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert newest_whole(tmp_path / "nothing") is None


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path}/ran",)

    torch.save({"global_step": 1, "weights": Hostile()}, tmp_path / "hostile.ckpt")
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "hostile.ckpt")
    assert not (tmp_path / "ran").exists()


WRITER = """
import sys, itertools, torch
from pathlib import Path
from medseg.training.checkpoints import AtomicCheckpointIO
print("ready", flush=True)
for step in itertools.count(int(sys.argv[2])):
    content = {"global_step": step, "weights": torch.full((200_000,), float(step))}
    AtomicCheckpointIO().save_checkpoint(content, Path(sys.argv[1]))
    print(step, flush=True)
"""


def test_kills_never_leave_a_half_checkpoint(tmp_path: Path) -> None:
    reached = 0
    for turn in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(reached + 1)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        told = reached
        for _ in range(3):
            told = int(writer.stdout.readline())
        time.sleep(0.003 * turn)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        chosen = newest_whole(tmp_path)
        assert chosen is not None
        loaded = AtomicCheckpointIO().load_checkpoint(chosen)
        assert loaded["global_step"] >= told
        assert (loaded["weights"] == loaded["global_step"]).all()
        reached = loaded["global_step"]
    assert all(NAME.fullmatch(path.name) or path.name.startswith(".tmp-") for path in tmp_path.iterdir())
