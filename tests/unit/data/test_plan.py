from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.contracts import Labels
from medseg.data.fingerprint import PERCENTILES, CaseFacts, Fingerprint, Foreground, ImageFacts, fingerprint
from medseg.data.machine import Machine, find_machine
from medseg.data.plan import Plan, make_plan
from medseg.data.plan_cost import step_cost
from medseg.data.plan_topology import divisor, legal_pyramid, nearest_legal, pyramid, widths
from medseg.data.settings import PlanSettings
from medseg.errors import Problems, UserError

LABELS = Labels(("a", "b"), ((1,), (2,)))
SMALL_CPU = Machine("cpu", "two cores", 2, 25.0, True, 100.0)
OLD_CPU = Machine("cpu", "two old cores", 2, 16.0, False, 50.0)
GPU = Machine("cuda", "a GPU", 16, 80.0, True)
MACHINES = [SMALL_CPU, OLD_CPU, GPU, Machine("cuda", "an old GPU", 8, 11.0, False)]


def look(shape, spacing, modalities=("MR",), cases=200, dims=3, zeros=0.0) -> Fingerprint:
    """The fingerprint of equal cases."""
    curve = tuple(float(p) for p in PERCENTILES)
    images = {m: ImageFacts(curve, curve, zeros) for m in modalities}
    facts = tuple(
        CaseFacts(f"c{n}", None, shape, shape, spacing, "RAS", {"1": 9}, images) for n in range(cases)
    )
    inside = {m: Foreground(999, -50.0, 40.0, 200.0, 45.0, 30.0) for m in modalities}
    return Fingerprint("made", dims, tuple(modalities), facts, inside)


def plan(fp, machine=SMALL_CPU, **chosen) -> Plan:
    return make_plan(fp, LABELS, PlanSettings(**chosen), machine)


def test_small_isotropic_volumes_on_two_cores():
    made = plan(look((35, 50, 35), (1.0, 1.0, 1.0)))
    assert made.patch_size == (40, 56, 40)
    assert made.batch_size == 4
    assert made.widths == (16, 32, 64, 128)
    assert made.precision == "bf16-mixed"
    assert made.axes == (0, 1, 2)
    assert not made.in_plane_only
    assert made.normalisation["MR"]["method"] == "zscore"
    assert plan(look((35, 50, 35), (1.0, 1.0, 1.0)), OLD_CPU).precision == "32-true"


def test_brain_tumours_on_a_gpu_are_planned_as_nnunet_does():
    made = plan(look((138, 174, 138), (1.0, 1.0, 1.0), ("T1", "T2", "FLAIR", "T1ce")), GPU, memory_gb=8)
    assert min(made.patch_size) >= 96
    assert max(made.patch_size) <= 160
    assert made.batch_size >= 2
    assert made.widths == (32, 64, 128, 256, 320, 320)


def test_a_large_anisotropy_keeps_kernels_and_turns_in_the_plane():
    made = plan(look((216, 256, 10), (1.5, 1.5, 10.0)), GPU)
    assert made.spatial_dims == 3
    assert made.in_plane_only
    assert made.kernels[0] == (3, 3, 1)
    assert made.kernels[-1] == (3, 3, 3)
    assert made.strides[1] == (2, 2, 1)
    slices = plan(look((216, 256, 10), (1.5, 1.5, 10.0)), GPU, spatial_dims=2)
    assert slices.spatial_dims == 2
    assert len(slices.patch_size) == 2
    assert slices.in_plane_only


def test_the_slice_axis_comes_last_wherever_it_was():
    made = plan(look((12, 200, 180), (6.0, 1.0, 1.2)))
    assert made.axes == (1, 2, 0)
    assert made.spacing == (1.0, 1.2, 6.0)
    assert made.patch_size[2] <= 12
    assert plan(look((50, 50, 50), (1.0, 1.0, 1.0)), spatial_dims=2).axes == (0, 1, 2)


