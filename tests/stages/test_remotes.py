"""Real remotes: a study is pushed, pulled elsewhere without torch, and what arrives is what was made, byte for byte."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dvc.cli import main

from pipeline import params
from store import open_lake
from store.artifacts.schemas import SCHEMAS
from store.errors import MissingArtifact
from tests.counts import full_counts
from tests.servers import SECRET, Server, files, s3
from tests.stages.checkouts import Checkout, started
from tests.stages.projects import run_study
from tests.stages.test_dvc import DATASET, MODELS, changed, of_cells, prepare
from tests.stages.test_pipeline import digests
from tests.store.revisions.remote_projects import BUCKET, isolate

CELL = f"lake.zarr/embeddings/lsa-32/{DATASET}"
OTHER = "other"
"""A second bucket, to be filled by a push that is cut off."""

WITHOUT_TORCH = "sys.modules.update(dict.fromkeys(('torch', 'transformers', 'sentence_transformers')))"
"""Python takes a module that is None for one that is not installed."""


@dataclass(frozen=True)
class Done:
    """How a command of `dvc` ended, and what it said."""

    code: int
    output: str


Dvc = Callable[..., Done]


@pytest.fixture
def dvc(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Dvc:
    """`dvc` in this process: all of it but the start of an interpreter, of which there would be dozens."""

    def run(root: Path, *arguments: str) -> Done:
        capfd.readouterr()
        caplog.clear()
        with contextlib.chdir(root):
            code = main(list(arguments))
        said = capfd.readouterr()
        return Done(code, said.out + said.err + caplog.text)

    return run


def call(root: Path, *arguments: str) -> None:
    with contextlib.chdir(root):
        assert main(list(arguments)) == 0, arguments


@pytest.fixture(scope="module", autouse=True)
def isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, tmp_path_factory.mktemp("environment"))
        yield


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with s3(BUCKET, OTHER) as server:
        yield server


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Checkout:
    """A study that was computed, pushed to S3 and to the remote in the repository, committed and tagged.

    Reduced: the stages run in this process and DVC only records them. Full: `dvc repro`.
    """
    project = prepare(tmp_path_factory.mktemp("published"))
    for remote, bucket in (("s3", BUCKET), ("cut-off", OTHER)):
        call(project.root, "remote", "add", remote, f"s3://{bucket}/lake")
        call(project.root, "remote", "modify", remote, "endpointurl", server.url)
    if full_counts():
        project.dvc("repro")
    else:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BITLAKE_DATA", str(project.data))
            run_study(project.root)
        project.stages("code")
        call(project.root, "commit", "--force", "--quiet")
    call(project.root, "push", "--quiet", "--remote", "s3")
    call(project.root, "push", "--quiet")
    project.commit("published")
    project.run("git", "tag", "v1")
    return project


@pytest.fixture
def clone(published: Checkout, tmp_path: Path) -> Checkout:
    """The project elsewhere, as `git clone` brings it."""
    published.run("git", "clone", "--quiet", ".", str(tmp_path / "clone"))
    return Checkout(tmp_path / "clone", published.data)


def kept(root: Path) -> dict[str, str]:
    """Digests of the files of all artifacts that are kept, and of what Git tracks beside them."""
    recomputed = [f"lake.zarr/{schema.artifact}/*/*/*" for schema in SCHEMAS.values() if not schema.kept]
    return {
        path: digest
        for path, digest in digests(root).items()
        if not any(fnmatch.fnmatch(path, pattern) for pattern in ("corpora/*", "report/local/*", *recomputed))
    }


def test_the_default_remote_lies_in_the_repository(published: Checkout) -> None:
    tracked = published.run("git", "ls-files", "remote").stdout.splitlines()
    assert tracked
    assert all(path.startswith("remote/files/md5/") for path in tracked)


# Pull


def test_a_plain_pull_brings_what_is_kept_and_repro_makes_the_rest(
    published: Checkout, clone: Checkout, dvc: Dvc
) -> None:
    done = dvc(clone.root, "pull")
    assert done.code == 0
    for word in ("ERROR", "WARNING", "ailed", "missing"):
        assert word not in done.output
    assert kept(clone.root) == kept(published.root)
    stages = params.stages().values()
    recomputed = {stage.name for stage in stages if stage.outputs and not any(s.kept for s in stage.outputs)}
    assert recomputed == {
        "exact",
        "search-binary",
        "search-quantized",
        "extend",
        "search-further",
        "rescore",
    }
    expected = {f"corpus@{DATASET}"} | of_cells(*recomputed)
    # What depends on an output that is not here is listed as well, but runs only if that comes out other.
    absent = {
        stage
        for stage, reasons in changed(clone).items()
        if any("changed outs" in reason for reason in reasons)
    }
    assert absent == expected
    if full_counts():
        assert started(clone.dvc("repro").stdout) == expected
        # The page of texts is in no remote and no output of DVC: its stage writes it anew.
        clone.stages("failures")
        assert digests(clone.root) == digests(published.root)


def test_pulling_and_reading_needs_no_torch(published: Checkout, clone: Checkout) -> None:
    """All in one process in which `import torch` fails."""
    code = f"""if True:
        import json, sys
        {WITHOUT_TORCH}
        try:
            import torch
            sys.exit("torch is here")
        except ModuleNotFoundError:
            pass
        from dvc.cli import main
        from store import open_lake
        assert main(["pull", "--quiet", "--remote", "s3"]) == 0
        lake = open_lake()
        found = lake.embeddings.sel(model="lsa-32", dataset="{DATASET}").documents[:3, :2].values.tolist()
        print(json.dumps([found, lake.results.sizes["model"], sys.modules["torch"]]))
    """
    found, models, imported = json.loads(clone.run(sys.executable, "-c", code).stdout)
    assert kept(clone.root) == kept(published.root)
    expected = open_lake(published.root).embeddings.sel(model="lsa-32", dataset=DATASET)
    assert found == expected.documents[:3, :2].values.tolist()
    assert (models, imported) == (len(MODELS), None)


def test_one_cell_is_pulled_alone(published: Checkout, clone: Checkout, dvc: Dvc) -> None:
    assert dvc(clone.root, "pull", "--remote", "s3", CELL).code == 0
    leaves = [path.parent for path in (clone.root / "lake.zarr").glob("*/*/*/zarr.json")]
    assert [path.relative_to(clone.root).as_posix() for path in leaves] == [CELL]
    assert below(clone.root, CELL) == below(published.root, CELL)


def test_a_web_server_is_a_remote_to_pull_and_to_stream_from(
    published: Checkout, clone: Checkout, dvc: Dvc
) -> None:
    with files(published.root / "remote") as web:
        assert dvc(clone.root, "remote", "add", "--default", "web", web.url).code == 0
        lake = open_lake(clone.root, rev="v1", remote="web")
        found = lake.embeddings.sel(model="lsa-32", dataset=DATASET).load()
        assert dvc(clone.root, "pull").code == 0
        assert dvc(clone.root, "push").code != 0 or not any(answer.method == "PUT" for answer in web.answers)
    assert kept(clone.root) == kept(published.root)
    assert found.identical(open_lake(clone.root).embeddings.sel(model="lsa-32", dataset=DATASET))


def test_nothing_pulled_and_the_cache_deleted_a_tag_still_reads(published: Checkout, clone: Checkout) -> None:
    assert not (clone.root / ".dvc/cache").exists()
    expected = open_lake(published.root)
    for remote in ("s3", None):
        lake = open_lake(clone.root, rev="v1", remote=remote)
        for model in MODELS:
            cell = {"model": model, "dataset": DATASET}
            assert lake.embeddings.sel(**cell).identical(expected.embeddings.sel(**cell))
            assert lake.quality.sel(**cell).identical(expected.quality.sel(**cell))
        code = {"codec": "phase1", "bits": 64, "seed": 0}
        assert lake.codes.sel(**cell, **code).identical(expected.codes.sel(**cell, **code))
        assert lake.results.identical(expected.results)
        with pytest.raises(MissingArtifact, match="is not kept with revisions"):
            lake.neighbours.sel(**cell)


def test_a_damaged_object_is_not_pulled(clone: Checkout, dvc: Dvc) -> None:
    largest = max(
        (clone.root / "remote").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0
    )
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.chmod(0o644)
    largest.write_bytes(content)
    done = dvc(clone.root, "pull")
    assert done.code != 0
    assert "Checkout failed for following targets:\nlake.zarr/" in done.output
    cached = clone.root / ".dvc/cache/files/md5" / largest.parent.name / largest.name
    assert not cached.exists()


# From another project


def test_get_and_import_bring_a_cell_into_another_project(
    published: Checkout, clone: Checkout, tmp_path: Path, dvc: Dvc
) -> None:
    url = f"file://{published.root}"
    expected = {
        path.removeprefix(CELL): digest
        for path, digest in digests(published.root).items()
        if path.startswith(CELL)
    }
    assert dvc(tmp_path, "get", url, CELL, "--rev", "v1", "--remote", "s3", "--out", "got").code == 0
    assert tree(tmp_path / "got") == expected
    # From the remote in the repository, through a clone: DVC does not find it through a URL.
    assert dvc(tmp_path, "get", str(clone.root), CELL, "--out", "got-from-clone").code == 0
    assert tree(tmp_path / "got-from-clone") == expected

    other = tmp_path / "other"
    subprocess.run(["git", "init", "--quiet", other], check=True)
    assert dvc(other, "init", "--quiet").code == 0
    (other / "vectors").mkdir()
    assert dvc(other, "import", url, CELL, "--rev", "v1", "--remote", "s3", "--out", "vectors/cell").code == 0
    assert tree(other / "vectors/cell") == expected
    shutil.rmtree(other / "vectors/cell")
    shutil.rmtree(other / ".dvc/cache")
    assert dvc(other, "pull").code == 0
    assert tree(other / "vectors/cell") == expected


def tree(folder: Path) -> dict[str, str]:
    """Digests of all files below ``folder`` by their paths from there, which begin with a slash."""
    shutil.copytree(folder, folder.parent / "tree/lake.zarr", dirs_exist_ok=False)
    found = {
        path.removeprefix("lake.zarr"): digest for path, digest in digests(folder.parent / "tree").items()
    }
    shutil.rmtree(folder.parent / "tree")
    return found


# A server that goes away


@pytest.mark.parametrize("answers", [5, 1] if full_counts() else [5])
def test_a_push_that_is_cut_off_fails_and_is_repeated(
    published: Checkout, clone: Checkout, server: Server, dvc: Dvc, answers: int
) -> None:
    cell = f"lake.zarr/embeddings/lsa-{32 if answers == 1 else 64}/{DATASET}"
    push = ("push", "--remote", "cut-off", cell)
    done = cut_off(server, answers, lambda: dvc(published.root, *push))
    assert done.code != 0
    assert "ERROR" in done.output
    assert SECRET not in done.output
    assert dvc(published.root, *push).code == 0
    assert dvc(clone.root, "pull", "--remote", "cut-off", cell).code == 0
    assert below(clone.root, cell) == below(published.root, cell)


@pytest.mark.parametrize("answers", [5, 1] if full_counts() else [5])
def test_a_pull_that_is_cut_off_fails_and_is_repeated(
    published: Checkout, clone: Checkout, server: Server, dvc: Dvc, answers: int
) -> None:
    pull = ("pull", "--remote", "s3", CELL)
    done = cut_off(server, answers, lambda: dvc(clone.root, *pull))
    assert done.code != 0
    assert "ERROR" in done.output
    assert SECRET not in done.output
    # Whatever came is whole: nothing was cut off unnoticed.
    assert below(clone.root, CELL).items() <= below(published.root, CELL).items()
    assert dvc(clone.root, *pull).code == 0
    assert below(clone.root, CELL) == below(published.root, CELL)


def cut_off(server: Server, answers: int, action: Callable[[], Done]) -> Done:
    """What comes of it when the server goes away after so many answers; then it comes back."""
    server.stop_after(answers)
    try:
        return action()
    finally:
        server.start()


def below(root: Path, leaf: str) -> dict[str, str]:
    return {path: digest for path, digest in digests(root).items() if path.startswith(f"{leaf}/")}
