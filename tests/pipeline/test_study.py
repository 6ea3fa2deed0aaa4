"""Named studies: what choosing one writes, and which cells and sweeps each has."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import budget, graph, params, study
from pipeline.stage import CELL
from store.errors import InvalidInput
from tests.paths import ROOT
from tests.stages.checkouts import check_out, started
from tests.stages.projects import make_project, write_params

MINILM, E5, BGE = "all-MiniLM-L6-v2", "e5-base-v2", "bge-large-en-v1-5"
COLLECTIONS = ("msmarco", "nq", "scifact")
NANO = tuple(f"nano-{name}" for name in COLLECTIONS)
API = ("pydata-api", "scipy-api", "models-api")

FULL = ([64, 128, 256, 512], [8, 16, 32, 64])
REDUCED = ([128, 256, 512], [16, 32])

Cells = dict[tuple[str, str], tuple[list[int], list[int]]]


def every(models: tuple[str, ...], datasets: tuple[str, ...], lengths: Any = FULL) -> Cells:
    return {(model, dataset): lengths for model in models for dataset in datasets}


PLAN: dict[str, Cells] = {
    "default": every((MINILM, "minilm-static", "lsa-384"), API),
    "scifact": every((MINILM,), ("scifact",)),
    "nano": every((MINILM, E5), NANO),
    "tier1": every((MINILM, E5), COLLECTIONS),
    "tier2": every((BGE,), ("msmarco", "scifact"), REDUCED),
    "tier3": every((BGE,), ("nq",), REDUCED),
    "tiers": every((MINILM, E5), COLLECTIONS) | every((BGE,), COLLECTIONS, REDUCED),
    "full": every((MINILM, E5, BGE), COLLECTIONS),
}
"""Cells of each study with the bits of Phase-1 codes and the bytes of PQ codes."""


def with_studies(root: Path) -> None:
    """The repository's parameters and studies."""
    shutil.copytree(ROOT / "studies", root / "studies", dirs_exist_ok=True)
    shutil.copy(ROOT / "params.yaml", root)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    with_studies(tmp_path)
    return tmp_path


def steps_of(plan: Cells) -> set[str]:
    """The stages that the plan's cells need, by the names that DVC gives them."""
    found = set[str]()
    for stage in params.stages().values():
        for model, dataset in plan:
            keys = {"model": model, "dataset": dataset}
            of = "-".join(keys[key] for key in stage.per)
            found.add(f"{stage.name}@{of}" if of else stage.name)
    return found


def test_the_named_studies_are_those_of_the_plan() -> None:
    assert study.known(ROOT) == sorted(PLAN)


@pytest.mark.parametrize("name", PLAN)
def test_a_study_has_the_cells_and_lengths_of_the_plan(name: str, project: Path) -> None:
    before = [line for line in (project / "params.yaml").read_text().splitlines() if "#" in line]
    parsed = study.use(project, name)
    assert parsed.study.name == name
    assert params.load(project).model_dump() == parsed.model_dump()
    assert graph.check(project, parsed) == frozenset()
    found = {
        (keys["model"], keys["dataset"]): (
            [group.codecs[0].bits for group in parsed.section("binarize", keys).codecs["phase1"]],
            [group.codecs[0].code_bytes for group in parsed.section("quantize", keys).codecs["pq"]],
        )
        for keys in parsed.study.cells()
    }
    assert found == PLAN[name]
    assert set(graph.expand(parsed)) == {"code"} | steps_of(PLAN[name])
    assert [line for line in (project / "params.yaml").read_text().splitlines() if "#" in line] == before


def test_tier_3_adds_opq_and_the_depth_of_re_scoring(project: Path) -> None:
    parsed = study.use(project, "tier3")
    keys = {"model": BGE, "dataset": "nq"}
    assert [group.name for group in parsed.section("extend", keys).codecs["opq"]] == ["opq-16", "opq-32"]
    rescore = parsed.section("rescore", keys)
    assert set(rescore.oversample) > set(parsed.section("rescore").oversample)
    assert {"phase1", "pq", "opq"} <= set(rescore.first)


