"""Verification names every fault: what is damaged, gone, in the wrong place or left over."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.named_studies import claims
from store.artifacts.geometry import GEOMETRY
from store.artifacts.schemas import SCHEMAS
from store.errors import BitlakeError, DamagedArtifact, InvalidInput, MissingArtifact, UnavailableResource
from store.leaf.commit import commit_leaf
from store.leaf.reading import open_leaf
from store.leaf.schema import SCHEMA_VERSION
from store.revisions.verification import Verification, directory_digest, verify
from tests.counts import count
from tests.servers import files
from tests.store.lakes import commit_embeddings
from tests.store.revisions.lake_projects import LakeProject
from tests.store.revisions.remote_projects import add_remote, environment, forget, oid_of, push
from tests.store.small_studies import CODES, EMBEDDINGS, JUDGEMENTS, KEPT, NEIGHBOURS, make_study, save


@pytest.fixture(scope="module", autouse=True)
def isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with environment(tmp_path_factory.mktemp("environment")):
        yield


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> LakeProject:
    """A sound study with a tag and a remote; tests put back what they change."""
    project = make_study(tmp_path_factory.mktemp("sound") / "project", tag="v1")
    add_remote(project, "shelf", default=True, url="../../shelf")
    push(project)
    project.git("commit", "--quiet", "--all", "--message", "remote")
    return project


@pytest.fixture
def project(sound: LakeProject, tmp_path: Path) -> LakeProject:
    """A copy that a test may spoil, with a shelf of its own."""
    shutil.copytree(sound.root.parent, tmp_path / "copy")
    return LakeProject(tmp_path / "copy" / sound.root.name)


def named(found: Verification) -> set[tuple[str, str]]:
    return {(fault.artifact, fault.file) for fault in found.faults}


def lines(found: Verification) -> list[str]:
    return [fault.line for fault in found.faults]


def lake_files(project: LakeProject, *, chunks_only: bool = False) -> list[tuple[str, str]]:
    """Every file of every kept artifact, and of the groups above: the artifact and the file's name in it."""
    found = [
        (leaf, path.relative_to(project.root / leaf).as_posix())
        for leaf in KEPT
        for path in sorted((project.root / leaf).rglob("*"))
        if path.is_file() and (not chunks_only or path.name.startswith("c"))
    ]
    if chunks_only:
        return found
    groups = {parent for leaf in [*KEPT, NEIGHBOURS] for parent in Path(leaf).parents} - {Path(".")}
    return [*found, *((group.as_posix(), "zarr.json") for group in sorted(groups))]


def read_array(project: LakeProject, leaf: str, file: str) -> None:
    """Read the array that the chunk file belongs to."""
    open_leaf(project.root / leaf, SCHEMAS[leaf.split("/")[1]]).read(file.rpartition("/")[0])


def test_a_sound_lake_has_no_faults_and_says_what_was_checked(sound: LakeProject) -> None:
    found = verify(str(sound.root))
    assert (found.faults, found.warnings, found.notes) == ((), (), ())
    paths = [
        path for leaf in [*KEPT, NEIGHBOURS] for path in (sound.root / leaf).rglob("*") if path.is_file()
    ]
    assert found.checked == {
        "artifacts": 5,
        "files": len(paths),
        "chunks": sum(path.name.startswith("c") for path in paths),
        "bytes": sum(path.stat().st_size for path in paths),
    }
    assert found.as_json()["checked"] == found.checked


def test_the_hash_of_a_folder_is_that_of_dvc(sound: LakeProject) -> None:
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

    listed = {"zarr.json": "0" * 32, "documents/c.0.0": "1" * 32, "documents/zarr.json": "2" * 32}
    tree = Tree()  # type: ignore[no-untyped-call]
    for name, md5 in listed.items():
        tree.add(tuple(name.split("/")), None, HashInfo("md5", md5))
    tree.digest()
    assert directory_digest(listed) == tree.oid


