"""Hours beside the plan, and what passes a cap."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from pipeline.budget import BUDGET, Budget, check_caps, expected_gpu_hours, gpu_hours, load, summary
from pipeline.ledger import Entry, Usage
from pipeline.study import known
from store.errors import InvalidInput
from tests.paths import ROOT
from tests.stages.projects import make_project


def budget(**caps: float) -> Budget:
    return Budget.model_validate(
        {
            "experiments": {
                "E1": {"stages": ["embed"], "gpu_hours": [18, 25], "cpu_hours": None},
                "E2": {"stages": ["binarize"], "gpu_hours": None, "cpu_hours": [5, 10]},
                "X3": {"stages": ["adapt"], "gpu_hours": [3, 5], "cpu_hours": [5, 10]},
            },
            "caps": {"core": 65, "exploratory": 5, "all": 150} | caps,
        }
    )


def run(gpu: float = 0, cpu: float = 0, outcome: Any = "finished", **more: Any) -> Usage:
    """A run of some hours."""
    usual: dict[str, Any] = {"started": "", "wall_s": 3600.0, "peak_bytes": 0, "gpu_peak_bytes": 0}
    device = "NVIDIA X" if gpu else "cpu"
    return Usage(
        **usual | {"outcome": outcome, "cpu_s": cpu * 3600, "gpu_s": gpu * 3600, "device": device} | more
    )


ENTRIES = [
    Entry("adapt", {}, (run(gpu=1),)),
    Entry("binarize", {"model": "m"}, (run(cpu=2), run(cpu=3, peak_bytes=7))),
    Entry("embed", {"model": "m"}, (run(gpu=4, outcome="unfinished"), run(gpu=6))),
    Entry("embed", {"model": "n"}, (run(gpu=2, outcome="failed"),)),
    Entry("report", {}, (run(cpu=0.5),)),
]


def test_hours_by_experiment_are_set_beside_the_plan() -> None:
    found = summary(budget(), ENTRIES)
    assert list(found["experiments"]) == ["E1", "E2", "X3", "other"]
    first = found["experiments"]["E1"]
    assert first["runs"] == {"finished": 1, "failed": 1, "unfinished": 1}
    assert (first["gpu_hours"], first["gpu_hours_planned"], first["wall_hours"]) == (12, (18, 25), 3)
    second = found["experiments"]["E2"]
    assert (second["cpu_hours"], second["cpu_hours_planned"], second["peak_bytes"]) == (5, (5, 10), 7)
    assert second["devices"] == ["cpu"]
    assert found["experiments"]["other"]["stages"] == ["report"]
    assert found["experiments"]["other"]["cpu_hours"] == 0.5
    assert found["caps"] == {
        "core": {"gpu_hours": 12, "cap": 65},
        "exploratory": {"gpu_hours": 1, "cap": 5},
        "all": {"gpu_hours": 13, "cap": 150},
    }


def test_a_stage_is_held_to_the_cap_of_its_group_and_to_that_of_all() -> None:
    spent = gpu_hours(budget(), ENTRIES)
    assert spent == {"core": 12, "exploratory": 1, "all": 13}
    check_caps(budget(core=20), "embed", spent, 8)
    message = (
        r"^studies/budget\.yaml: caps\.core: embed would bring it to 21 GPU-hours \(12 spent, 9 to come\), "
        r"the cap is 20; raise it and run again \(what is finished is kept\)$"
    )
    with pytest.raises(InvalidInput, match=message):
        check_caps(budget(core=20), "embed", spent, 9)
    with pytest.raises(InvalidInput, match=r"^studies/budget\.yaml: caps\.all: embed would bring it to 22 "):
        check_caps(budget(all=20), "embed", spent, 9)
    with pytest.raises(InvalidInput, match=r"^studies/budget\.yaml: caps\.exploratory: adapt would"):
        check_caps(budget(), "adapt", spent, 4.5)
    # The other group's cap is not this stage's.
    check_caps(budget(exploratory=0), "embed", spent, 9)
    # What belongs to no experiment counts towards all alone.
    check_caps(budget(core=0), "report", spent, 9)


def test_a_stage_without_a_gpu_is_never_stopped() -> None:
    spent = gpu_hours(budget(), ENTRIES)
    check_caps(budget(core=0, exploratory=0, all=0), "binarize", spent, 0)


def test_a_stage_is_expected_to_take_what_its_longest_finished_run_took() -> None:
    assert expected_gpu_hours("embed", ENTRIES) == 6
    assert expected_gpu_hours("quantize", ENTRIES) == 0


def test_the_plan_of_the_project() -> None:
    plan = load(ROOT)
    assert list(plan.experiments) == [f"E{n}" for n in range(1, 9)] + [f"X{n}" for n in range(1, 5)]
    gpu = {name: of.gpu_hours for name, of in plan.experiments.items() if of.gpu_hours}
    assert gpu == {"E1": (18, 25), "E3": (5, 8), "X3": (3, 5)}
    cpu = [of.cpu_hours for of in plan.experiments.values()]
    assert cpu == [
        None, (5, 10), (5, 8), (30, 50), (15, 25), (15, 25), (5, 8), (3, 5), (3, 5), (3, 5), (5, 10), (5, 8)
    ]  # fmt: skip
    assert (plan.caps.core, plan.caps.exploratory, plan.caps.all) == (65, 5, 150)
    assert plan.experiment_of("search-binary") == "E5"


@pytest.mark.parametrize(
    ("experiments", "message"),
    [
        (
            {"E1": {"stages": [], "gpu_hours": [5, 3], "cpu_hours": None}},
            "gpu_hours is from 5.0 to 3.0, expected the smaller first",
        ),
        (
            {
                "E1": {"stages": ["embed"], "gpu_hours": None, "cpu_hours": None},
                "E2": {"stages": ["embed"], "gpu_hours": None, "cpu_hours": None},
            },
            "stage embed is in E1 and in E2",
        ),
        ({"Y1": {"stages": [], "gpu_hours": None, "cpu_hours": None}}, "pattern"),
    ],
)
def test_a_plan_that_says_nothing_is_refused(experiments: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Budget.model_validate({"experiments": experiments, "caps": {"core": 1, "exploratory": 1, "all": 1}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda plan: plan["experiments"]["E1"].update(stages=["embd"]),
            r"experiments\.E1\.stages: 'embd' is not a stage; choose among corpus, embed",
        ),
        (
            lambda plan: plan["caps"].update(core=-1),
            r"caps\.core: Input should be greater than or equal to 0; got -1",
        ),
        (lambda plan: plan.pop("caps"), "caps: is missing"),
    ],
)
def test_a_mistake_in_the_file_is_named(
    tmp_path: Path, change: Callable[[Any], object], message: str
) -> None:
    make_project(tmp_path)
    content = yaml.safe_load((tmp_path / BUDGET).read_text())
    change(content)
    (tmp_path / BUDGET).write_text(yaml.safe_dump(content))
    with pytest.raises(InvalidInput, match=rf"^studies/budget\.yaml: {message}"):
        load(tmp_path)


def test_the_plan_is_no_study() -> None:
    assert "budget" not in known(ROOT)
