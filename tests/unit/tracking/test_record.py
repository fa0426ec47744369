from __future__ import annotations

import getpass
import json
import socket
import subprocess
from pathlib import Path

from medseg.tracking.record import git_state, surroundings


def test_the_record_is_json_and_names_neither_host_nor_user() -> None:
    text = json.dumps(surroundings())
    assert json.loads(text)["versions"]["torch"]
    host = socket.gethostname()
    assert len(host) < 4 or host not in text
    assert f'"{getpass.getuser()}"' not in text


def test_no_git_state_outside_a_checkout_of_its_own(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert git_state(tmp_path) is None, "somebody else's repository is not ours"
