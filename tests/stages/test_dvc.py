"""The project under the real `dvc`: what runs, what does not, and what is left behind.

One study of two cells is computed by `dvc repro`; every test that changes something works on a copy.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import vl_convert
import yaml

from analysis.report.curves import CODECS
from pipeline import graph, params
from pipeline.stage import CELL
from tests.counts import full_counts
from tests.paths import ROOT
from tests.stages.checkouts import Checkout, check_out, started
from tests.stages.projects import run_study, tiny_params, write_beir, write_params
from tests.stages.test_pipeline import digests

MODELS = ("lsa-32", "lsa-64")
DATASET = "first"
OF_A_STUDY = {"results", "regimes", "failures", "correlate", "theory", "report"}
EXTENSION = ("extend", "search-further", "rescore")

EXP_SHOW = (
    "dvc exp show --md --hide-workspace --only-changed --drop '.*/.*|.*ci_.*|Created' "
    "--keep 'recall.*|.*[.]mean'"
)
"""The documented line for a readable table; the README quotes it."""


def settings() -> dict[str, Any]:
    """The tiny parameters with one collection, and PQ codes short enough for their settings to matter."""
    content = tiny_params(Path())
    content["datasets"] = {DATASET: {**content["datasets"][DATASET], "path": DATASET}}
    content["study"] = {"name": "tiny", "models": list(MODELS), "datasets": [DATASET], "sweeps": {}}
    content["quantize"]["codecs"]["pq"]["code_bytes"] = [4, 8]
    content["results"]["headline"] |= {
        "codecs": {"float32": ["float32", 0], "pq-4": ["pq", 32], "phase1-64": ["phase1", 64]},
        "versus": ["phase1-64", "pq-4"],
    }
    return content


def prepare(root: Path) -> Checkout:
    """A committed checkout with its collection, parameters and graph; nothing is computed yet."""
    project = check_out(root)
    write_beir(project.data / DATASET, seed=0)
    write_params(project.root, settings())
    graph.write(project.root, params.load(project.root))
    project.commit("code")
    return project


def change_params(project: Checkout, change: Callable[[dict[str, Any]], None]) -> None:
    content = yaml.safe_load((project.root / "params.yaml").read_text())
    change(content)
    write_params(project.root, content)


def of_cells(*stages: str, models: tuple[str, ...] = MODELS) -> set[str]:
    """Names that DVC gives to stages of cells."""
    return {f"{stage}@{model}-{DATASET}" for stage in stages for model in models}


def changed(project: Checkout) -> dict[str, Any]:
    """Stages whose own dependencies changed, and how; what only follows from them is not among them."""
    found: dict[str, Any] = json.loads(project.dvc("status", "--json").stdout)
    assert found.pop("code") == ["always changed"]
    return found


@dataclass(frozen=True)
class Computed:
    """A study as the first `dvc repro` left it: what it printed, and what git then saw, before it was committed."""

    project: Checkout
    output: str
    changes: tuple[str, ...]


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Computed:
    project = prepare(tmp_path_factory.mktemp("computed"))
    output = project.dvc("repro").stdout
    changes = project.run("git", "status", "--porcelain", "--untracked-files=all").stdout.splitlines()
    project.commit("first results")
    return Computed(project, output, tuple(changes))


@pytest.fixture
def project(computed: Computed, tmp_path: Path) -> Checkout:
    """A copy that a test may spoil."""
    return computed.project.copy(tmp_path)


def test_the_first_run_runs_every_stage_of_every_cell(computed: Computed) -> None:
    cells = [stage.name for stage in params.stages().values() if stage.per == CELL]
    assert started(computed.output) == {f"corpus@{DATASET}"} | of_cells(*cells) | OF_A_STUDY


def test_a_second_run_looks_at_the_code_and_runs_nothing(computed: Computed) -> None:
    assert started(computed.project.dvc("repro").stdout) == set()
    assert changed(computed.project) == {}
    assert computed.project.run("git", "status", "--porcelain").stdout == ""


def test_git_sees_the_lock_the_report_and_the_groups_above_the_leaves(computed: Computed) -> None:
    expected = {"code.yaml", "dvc.lock", "lake.zarr/zarr.json"}
    for stage in params.stages().values():
        expected.update(file.path for file in stage.files)
        for schema in stage.outputs:
            if schema.keys:
                expected.add(f"lake.zarr/{schema.artifact}/zarr.json")
            if schema.keys == CELL:
                expected.update(f"lake.zarr/{schema.artifact}/{model}/zarr.json" for model in MODELS)
    assert set(computed.changes) == {f"?? {path}" for path in expected}


def test_dvc_writes_no_nested_gitignore(computed: Computed) -> None:
    """One in a folder that a stage depends on would change the folder's hash."""
    found = [path.relative_to(computed.project.root) for path in computed.project.root.rglob(".gitignore")]
    assert sorted(map(str, found)) == [".dvc/.gitignore", ".gitignore"]