def test_every_flipped_bit_is_reported_and_reading_it_raises(
    sound: LakeProject, record_property: Callable[[str, object], None]
) -> None:
    random = np.random.RandomState(0)
    candidates = lake_files(sound)
    flips = count(full=1000, quick=100)
    reads = 0
    for number in range(flips):
        leaf, file = candidates[random.randint(len(candidates))]
        path = sound.root / leaf / file
        before = path.read_bytes()
        # The tail of a shard is its index: every fourth flip is there.
        last = len(before)
        at = random.randint(max(0, last - 68), last) if number % 4 == 0 else random.randint(last)
        damaged = bytearray(before)
        damaged[at] ^= 1 << random.randint(8)
        path.write_bytes(damaged)
        try:
            assert named(verify(str(sound.root))) == {(leaf, file)}, (leaf, file, at)
            if path.name.startswith("c"):
                reads += 1
                with pytest.raises(DamagedArtifact):
                    read_array(sound, leaf, file)
        finally:
            path.write_bytes(before)
    assert verify(str(sound.root)).faults == ()
    assert reads > flips / 4
    record_property("bit flips reported", flips)
    print(f"{flips} of {flips} flipped bits reported; reading raised for all {reads} in chunk files")


def test_every_deleted_truncated_or_swapped_chunk_file_is_reported_and_reading_it_raises(
    sound: LakeProject, record_property: Callable[[str, object], None]
) -> None:
    random = np.random.RandomState(1)
    candidates = lake_files(sound, chunks_only=True)
    rounds = count(full=102, quick=21)
    for number in range(rounds):
        leaf, file = candidates[random.randint(len(candidates))]
        path = sound.root / leaf / file
        before = path.read_bytes()
        damaged = {path: before}
        if number % 3 == 0:
            path.unlink()
        elif number % 3 == 1:
            path.write_bytes(before[: random.randint(len(before))])
        else:
            others = [sound.root / other / name for other, name in candidates]
            others = [other for other in others if other.read_bytes() != before]
            other = others[random.randint(len(others))]
            damaged[other] = other.read_bytes()
            path.write_bytes(damaged[other])
            other.write_bytes(before)
        try:
            reported = {f"{artifact}/{name}" for artifact, name in named(verify(str(sound.root)))}
            assert reported == {path.relative_to(sound.root).as_posix() for path in damaged}
            for path in damaged:
                at = path.relative_to(sound.root).as_posix()
                leaf = next(leaf for leaf in KEPT if at.startswith(f"{leaf}/"))
                with pytest.raises(DamagedArtifact):
                    read_array(sound, leaf, at.removeprefix(f"{leaf}/"))
        finally:
            for path, content in damaged.items():
                path.write_bytes(content)
    assert verify(str(sound.root)).faults == ()
    record_property("chunk files deleted, truncated or swapped, reported", rounds)
    print(f"{rounds} of {rounds} deleted, truncated or swapped chunk files reported; reading raised for each")


def test_faults_say_what_is_wrong_and_what_to_do(project: LakeProject) -> None:
    folder = project.root / EMBEDDINGS
    shard = bytearray((folder / "documents/c.0.0").read_bytes())
    shard[100] ^= 1
    (folder / "documents/c.0.0").write_bytes(shard)
    (folder / "documents/c.1.0").unlink()
    (folder / "documents/c.9.0").write_bytes(b"more")
    document = json.loads((folder / "queries/zarr.json").read_text())
    (folder / "queries/zarr.json").write_text(json.dumps(document))
    shutil.rmtree(project.root / CODES)
    found = verify(str(project.root))
    again = f"remove {EMBEDDINGS}, then run `dvc pull {EMBEDDINGS}`"
    listed, names = lines(found), [fault.file for fault in found.faults]
    assert listed[0] == f"{CODES}: is not here; remove {CODES}, then run `dvc pull {CODES}`"
    assert names == ["", "documents/c.0.0", "documents/c.1.0", "documents/c.9.0", "queries/zarr.json"]
    assert listed[1].startswith(f"{EMBEDDINGS}/documents/c.0.0: has other content than in dvc.lock (MD5 ")
    assert listed[2] == f"{EMBEDDINGS}/documents/c.1.0: is missing; {again}"
    assert listed[3] == f"{EMBEDDINGS}/documents/c.9.0: is not a file of this artifact in dvc.lock; {again}"
    assert listed[4].startswith(f"{EMBEDDINGS}/queries/zarr.json: has other content than in dvc.lock")


