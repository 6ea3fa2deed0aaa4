"""Time travel and streaming: what a revision holds is read from where it is kept, and nothing is ever made up."""

from __future__ import annotations

import importlib.util
import pickle
import shutil
import subprocess
import traceback
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from store import open_lake
from store.artifacts.configuration import Configuration, columns_of
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.neighbours import EXACT_NEIGHBOURS
from store.errors import BitlakeError, DamagedArtifact, InvalidInput, MissingArtifact, UnavailableResource
from store.lake import Lake
from store.leaf.arrays.shard import CHECKSUM_BYTES, index_bytes
from store.leaf.commit import commit_leaf
from store.leaf.labelled import datasets
from store.leaf.reading import open_leaf
from store.leaf.schema import CHUNK_BYTES, SHARD_CHUNKS
from tests.counts import count, full_counts
from tests.servers import SECRET, Server, files, s3
from tests.store.lakes import CELL, commit_embeddings, commit_judgements, describe_embeddings, vectors
from tests.store.revisions.lake_projects import LakeProject, make_project
from tests.store.revisions.remote_projects import (
    BUCKET,
    LEAF,
    Bucket,
    add_remote,
    environment,
    forget,
    oid_of,
    push,
)

JUDGEMENTS = "lake.zarr/judgements/d"
NEIGHBOURS = "lake.zarr/exact_neighbours/m/d"
ROWS = {"v1": 1000, "v2": 600}


@pytest.fixture(scope="module", autouse=True)
def isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with environment(tmp_path_factory.mktemp("environment")):
        yield


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with s3(BUCKET) as server:
        yield server


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory, server: Server) -> LakeProject:
    """Two revisions on S3 and in a folder, and nothing on this machine but copies of the workspace beside the project.

    The first revision was committed before any remote was set up.
    """
    root = tmp_path_factory.mktemp("pushed")
    project = make_project(root / "project")
    for tag, rows in ROWS.items():
        commit_embeddings(project.layout, rows=rows, seed=rows)
        commit_judgements(project.layout, documents=rows, queries=10)
        neighbours(project)
        project.save(tag, [LEAF, JUDGEMENTS], not_kept=[NEIGHBOURS], tag=tag)
        add_remote(project, "s3", default=True, url=f"s3://{BUCKET}/lake", endpointurl=server.url)
        add_remote(project, "folder", url=str(root / "folder"))
        push(project)
        push(project, "folder")
        shutil.copytree(project.layout.lake, root / tag / "lake.zarr")
    project.git("branch", "older", "v1")
    forget(project)
    return project


def neighbours(project: LakeProject) -> None:
    with commit_leaf(project.layout, EXACT_NEIGHBOURS, CELL) as leaf:
        for name, values in columns_of([Configuration("float32", "", "float", 512, 64)]).items():
            leaf.write(name, values)
        leaf.write("rows", np.zeros((1, 10, 5), np.int32))
        leaf.write("scores", np.zeros((1, 10, 5)))
        leaf.describe(**CELL, undertrained=[])


@pytest.fixture(scope="module")
def on_s3(pushed: LakeProject) -> Lake:
    """The first revision, with a connection to the server: making one takes a while."""
    lake: Lake = open_lake(pushed.root, rev="v1", remote="s3")
    return lake


@pytest.fixture
def bucket(server: Server) -> Bucket:
    server.answers.clear()
    return Bucket(server)


def embeddings(lake: Lake) -> xr.Dataset:
    found: xr.Dataset = lake.embeddings.sel(**CELL)
    return found


def streamed(project: LakeProject, rev: str | None = "v1", remote: str | None = "folder") -> xr.Dataset:
    return embeddings(open_lake(project.root, rev=rev, remote=remote))


# What is read


