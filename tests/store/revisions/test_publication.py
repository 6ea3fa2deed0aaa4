"""Publishing is all or nothing for whoever reads a tag: every object is in the remote, or there is no tag."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo

from store import open_lake
from store.errors import DamagedArtifact, InvalidInput, MissingArtifact, UnavailableResource
from store.revisions.publication import publish
from store.revisions.repairing import repair
from store.revisions.revision import open_revision
from store.revisions.verification import verify
from tests.servers import SECRET, s3
from tests.store.lakes import commit_embeddings, commit_judgements
from tests.store.revisions.lake_projects import LakeProject, make_project, rot
from tests.store.revisions.remote_projects import BUCKET, LEAF, Bucket, add_remote, environment, forget


@pytest.fixture(scope="module", autouse=True)
def isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with environment(tmp_path_factory.mktemp("environment")), pytest.MonkeyPatch.context() as patch:
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "test")
            patch.setenv(f"GIT_{role}_EMAIL", "test@example.com")
        yield


def compute(project: LakeProject, seed: int) -> None:
    """Two artifacts as of ``seed``, recorded and committed."""
    commit_embeddings(project.layout, rows=600, seed=seed)
    commit_judgements(project.layout, 600, 10)
    project.save(f"study {seed}", [LEAF, "lake.zarr/judgements/d"])


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> LakeProject:
    """A committed study with a shelf outside the repository and one, `shipped`, inside."""
    project = make_project(tmp_path_factory.mktemp("computed") / "project")
    compute(project, 0)
    add_remote(project, "shelf", url="../../shelf")
    add_remote(project, "shipped", default=True, url="../remote")
    (project.root / ".dvcignore").write_text("remote/\n")
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "remotes")
    return project


@pytest.fixture
def project(computed: LakeProject, tmp_path: Path) -> LakeProject:
    """A copy that a test may spoil, with a shelf of its own."""
    shutil.copytree(computed.root, tmp_path / "copy" / "project")
    return LakeProject(tmp_path / "copy" / "project")


def tags(project: LakeProject) -> list[str]:
    return project.git("tag").split()


def objects(folder: Path) -> dict[str, int]:
    """Size of every object below a remote's folder, by MD5."""
    return {
        "".join(path.parts[-2:]): path.stat().st_size
        for path in (folder / "files/md5").rglob("*")
        if path.is_file()
    }


def cached(project: LakeProject) -> dict[str, int]:
    return objects(project.root / ".dvc/cache")


def test_publishing_pushes_everything_and_then_tags(project: LakeProject, tmp_path: Path) -> None:
    done = publish(project.root, remote="shelf", tag="v1")
    there = objects(tmp_path / "copy/shelf")
    assert there == cached(project)
    assert (done.remote, done.tag, done.commit, done.removed) == ("shelf", "v1", None, 0)
    assert (done.objects, done.sent, done.size) == (len(there), len(there), sum(there.values()))
    assert project.git("cat-file", "-t", "v1") == "tag"
    assert project.git("rev-parse", "v1^{commit}") == project.git("rev-parse", "HEAD")
    assert f"{len(there)} objects in remote 'shelf'" in project.git(
        "tag", "--list", "--format=%(contents)", "v1"
    )
    forget(project)
    found = open_lake(project.root, rev="v1", remote="shelf").embeddings.sel(model="m", dataset="d")
    assert found.sizes["document"] == 600


def test_publishing_again_sends_nothing(project: LakeProject) -> None:
    publish(project.root, remote="shelf")
    assert publish(project.root, remote="shelf", tag="v1").sent == 0
    assert tags(project) == ["v1"]


def refused(project: LakeProject, **arguments: Any) -> str:
    """Why publishing is refused: one line, after which nothing was sent and nothing is tagged."""
    before = tags(project)
    with pytest.raises(InvalidInput) as raised:
        publish(project.root, **{"remote": "shelf", "tag": "v1", **arguments})
    assert tags(project) == before
    assert not (project.root.parent / "shelf").exists()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_stale_stages_are_named(project: LakeProject) -> None:
    (project.root / "params.yaml").write_text("setting: 2\n")
    project.git("commit", "--quiet", "--all", "--message", "another setting")
    assert refused(project) == (
        "embeddings-m-d, judgements-d: not up to date; "
        "run `dvc repro` (`dvc status` says why), then publish again"
    )


