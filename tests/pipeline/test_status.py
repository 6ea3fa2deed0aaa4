"""Switching between studies under the real `dvc`: what is finished stays finished, and the status knows it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import params, study
from pipeline.stage import CELL
from pipeline.status import DONE, MISSING, STALE, Progress, Step
from store import open_lake
from store.errors import InvalidInput
from tests.stages.checkouts import Checkout, check_out, started
from tests.stages.projects import run, tiny_params, write_beir, write_params

OF_A_STUDY = {"results", "regimes", "failures", "correlate", "theory", "report"}

STUDIES: dict[str, dict[str, Any]] = {
    "one": {"models": ["lsa-32"], "datasets": ["first"], "sweeps": {}},
    "two": {"models": ["lsa-64"], "datasets": ["first"], "sweeps": {"lsa-64": {"first": "reduced"}}},
    "both": {
        "models": ["lsa-32", "lsa-64"],
        "datasets": ["first"],
        "sweeps": {"lsa-64": {"first": "reduced"}},
    },
    "more": {
        "models": ["lsa-32", "lsa-64"],
        "datasets": ["first", "second"],
        "sweeps": {"lsa-64": {"first": "reduced"}},
    },
}
"""Two studies without a cell in common, the one that holds both, and one with more cells."""


def compute(project: Checkout) -> set[str]:
    """Run what DVC says is to be run, in this process, and let DVC record it; returns the stages."""
    parsed = params.load(project.root)
    todo = {step.name for step in status(project).steps if step.state != DONE}
    for stage in params.stages().values():
        for cell in parsed.study.cells():
            keys = {key: cell[key] for key in stage.per}
            of = "-".join(keys.values())
            if f"{stage.name}@{of}".rstrip("@") in todo:
                todo.discard(f"{stage.name}@{of}".rstrip("@"))
                options = [option for key, value in keys.items() for option in (f"--{key}", value)]
                assert run(project.root, stage.name, *options) == 0, (stage.name, keys)
    project.dvc("commit", "--force")
    return todo


def status(project: Checkout, name: str | None = None) -> Progress:
    return study.status(project.root, name)


def not_done(project: Checkout, name: str | None = None) -> set[str]:
    return {step.name for step in status(project, name).steps if step.state != DONE}


def of_cell(model: str, dataset: str) -> set[str]:
    return {f"{stage.name}@{model}-{dataset}" for stage in params.stages().values() if stage.per == CELL}


def seen_by_dvc(project: Checkout) -> set[str]:
    """Stages that `dvc status` calls changed, whether by themselves or by what they follow from."""
    found: dict[str, Any] = json.loads(project.dvc("status", "--json").stdout)
    return {name for name, why in found.items() if why != ["always changed"]}


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Studies `one` and `two`, computed one after the other; `two` is the one that is chosen."""
    root = tmp_path_factory.mktemp("switching")
    project = check_out(root)
    for seed, name in enumerate(("first", "second")):
        write_beir(project.data / name, seed)
    content = tiny_params(project.data)
    content["study"] = {"name": "one", **STUDIES["one"]}
    # Few further codecs: how many there are makes no difference here.
    codecs = content["extend"]["codecs"]
    content["extend"]["codecs"] = {name: codecs[name] for name in ("float16", "sign")}
    content["search_further"]["asymmetric"] = ["phase1", "sign"]
    content["rescore"]["first"] = ["phase1", "sign"]
    shutil.rmtree(project.root / "studies")
    (project.root / "studies").mkdir()
    for name, selected in STUDIES.items():
        (project.root / f"studies/{name}.yaml").write_text(
            yaml.safe_dump({"study": {"name": name, **selected}})
        )
    write_params(project.root, content)
    project.stages("code")
    for name in ("one", "two"):
        study.use(project.root, name)
        compute(project)
    return project


@pytest.fixture
def project(computed: Checkout, tmp_path: Path) -> Checkout:
    """A copy that a test may spoil; collections stay where the parameters say."""
    shutil.copytree(computed.root, tmp_path / "project")
    return Checkout(tmp_path / "project", computed.data)


def test_switching_back_and_forth_changes_no_finished_cell(project: Checkout) -> None:
    assert not_done(project) == seen_by_dvc(project) == set()
    study.use(project.root, "one")
    # What is written for people is of the study that was computed last.
    assert not_done(project) == seen_by_dvc(project) == OF_A_STUDY
    assert started(project.dvc("repro", "--dry").stdout) == OF_A_STUDY
    study.use(project.root, "two")
    assert not_done(project) == seen_by_dvc(project) == set()
    assert started(project.dvc("repro", "--dry").stdout) == set()