def test_leaves_are_ignored_by_git_and_the_groups_above_them_are_not(computed: Computed) -> None:
    leaves = [
        "lake.zarr/embeddings/lsa-32/first/zarr.json",
        "lake.zarr/judgements/first/zarr.json",
        "lake.zarr/results/zarr.json",
        "corpora/first/documents.parquet",
    ]
    groups = [
        "lake.zarr/embeddings/lsa-32/zarr.json",
        "lake.zarr/judgements/zarr.json",
        "lake.zarr/zarr.json",
    ]
    assert all((computed.project.root / path).is_file() for path in leaves + groups)
    ignored = computed.project.run("git", "check-ignore", *leaves, *groups).stdout.splitlines()
    assert ignored == leaves


def test_one_setting_of_pq_reruns_pq_only(project: Checkout) -> None:
    change_params(project, lambda content: content["quantize"]["codecs"]["pq"].update(iterations=5))
    reason = [{"changed deps": {"params.yaml": {"quantize": "modified"}}}]
    assert changed(project) == dict.fromkeys(of_cells("quantize"), reason)


def test_a_new_model_runs_its_own_cells_and_the_stages_of_the_study(project: Checkout) -> None:
    def add(content: dict[str, Any]) -> None:
        content["models"]["lsa-48"] = {**content["models"]["lsa-32"], "dimension": 48}
        content["study"]["models"].append("lsa-48")

    change_params(project, add)
    project.stages("graph")
    cells = [stage.name for stage in params.stages().values() if stage.per == CELL]
    assert set(changed(project)) == of_cells(*cells, models=("lsa-48",)) | OF_A_STUDY


@pytest.mark.parametrize(
    ("module", "stages"),
    [
        ("analysis/geometry/cell.py", of_cells("geometry")),
        ("store/codecs/pq.py", of_cells("quantize", "search-quantized", *EXTENSION)),
        ("store/codecs/itq.py", of_cells(*EXTENSION)),
        ("analysis/report/curves.py", {"report", "regimes", "theory"}),
        ("pipeline/graph.py", set()),
    ],
)
def test_code_reruns_what_it_can_affect(project: Checkout, module: str, stages: set[str]) -> None:
    with (project.root / module).open("a") as file:
        file.write("_OTHER = 1\n")
    project.dvc("repro", "code")
    assert set(changed(project)) == stages


def test_a_comment_reruns_nothing_and_needs_no_new_lock(project: Checkout) -> None:
    module = project.root / "pipeline/stage.py"
    text = module.read_text()
    said = '"""What a stage is'
    assert text.startswith(said)
    module.write_text(text.replace(said, '"""In other words: what a stage is', 1) + "# another comment\n")
    assert started(project.dvc("repro").stdout) == set()
    assert project.run("git", "status", "--porcelain").stdout == " M pipeline/stage.py\n"


def test_the_lock_does_not_depend_on_the_folder(computed: Computed, tmp_path: Path) -> None:
    """Reduced: the stages run in this process and DVC only records them. Full: `dvc repro` once more."""
    computed.project.run("git", "clone", "--quiet", ".", str(tmp_path / "clone"))
    other = Checkout(tmp_path / "clone", computed.project.data)
    other.run("git", "reset", "--quiet", "--hard", "HEAD~1")
    if full_counts():
        other.dvc("repro")
    else:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BITLAKE_DATA", str(other.data))
            run_study(other.root)
        other.stages("code")
        other.dvc("commit", "--force")
    assert digests(other.root) == digests(computed.project.root)
    assert (other.root / "dvc.lock").read_bytes() == (computed.project.root / "dvc.lock").read_bytes()


def test_a_failing_stage_leaves_the_earlier_artifact(project: Checkout) -> None:
    corpus = project.data / DATASET / "corpus.jsonl"
    lines = corpus.read_text().splitlines()
    corpus.write_text("\n".join([*lines[:4], "{broken", *lines[5:]]) + "\n")
    change_params(project, lambda content: content["corpus"].update(seed=1))
    before, lock = digests(project.root), (project.root / "dvc.lock").read_bytes()
    failed = project.dvc("repro", check=False)
    assert failed.returncode != 0
    assert started(failed.stdout) == {f"corpus@{DATASET}"}
    (line,) = [line for line in failed.stderr.splitlines() if line.startswith("error: ")]
    assert re.search(r"corpus\.jsonl.*\b5\b", line)
    assert "Traceback" not in failed.stdout + failed.stderr
    assert digests(project.root) == before
    assert (project.root / "dvc.lock").read_bytes() == lock


