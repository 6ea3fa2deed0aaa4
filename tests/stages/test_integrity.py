"""Nothing is computed from leaves, texts, parameters or code that do not belong together, and each refusal helps."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import graph, params
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.quality import QUALITY
from store.layout import Layout
from store.leaf.reading import CONTENTS, open_leaf
from store.revisions.verification import verify
from tests.stages.checkouts import Checkout, check_out
from tests.stages.projects import make_project, run, run_cell, tiny_params, write_beir, write_params
from tests.store.leaf.test_commit import digests
from tests.store.revisions.remote_projects import environment

MODEL, OTHER, DATASET = "lsa-32", "lsa-64", "first"
KEYS = {"model": MODEL, "dataset": DATASET}
CELL = ("--model", MODEL, "--dataset", DATASET)


def change(root: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    content = yaml.safe_load((root / "params.yaml").read_text())
    edit(content)
    write_params(root, content)
    graph.write(root, params.load(root))


def other_seed(content: dict[str, Any]) -> None:
    content["corpus"]["seed"] += 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cells of one dataset up to quality."""
    root = tmp_path_factory.mktemp("finished") / "project"
    make_project(root, lambda content: content["study"].update(datasets=[DATASET]))
    for model in (MODEL, OTHER):
        run_cell(root, model, DATASET)
    return root


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "project"))