def test_thin_slices_are_not_thrown_away():
    thick = look((200, 200, 20), (1.0, 1.0, 6.0), cases=8)
    thin = look((200, 200, 40), (1.0, 1.0, 4.0), cases=2)
    mixed = Fingerprint("made", 3, ("MR",), thick.cases + thin.cases, thick.foreground)
    assert plan(thick).spacing == (1.0, 1.0, 6.0)
    assert plan(mixed).spacing[2] < 6.0


def test_pictures_are_planned_in_two_dimensions():
    made = plan(look((565, 584, 1), (1.0, 1.0, 1.0), ("red", "green", "blue"), cases=20, dims=2))
    assert made.spatial_dims == 2
    with pytest.raises(UserError, match="pictures"):
        plan(look((565, 584, 1), (1.0, 1.0, 1.0), cases=20, dims=2), spatial_dims=3)


def test_ct_has_an_absolute_scale_and_mr_has_none():
    made = plan(look((60, 60, 60), (1.0, 1.0, 1.0), ("CT", "T1")))
    assert made.normalisation["CT"] == {
        "method": "ct",
        "lower": -50.0,
        "upper": 200.0,
        "mean": 45.0,
        "std": 30.0,
    }
    assert made.normalisation["T1"]["method"] == "zscore"
    cut_out = plan(look((60, 60, 60), (1.0, 1.0, 1.0), zeros=0.6))
    assert cut_out.normalisation["MR"]["nonzero"] is True


def test_every_normalisation_can_be_asked_for():
    fp = look((60, 60, 60), (1.0, 1.0, 1.0), ("CT", "T1"))
    for method in ("zscore", "ct", "percentile", "histogram", "none"):
        made = plan(fp, normalisation={"T1": method})
        assert made.normalisation["T1"]["method"] == method
        assert made.normalisation["CT"]["method"] == "ct"
        assert Plan.from_dict(made.to_dict()) == made
    assert {s["method"] for s in plan(fp, normalisation="histogram").normalisation.values()} == {"histogram"}
    with pytest.raises(UserError, match="no modality 'T2'"):
        plan(fp, normalisation={"T2": "ct"})
    with pytest.raises(UserError, match="minmax"):
        plan(fp, normalisation="minmax")


def test_ct_without_labels_is_planned_from_the_images():
    fp = look((60, 60, 60), (1.0, 1.0, 1.0), ("CT",))
    made = plan(Fingerprint("made", 3, ("CT",), fp.cases, {}))
    assert made.normalisation["CT"]["method"] == "ct"
    assert made.normalisation["CT"]["lower"] < made.normalisation["CT"]["upper"]


def test_what_the_user_says_is_taken():
    made = plan(
        look((100, 100, 100), (1.0, 1.0, 1.0)),
        spacing=[2.0, 2.0, 2.5],
        patch_size=[48, 48, 32],
        batch_size=3,
        width=8,
        max_width=20,
        max_levels=4,
        precision="32-true",
    )
    assert made.spacing == (2.0, 2.0, 2.5)
    assert made.patch_size == (48, 48, 32)
    assert made.batch_size == 3
    assert made.widths == (8, 16, 20, 20)
    assert made.precision == "32-true"
    for field in ("spacing", "patch_size", "batch_size", "widths", "precision"):
        assert made.reasons[field] == "as asked"
    with pytest.raises(UserError, match=r"the nearest is \[48, 64, 48\]"):
        plan(look((100, 100, 100), (1.0, 1.0, 1.0)), patch_size=[50, 60, 50])
    with pytest.raises(UserError, match="give 3"):
        plan(look((100, 100, 100), (1.0, 1.0, 1.0)), patch_size=[48, 48])
    with pytest.raises(UserError, match="has 2 axes"):
        plan(look((100, 100, 100), (1.0, 1.0, 1.0)), spacing=[1.0, 1.0])


def test_a_budget_that_nothing_fits_is_said():
    with pytest.raises(Problems, match=r"plan.memory_gb"):
        plan(look((300, 300, 300), (1.0, 1.0, 1.0)), GPU, memory_gb=0.01)


cohorts = st.tuples(
    st.tuples(*[st.integers(1, 400)] * 3),
    st.tuples(*[st.floats(0.2, 10).map(lambda s: round(s, 2))] * 3),
    st.integers(1, 4),
    st.sampled_from([2, 3]),
    st.sampled_from(MACHINES),
)