@pytest.mark.full
@pytest.mark.timeout(600)
def test_what_runs_after_switching_is_what_was_listed(project: Checkout) -> None:
    for name in ("one", "two", "both", "one"):
        study.use(project.root, name)
        assert started(project.dvc("repro").stdout) == OF_A_STUDY
        assert not_done(project) == seen_by_dvc(project) == set()
        assert open_lake(project.root).results.attrs["study"] == name


def test_a_study_that_holds_others_takes_their_cells_over(project: Checkout) -> None:
    study.use(project.root, "both")
    assert started(project.dvc("repro", "--dry").stdout) == OF_A_STUDY
    assert not_done(project) == OF_A_STUDY
    compute(project)
    assert seen_by_dvc(project) == set()
    # Each cell has the lengths of its sweep, and E8 those that all have.
    results = open_lake(project.root).results.value.sel(
        dataset="first", codec="phase1", metric="recall", k=10
    )
    assert results.notnull().sel(bits=[64, 128]).values.tolist() == [[True, True], [False, True]]
    with (project.root / "report/relation.csv").open() as file:
        assert {row["n_points"] for row in csv.DictReader(file)} >= {"2"}


def test_new_cells_alone_are_missing(project: Checkout) -> None:
    new = of_cell("lsa-32", "second") | of_cell("lsa-64", "second") | {"corpus@second"}
    before = [(project.root / name).read_bytes() for name in ("params.yaml", "dvc.yaml")]
    assert not_done(project, "more") == new | OF_A_STUDY
    assert [(project.root / name).read_bytes() for name in ("params.yaml", "dvc.yaml")] == before
    study.use(project.root, "more")
    assert seen_by_dvc(project) == new | OF_A_STUDY
    steps = {step.name: step for step in status(project).steps}
    assert {steps[name].state for name in new} == {MISSING}
    assert {steps[name].why for name in new} == {"never run"}


def step(project: Checkout, name: str) -> Step:
    (found,) = [step for step in status(project).steps if step.name == name]
    return found


def test_where_outputs_are(project: Checkout) -> None:
    name = "embed@lsa-64-first"
    leaf = project.root / "lake.zarr/embeddings/lsa-64/first"
    assert step(project, name).where == ("local", "cache")
    # Neither cached nor pushed.
    assert step(project, "exact@lsa-64-first").where == ("local",)
    shutil.move(leaf, project.root / "aside")
    assert (step(project, name).state, step(project, name).where) == (DONE, ("cache",))
    project.dvc("remote", "add", "--default", "--force", "shelf", str(project.root.parent / "shelf"))
    project.dvc("push", "--remote", "shelf", str(leaf.relative_to(project.root)))
    assert step(project, name).where == ("cache", "remote")
    assert step(project, "binarize@lsa-64-first").where == ("local", "cache")
    shutil.rmtree(project.root / ".dvc/cache")
    assert step(project, name).where == ("remote",)
    shutil.rmtree(project.root.parent / "shelf")
    lost = step(project, name)
    assert (lost.state, lost.where, lost.why) == (MISSING, (), "was made, but is nowhere to be had")


def test_a_remote_that_cannot_be_asked_is_a_note(project: Checkout) -> None:
    project.dvc("remote", "add", "--default", "--force", "gone", "http://127.0.0.1:9/lake")
    found = status(project)
    assert {step.state for step in found.steps} == {DONE}
    (note,) = found.notes
    assert note.startswith("remote 'gone': cannot be asked (")
    assert note.endswith("; see that it can be reached, then try again")


def test_what_makes_a_step_stale_is_named(project: Checkout) -> None:
    content = yaml.safe_load((project.root / "params.yaml").read_text())
    content["sweeps"]["reduced"]["quantize"]["codecs"]["pq"]["iterations"] = 5
    # Another sweep's section is no concern of this cell.
    content["quantize"]["codecs"]["pq"]["iterations"] = 6
    write_params(project.root, content)
    steps = {step.name: (step.state, step.why) for step in status(project).steps if step.state != DONE}
    behind = {
        "search-quantized@lsa-64-first": "follows from quantize@lsa-64-first",
        "quality@lsa-64-first": "follows from search-quantized@lsa-64-first",
        "rescore@lsa-64-first": "follows from quantize@lsa-64-first",
        "quality-further@lsa-64-first": "follows from rescore@lsa-64-first",
    }
    assert {name: steps[name] for name in steps if name not in OF_A_STUDY} == {
        "quantize@lsa-64-first": (STALE, "sweeps.reduced.quantize changed"),
        **{name: (STALE, why) for name, why in behind.items()},
    }
    assert seen_by_dvc(project) == {"quantize@lsa-64-first"}


def test_changed_code_makes_its_stages_stale(project: Checkout) -> None:
    with (project.root / "analysis/geometry/cell.py").open("a") as file:
        file.write("_OTHER = 1\n")
    found = {step.name: step.why for step in status(project).steps if step.state == STALE}
    assert found == {
        "geometry@lsa-64-first": "code changed",
        "correlate": "follows from geometry@lsa-64-first",
    }