def test_an_artifact_that_changed_since_is_stale(project: LakeProject) -> None:
    commit_embeddings(project.layout, rows=5)
    assert refused(project).startswith("embeddings-m-d: not up to date")


@pytest.mark.parametrize(
    "name", ["params.yaml", "dvc.yaml", "dvc.lock", ".dvc/config", "lake.zarr/zarr.json"]
)
def test_what_a_tag_must_hold_has_to_be_committed(project: LakeProject, name: str) -> None:
    with open(project.root / name, "a") as file:
        file.write("\n")
    message = refused(project)
    assert message.startswith(f"{name}: not committed")
    assert "run `git add` and `git commit`, then publish again" in message


def test_a_group_that_git_does_not_know_has_to_be_committed(project: LakeProject) -> None:
    project.git("rm", "--quiet", "--cached", "lake.zarr/embeddings/m/zarr.json")
    project.git("commit", "--quiet", "--message", "forgotten")
    assert refused(project).startswith("lake.zarr/embeddings/m/: not committed")


def test_a_tag_that_exists_or_that_git_does_not_take_is_refused(project: LakeProject) -> None:
    project.git("tag", "v1")
    assert refused(project) == "tag: 'v1' exists already; choose another"
    assert refused(project, tag="v..1") == "tag: 'v..1' is no name that Git takes; choose another"
    assert refused(project, tag="-d") == "tag: '-d' is no name that Git takes; choose another"


def test_a_remote_must_be_known(project: LakeProject) -> None:
    assert refused(project, remote="attic").startswith("remote: 'attic' is not one of shelf, shipped; add it")
    with Repo(str(project.root)) as repo, repo.config.edit("repo") as config:
        del config["core"]["remote"]
    project.git("commit", "--quiet", "--all", "--message", "no default")
    assert refused(project, remote=None).startswith("remote: there is no default; name one with --remote")


def test_a_lake_that_does_not_verify_is_refused(project: LakeProject) -> None:
    with Repo(str(project.root)) as repo:
        assert repo.status() == {}
    rot(project.root / LEAF / "documents/c.0.0")
    with pytest.raises(
        DamagedArtifact, match=r"the lake does not verify, with 1 faults, the first: .*c\.0\.0: is damaged"
    ):
        publish(project.root, remote="shelf", tag="v1")
    assert tags(project) == []
    assert not (project.root.parent / "shelf").exists()


def chunk_in_cache(project: LakeProject) -> Path:
    oid = open_revision(str(project.root)).files(LEAF)["documents/c.0.0"]
    return project.root / ".dvc/cache/files/md5" / oid[:2] / oid[2:]


def test_a_damaged_object_of_the_cache_is_not_sent(project: LakeProject) -> None:
    path = chunk_in_cache(project)
    with Repo(str(project.root)) as repo:
        assert repo.status() == {}
    rot(path)
    with pytest.raises(
        DamagedArtifact,
        match=r"its object [0-9a-f]{32} in the cache is damaged \(.*\); run `lake verify --repair`",
    ):
        publish(project.root, remote="shelf", tag="v1")
    assert tags(project) == []
    assert not (project.root.parent / "shelf").exists()
    assert len(repair(project.root).done) == 1
    assert publish(project.root, remote="shelf", tag="v1").tag == "v1"


def test_an_object_that_the_cache_lost_is_not_up_to_date(project: LakeProject) -> None:
    chunk_in_cache(project).unlink()
    assert refused(project).startswith("embeddings-m-d: not up to date")


