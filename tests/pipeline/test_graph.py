"""``dvc.yaml`` says what the stages and ``params.yaml`` say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import graph, params
from pipeline.code import import_closure
from tests.paths import ROOT
from tests.stages.projects import make_project, run, write_params


def test_the_committed_graph_agrees_with_the_committed_parameters() -> None:
    graph.check(ROOT, params.load(ROOT))


def test_fan_in_stages_list_every_cell_literally(tmp_path: Path) -> None:
    make_project(tmp_path)
    stages = yaml.safe_load((tmp_path / "dvc.yaml").read_text())["stages"]
    cells = [f"{model}/{dataset}" for model in ("lsa-32", "lsa-64") for dataset in ("first", "second")]
    assert [dep for dep in stages["results"]["deps"] if "/quality/" in dep] == [
        f"lake.zarr/quality/{cell}" for cell in cells
    ]
    assert [dep for dep in stages["results"]["deps"] if "/further_quality/" in dep] == [
        f"lake.zarr/further_quality/{cell}" for cell in cells
    ]
    assert [dep for dep in stages["failures"]["deps"] if dep.startswith("corpora/")] == [
        "corpora/first",
        "corpora/second",
    ]
    assert [dep for dep in stages["correlate"]["deps"] if "/geometry/" in dep] == [
        f"lake.zarr/geometry/{cell}" for cell in cells
    ]


def test_what_is_not_kept_is_not_cached(tmp_path: Path) -> None:
    make_project(tmp_path)
    stages = yaml.safe_load((tmp_path / "dvc.yaml").read_text())["stages"]
    cell = "${item.model}/${item.dataset}"
    assert stages["extend"]["outs"] == [
        {f"lake.zarr/further_codes/{cell}": {"cache": False, "persist": True}}
    ]
    assert stages["quality-further"]["outs"] == [{f"lake.zarr/further_quality/{cell}": {"persist": True}}]


def test_a_stage_may_depend_on_the_cutoffs_beside_its_own_section(tmp_path: Path) -> None:
    make_project(tmp_path)
    stages = yaml.safe_load((tmp_path / "dvc.yaml").read_text())["stages"]
    assert stages["search-further"]["params"] == [
        {"code.yaml": ["search-further"]},
        "search_further",
        "search.k",
    ]


def test_the_folders_that_stages_read_are_made_and_what_lies_there_is_kept(tmp_path: Path) -> None:
    content = make_project(tmp_path)
    kept = tmp_path / "lake.zarr/judgements/first/zarr.json"
    kept.write_text("as it was")
    assert run(tmp_path, "graph") == 0
    assert kept.read_text() == "as it was"
    inputs = [
        path for stage in graph.expand(params.parse(content)).values() for path in stage.get("deps", ())
    ]
    made = {path for path in inputs if (tmp_path / path).is_dir()}
    assert made == {path for path in inputs if path.startswith(("lake.zarr/", "corpora/"))}
    assert "lake.zarr/embeddings/lsa-32/first" in made


def test_a_cell_that_the_graph_lacks_is_named_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = make_project(tmp_path)
    content["models"]["lsa-16"] = {**content["models"]["lsa-32"], "dimension": 16}
    content["study"]["models"].append("lsa-16")
    write_params(tmp_path, content)
    assert run(tmp_path, "corpus", "--dataset", "first") == 1
    assert capsys.readouterr().err == (
        "error: dvc.yaml: stages.results.deps lacks 'lake.zarr/quality/lsa-16/first'; "
        "run `make graph` so that it agrees with params.yaml\n"
    )
    assert not [path for path in (tmp_path / "lake.zarr").rglob("*") if path.is_file()]


def test_only_embed_imports_torch_and_sentence_transformers() -> None:
    for stage in params.stages().values():
        if stage.name != "embed":
            closure = import_closure(ROOT, f"stages.{stage.module}")
            for path in closure:
                source = (ROOT / path).read_text()
                assert "import torch" not in source, (stage.name, path)
                assert "sentence_transformers" not in source, (stage.name, path)


def test_stage_module_and_section_have_one_name() -> None:
    content: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    for stage in params.stages().values():
        assert (ROOT / "stages" / f"{stage.module}.py").is_file()
        # The searches of the core and both stages of quality share one choice, the cut-offs.
        assert stage.section in {stage.module, "search", ""}
        assert not stage.section or stage.section in content
