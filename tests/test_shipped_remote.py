"""What a fresh clone pulls: `remote/` holds exactly the objects that dvc.lock names, whole, within its bound."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import yaml

from store.revisions.objects import parse_manifest
from store.revisions.publication import RELEASE_BYTES
from tests.paths import ROOT, committed, committed_files

SHIPPED = ROOT / "remote/files/md5"
OBJECTS = committed_files("remote/files/md5")


def kept_outputs() -> dict[str, str]:
    """MD5 of the manifest of every output that is cached and pushed, by path."""
    graph = yaml.safe_load(committed("dvc.yaml"))["stages"]
    not_kept = {
        path.split("/${")[0]
        for stage in graph.values()
        for out in stage.get("outs", [])
        if isinstance(out, dict)
        for path, settings in out.items()
        if settings.get("cache") is False
    }
    lock = yaml.safe_load(committed("dvc.lock"))["stages"]
    return {
        out["path"]: out["md5"]
        for stage in lock.values()
        for out in stage.get("outs", [])
        if out["path"].startswith("lake.zarr/")
        and not any(out["path"] == path or out["path"].startswith(f"{path}/") for path in not_kept)
    }


def test_it_holds_what_the_lock_names_and_nothing_else() -> None:
    named = set()
    for path, oid in kept_outputs().items():
        manifest = SHIPPED / oid[:2] / oid[2:]
        assert manifest.is_file(), f"{path} is not in remote/: run `make remote`"
        named |= {oid, *parse_manifest(manifest.read_bytes(), path).values()}
    there = {f"{file.parent.name}{file.name}" for file in OBJECTS}
    assert there == named, "remote/ is not that of dvc.lock: run `make remote`"


def test_every_object_is_whole() -> None:
    for file in OBJECTS:
        digest = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
        assert f"{file.parent.name}{file.name}".removesuffix(".dir") == digest


def test_it_stays_within_its_bound() -> None:
    assert sum(file.stat().st_size for file in OBJECTS) <= RELEASE_BYTES


@pytest.mark.parametrize(
    "artifact",
    ["embeddings", "judgements", "binary_codes", "quantized_codes", "quality", "further_quality", "results"],
)
def test_it_brings_what_is_needed_to_go_on_without_a_model(artifact: str) -> None:
    cells = {"judgements": 3, "results": 1}.get(artifact, 9)
    assert sum(path.split("/")[1] == artifact for path in kept_outputs()) == cells


def test_git_stores_it_byte_for_byte() -> None:
    attributes = (ROOT / ".gitattributes").read_text()
    assert "remote/** binary" in attributes
    assert Path(ROOT / ".dvcignore").read_text().splitlines().count("remote/") == 1