def test_a_damaged_inner_chunk_is_named(project: LakeProject) -> None:
    path = project.root / EMBEDDINGS / "documents/c.0.0"
    shard = bytearray(path.read_bytes())
    shard[64 * 32 + 4 + 7] ^= 1
    path.write_bytes(shard)
    (line,) = lines(verify(str(project.root)))
    assert line.startswith(f"{EMBEDDINGS}/documents/c.0.0: is damaged (inner chunk 1 is damaged); remove")


def test_a_damaged_list_of_checksums_does_not_speak_ill_of_sound_files(project: LakeProject) -> None:
    document = project.root / EMBEDDINGS / "zarr.json"
    content = json.loads(document.read_text())
    listed = content["attributes"]["bitlake"]["arrays"]["documents"]
    listed["c.0.0"] = "00000000" + listed["c.0.0"][8:]
    document.write_text(json.dumps(content))
    assert named(verify(str(project.root))) == {(EMBEDDINGS, "zarr.json")}
    forget_cache(project)
    assert (EMBEDDINGS, "documents/c.0.0") in named(verify(str(project.root)))


def forget_cache(project: LakeProject) -> None:
    """No list of files is to be had: neither from the cache nor from the shelf."""
    shutil.rmtree(project.root / ".dvc/cache")
    shutil.rmtree(project.root.parent / "shelf")


def test_without_the_list_of_files_damage_is_still_found(project: LakeProject) -> None:
    """What a leaf says of itself names chunks, the lock file names the leaf."""
    forget_cache(project)
    chunk = project.root / CODES / "phase1/documents/c.1.0.0"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    document = project.root / EMBEDDINGS / "documents/zarr.json"
    document.write_text(document.read_text().replace("row", "raw"))
    document = project.root / JUDGEMENTS / "zarr.json"
    document.write_text(document.read_text().replace('"test"', '"text"'))
    found = verify(str(project.root))
    assert (CODES, "phase1/documents/c.1.0.0") in named(found)
    (line,) = [line for line in lines(found) if line.startswith(JUDGEMENTS)]
    assert "its files are not those of dvc.lock (MD5 " in line
    assert "the list of them is in neither the cache nor the remote" in line


def test_what_is_not_kept_may_be_absent_but_not_damaged(project: LakeProject) -> None:
    chunk = project.root / NEIGHBOURS / "rows/c.0.0.0"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    (line,) = lines(verify(str(project.root)))
    assert line.startswith(f"{NEIGHBOURS}/rows/c.0.0.0: is damaged")
    assert line.endswith(f"remove {NEIGHBOURS}, then run `dvc repro`")
    chunk.unlink()
    (line,) = lines(verify(str(project.root)))
    assert line.startswith(f"{NEIGHBOURS}: rows: chunk c.0.0.0 is missing; remove")
    shutil.rmtree(project.root / NEIGHBOURS)
    found = verify(str(project.root))
    assert found.faults == ()
    (note,) = found.notes
    assert note.line == f"{NEIGHBOURS}: is not here and is not pulled; `dvc repro` computes it"


def test_a_cell_of_the_study_that_was_never_computed_is_a_fault(project: LakeProject) -> None:
    graph = project.root / "dvc.yaml"
    graph.write_text(
        graph.read_text() + "  late:\n    cmd: 'true'\n    outs:\n    - lake.zarr/embeddings/late/d\n"
    )
    (line,) = lines(verify(str(project.root)))
    assert (
        line
        == "lake.zarr/embeddings/late/d: is an output of dvc.yaml that dvc.lock does not have; run `dvc repro`"
    )


def test_groups_above_the_leaves_must_be_there_and_be_groups(project: LakeProject) -> None:
    (project.root / "lake.zarr/embeddings/zarr.json").unlink()
    (project.root / "lake.zarr/zarr.json").write_text('{"node_type": "array"}')
    (project.root / "lake.zarr/quality/m/zarr.json").write_text("{")
    assert [line.split(";")[0] for line in lines(verify(str(project.root)))] == [
        "lake.zarr/zarr.json: is not the document of a group",
        "lake.zarr/embeddings/zarr.json: is missing",
        "lake.zarr/quality/m/zarr.json: cannot be read (Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1))",
    ]