def test_geometry_asks_for_no_more_queries_than_a_small_collection_has(project: Path) -> None:
    parsed = study.use(project, "nano")
    for keys in parsed.study.cells():
        assert parsed.section("geometry", keys).query_sample == 50
    assert parsed.section("geometry").query_sample == 300


@pytest.mark.parametrize(
    "name",
    [name if name.startswith("tier") else pytest.param(name, marks=pytest.mark.full) for name in PLAN],
)
def test_dvc_lists_exactly_the_plan(name: str, tmp_path: Path) -> None:
    """The real `dvc` where nothing is computed."""
    project = check_out(tmp_path)
    with_studies(project.root)
    study.use(project.root, name)
    project.stages("code")  # a clone has code.yaml
    assert started(project.dvc("repro", "--dry").stdout) == steps_of(PLAN[name])


def test_the_default_study_is_what_is_committed(project: Path) -> None:
    (project / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    study.use(project, "default")
    assert (project / "params.yaml").read_text() == (ROOT / "params.yaml").read_text()
    assert (project / "dvc.yaml").read_text() == (ROOT / "dvc.yaml").read_text()


def test_a_cell_has_one_section_in_every_study_that_holds_it_but_full(project: Path) -> None:
    """Then a cell that is finished under one is finished under the others."""
    places: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for name in PLAN:
        parsed = study.use(project, name)
        for keys in parsed.study.cells():
            if (name, keys["model"]) != ("full", BGE):
                sections = tuple(parsed.place(section, keys) for section in params.SWEPT)
                places.setdefault(tuple(keys.values()), set()).add(sections)
    assert {cell for cell, found in places.items() if len(found) > 1} == set()


def test_only_what_has_a_wider_sweep_in_full_runs_again_there(project: Path) -> None:
    tiers = graph.expand(study.use(project, "tiers"))
    full = graph.expand(study.use(project, "full"))
    other = {name for name, stage in full.items() if stage != tiers[name]}
    swept = ("binarize", "quantize", "extend", "predict", "search-further", "rescore")
    assert other == {f"{stage}@{BGE}-{dataset}" for stage in swept for dataset in COLLECTIONS}


def write_study(root: Path, name: str, content: Any) -> None:
    (root / "studies").mkdir(exist_ok=True)
    (root / f"studies/{name}.yaml").write_text(
        content if isinstance(content, str) else yaml.safe_dump(content)
    )


TINY = {"name": "one", "models": ["lsa-32"], "datasets": ["first"], "sweeps": {}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"study": {**TINY, "models": ["lsa-33"]}},
            "study.models.0: 'lsa-33' is not one of models: lsa-32, lsa-64",
        ),
        ({"study": {**TINY, "name": "two"}}, "studies/one.yaml: study.name is 'two', expected 'one'"),
        (
            {"study": TINY, "binarize": {"bits": [64]}},
            "studies/one.yaml: expected the section 'study' and no other; all else stands in params.yaml",
        ),
        ("study:\n  name: a: b\n", "studies/one.yaml line 2: "),
        ({"study": {**TINY, "sweeps": {"lsa-64": {}}}}, "study.sweeps.lsa-64: is not one of study.models"),
        (
            {"study": {**TINY, "sweeps": {"lsa-32": {"second": "reduced"}}}},
            "study.sweeps.lsa-32.second: is not one of study.datasets",
        ),
        (
            {"study": {**TINY, "sweeps": {"lsa-32": {"first": "wide"}}}},
            "study.sweeps.lsa-32.first: 'wide' is not one of sweeps: reduced",
        ),
        ({"study": {k: v for k, v in TINY.items() if k != "sweeps"}}, "study.sweeps: is missing"),
    ],
)
def test_nothing_is_written_for_a_study_that_is_not_valid(content: Any, message: str, tmp_path: Path) -> None:
    make_project(tmp_path)
    write_study(tmp_path, "one", content)
    before = [(tmp_path / name).read_bytes() for name in ("params.yaml", "dvc.yaml")]
    with pytest.raises(InvalidInput) as caught:
        study.use(tmp_path, "one")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [(tmp_path / name).read_bytes() for name in ("params.yaml", "dvc.yaml")] == before