@pytest.mark.parametrize("remote", ["s3", "folder", None])
@pytest.mark.parametrize("tag", ["v1", "v2"])
def test_a_revision_reads_as_its_workspace_did(pushed: LakeProject, tag: str, remote: str | None) -> None:
    found = streamed(pushed, tag, remote)
    expected = embeddings(open_lake(pushed.root.parent / tag))
    assert "document_id" in found.coords
    xr.testing.assert_identical(found, expected)
    np.testing.assert_array_equal(found.documents, vectors(ROWS[tag], seed=ROWS[tag]))


def test_the_lock_of_the_workspace_is_read_from_a_remote_without_a_revision(pushed: LakeProject) -> None:
    xr.testing.assert_identical(
        streamed(pushed, None, "s3"), embeddings(open_lake(pushed.root.parent / "v2"))
    )


def test_commits_tags_branches_and_relative_names_are_revisions(pushed: LakeProject) -> None:
    commit = pushed.git("rev-parse", "v1")
    for rev in ("v1", "older", commit, commit[:8], "HEAD~1"):
        assert streamed(pushed, rev).sizes["document"] == ROWS["v1"], rev


def test_every_leaf_of_a_revision_is_listed(pushed: LakeProject) -> None:
    lake = open_lake(pushed.root, rev="v1")
    assert lake.embeddings.cells() == [CELL]
    assert lake.judgements.cells() == [{"dataset": "d"}]
    assert lake.geometry.cells() == []
    with pytest.raises(MissingArtifact, match=r"embeddings: no leaf for \{'model': 'x'\}; here: m/d"):
        lake.embeddings.sel(model="x")


def test_what_lies_in_the_cache_is_read_there(pushed: LakeProject, tmp_path: Path, bucket: Bucket) -> None:
    commit_embeddings(
        (project := make_project(tmp_path / "project")).layout, rows=ROWS["v1"], seed=ROWS["v1"]
    )
    add_remote(project, "s3", default=True, url=f"s3://{BUCKET}/lake", endpointurl=bucket.server.url)
    project.save("first", [LEAF])
    shutil.rmtree(project.layout.lake)
    found = streamed(project, "HEAD", None)
    np.testing.assert_array_equal(found.documents, vectors(ROWS["v1"], seed=ROWS["v1"]))
    assert bucket.server.answers == []
    # The same objects were pushed by the other project: what the cache loses, the remote still has.
    shutil.rmtree(project.root / ".dvc/cache")
    np.testing.assert_array_equal(found.queries, vectors(10, seed=ROWS["v1"] + 1))
    assert bucket.server.answers


# What reading costs


def test_opening_asks_for_each_document_once_and_for_no_chunk(
    pushed: LakeProject, on_s3: Lake, bucket: Bucket
) -> None:
    leaf = open_leaf(on_s3.leaves.source(LEAF), EMBEDDINGS)
    _ = datasets(leaf)
    expected = {"", "zarr.json", "documents/zarr.json", "queries/zarr.json"}
    paths = [answer.path for answer in bucket.server.answers]
    assert sorted(path[-30:] for path in paths) == sorted(
        oid_of(pushed, name, "v1")[2:].ljust(30) if name else oid_of(pushed, name, "v1")[-30:]
        for name in expected
    )
    assert {answer.method for answer in bucket.server.answers} == {"GET"}