def test_files_that_are_not_those_of_the_lock_are_named(project: Checkout) -> None:
    leaf = "lake.zarr/geometry/lsa-64/first"
    document = project.root / leaf / "zarr.json"
    # Of the same length: the list of files in the cache tells.
    document.write_text(document.read_text().replace("lsa-64", "lsa-46"))
    assert step(project, "geometry@lsa-64-first").why == f"{leaf} is not what dvc.lock says"
    document.unlink()
    assert step(project, "geometry@lsa-64-first").state == STALE


def test_a_lock_file_with_a_conflict_is_named(project: Checkout) -> None:
    (project.root / "dvc.lock").write_text(
        "<<<<<<< ours\nschema: '2.0'\n=======\nstages: {}\n>>>>>>> theirs\n"
    )
    with pytest.raises(
        InvalidInput,
        match=r"^dvc\.lock: holds both sides of a merge; run `git checkout --theirs dvc\.lock` or",
    ):
        status(project)


def allow_partial(project: Checkout, allowed: bool) -> None:
    text = (project.root / "params.yaml").read_text()
    (project.root / "params.yaml").write_text(
        text.replace(f"allow_partial: {str(not allowed).lower()}", f"allow_partial: {str(allowed).lower()}")
    )


def test_an_unfinished_study_is_looked_at_when_that_is_allowed(project: Checkout) -> None:
    study.use(project.root, "more")
    # Half a cell: the core is here, the further codecs are not.
    half = "lake.zarr/further_quality/lsa-32/first"
    shutil.rmtree(project.root / half)
    refused = project.stages("results", check=False)
    assert refused.stderr == (
        "error: results: 3 of 4 cells are not finished (lsa-32 × first, lsa-32 × second, lsa-64 × second); "
        "run `dvc repro`, or set results.allow_partial to true and run `make graph` to look at the others\n"
    )
    allow_partial(project, True)
    study.write_graph(project.root)
    deps = yaml.safe_load((project.root / "dvc.yaml").read_text())["stages"]["results"]["deps"]
    assert deps == [
        "lake.zarr/quality/lsa-32/first",
        "lake.zarr/quality/lsa-64/first",
        "lake.zarr/further_quality/lsa-64/first",
    ]
    output = project.dvc("repro", "report").stdout
    assert started(output) == {"results", "report"}

    results = open_lake(project.root).results
    missing = results.missing.stack(cell=("model", "dataset"))
    said = dict(zip(missing.cell.values.tolist(), missing.values.tolist(), strict=True))
    both = "quality further_quality"
    assert said == {
        ("lsa-32", "first"): "further_quality",
        ("lsa-32", "second"): both,
        ("lsa-64", "first"): "",
        ("lsa-64", "second"): both,
    }
    assert results.value.sel(dataset="second").isnull().all()
    assert results.value.sel(model="lsa-32", dataset="first", codec="float32").notnull().any()
    with (project.root / "report/results.csv").open() as file:
        flagged = [row for row in csv.DictReader(file) if row["flags"].startswith("missing")]
    assert [(row["model"], row["dataset"], row["flags"], row["value"]) for row in flagged] == [
        (model, dataset, f"missing: {what}", "") for (model, dataset), what in said.items() if what
    ]
    figures = json.loads((project.root / "report/metrics.json").read_text())
    assert (figures["cells"], figures["cells_incomplete"]) == (2, 3)
    assert "missing: lsa-32 × first: further_quality; lsa-32 × second: " in output

    # What is there later joins when the graph is written anew; without the permission everything is wanted.
    project.dvc("checkout", half)
    study.write_graph(project.root)
    assert run(project.root, "results") == 0
    missing = open_lake(project.root).results.missing.sel(dataset="first").values.tolist()
    assert missing == ["", ""]
    allow_partial(project, False)
    study.write_graph(project.root)
    assert run(project.root, "results") == 1
    cells = [f"{model}/{name}" for model in ("lsa-32", "lsa-64") for name in ("first", "second")]
    deps = yaml.safe_load((project.root / "dvc.yaml").read_text())["stages"]["results"]["deps"]
    assert deps[:4] == [f"lake.zarr/quality/{cell}" for cell in cells]


def test_a_study_without_a_finished_cell_has_nothing_to_look_at(project: Checkout) -> None:
    allow_partial(project, True)
    study.use(project.root, "more")
    shutil.rmtree(project.root / "lake.zarr/quality")
    study.write_graph(project.root)
    refused = project.stages("results", check=False)
    assert refused.stderr == "error: results: no cell of the study more is finished; run `dvc repro`\n"
