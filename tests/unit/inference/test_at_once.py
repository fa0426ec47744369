"""Several processes predict one folder."""

from __future__ import annotations

import pytest

from medseg.cli import main
from medseg.errors import Problems
from medseg.inference.at_once import predict_at_once
from medseg.inference.predict import predict_folder
from medseg.inference.settings import InferenceSettings

from .toys import voxels, write_scan

SETTINGS = InferenceSettings(device="cpu", precision="32")


def test_two_processes_write_what_one_writes(make_bundle, scans, tmp_path):
    model = make_bundle()
    one = predict_folder([model], scans, tmp_path / "one", SETTINGS)
    for workers in (2, 5):  # more processes than cases leave some without one
        out = tmp_path / f"out{workers}"
        two = predict_at_once([model], scans, out, SETTINGS, (), None, workers)
        assert two.keys() == one.keys()
        assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in (tmp_path / "one").iterdir())
        for case, path in one.items():
            assert (voxels(path) == voxels(two[case])).all()


def test_a_broken_scan_is_told_once_and_the_others_are_done(make_bundle, scans, tmp_path):
    (scans / "bad.nii.gz").write_bytes(b"no image")
    write_scan(scans / "case9_0003.nii.gz", 9)
    with pytest.raises(Problems) as found:
        predict_at_once([make_bundle()], scans, tmp_path / "out", SETTINGS, (), None, 2)
    with pytest.raises(Problems) as expected:
        predict_folder([make_bundle()], scans, tmp_path / "one", SETTINGS)
    assert sorted(found.value.lines) == sorted(expected.value.lines)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert "case2.nii.gz" in names


def test_from_the_command_line(make_bundle, scans, tmp_path, capsys):
    words = ["predict", f"model={make_bundle()}", f"input={scans}", f"output={tmp_path / 'out'}"]
    assert main([*words, "workers=2", "inference.device=cpu"]) == 0
    assert capsys.readouterr().out == f"3 predictions in {tmp_path / 'out'}\n"
    for wrong, told in (("workers=0", "too few"), ("workers=2 shard=0/2", "leave out shard or workers")):
        assert main([*words, *wrong.split()]) == 2
        assert told in capsys.readouterr().err