def test_an_unknown_study_names_the_known_ones(tmp_path: Path) -> None:
    make_project(tmp_path)
    for name in ("one", "other"):
        write_study(tmp_path, name, {"study": {**TINY, "name": name}})
    before = (tmp_path / "params.yaml").read_text()
    with pytest.raises(
        InvalidInput, match=r"^study: 'scifcat' is not one of one, other \(files of studies/\)$"
    ):
        study.use(tmp_path, "scifcat")
    assert (tmp_path / "params.yaml").read_text() == before


def test_replacing_a_section_needs_exactly_one() -> None:
    with pytest.raises(InvalidInput, match="expected one section 'study', found 0"):
        study._replace_section("models:\n", "study", "study:\n")


def test_a_section_without_a_line_break_at_its_end_stays_apart_from_the_next() -> None:
    replaced = study._replace_section("study:\n  name: a\n\nmodels:\n", "study", "# of b\nstudy:\n  name: b")
    assert replaced == "study:\n  name: b\n\nmodels:\n"


def test_cells_with_sweeps_are_named_as_in_a_matrix(tmp_path: Path) -> None:
    content = make_project(tmp_path)
    plain = graph.expand(params.load(tmp_path))
    content["study"]["sweeps"] = {"lsa-64": {"second": "reduced"}}
    write_params(tmp_path, content)
    parsed = params.load(tmp_path)
    swept = graph.expand(parsed)
    assert list(swept) == list(plain)
    changed = {name: stage["params"] for name, stage in swept.items() if stage != plain[name]}
    assert changed == {
        "binarize@lsa-64-second": [{"code.yaml": ["binarize"]}, "sweeps.reduced.binarize"],
        "quantize@lsa-64-second": [{"code.yaml": ["quantize"]}, "sweeps.reduced.quantize"],
        "predict@lsa-64-second": [
            {"code.yaml": ["predict"]},
            "search",
            "sweeps.reduced.binarize",
            "rescore",
        ],
    }
    # What the sweep does not state stands in the section itself.
    assert parsed.place("extend", {"model": "lsa-64", "dataset": "second"}) == "extend"
    for dataset, names in (("second", ["phase1-128"]), ("first", ["phase1-64", "phase1-128"])):
        section = parsed.section("binarize", {"model": "lsa-64", "dataset": dataset})
        assert [group.name for group in section.groups()] == names


def test_every_stage_of_a_cell_has_the_same_command_in_both_forms(tmp_path: Path) -> None:
    content = make_project(tmp_path)
    content["study"]["sweeps"] = {"lsa-64": {"second": "reduced"}}
    write_params(tmp_path, content)
    expanded = graph.expand(params.load(tmp_path))
    for stage in params.stages().values():
        if stage.per == CELL:
            command = f"python -m stages {stage.name} --model lsa-64 --dataset second"
            assert expanded[f"{stage.name}@lsa-64-second"]["cmd"] == command


def test_make_core_names_the_core_alone(project: Path) -> None:
    """Its targets and what they need: E1 to E8 and the quality that E8 takes, no further codecs."""
    makefile = (ROOT / "Makefile").read_text()
    line = makefile.partition("\ncore:")[2].splitlines()[2]
    targets = line.partition(" dvc repro ")[2].split()
    assert targets
    stages = params.stages()
    makers = {schema.artifact: stage.name for stage in stages.values() for schema in stage.outputs}
    needed, waiting = set(), list(targets)
    while waiting:
        name = waiting.pop()
        needed.add(name)
        waiting += [makers[schema.artifact] for schema in stages[name].inputs]
    planned = budget.load(ROOT).experiments
    experiments = {stage for number in range(1, 9) for stage in planned[f"E{number}"].stages}
    assert len(experiments) == 8
    assert needed == experiments | {"corpus", "quality"}