def test_an_artifact_in_the_place_of_another_is_refused_whatever_the_lock_says(project: LakeProject) -> None:
    shutil.rmtree(project.root / EMBEDDINGS)
    shutil.copytree(project.root / CODES, project.root / EMBEDDINGS)
    save(project, "wrong")
    (line,) = lines(verify(str(project.root)))
    assert line.startswith(
        f"{EMBEDDINGS}: holds 'binary_codes' version {SCHEMA_VERSION}, "
        f"expected 'embeddings' version {SCHEMA_VERSION}; run `dvc repro -f -s embeddings-m-d`"
    )


def test_what_no_stage_has_is_a_warning_that_names_the_study_it_belongs_to(project: LakeProject) -> None:
    (project.root / "studies").mkdir()
    (project.root / "studies/other.yaml").write_text("study: {name: other, models: [m], datasets: [d]}\n")
    with commit_leaf(project.layout, GEOMETRY, {"model": "left", "dataset": "over"}) as leaf:
        for name, declared in GEOMETRY.fields.items():
            if not declared.optional:
                shape = (1,) * len(declared.dims)
                dtype = None if declared.dtype == "string" else declared.dtype
                leaf.write(name, ["x"] if dtype is None else np.zeros(shape, dtype))
        values = {str: "x", int: 1, dict: {}, list: [], float: 0.0, bool: False}
        for name, kind in GEOMETRY.attributes.items():
            leaf.describe(**{name: values[kind if isinstance(kind, type) else kind[0]]})
    graph = (project.root / "dvc.yaml").read_text()
    (project.root / "dvc.yaml").write_text(graph.replace("quality-m-d:", "renamed:"))
    lock = (project.root / "dvc.lock").read_text()
    (project.root / "dvc.lock").write_text(
        lock.replace("\n  quality-m-d:", "\n  renamed:").replace(
            "\nstages:", "\nstages:\n  gone:\n    cmd: 'true'"
        )
    )
    found = verify(str(project.root), claims=claims(project.root))
    assert found.faults == ()
    assert [warning.line for warning in found.warnings] == [
        "lake.zarr/geometry/left/over: no stage of dvc.yaml makes it; it belongs to no named study; "
        "remove it: rm -r lake.zarr/geometry/left/over",
        "dvc.lock: has stage gone, which dvc.yaml does not have; it belongs to no named study; remove its lines",
    ]
    stages = yaml.safe_load(graph)["stages"]
    kept = {name: stage for name, stage in stages.items() if name not in ("quality-m-d", "embeddings-m-d")}
    (project.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": kept}))
    (project.root / "dvc.lock").write_text(lock)
    assert verify(str(project.root)).warnings[0].problem == "no stage of dvc.yaml makes it"
    found = verify(str(project.root), claims=claims(project.root))
    warnings = [warning.line for warning in found.warnings]
    assert warnings[0] == (
        f"{EMBEDDINGS}: no stage of dvc.yaml makes it; it belongs to study other; "
        "`lake study use other` brings it back"
    )
    assert warnings[-1] == (
        "dvc.lock: has stage quality-m-d, which dvc.yaml does not have; it belongs to study other; leave it"
    )


def test_a_study_file_that_describes_none_is_refused(project: LakeProject) -> None:
    (project.root / "studies").mkdir()
    (project.root / "studies/other.yaml").write_text("study: {name: other, models: [m]}\n")
    with pytest.raises(InvalidInput, match=r"studies/other.yaml: describes no study \('datasets'\)"):
        claims(project.root)


def test_a_folder_that_is_no_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="is not a DVC project"):
        verify(str(tmp_path))


def test_a_revision_is_verified_wherever_it_can_be_read(sound: LakeProject) -> None:
    for arguments in ({"rev": "v1"}, {"remote": "shelf"}, {"rev": "v1", "remote": "shelf"}):
        found = verify(str(sound.root), arguments.get("rev"), arguments.get("remote"))
        assert (found.faults, found.warnings) == ((), ())
        assert [note.artifact for note in found.notes] == [NEIGHBOURS]
        assert found.checked["artifacts"] == len(KEPT)
        paths = [path for leaf in KEPT for path in (sound.root / leaf).rglob("*") if path.is_file()]
        assert found.checked["files"] == len(paths)
        assert found.checked["bytes"] == sum(path.stat().st_size for path in paths)