def test_results_are_never_made_from_some_of_the_cells(project: Checkout) -> None:
    """Neither does DVC run the stage without a dependency, `--allow-missing` or not, nor does the stage itself."""
    leaf = f"lake.zarr/quality/lsa-64/{DATASET}"
    refusal = f"results: 1 of 2 cells are not finished (lsa-64 × {DATASET}); run `dvc repro`, or set"
    lock = yaml.safe_load((project.root / "dvc.lock").read_text())["stages"]
    (digest,) = [out["md5"] for out in lock[f"quality@lsa-64-{DATASET}"]["outs"]]
    shutil.rmtree(project.root / leaf)
    (project.root / ".dvc/cache/files/md5" / digest[:2] / digest[2:]).unlink()
    change_params(project, lambda content: content["results"].update(seed=1))
    table = (project.root / "report/results.csv").read_bytes()
    for failed, reason in (
        (project.stages("results", check=False), refusal),
        (project.dvc("repro", "--allow-missing", "--single-item", "results", check=False), leaf),
    ):
        assert failed.returncode != 0
        assert reason in failed.stderr
    assert (project.root / "report/results.csv").read_bytes() == table


def test_an_experiment_runs_what_its_parameter_affects_and_is_shown_in_one_line(project: Checkout) -> None:
    before = json.loads((project.root / "report/metrics.json").read_text())["recall_at_10"]
    output = project.dvc("exp", "run", "--name", "another-seed", "-S", "quantize.codecs.pq.seeds=[1]").stdout
    affected = of_cells("quantize", "search-quantized", "quality", "rescore", "quality-further")
    assert started(output) == affected | OF_A_STUDY
    after = json.loads((project.root / "report/metrics.json").read_text())["recall_at_10"]
    assert {name for name in before if before[name] != after[name]} == {"pq-4"}

    shown = project.run("bash", "-c", EXP_SHOW.replace("dvc", "python -m dvc", 1)).stdout
    header, _, *lines = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in shown.strip().splitlines()
    )
    assert header == [
        "Experiment",
        *(f"recall_at_10.{name}" for name in before),
        "phase1-64_minus_pq-4.mean",
        "quantize.codecs.pq.seeds",
    ]
    assert [line[0].split()[-1] for line in lines] == ["main", "[another-seed]"]
    for line, recall, seeds in zip(lines, (before, after), ("[0]", "[1]"), strict=True):
        assert [float(cell) for cell in line[1:4]] == pytest.approx(list(recall.values()), abs=1e-5)
        assert line[-1] == seeds


def test_metrics_show_the_headline_figures(computed: Computed) -> None:
    shown = json.loads(computed.project.dvc("metrics", "show", "--json").stdout)
    (files,) = [revision["data"] for revision in shown.values()]
    expected = json.loads((computed.project.root / "report/metrics.json").read_text())
    assert files == {"report/metrics.json": {"data": expected}}


def test_plots_draw_every_point_in_order_of_size(computed: Computed, tmp_path: Path) -> None:
    computed.project.dvc("plots", "show", "--out", str(tmp_path))
    page = (tmp_path / "index.html").read_text()
    specs = [json.loads(found) for found in re.findall(r"var spec = (\{.*\});", page)]
    assert len(specs) == 2
    for name, title in (("recall_at_10", "Recall@10"), ("ndcg_at_10", "nDCG@10")):
        (spec,) = [spec for spec in specs if spec["title"].startswith(name)]
        with (computed.project.root / f"report/plots/{name}.csv").open() as file:
            rows = list(csv.DictReader(file))
        drawn = [{key: row[key] for key in rows[0]} for row in spec["data"]["values"]]
        assert drawn == rows
        svg = vl_convert.vegalite_to_svg(spec)
        assert title in svg
        assert "bytes per vector" in svg
        # Two cells with two points each of two codecs; codecs with one point have no line to draw.
        paths = re.findall(r'aria-roledescription="line mark"[^>]* d="([^"]+)"', svg)
        corners = [[float(x) for x in re.findall(r"[ML](-?[\d.]+),", path)] for path in paths]
        assert [x for x in map(len, corners) if x > 1] == [2, 2, 2, 2]
        assert all(xs == sorted(xs) for xs in corners)


def test_plots_have_the_colours_of_the_pictures() -> None:
    template = json.loads((ROOT / ".dvc/plots/quality_by_bytes.json").read_text())
    scale = template["spec"]["encoding"]["color"]["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True)) == CODECS