def test_ten_rows_cost_the_index_of_a_shard_and_at_most_two_chunks(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted at the server: 500,000 × 384 in float16; reduced runs take 5,000 rows in three shards."""
    rows, dimension = count(full=500_000, quick=5_000), 384
    shard_chunks = SHARD_CHUNKS if full_counts() else 4
    monkeypatch.setattr("store.leaf.schema.CHUNK_BYTES", CHUNK_BYTES)
    monkeypatch.setattr("store.leaf.schema.SHARD_CHUNKS", shard_chunks)
    project = make_project(tmp_path / "project")
    bits = np.arange(rows * dimension, dtype=np.uint32).astype(np.uint16) % 0x3C00
    values = bits.view(np.float16).reshape(rows, dimension)
    with commit_leaf(project.layout, EMBEDDINGS, CELL) as leaf:
        leaf.write("documents", values)
        leaf.write("queries", values[:10])
        describe_embeddings(leaf)
    chunk_rows, shard_rows = 512, 512 * shard_chunks
    document = zarr.open_array(project.root / LEAF, path="documents", mode="r")
    assert (document.chunks, document.shards) == ((chunk_rows, dimension), (shard_rows, dimension))
    project.save("large", [LEAF], tag="large")
    add_remote(project, "s3", url=f"s3://{BUCKET}/lake", endpointurl=bucket.server.url)
    push(project, "s3")
    forget(project)
    found = streamed(project, "large", "s3")
    index, chunk = index_bytes(shard_chunks), chunk_rows * dimension * 2 + CHECKSUM_BYTES
    known: set[int] = set()  # an index that was read is not asked for again
    for first, chunks, shards in [
        (0, 1, 1),
        (chunk_rows - 5, 2, 1),
        (shard_rows + 100, 1, 1),
        (shard_rows - 5, 2, 2),
        (rows - 10, 1, 1),
    ]:
        bucket.server.answers.clear()
        np.testing.assert_array_equal(found.documents[first : first + 10].values, values[first : first + 10])
        sent = [answer.sent for answer in bucket.server.answers]
        touched = {first // shard_rows, (first + 9) // shard_rows}
        assert len(touched) == shards
        assert sorted(sent) == [index] * len(touched - known) + [chunk * chunks // shards] * shards
        known |= touched
        assert all(answer.method == "GET" and answer.status == 206 for answer in bucket.server.answers)
    print(f"{rows} × {dimension}: ten rows at a shard's start cost {index + chunk} bytes in 2 requests")


# What is not there, or not what it should be


@pytest.mark.parametrize("name", ["", "zarr.json", "documents/zarr.json", "documents/c.1.0"])
def test_an_object_that_is_tracked_but_not_to_be_had_raises(
    pushed: LakeProject, on_s3: Lake, bucket: Bucket, name: str
) -> None:
    oid = oid_of(pushed, name, "v1")
    with (
        bucket.holding(oid, None),
        pytest.raises(
            MissingArtifact, match=rf"v1: object {oid} is neither in the cache nor in remote 's3'; push it"
        ),
    ):
        _ = embeddings(on_s3).documents[300:310].values
    _ = embeddings(on_s3).documents[300:310].values


def test_what_is_missing_spoils_nothing_else(pushed: LakeProject, on_s3: Lake, bucket: Bucket) -> None:
    found = embeddings(on_s3)
    with bucket.holding(oid_of(pushed, "documents/c.1.0", "v1"), None):
        np.testing.assert_array_equal(found.documents[:256], vectors(1000, seed=1000)[:256])
        with pytest.raises(MissingArtifact):
            _ = found.documents[:257].values


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "",
            5,
            r"has other content in remote 's3' \(MD5 [0-9a-f]{32}\); remove it there.* and push it again",
        ),
        ("zarr.json", 100, "has other content in remote 's3'"),
        ("documents/zarr.json", 5, "has other content in remote 's3'"),
        ("documents/c.1.0", 10, r"documents/c\.1\.0 is damaged"),
        ("documents/c.1.0", -5, r"documents/c\.1\.0 is damaged"),
        ("documents/c.1.0", b"", "is too short in remote 's3'; remove it there.* and push it again"),
        ("documents/c.1.0", b"short", "is too short in remote 's3'"),
        ("documents/c.1.0", b"\0" * 9000, r"documents/c\.1\.0 is damaged"),
        ("documents/zarr.json", b"", "is too short in remote 's3'; remove it there.* and push it again"),
    ],
)
def test_a_damaged_object_raises(
    pushed: LakeProject, on_s3: Lake, bucket: Bucket, name: str, change: bytes | int, message: str
) -> None:
    with (
        bucket.holding(oid_of(pushed, name, "v1"), change),
        pytest.raises(DamagedArtifact, match=message) as raised,
    ):
        _ = embeddings(on_s3).documents[256:266].values
    assert "\n" not in str(raised.value)


def test_a_server_that_goes_away_is_named_and_coming_back_is_enough(
    pushed: LakeProject, on_s3: Lake, server: Server
) -> None:
    expected = vectors(1000, seed=1000)
    for answers in range(3):
        found = embeddings(on_s3)
        server.stop_after(answers)
        try:
            with pytest.raises(UnavailableResource, match=r"v1: cannot read from remote 's3' \(") as raised:
                for row in range(0, 1000, 100):
                    np.testing.assert_array_equal(found.documents[row], expected[row])
        finally:
            server.start()
        text = "".join(traceback.format_exception(raised.value))
        assert SECRET not in text
        assert "\n" not in str(raised.value)
        assert str(raised.value).endswith("see that it can be reached, then try again")
        np.testing.assert_array_equal(found.documents, expected)


def test_a_refused_login_shows_no_secret(pushed: LakeProject, tmp_path: Path) -> None:
    def refuse(environ: object, start_response: object) -> list[bytes]:
        start_response("403 Forbidden", [("Content-Length", "0")])  # type: ignore[operator]
        return []

    project = make_project(tmp_path / "project")
    shutil.copy(pushed.root / "dvc.lock", project.root)
    shutil.copy(pushed.root / "dvc.yaml", project.root)
    with Server(refuse) as server:
        add_remote(project, "s3", default=True, url=f"s3://{BUCKET}/lake", endpointurl=server.url)
        signed = server.url.replace("//", f"//someone:{SECRET}@")
        add_remote(project, "web", url=f"{signed}/lake")
        for remote in ("s3", "web"):
            with pytest.raises(UnavailableResource, match=f"cannot read from remote '{remote}'") as raised:
                streamed(project, None, remote)
            assert SECRET not in "".join(traceback.format_exception(raised.value))


# Remotes that are not object stores


def test_a_plain_web_server_is_a_remote(pushed: LakeProject) -> None:
    with files(pushed.root.parent / "folder") as web:
        add_remote(pushed, "web", url=web.url)
        found = streamed(pushed, "v1", "web")
        web.answers.clear()
        np.testing.assert_array_equal(found.documents[300:310], vectors(1000, seed=1000)[300:310])
        assert sorted(answer.sent for answer in web.answers) == [index_bytes(4), 64 * 32 + CHECKSUM_BYTES]


def test_a_web_server_that_ignores_ranges_is_refused(pushed: LakeProject) -> None:
    with files(pushed.root.parent / "folder", ranges=False) as web:
        add_remote(pushed, "web", url=web.url)
        found = streamed(pushed, "v1", "web")
        with pytest.raises(
            UnavailableResource,
            match=r"remote 'web' sends whole files where ranges of bytes are asked for.*dvc pull",
        ):
            _ = found.documents[300:310].values


def test_a_shipped_remote_is_read_as_the_revision_had_it(tmp_path: Path) -> None:
    """`remote/` is rewritten at a release; Git keeps what it held."""
    project = make_project(tmp_path / "project")
    add_remote(project, "shipped", default=True, url="../remote")
    for tag, rows in ROWS.items():
        commit_embeddings(project.layout, rows=rows, seed=rows)
        project.save(tag, [LEAF])
        shutil.rmtree(project.root / "remote", ignore_errors=True)
        push(project)
        project.git("add", "--all")
        project.git("commit", "--quiet", "--message", f"{tag} in the shipped remote")
        project.git("tag", tag)
    forget(project)
    project.git("clone", "--quiet", "--bare", str(project.root), str(tmp_path / "bare.git"))
    for repo in (
        project.root,
        f"file://{project.root}",
        tmp_path / "bare.git",
        f"file://{tmp_path}/bare.git",
    ):
        for tag, rows in ROWS.items():
            found = embeddings(open_lake(repo, rev=tag))
            np.testing.assert_array_equal(found.documents, vectors(rows, seed=rows))
    found = embeddings(open_lake(f"file://{project.root}"))
    assert found.sizes["document"] == ROWS["v2"]


# Where projects are


def test_a_project_is_found_by_url_and_in_a_bare_clone(pushed: LakeProject, tmp_path: Path) -> None:
    with Path(pushed.root / "dvc.yaml").open("a") as file:
        file.write("# \n")
    clone = make_project(tmp_path / "clone")
    shutil.rmtree(clone.root)
    pushed.git("clone", "--quiet", "--bare", str(pushed.root), str(tmp_path / "bare.git"))
    expected = embeddings(open_lake(pushed.root.parent / "v1"))
    # The first revision knows no remote of its own, and a clone does not bring the settings of a workspace.
    with pytest.raises(MissingArtifact, match=r"is not in the cache, and no remote is the default; name one"):
        embeddings(open_lake(f"file://{pushed.root}", rev="v1"))
    for repo in (f"file://{pushed.root}", f"file://{tmp_path}/bare.git", tmp_path / "bare.git"):
        found = embeddings(open_lake(repo, rev="v2"))
        assert found.sizes["document"] == ROWS["v2"]
        with pytest.raises(InvalidInput, match=r"rev: 'v3' is no commit, tag or branch of"):
            open_lake(repo, rev="v3")
    assert expected.sizes["document"] == ROWS["v1"]


def test_a_worktree_reads_like_the_project_it_belongs_to(pushed: LakeProject, tmp_path: Path) -> None:
    pushed.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "tree"), "v2")
    (tmp_path / "tree/.dvc/config").write_bytes((pushed.root / ".dvc/config").read_bytes())
    tree = LakeProject(tmp_path / "tree")
    for rev, rows in (("v1", ROWS["v1"]), ("v2", ROWS["v2"]), (None, ROWS["v2"])):
        np.testing.assert_array_equal(streamed(tree, rev).documents, vectors(rows, seed=rows))


def test_a_project_in_a_folder_of_a_repository(tmp_path: Path) -> None:
    project = make_project(tmp_path / "repository/inside/project")
    shutil.rmtree(project.root / ".git")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path / "repository", check=True)
    add_remote(project, "shipped", default=True, url="../remote")
    commit_embeddings(project.layout, rows=300)
    project.save("first", [LEAF])
    push(project)
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "shipped")
    commit_embeddings(project.layout, rows=70)
    project.save("second", [LEAF])
    shutil.rmtree(project.root / "remote")
    forget(project)
    for repo in (project.root, project.root / "lake.zarr"):
        repo.mkdir(exist_ok=True)
        found = embeddings(open_lake(repo, rev="HEAD~1"))
        np.testing.assert_array_equal(found.documents, vectors(300))
    with pytest.raises(
        MissingArtifact, match="neither in the cache nor in remote 'shipped' of that revision nor"
    ):
        embeddings(open_lake(project.root, rev="HEAD"))


def test_a_project_that_may_not_be_written_is_read(pushed: LakeProject, tmp_path: Path) -> None:
    shutil.copytree(pushed.root, tmp_path / "project")
    before = sorted(path for path in (tmp_path / "project").rglob("*") if ".git/" not in str(path))
    project = LakeProject(tmp_path / "project")
    assert streamed(project).sizes["document"] == ROWS["v1"]
    assert before == sorted(path for path in (tmp_path / "project").rglob("*") if ".git/" not in str(path))


def test_remotes_are_those_of_today(pushed: LakeProject, tmp_path: Path) -> None:
    """Both revisions are read through a remote that neither knew."""
    shutil.copytree(pushed.root, tmp_path / "project")
    shutil.move(pushed.root.parent / "folder", tmp_path / "moved")
    try:
        project = LakeProject(tmp_path / "project")
        add_remote(project, "folder", url=str(tmp_path / "moved"))
        add_remote(project, "new", url=str(tmp_path / "moved"))
        for rev in ROWS:
            for remote in ("folder", "new"):
                assert streamed(project, rev, remote).documents.values.shape == (ROWS[rev], 16)
    finally:
        shutil.move(tmp_path / "moved", pushed.root.parent / "folder")


def test_a_streamed_leaf_travels_to_another_process(pushed: LakeProject) -> None:
    again = pickle.loads(pickle.dumps(streamed(pushed, "v1", "s3")))
    np.testing.assert_array_equal(again.documents[:70], vectors(1000, seed=1000)[:70])


# Mistakes


def test_what_is_not_kept_with_revisions_says_so(pushed: LakeProject) -> None:
    lake = open_lake(pushed.root, rev="v1", remote="s3")
    with pytest.raises(
        MissingArtifact,
        match=r"exact_neighbours/m/d of .*@v1: is not kept with revisions.*check the revision out",
    ):
        lake.neighbours.sel(**CELL)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"rev": "v9"}, InvalidInput, r"rev: 'v9' is no commit, tag or branch of .*project$"),
        ({"rev": "--help"}, InvalidInput, "rev: '--help' is no commit"),
        (
            {"remote": "s4"},
            InvalidInput,
            r"remote: 's4' is not one of .*s3, folder.*; add it with `dvc remote add`",
        ),
        ({"rev": "v1", "remote": "s4"}, InvalidInput, "remote: 's4' is not one of"),
    ],
)
def test_unknown_names_are_refused_in_one_line(
    pushed: LakeProject, arguments: dict[str, str], kind: type[BitlakeError], message: str
) -> None:
    with pytest.raises(kind, match=message) as raised:
        open_lake(pushed.root, **arguments)
    assert "\n" not in str(raised.value)


def test_what_is_no_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match=r": is not a DVC project; give its root or its Git URL"):
        open_lake(tmp_path, rev="v1")
    subprocess.run(["git", "init", "--quiet", tmp_path / "git"], check=True)
    git = [
        "git",
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.com",
        "commit",
        "--quiet",
        "--allow-empty",
        "-m",
        "x",
    ]
    subprocess.run(git, cwd=tmp_path / "git", check=True)
    with pytest.raises(MissingArtifact, match=r"is not a DVC project"):
        open_lake(tmp_path / "git", rev="HEAD")
    secret = f"https://someone:{SECRET}@127.0.0.1:9/lake.git?token={SECRET}"
    for where in (tmp_path / "nowhere", secret):
        with pytest.raises(UnavailableResource, match="cannot be cloned") as raised:
            open_lake(where)
        assert SECRET not in "".join(traceback.format_exception(raised.value))
        assert "\n" not in str(raised.value)


def test_without_any_remote_the_remedy_is_named(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    commit_embeddings(project.layout)
    project.save("first", [LEAF])
    assert embeddings(open_lake(project.root, rev="HEAD")).sizes["document"] == 100
    forget(project)
    with pytest.raises(
        MissingArtifact, match=r"object \w+\.dir is not in the cache, and no remote is the default"
    ):
        embeddings(open_lake(project.root, rev="HEAD"))
    with pytest.raises(InvalidInput, match=r"remote: 's3' is not one of there is none"):
        open_lake(project.root, remote="s3")


@pytest.mark.parametrize("protocol", ["gs", "azure", "ssh"])
def test_what_a_remote_needs_to_be_installed_is_named(pushed: LakeProject, protocol: str) -> None:
    if importlib.util.find_spec(f"dvc_{protocol}"):
        pytest.skip(f"dvc-{protocol} is installed")
    add_remote(pushed, protocol, url=f"{protocol}://bucket/lake")
    with pytest.raises(
        UnavailableResource, match=f"remote '{protocol}': .*; run `pip install dvc-{protocol}`$"
    ) as raised:
        open_lake(pushed.root, rev="v1", remote=protocol)
    assert "\n" not in str(raised.value)