def shelf_path(project: LakeProject, oid: str) -> Path:
    from dvc.repo import Repo

    with Repo(str(project.root)) as repo:
        return Path(repo.cloud.get_remote_odb("shelf").oid_to_path(oid))


def test_a_remote_is_judged_by_what_it_has_itself(project: LakeProject) -> None:
    """The cache is whole all the time."""
    gone = oid_of(project, "documents/c.0.0", "v1")
    shelf_path(project, gone).unlink()
    damaged = oid_of(project, "queries/c.0.0", "v1")
    path = shelf_path(project, damaged)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    lost = oid_of(project, "", "v1", JUDGEMENTS)
    shelf_path(project, lost).unlink()
    assert verify(str(project.root), "v1").faults == ()
    found = verify(str(project.root), "v1", "shelf")
    assert named(found) == {(EMBEDDINGS, "documents/c.0.0"), (EMBEDDINGS, "queries/c.0.0"), (JUDGEMENTS, "")}
    gone_line, damaged_line, lost_line = sorted(lines(found))
    remedy = "remove the object there if it has one, then run `lake publish` where the artifact was made"
    assert f"object {gone} is not in remote 'shelf'" in gone_line
    assert f"object {damaged} has other content in remote 'shelf'" in damaged_line
    assert f"{JUDGEMENTS}: its list of files: object {lost} is not in remote 'shelf'" in lost_line
    assert all(line.endswith(remedy) for line in (gone_line, damaged_line, lost_line))


def test_objects_that_are_no_sound_leaf_are_faults_although_their_hashes_are_right(
    project: LakeProject,
) -> None:
    """Committed to DVC after the damage: every MD5 is right, the chunk is not."""
    chunk = project.root / EMBEDDINGS / "documents/c.0.0"
    content = bytearray(chunk.read_bytes())
    content[5] ^= 1
    chunk.write_bytes(content)
    save(project, "damaged", tag="v2")
    for rev in (None, "v2"):
        found = verify(str(project.root), rev)
        assert named(found) == {(EMBEDDINGS, "documents/c.0.0")}
        assert "is damaged (inner chunk 0 is damaged)" in lines(found)[0]


def test_an_unknown_revision_or_remote_is_refused(sound: LakeProject) -> None:
    with pytest.raises(InvalidInput, match="rev: 'v9' is no commit, tag or branch"):
        verify(str(sound.root), "v9")
    with pytest.raises(InvalidInput, match="remote: 'attic' is not one of shelf"):
        verify(str(sound.root), "v1", "attic")


def test_a_read_only_server_is_verified_too(project: LakeProject) -> None:
    with files(shelf_path(project, "0" * 32).parents[3]) as server:
        add_remote(project, "web", url=server.url)
        forget(project)
        assert verify(str(project.root), "v1", "web").faults == ()
        shelf_path(project, oid_of(project, "documents/c.1.0", "v1")).unlink()
        assert named(verify(str(project.root), "v1", "web")) == {(EMBEDDINGS, "documents/c.1.0")}


def test_a_server_that_stops_in_the_middle_is_one_clear_error_and_no_verdict(project: LakeProject) -> None:
    with files(shelf_path(project, "0" * 32).parents[3]) as server:
        add_remote(project, "web", url=server.url)
        server.stop_after(20)
        with pytest.raises(UnavailableResource, match="cannot read from remote 'web'") as raised:
            verify(str(project.root), "v1", "web")
        assert "\n" not in str(raised.value)
        server.start()
        assert verify(str(project.root), "v1", "web").faults == ()


def test_memory_is_bounded_by_one_chunk_file(project: LakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.leaf.schema.CHUNK_BYTES", 256 * 1024)
    commit_embeddings(project.layout, rows=8 * 32768)
    save(project, "large")
    shards = sorted((project.root / EMBEDDINGS / "documents").glob("c.*"))
    largest = max(shard.stat().st_size for shard in shards)
    assert len(shards) == 8
    assert largest > 1_000_000
    verify(str(project.root))
    tracemalloc.start()
    verify(str(project.root))
    before, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - before < 2.5 * largest + 1_000_000


def test_errors_are_of_the_one_tree(sound: LakeProject) -> None:
    with pytest.raises(BitlakeError):
        verify(str(sound.root / "lake.zarr" / "nothing"))