def test_what_a_remote_lost_or_holds_cut_short_is_sent_again(project: LakeProject, tmp_path: Path) -> None:
    """`dvc push` would say that everything is up to date, since the manifests are there."""
    publish(project.root, remote="shelf")
    shelf = tmp_path / "copy/shelf/files/md5"
    lost, short = sorted(path for path in shelf.rglob("*") if path.is_file() and path.suffix != ".dir")[:2]
    lost.unlink()
    short.chmod(0o644)
    short.write_bytes(b"")
    with Repo(str(project.root)) as repo:
        assert repo.push(remote="shelf") == 0
    assert publish(project.root, remote="shelf", tag="v1").sent == 2
    assert objects(tmp_path / "copy/shelf") == cached(project)


@pytest.mark.parametrize("before_it_fails", [0, 1, 20])
def test_a_push_that_fails_half_way_tags_nothing_and_the_next_completes_it(
    project: LakeProject,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    before_it_fails: int,
) -> None:
    from dvc_objects.fs.local import FsspecLocalFileSystem

    put: Any = FsspecLocalFileSystem.put_file
    calls = itertools.count()

    def failing(self: Any, source: Any, target: Any, **options: Any) -> None:
        if next(calls) >= before_it_fails:
            raise OSError(28, "No space left on device")
        put(self, source, target, **options)

    with monkeypatch.context() as patch:
        patch.setattr(FsspecLocalFileSystem, "put_file", failing)
        with pytest.raises(UnavailableResource) as raised:
            publish(project.root, remote="shelf", tag="v1")
    message = str(raised.value)
    assert "remote 'shelf': not all of it was published" in message
    assert "No space left on device" in message
    assert "publish again" in message
    assert "\n" not in message
    assert "Traceback" not in "".join(capfd.readouterr())
    assert tags(project) == []
    assert len(objects(tmp_path / "copy/shelf")) == before_it_fails
    assert publish(project.root, remote="shelf", tag="v1").tag == "v1"
    assert objects(tmp_path / "copy/shelf") == cached(project)


def test_an_s3_server_that_stops_in_the_middle_leaves_no_tag_and_the_next_publish_completes(
    project: LakeProject, capfd: pytest.CaptureFixture[str]
) -> None:
    with s3(BUCKET) as server:
        add_remote(project, "s3", url=f"s3://{BUCKET}/lake", endpointurl=server.url)
        project.git("commit", "--quiet", "--all", "--message", "s3")
        whole = len(cached(project))
        server.stop_after(15, method="PUT")
        with pytest.raises(UnavailableResource) as raised:
            publish(project.root, remote="s3", tag="v1")
        message = str(raised.value)
        assert message.startswith("remote 's3': not all of it was published")
        assert "\n" not in message
        output = "".join(capfd.readouterr())
        assert "Traceback" not in output
        assert SECRET not in message + output
        assert tags(project) == []
        server.start()
        done = publish(project.root, remote="s3", tag="v1")
        assert done.tag == "v1"
        assert 0 < done.sent < whole
        forget(project)
        assert verify(str(project.root), "v1", "s3").faults == ()


def test_a_remote_inside_the_repository_is_committed_before_it_is_tagged(project: LakeProject) -> None:
    done = publish(project.root, tag="v1")
    assert (done.remote, done.tag, done.commit) == ("shipped", None, "remote/")
    assert tags(project) == []
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "remote")
    done = publish(project.root, tag="v1")
    assert (done.sent, done.tag, done.commit) == (0, "v1", None)
    clone = project.root.parent / "clone"
    subprocess.run(["git", "clone", "--quiet", str(project.root), str(clone)], check=True)
    with Repo(str(clone)) as repo:
        repo.pull()
    found = verify(str(clone))
    assert (found.faults, found.warnings, found.notes) == ((), (), ())
    assert found.checked["artifacts"] == 2


def release(project: LakeProject, seed: int, tag: str) -> None:
    compute(project, seed)
    publish(project.root)
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", f"remote {seed}")
    assert publish(project.root, tag=tag).tag == tag


