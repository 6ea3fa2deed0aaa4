"""What a cell asks for beyond what it has is said before it is embedded, with a remedy that helps."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import params
from pipeline.checks import ANY, Size, check_cell
from store.errors import InvalidInput
from tests.stages.projects import make_project, run, tiny_params, write_beir

Change = Callable[[dict[str, Any]], object]

KEYS = {"model": "lsa-64", "dataset": "first"}
SIZE = Size(dimension=64, documents=400, searched=399, queries=40)


def leave_pq_out(content: dict[str, Any]) -> None:
    del content["quantize"]["codecs"]["pq"]
    content["rescore"]["first"] = ["phase1", "itq"]
    content["regimes"]["second"] = {"codec": "itq"}
    content["failures"]["reference"] = "int8"
    content["results"]["headline"] |= {
        "codecs": {"float32": ["float32", 0], "phase1-128": ["phase1", 128]},
        "versus": ["phase1-128", "float32"],
    }
    for codec in ("opq", "rq"):
        del content["extend"]["codecs"][codec]


def changed(change: Change) -> dict[str, Any]:
    content = tiny_params(Path("data"))
    change(content)
    return content


def check(content: dict[str, Any], size: Size = SIZE, only: str = "") -> None:
    check_cell(params.parse(content), KEYS, size, only)


def few(documents: int = 400, queries: int = 40) -> Size:
    return Size(64, documents, documents, queries)


CASES: list[tuple[Change, Size, str]] = [
    (
        lambda c: c["quantize"]["codecs"]["pq"].update(code_bytes=[7]),
        SIZE,
        "quantize.codecs.pq.code_bytes is 7: choose a divisor of the dimension 64",
    ),
    (
        lambda c: c["quantize"].update(fit_sample=100),
        SIZE,
        "quantize.fit_sample is 100, too few for codecs.pq: raise it",
    ),
    (
        lambda c: None,
        few(documents=200),
        "quantize.codecs.pq: PQ is fitted on 200 documents, fewer documents than PQ's 256 centroids: "
        "add documents or leave PQ out",
    ),
    # More of a sample than there is does not help.
    (
        lambda c: c["quantize"].update(fit_sample=100),
        few(documents=200),
        "quantize.codecs.pq: PQ is fitted on 100 documents",
    ),
    (
        lambda c: c["extend"]["codecs"]["opq"].update(code_bytes=[8, 7]),
        SIZE,
        "extend.codecs.opq.code_bytes is 7: choose a divisor of the dimension 64",
    ),
    (
        lambda c: c["extend"]["codecs"]["truncate"].update(dimensions=[65]),
        SIZE,
        "extend.codecs.truncate.dimensions is 65: give at most the dimension 64",
    ),
    (
        lambda c: c["extend"]["codecs"]["pca"].update(dimensions=[65]),
        SIZE,
        "extend.codecs.pca.dimensions is 65: give at most the dimension 64",
    ),
    (
        lambda c: c["extend"]["codecs"]["itq"].update(bits=[72]),
        SIZE,
        "extend.codecs.itq.bits is 72: give at most the dimension 64",
    ),
    (
        lambda c: c["extend"].update(fit_sample=10),
        SIZE,
        "extend.fit_sample is 10, too few for codecs.pca: raise it",
    ),
    (
        lambda c: c["search"].update(k=[1, 10, 400]),
        SIZE,
        "search.k is 400, but a query searches 399 documents: lower it",
    ),
    (
        lambda c: c["embed"].update(storage_k=400),
        SIZE,
        "embed.storage_k is 400, but a query searches 399 documents: lower it",
    ),
    (
        lambda c: c["rescore"].update(first=["int8", "float16"], second=["int8"]),
        SIZE,
        "rescore.second: none is larger than the 64 bytes of the smallest first stage",
    ),
    (
        lambda c: None,
        few(queries=11),
        "geometry: the cell has 11 queries and needs 14, so that 10 neighbours remain without one of 5 groups: add",
    ),
]


@pytest.mark.parametrize(("change", "size", "message"), CASES)
def test_what_a_cell_cannot_do_is_named_by_the_field(change: Change, size: Size, message: str) -> None:
    with pytest.raises(InvalidInput, match="^" + re.escape(f"params.yaml: {message}")) as caught:
        check(changed(change), size)
    assert str(caught.value).endswith("(lsa-64 × first)")


def test_what_is_not_known_refuses_nothing() -> None:
    check(tiny_params(Path("data")), Size(64, ANY, ANY, ANY))


def test_a_stage_is_concerned_with_its_own_section() -> None:
    content = changed(lambda c: c["quantize"]["codecs"]["pq"].update(code_bytes=[7]))
    check(content, only="geometry")
    with pytest.raises(InvalidInput, match="quantize"):
        check(content, only="quantize")


def test_a_sweep_is_named_where_it_states_the_section() -> None:
    def change(content: dict[str, Any]) -> None:
        content["sweeps"]["reduced"]["quantize"]["codecs"]["pq"]["code_bytes"] = [7]
        content["study"]["sweeps"] = {"lsa-64": {"first": "reduced"}}

    with pytest.raises(
        InvalidInput, match=r"^params\.yaml: sweeps\.reduced\.quantize\.codecs\.pq\.code_bytes is 7: choose"
    ):
        check(changed(change))


def small_project(root: Path) -> dict[str, Any]:
    """A project whose first collection has 200 documents, and was read."""
    content = make_project(root)
    shutil.rmtree(root / "data/first")
    write_beir(root / "data/first", seed=0, documents=200)
    assert run(root, "corpus", "--dataset", "first") == 0
    return content


def refusal(root: Path, capsys: pytest.CaptureFixture[str], *command: str) -> str:
    capsys.readouterr()
    assert run(root, *command) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_before_it_embeds_a_cell_is_checked_as_a_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_project(tmp_path)
    error = refusal(tmp_path, capsys, "embed", "--model", "lsa-64", "--dataset", "first")
    assert error.startswith("error: params.yaml: quantize.codecs.pq: PQ is fitted on 200 documents")
    assert not any((tmp_path / "lake.zarr/embeddings").rglob("zarr.json"))


def test_the_graph_is_refused_by_what_parameters_alone_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_project(tmp_path)
    content = yaml.safe_load((tmp_path / "params.yaml").read_text())
    before = (tmp_path / "dvc.yaml").read_text()
    cases: list[tuple[Change, str]] = [
        (
            lambda c: c["quantize"]["codecs"]["pq"].update(code_bytes=[7]),
            "quantize.codecs.pq.code_bytes is 7: choose a divisor of the dimension",
        ),
        (
            lambda c: c["datasets"]["second"].update(max_documents=200),
            "quantize.codecs.pq: PQ is fitted on 200 documents",
        ),
    ]
    for change, message in cases:
        wrong = yaml.safe_load(yaml.safe_dump(content))
        change(wrong)
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(wrong, sort_keys=False))
        for command in (["graph"], ["graph", "--check"]):
            assert refusal(tmp_path, capsys, *command).startswith(f"error: params.yaml: {message}")
    assert (tmp_path / "dvc.yaml").read_text() == before


def test_the_graph_knows_collections_that_were_read_as_they_are_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before `corpus` has run with other settings, the old counts refuse nothing."""
    content = small_project(tmp_path)
    assert run(tmp_path, "graph") == 0
    read = {"corpus": content["corpus"], "datasets.first": content["datasets"]["first"]}
    out = {"path": "corpora/first", "md5": "0" * 32, "size": 1}
    entry = {"cmd": "", "params": {"params.yaml": read}, "outs": [out]}
    lock = {"schema": "2.0", "stages": {"corpus@first": entry}}
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert refusal(tmp_path, capsys, "graph").startswith(
        "error: params.yaml: quantize.codecs.pq: PQ is fitted on 200 documents"
    )
    content["datasets"]["first"]["seed"] = 1
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    assert run(tmp_path, "graph") == 0


def test_pq_can_be_left_out_where_there_are_few_documents(tmp_path: Path) -> None:
    content = changed(leave_pq_out)
    check(content, few(documents=200))
    assert "pq" not in params.parse(content).section("quantize").codecs


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda c: c["failures"].update(reference="pq"), "failures.reference"),
        (lambda c: c["regimes"].update(second={"codec": "pq"}), "regimes.second"),
        (lambda c: c["results"]["headline"]["codecs"].update(pq=["pq", 64]), "results.headline.codecs.pq"),
        (lambda c: c["correlate"].update(codec="pq"), "correlate.codec"),
    ],
)
def test_what_is_left_out_cannot_be_compared(change: Change, field: str) -> None:
    content = changed(leave_pq_out)
    change(content)
    with pytest.raises(
        InvalidInput, match=rf"^params\.yaml: {field}: 'pq' has no codes in this study; choose among"
    ):
        params.parse(content)