def refusal(root: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line with which a stage refuses; nothing in the lake changes."""
    before = digests(root / "lake.zarr")
    capsys.readouterr()
    assert run(root, *arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert digests(root / "lake.zarr") == before
    assert not any((root / ".bitlake/staging").iterdir())
    return line


def origin(leaf: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((leaf / "zarr.json").read_text())["attributes"][CONTENTS]["origin"]
    return found


def test_a_leaf_says_of_which_corpus_it_is_what_it_was_made_from_and_how(project: Path) -> None:
    judgements = origin(project / "lake.zarr/judgements/first")
    assert judgements == {"settings": {"corpus": {"seed": 0}}}
    found = open_leaf(Layout(project).leaf("quality", KEYS), QUALITY, KEYS)
    digest = open_leaf(Layout(project).leaf("embeddings", KEYS), EMBEDDINGS, KEYS).attributes["corpus_digest"]
    assert found.origin.corpora == {DATASET: digest}
    assert f"lake.zarr/embeddings/{MODEL}/{DATASET}" in found.origin.leaves
    assert "lake.zarr/judgements/first" in found.origin.leaves
    assert not [path for path in found.origin.leaves if OTHER in path]
    assert str(project) not in (project / f"lake.zarr/quality/{MODEL}/{DATASET}/zarr.json").read_text()


@pytest.mark.parametrize("stage", ["binarize", "quantize", "search-binary", "exact", "quality"])
def test_no_stage_reads_what_is_of_another_corpus_than_the_judgements(
    project: Path, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    """As after `dvc repro -s corpus@first` with another seed, or with `--ignore-errors`."""
    change(project, other_seed)
    assert run(project, "corpus", "--dataset", DATASET) == 0
    line = refusal(project, capsys, stage, *CELL)
    assert line == (
        f"error: lake.zarr/embeddings/{MODEL}/first: is of another corpus first than lake.zarr/judgements/first; "
        f"run `dvc repro embed@{MODEL}-first`, or `dvc repro -f -s embed@{MODEL}-first` where DVC finds nothing to do"
    )
    run_cell(project, MODEL, DATASET, until="quality")


def test_a_study_does_not_mix_cells_of_two_versions_of_a_dataset(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(project, other_seed)
    run_cell(project, MODEL, DATASET, until="geometry")
    line = refusal(project, capsys, "correlate")
    assert line.startswith("error: lake.zarr/")
    assert f"/{OTHER}/first: is of another corpus first than " in line
    assert "run `dvc repro " in line


def test_what_was_made_from_an_earlier_leaf_is_not_read_beside_the_new_one(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Same corpus, other vectors: neither the codes' own stage nor DVC is asked, only what is there."""
    change(project, lambda content: content["models"][MODEL].update(sublinear_tf=False))
    assert run(project, "embed", *CELL) == 0
    source = f"lake.zarr/embeddings/{MODEL}/first"
    line = refusal(project, capsys, "search-binary", *CELL)
    assert line.startswith(
        f"error: lake.zarr/binary_codes/{MODEL}/first: was made from another {source} than the one that is here; "
        f"run `dvc repro binarize@{MODEL}-first`"
    )
    # Quality was not made from it directly, and what it was made from need not be here.
    shutil.rmtree(project / "lake.zarr/exact_neighbours")
    assert f"another {source} than the one that is here" in refusal(project, capsys, "correlate")
    # Nor need the source: its two readers do not agree on it.
    assert run(project, "geometry", *CELL) == 0
    shutil.rmtree(project / source)
    assert f"another {source} than lake.zarr/" in refusal(project, capsys, "correlate")


def test_a_leaf_of_another_cell_is_refused_in_a_cells_place(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = project / f"lake.zarr/embeddings/{MODEL}/first"
    shutil.rmtree(place)
    shutil.copytree(project / f"lake.zarr/embeddings/{OTHER}/first", place)
    line = refusal(project, capsys, "binarize", *CELL)
    assert line == (
        f"error: lake.zarr/embeddings/{MODEL}/first: is a copy of that of {OTHER} × first; "
        f"run `dvc repro embed@{MODEL}-first`, or `dvc repro -f -s embed@{MODEL}-first` where DVC finds nothing to do"
    )


def test_texts_of_another_corpus_than_the_judgements_are_refused(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = project.with_name("other")
    shutil.copytree(project, other)
    change(other, other_seed)
    assert run(other, "corpus", "--dataset", DATASET) == 0
    shutil.rmtree(project / "corpora/first")
    shutil.copytree(other / "corpora/first", project / "corpora/first")
    assert refusal(project, capsys, "embed", *CELL).startswith(
        "error: corpora/first: its texts are not those of lake.zarr/judgements/first; "
        "run `dvc repro corpus@first`"
    )


def test_leaves_that_say_nothing_of_their_origin_are_read(project: Path) -> None:
    """As every artifact was before leaves said it."""
    for document in (project / "lake.zarr").glob("*/**/zarr.json"):
        content = json.loads(document.read_text())
        if content["attributes"].get(CONTENTS, {}).pop("origin", None):
            document.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    assert run(project, "quality", *CELL) == 0
    change(project, other_seed)
    assert run(project, "corpus", "--dataset", DATASET) == 0
    assert run(project, "exact", *CELL) == 1


def test_parameters_edited_while_a_stage_runs_are_not_taken_for_its_own(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from store.codecs.pq import PQCodec

    fit = PQCodec.fit

    def editing(self: PQCodec, sample: Any) -> Any:
        content = yaml.safe_load((project / "params.yaml").read_text())
        content["quantize"]["codecs"]["pq"]["iterations"] = 2
        write_params(project, content)
        return fit(self, sample)

    with monkeypatch.context() as patch:
        patch.setattr(PQCodec, "fit", editing)
        line = refusal(project, capsys, "quantize", *CELL)
    assert line == (
        "error: params.yaml: quantize was edited while quantize ran; nothing is committed, run it again"
    )
    assert run(project, "quantize", *CELL) == 0
    place = project / f"lake.zarr/quantized_codes/{MODEL}/first"
    assert origin(place)["settings"]["quantize"]["codecs"]["pq"]["iterations"] == 2


def test_texts_replaced_while_they_are_encoded_are_noticed(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from store.encoders.lsa import LsaEncoder

    encode = LsaEncoder.encode_queries

    def replacing(self: LsaEncoder, texts: Any) -> Any:
        shutil.copy(project / "corpora/first/documents.parquet", project / "corpora/first/queries.parquet")
        return encode(self, texts)

    monkeypatch.setattr(LsaEncoder, "encode_queries", replacing)
    line = refusal(project, capsys, "embed", *CELL)
    assert line.startswith(
        "error: corpora/first: its texts are not those of lake.zarr/judgements/first; run "
    )


def test_inputs_replaced_while_a_stage_runs_are_noticed(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from store.codecs.pq import PQCodec

    fit = PQCodec.fit
    place = project / f"lake.zarr/quantized_codes/{MODEL}/first"
    before = digests(place)

    def replacing(self: PQCodec, sample: Any) -> Any:
        with monkeypatch.context() as once:
            once.setattr(PQCodec, "fit", fit)
            change(project, lambda content: content["models"][MODEL].update(sublinear_tf=False))
            assert run(project, "embed", *CELL) == 0
        return fit(self, sample)

    with monkeypatch.context() as patch:
        patch.setattr(PQCodec, "fit", replacing)
        assert run(project, "quantize", *CELL) == 1
    assert f"embeddings/{MODEL}/first" in capsys.readouterr().err.splitlines()[-1]
    assert digests(place) == before


def test_other_parameters_may_be_edited_while_a_stage_runs(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from store.codecs.pq import PQCodec

    fit = PQCodec.fit

    def editing(self: PQCodec, sample: Any) -> Any:
        content = yaml.safe_load((project / "params.yaml").read_text())
        content["geometry"]["draws"] = 7
        write_params(project, content)
        return fit(self, sample)

    monkeypatch.setattr(PQCodec, "fit", editing)
    assert run(project, "quantize", *CELL) == 0


# A stage that edits its own code, or waits, while it fits.
MEDDLING = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from stages.__main__ import main
    from store.codecs.pq import PQCodec

    what, *arguments = sys.argv[1:]
    fit = PQCodec.fit
    def meddling(self, sample):
        if what == "edit":
            file = Path("store/codecs/pq.py")
            file.write_text(file.read_text().rstrip() + "\\n\\nEDITED = True\\n")
        Path("fitting").touch()
        while what == "wait" and not Path("go").exists():
            time.sleep(0.01)
        return fit(self, sample)
    PQCodec.fit = meddling
    sys.exit(main(arguments))
    """
)


@pytest.fixture(scope="module", autouse=True)
def isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with environment(tmp_path_factory.mktemp("environment")):
        yield


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which DVC has made the codes of two cells."""
    project = check_out(tmp_path_factory.mktemp("computed"))
    write_beir(project.data / DATASET, seed=0)
    content = tiny_params(Path())
    content["datasets"] = {DATASET: {**content["datasets"][DATASET], "path": DATASET}}
    content["study"] |= {"models": [MODEL, OTHER], "datasets": [DATASET]}
    write_params(project.root, content)
    graph.write(project.root, params.load(project.root))
    project.commit("code")
    project.dvc("repro", f"quantize@{MODEL}-first", f"embed@{OTHER}-first")
    project.commit("codes")
    return project


@pytest.fixture
def checkout(computed: Checkout, tmp_path: Path) -> Checkout:
    return computed.copy(tmp_path)


def faults(checkout: Checkout) -> dict[str, str]:
    """What `lake verify` says is wrong with what is there, by path."""
    return {
        fault.artifact: f"{fault.problem}; {fault.remedy}"
        for fault in verify(str(checkout.root)).faults
        if "is an output of dvc.yaml" not in fault.problem and "is missing" not in fault.problem
    }


def test_verify_finds_what_a_single_stage_left_behind_and_its_remedy_ends(checkout: Checkout) -> None:
    assert faults(checkout) == {}
    change(checkout.root, other_seed)
    checkout.dvc("repro", "-s", f"corpus@{DATASET}")
    found = faults(checkout)
    places = [f"embeddings/{MODEL}", f"embeddings/{OTHER}", f"quantized_codes/{MODEL}"]
    assert set(found) == {f"lake.zarr/{place}/first" for place in places}
    assert found[f"lake.zarr/embeddings/{MODEL}/first"] == (
        "is of another corpus first than lake.zarr/judgements/first; "
        f"run `dvc repro embed@{MODEL}-first`, or `dvc repro -f -s embed@{MODEL}-first` where DVC finds nothing to do"
    )
    refused = checkout.dvc("repro", "-s", f"exact@{MODEL}-first", check=False)
    assert refused.returncode
    assert f"embeddings/{MODEL}/first: is of another corpus" in refused.stderr
    checkout.dvc("repro", f"quantize@{MODEL}-first", f"embed@{OTHER}-first")
    assert faults(checkout) == {}


def test_verify_finds_a_leaf_of_another_cell_that_the_lock_file_has_too(checkout: Checkout) -> None:
    place = checkout.root / f"lake.zarr/embeddings/{MODEL}/first"
    shutil.rmtree(place)
    shutil.copytree(checkout.root / f"lake.zarr/embeddings/{OTHER}/first", place)
    checkout.dvc("commit", "-f", f"embed@{MODEL}-first")
    problem = faults(checkout)[f"lake.zarr/embeddings/{MODEL}/first"]
    assert problem.startswith(f"holds embeddings of model '{OTHER}'")
    assert problem.endswith(f"run `dvc repro -f -s embed@{MODEL}-first`")
    checkout.dvc("repro", "-f", "-s", f"embed@{MODEL}-first")
    assert faults(checkout) == {}


def test_verify_compares_settings_with_those_of_the_lock_file_and_texts_with_judgements(
    checkout: Checkout,
) -> None:
    lock = checkout.root / "dvc.lock"
    content = yaml.safe_load(lock.read_text())
    content["stages"][f"quantize@{MODEL}-first"]["params"]["params.yaml"]["quantize"]["codecs"]["pq"][
        "iterations"
    ] = 24
    lock.write_text(yaml.safe_dump(content, sort_keys=False))
    texts = checkout.root / "corpora/first/queries.parquet"
    shutil.copy(checkout.root / "corpora/first/documents.parquet", texts)
    assert faults(checkout) == {
        f"lake.zarr/quantized_codes/{MODEL}/first": "was made with another quantize than dvc.lock says; "
        f"run `dvc repro -f -s quantize@{MODEL}-first`",
        "corpora/first": "its texts are not those of lake.zarr/judgements/first; run `dvc repro corpus@first`, "
        "or `dvc repro -f -s corpus@first` where DVC finds nothing to do",
    }


def meddle(checkout: Checkout, what: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MEDDLING, what, "quantize", *CELL],
        cwd=checkout.root,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def wait_for(file: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not file.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_code_edited_while_a_stage_runs_is_not_taken_for_its_own(checkout: Checkout) -> None:
    before = digests(checkout.root / "lake.zarr")
    process = meddle(checkout, "edit")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert said.splitlines() == [
        "error: the code of quantize was edited while it ran; nothing is committed, run it again"
    ]
    assert digests(checkout.root / "lake.zarr") == before


def test_code_that_dvc_would_record_is_the_code_that_ran(checkout: Checkout) -> None:
    """Edited after DVC has written code.yaml and before the stage has started."""
    file = checkout.root / "store/codecs/pq.py"
    file.write_text(file.read_text() + "\n\nEDITED = True\n")
    done = checkout.dvc("repro", "-f", "-s", f"quantize@{MODEL}-first", check=False)
    assert done.returncode
    assert "code.yaml: quantize is not the code that ran; nothing is committed" in done.stderr


def test_of_two_runs_of_a_stage_with_other_parameters_none_is_mixed(checkout: Checkout) -> None:
    place = checkout.root / f"lake.zarr/quantized_codes/{MODEL}/first"
    before = digests(place)
    first = meddle(checkout, "wait")
    wait_for(checkout.root / "fitting", first)
    change(checkout.root, lambda content: content["quantize"]["codecs"]["pq"].update(iterations=2))
    second = checkout.stages("quantize", *CELL, check=False)
    assert second.returncode == 1
    assert f"quantize@{MODEL}-first: process {first.pid} on " in second.stderr
    (checkout.root / "go").touch()
    _, said = first.communicate(timeout=120)
    assert first.returncode == 1
    assert "params.yaml: quantize was edited while quantize ran" in said
    assert digests(place) == before


def test_an_orphan_of_a_killed_run_is_waited_for_or_gone(checkout: Checkout) -> None:
    orphan = meddle(checkout, "wait")
    wait_for(checkout.root / "fitting", orphan)
    assert checkout.stages("quantize", *CELL, check=False).returncode == 1
    orphan.kill()
    orphan.communicate()
    checkout.stages("quantize", *CELL)
    assert not any((checkout.root / ".bitlake/staging").iterdir())