@settings(deadline=None, max_examples=80)
@given(cohorts)
def test_every_plan_is_legal_within_its_budget_and_comes_back_from_yaml(tmp_path_factory, cohort):
    shape, spacing, modalities, dims, machine = cohort
    fp = look(shape, spacing, [f"m{n}" for n in range(modalities)], cases=20)
    made = plan(fp, machine, spatial_dims=dims)
    topology = made.topology
    assert all(n % d == 0 for n, d in zip(made.patch_size, topology.divisor, strict=True))
    assert len(made.strides) == len(made.kernels) == len(made.widths)
    assert sorted(made.axes) == [0, 1, 2]
    assert {"spatial_dims", "axes", "spacing", "patch_size", "batch_size", "widths", "precision"} <= set(
        made.reasons
    )
    cost = step_cost(
        legal_pyramid(made.patch_size, made.spacing[:dims], None),
        made.widths,
        made.batch_size,
        channels=modalities,
        classes=3,
        precision=made.precision,
    )
    assert cost.memory_gb <= machine.memory_gb
    path = tmp_path_factory.mktemp("plan") / "plan.yaml"
    made.save(path)
    again = Plan.load(path)
    assert again == made
    assert again.hash == made.hash


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(1, 300), st.floats(0.2, 10)), min_size=2, max_size=3))
def test_pyramids_pool_what_can_be_pooled(axes):
    wanted, spacing = zip(*axes, strict=True)
    shape = legal_pyramid(wanted, spacing, None)
    steps = divisor(shape.strides)
    assert all(n >= w for n, w in zip(shape.patch_size, wanted, strict=True))
    assert all(n % d == 0 for n, d in zip(shape.patch_size, steps, strict=True))
    assert all(n // d >= 4 or d == 1 for n, d in zip(shape.patch_size, steps, strict=True))
    assert shape.strides[0] == (1,) * len(axes)
    step = list(spacing)
    for stride, kernel in zip(shape.strides, shape.kernels, strict=True):
        step = [s * k for s, k in zip(step, stride, strict=True)]
        assert all(k in (1, 3) for k in kernel)
    limited = pyramid(shape.patch_size, spacing, 2)
    assert len(limited.strides) <= 2


def test_nearest_legal_and_widths():
    assert nearest_legal([50, 61, 5], [(1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 2)]) == (48, 64, 6)
    assert widths(5, 16, 100) == (16, 32, 64, 100, 100)


def test_the_estimated_arithmetic_is_that_of_the_convolutions():
    shape = pyramid((8, 8), (1.0, 1.0), None)
    assert len(shape.strides) == 2
    convolutions = 64 * 9 * (1 * 4 + 4 * 4) + 64 * (8 * 4 + 9 * (8 * 4 + 4 * 4)) + 64 * 4 * 2
    convolutions += 16 * 9 * (4 * 8 + 8 * 8)
    cost = step_cost(shape, (4, 8), 3, channels=1, classes=2, precision="32-true")
    assert math.isclose(cost.gflop, 3 * convolutions * 6 / 1e9)


def test_a_file_is_readable_and_says_all_that_is_wrong_with_it(tmp_path: Path):
    path = tmp_path / "plan.yaml"
    plan(look((100, 100, 100), (1.0, 1.0, 1.0))).save(path)
    values = yaml.safe_load(path.read_text())
    assert "patch_size: [" in path.read_text()
    values |= {
        "patch_size": [50, 64, 64],
        "batch_size": 0,
        "precision": "fp8",
        "spacing": [1, -1, 1],
        "witdhs": 3,
    }
    del values["axes"]
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(Problems) as found:
        Plan.load(path)
    text = str(found.value)
    for line in ("witdhs: is not part of a plan; did you mean widths?", "axes: is missing", "batch_size: 0",
                 "precision: 'fp8'", "spacing: [1, -1, 1]", "the nearest is"):  # fmt: skip
        assert line in text
    assert all(str(path) in line for line in found.value.lines)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("spatial_dims", 4),
        ("modalities", []),
        ("axes", [0, 1, 1]),
        ("spacing", [1.0, 1.0]),
        ("patch_size", [32.0, 32, 32]),
        ("patch_size", [32, 32]),
        ("batch_size", True),
        ("strides", [[2, 2, 2], [2, 2, 2]]),
        ("strides", "deep"),
        ("kernels", [[2, 3, 3]]),
        ("widths", [16]),
        ("widths", [16, -1]),
        ("normalisation", {"MR": {"method": "minmax"}}),
        ("normalisation", {"CT": {"method": "none"}}),
        ("in_plane_only", "no"),
        ("precision", "auto"),
        ("reasons", ["none"]),
    ],
)
def test_each_wrong_value_is_named(field, value):
    values = plan(look((100, 100, 100), (1.0, 1.0, 1.0))).to_dict()
    with pytest.raises(Problems, match=field):
        Plan.from_dict({**values, field: value})