def test_a_remote_inside_the_repository_holds_one_release_and_git_the_earlier_ones(
    project: LakeProject,
) -> None:
    release(project, 1, "v1")
    first = objects(project.root / "remote")
    leftover = project.root / "remote/files/md5/00/leftover"
    leftover.parent.mkdir(exist_ok=True)
    leftover.write_text("half")
    release(project, 2, "v2")
    second = objects(project.root / "remote")
    assert second != first
    assert not leftover.exists()
    with Repo(str(project.root)) as repo:
        assert set(second) == {info.value for infos in repo.used_objs().values() for info in infos}
    forget(project)
    for tag in ("v1", "v2"):
        assert verify(str(project.root), tag, "shipped").faults == ()


def test_a_release_that_is_too_large_for_the_repository_changes_nothing(
    project: LakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(cached(project).values())
    monkeypatch.setattr("store.revisions.publication.RELEASE_BYTES", size - 1)
    assert refused(project, remote=None) == (
        f"remote 'shipped': the release has {size:,} bytes, and a remote inside the repository may have "
        f"{size - 1:,}; publish to another remote with --remote"
    )
    assert not (project.root / "remote").exists()
    assert publish(project.root, remote="shelf").size == size
    monkeypatch.setattr("store.revisions.publication.RELEASE_BYTES", size)
    assert publish(project.root).size == size


def test_a_folder_that_git_ignores_is_a_remote_like_any_other(project: LakeProject) -> None:
    """Git would not keep what it held for earlier tags, so nothing is removed."""
    with open(project.root / ".gitignore", "a") as file:
        file.write("/remote/\n")
    kept = project.root / "remote/files/md5/00/kept"
    kept.parent.mkdir(parents=True)
    kept.write_text("of an earlier tag")
    done = publish(project.root, tag="v1")
    assert (done.removed, done.commit, done.tag) == (0, None, "v1")
    assert kept.exists()


def test_a_project_outside_git_cannot_be_published(project: LakeProject) -> None:
    shutil.rmtree(project.root / ".git")
    with pytest.raises((InvalidInput, MissingArtifact)) as raised:
        publish(project.root, remote="shelf")
    assert "\n" not in str(raised.value)


def an_object(shelf: Path) -> Path:
    return sorted(path for path in shelf.rglob("*") if path.is_file() and path.suffix != ".dir")[0]


def test_one_flipped_bit_in_the_remote_is_refused_named_and_repaired(
    project: LakeProject, tmp_path: Path
) -> None:
    publish(project.root, remote="shelf")
    spoiled = an_object(tmp_path / "copy/shelf/files/md5")
    oid = "".join(spoiled.parts[-2:])
    rot(spoiled)
    with pytest.raises(DamagedArtifact) as raised:
        publish(project.root, remote="shelf", tag="v1")
    message = str(raised.value)
    assert message.startswith(f"remote 'shelf': object {oid} has other content there (MD5 ")
    assert message.endswith(f"{spoiled}); `lake publish --repair` sends it again from the cache")
    assert tags(project) == []
    done = publish(project.root, remote="shelf", tag="v1", repair=True)
    assert (done.sent, done.tag) == (1, "v1")
    forget(project)
    assert verify(str(project.root), "v1", "shelf").faults == ()


@pytest.mark.parametrize("flip", [True, False])
def test_a_server_says_by_its_checksum_what_it_holds(project: LakeProject, flip: bool) -> None:
    with s3(BUCKET) as server:
        add_remote(project, "s3", url=f"s3://{BUCKET}/lake", endpointurl=server.url)
        project.git("commit", "--quiet", "--all", "--message", "s3")
        publish(project.root, remote="s3")
        oid = open_revision(str(project.root)).files(LEAF)["documents/c.0.0"]
        server.answers.clear()
        if flip:
            with (
                Bucket(server).holding(oid, 9),
                pytest.raises(DamagedArtifact, match=f"object {oid} has other"),
            ):
                publish(project.root, remote="s3", tag="v1")
            return
        assert publish(project.root, remote="s3", tag="v1").sent == 0
        assert sum(answer.sent for answer in server.answers if answer.method == "GET") < 20_000
