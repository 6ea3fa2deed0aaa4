"""A pull writes what the lock file says and nowhere else, whatever a repository or a remote says."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc.repo import Repo

from store.errors import BitlakeError, DamagedArtifact, InvalidInput, MissingArtifact
from store.revisions.pulling import pull
from store.revisions.revision import open_revision
from store.revisions.verification import verify
from tests.paths import ROOT
from tests.servers import files
from tests.store.revisions.lake_projects import LakeProject
from tests.store.revisions.remote_projects import add_remote, environment, push
from tests.store.small_studies import CODES, EMBEDDINGS, KEPT, make_study

CHUNK = "documents/c.0.0"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LakeProject]:
    """A study as a clone has it: all objects are in the remote alone."""
    with environment(tmp_path_factory.mktemp("environment")):
        project = make_study(tmp_path_factory.mktemp("sound") / "project")
        add_remote(project, "shelf", default=True, url="../../shelf")
        push(project)
        project.git("commit", "--quiet", "--all", "--message", "remote")
        shutil.rmtree(project.root / ".dvc/cache")
        for leaf in KEPT:
            shutil.rmtree(project.root / leaf)
        yield project


@pytest.fixture
def project(sound: LakeProject, tmp_path: Path) -> LakeProject:
    shutil.copytree(sound.root.parent, tmp_path / "copy")
    return LakeProject(tmp_path / "copy" / sound.root.name)


def shelved(project: LakeProject, oid: str) -> Path:
    return project.root.parent / "shelf/files/md5" / oid[:2] / oid[2:]


def outside(project: LakeProject) -> set[Path]:
    """Everything beside the project and its remote."""
    return {path for path in project.root.parent.iterdir() if path.name not in ("project", "shelf", "site")}


def test_everything_or_the_named_artifacts_are_brought_here(project: LakeProject) -> None:
    done = pull(project.root / "lake.zarr", ["embeddings"])
    assert (done.artifacts, (project.root / CODES).exists()) == (1, False)
    assert done.objects == sum(1 for path in (project.root / EMBEDDINGS).rglob("*") if path.is_file())
    assert pull(project.root).artifacts == len(KEPT)
    assert verify(str(project.root)).faults == ()
    assert (pull(project.root).objects, open_revision(str(project.root)).repo.status()) == (0, {})
    with pytest.raises(InvalidInput, match="'embedding' is not kept in the lock file"):
        pull(project.root, ["embedding"])


def test_a_web_server_is_pulled_from_too(project: LakeProject) -> None:
    with files(project.root.parent / "shelf") as server:
        add_remote(project, "web", url=server.url)
        assert pull(project.root, remote="web").artifacts == len(KEPT)
    assert verify(str(project.root)).faults == ()


def hostile_list(project: LakeProject, name: str) -> str:
    """In the list of the embeddings' files one name is another; the list as the remote has it."""
    oid = open_revision(str(project.root)).outputs[EMBEDDINGS].oid
    entries = json.loads(shelved(project, oid).read_bytes())
    next(entry for entry in entries if entry["relpath"] == CHUNK)["relpath"] = name
    return json.dumps(sorted(entries, key=lambda entry: str(entry["relpath"])))


def swap_list(project: LakeProject, content: str, *, lock: bool) -> None:
    """The remote holds another list, under the name of the old one or, with ``lock``, where the lock file says so."""
    oid = open_revision(str(project.root)).outputs[EMBEDDINGS].oid
    there = shelved(project, oid)
    there.chmod(0o644)
    if lock:
        new = f"{hashlib.md5(content.encode()).hexdigest()}.dir"
        there = shelved(project, new)
        there.parent.mkdir(exist_ok=True)
        file = project.root / "dvc.lock"
        file.write_text(file.read_text().replace(oid, new))
        project.git("commit", "--quiet", "--all", "--message", "hostile")
    there.write_text(content)


NAMES = [
    "../../../../evil",
    "/tmp/evil",
    "a/../../../../../evil",
    "",
    ".",
    "C:\\evil",
    "c:evil",
    "a\0b",
    "a//b",
    "~/x",
]