@pytest.mark.parametrize(
    "text",
    ["", "[]", "a: [", "a: &x [1]\nb: *x\n", "!!python/object/apply:os.system ['true']", "x" * (1 << 21)],
)
def test_files_that_are_no_plans_are_refused(tmp_path: Path, text):
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(UserError):
        Plan.load(path)
    with pytest.raises(UserError, match="cannot be read"):
        Plan.load(tmp_path / "none.yaml")


def test_an_edited_file_is_used_and_must_fit_the_cohort(tmp_path: Path):
    fp = look((100, 100, 100), (1.0, 1.0, 1.0))
    made = plan(fp, batch_size=7)
    made.save(tmp_path / "plan.yaml")
    assert plan(fp, file=str(tmp_path / "plan.yaml")) == made
    with pytest.raises(Problems, match="modalities"):
        plan(look((100, 100, 100), (1.0, 1.0, 1.0), ("CT",)), file=str(tmp_path / "plan.yaml"))


def test_reasons_do_not_change_the_hash_and_decisions_do():
    made = plan(look((100, 100, 100), (1.0, 1.0, 1.0)))
    values = made.to_dict()
    assert Plan.from_dict({**values, "reasons": {}}).hash == made.hash
    assert Plan.from_dict({**values, "batch_size": 9}).hash != made.hash
    assert Plan.from_dict({**values, "batch_size": 9}).preprocessing == made.preprocessing


def test_this_machine_is_known():
    machine = find_machine()
    assert machine.cores >= 1
    assert machine.memory_gb > 0
    assert machine.precision in ("32-true", "bf16-mixed", "16-mixed")


@pytest.mark.real
def test_the_hippocampus_is_planned_as_measured(shared_data: Path):
    from medseg.data.settings import DataSettings
    from medseg.data.source import open_cohort

    cohort = open_cohort(DataSettings(root=str(shared_data / "hippocampus")))
    made = make_plan(fingerprint(cohort, cohort.cases), cohort.labels, PlanSettings(), SMALL_CPU)
    assert made.patch_size == (40, 56, 40)
    assert (made.batch_size, made.widths) == (4, (16, 32, 64, 128))


@pytest.mark.parametrize(
    ("shape", "axes"), [((1, 40, 30), (1, 2, 0)), ((40, 1, 30), (0, 2, 1)), ((40, 30, 1), (0, 1, 2))]
)
def test_single_slices_are_learnt_in_their_own_plane(shape, axes):
    made = plan(look(shape, (3.0, 1.0, 0.8), cases=5, dims=2))
    assert made.axes == axes
    assert made.spacing == tuple((3.0, 1.0, 0.8)[axis] for axis in axes)


def test_slices_across_the_others_are_named():
    slices, stack = look((1, 40, 30), (1.0, 1.0, 1.0), cases=5, dims=2), look((3, 40, 30), (1.0, 1.0, 1.0))
    odd = (replace(stack.cases[0], id="thick"), replace(slices.cases[0], id="axial", shape=(40, 30, 1)))
    with pytest.raises(Problems) as found:
        plan(replace(slices, cases=slices.cases + odd))
    assert [line.split(":")[0] for line in found.value.lines] == ["axial", "thick"]