@pytest.mark.parametrize("lock", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_list_that_names_what_no_leaf_holds_is_refused(project: LakeProject, name: str, lock: bool) -> None:
    swap_list(project, hostile_list(project, name), lock=lock)
    before = outside(project)
    with pytest.raises(DamagedArtifact) as raised:
        pull(project.root)
    assert "\n" not in str(raised.value)
    assert outside(project) == before
    assert not (project.root / EMBEDDINGS).exists()
    oid = open_revision(str(project.root)).outputs[EMBEDDINGS].oid
    assert not (project.root / ".dvc/cache/files/md5" / oid[:2] / oid[2:]).exists()


def test_dvc_itself_follows_such_a_list_where_verify_is_off(project: LakeProject) -> None:
    """The flaw that docs/remotes.md describes: when this fails, DVC has repaired it, and the page can say so."""
    swap_list(project, hostile_list(project, "../../../../../evil"), lock=False)
    with Repo(str(project.root)) as repo:
        repo.pull(targets=[str(project.root / EMBEDDINGS)])
    assert (project.root.parent / "evil").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda entries: entries[:-1],
        lambda entries: [*entries, {"relpath": "more", "md5": "0" * 32}],
        lambda entries: [*entries[:-1], entries[0]],
        lambda entries: [*entries[:-1], {**entries[0], "relpath": f"{entries[0]['relpath']}/x"}],
        lambda entries: {"not": "a list"},
    ],
)
def test_a_list_of_another_length_or_shape_is_refused(project: LakeProject, change: object) -> None:
    oid = open_revision(str(project.root)).outputs[EMBEDDINGS].oid
    swap_list(project, json.dumps(change(json.loads(shelved(project, oid).read_bytes()))), lock=True)  # type: ignore[operator]
    with pytest.raises(DamagedArtifact):
        pull(project.root)
    assert not (project.root / EMBEDDINGS).exists()


def test_an_object_that_is_not_what_its_name_says_or_too_large_is_refused(project: LakeProject) -> None:
    oid = open_revision(str(project.root)).files(EMBEDDINGS)[CHUNK]
    there = shelved(project, oid)
    there.chmod(0o644)
    before = there.read_bytes()
    there.write_bytes(before[:-1] + b"\0" if before[-1] else before[:-1] + b"\1")
    with pytest.raises(DamagedArtifact, match=f"remote 'shelf': object {oid} has other content"):
        pull(project.root)
    with open(there, "wb") as file:
        file.truncate(10**9)
    with pytest.raises(DamagedArtifact, match=f"remote 'shelf': object {oid} has more than the"):
        pull(project.root)
    there.unlink()
    with pytest.raises(MissingArtifact, match=f"remote 'shelf': does not have object {oid}"):
        pull(project.root)
    assert not (project.root / EMBEDDINGS).exists()


@pytest.mark.parametrize("name", ["lake.zarr/embeddings", "lake.zarr/embeddings/m", EMBEDDINGS, ".dvc/cache"])
def test_a_link_in_the_way_is_refused(project: LakeProject, name: str) -> None:
    elsewhere = project.root.parent / "elsewhere"
    elsewhere.mkdir()
    place = project.root / name
    if place.exists():
        shutil.rmtree(place)
    place.symlink_to(elsewhere)
    with pytest.raises(InvalidInput, match=f"{name}: is a link to .*elsewhere"):
        pull(project.root)
    assert list(elsewhere.iterdir()) == []


def test_a_link_within_a_leaf_is_refused(project: LakeProject) -> None:
    elsewhere = project.root.parent / "elsewhere"
    elsewhere.mkdir()
    (project.root / EMBEDDINGS).mkdir(parents=True)
    (project.root / EMBEDDINGS / "documents").symlink_to(elsewhere)
    with pytest.raises(InvalidInput, match="documents: is a link to the folder"):
        pull(project.root)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["../evil", "lake.zarr/../../evil", "/tmp/evil-bitlake", ".git/hooks", "deep/.git/hooks/post-checkout"],
)
def test_a_graph_with_outputs_outside_the_project_is_refused(project: LakeProject, name: str) -> None:
    for file in ("dvc.yaml", "dvc.lock"):
        text = (project.root / file).read_text()
        (project.root / file).write_text(text.replace(EMBEDDINGS, name))
    project.git("commit", "--quiet", "--all", "--message", "hostile")
    before = outside(project)
    with pytest.raises(BitlakeError) as raised:
        pull(project.root)
    assert "\n" not in str(raised.value)
    assert outside(project) == before


def test_every_remote_that_the_pages_add_is_verified() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    adding = [page for page in pages if "dvc remote add" in page.read_text()]
    assert adding
    for page in adding:
        assert re.search(r"dvc remote modify \S+ verify true", page.read_text()), page.name
    assert "verify = true" in (ROOT / ".dvc/config").read_text()
