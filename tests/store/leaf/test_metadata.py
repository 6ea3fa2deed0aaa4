"""The metadata of an array of any kind is what a commit writes, and nothing else."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from store.artifacts.schemas import SCHEMAS
from store.errors import InvalidInput
from store.layout import Layout
from store.leaf.metadata import check_array, check_group, fill_value
from store.leaf.reading import open_leaf
from store.leaf.schema import Field
from store.leaf.workspace import Workspace
from tests.store.small_studies import commit_study


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Field, dict[str, Any]]]:
    """Path, declaration and metadata of every array of a study."""
    layout = Layout(tmp_path_factory.mktemp("arrays"))
    commit_study(layout)
    found = []
    for schema in SCHEMAS.values():
        for leaf in Workspace(layout).leaves(schema):
            for path in open_leaf(layout.root / leaf, schema).paths:
                text = (layout.root / leaf / path / "zarr.json").read_text()
                found.append((path, schema.field_of(path), json.loads(text)))
    return found


def check(path: str, declared: Field, metadata: dict[str, Any]) -> None:
    first = metadata["codecs"][0]
    chunk = first["configuration"]["chunk_shape"] if first["name"] == "sharding_indexed" else None
    unit = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    check_array(path, declared, metadata, metadata["shape"], unit, chunk)


def test_what_a_commit_writes_is_accepted(arrays: list[tuple[str, Field, dict[str, Any]]]) -> None:
    kinds = {(field.dtype, field.compress, bool(field.rows)) for _, field, _ in arrays}
    assert len(kinds) > 5
    for path, field, metadata in arrays:
        check(path, field, metadata)


@pytest.mark.parametrize(
    "name",
    ["fill_value", "node_type", "zarr_format", "chunk_key_encoding", "storage_transformers", "chunk_grid"],
)
def test_any_other_entry_is_named(arrays: list[tuple[str, Field, dict[str, Any]]], name: str) -> None:
    for path, field, metadata in arrays:
        changed = copy.deepcopy(metadata)
        changed[name] = (
            {"other": changed[name]} if name != "chunk_grid" else {**changed[name], "name": "other"}
        )
        with pytest.raises(InvalidInput, match=f"^{path}: {name} is "):
            check(path, field, changed)


def test_a_compressor_is_there_where_it_is_declared_and_only_there(
    arrays: list[tuple[str, Field, dict[str, Any]]],
) -> None:
    for path, field, metadata in arrays:
        changed = copy.deepcopy(metadata)
        codecs = changed["codecs"]
        if codecs[0]["name"] == "sharding_indexed":
            codecs = codecs[0]["configuration"]["codecs"]
        if field.compress:
            del codecs[1]
        else:
            codecs.insert(1, {"name": "zstd", "configuration": {"level": 3, "checksum": True}})
        with pytest.raises(InvalidInput, match=f"^{path}: codecs are .* does not write for {field.dtype}"):
            check(path, field, changed)


def test_a_group_is_nothing_but_a_group() -> None:
    check_group("", {"attributes": {"a": 1}, "node_type": "group", "zarr_format": 3})
    with pytest.raises(InvalidInput, match="pq: is not the metadata of a group of Zarr 3"):
        check_group("pq", {"attributes": {}, "node_type": "array", "zarr_format": 3})
    with pytest.raises(InvalidInput, match=r"zarr\.json: its attributes are not"):
        check_group("", {"attributes": {"coordinates": "a"}, "node_type": "group", "zarr_format": 3})


@pytest.mark.parametrize(
    ("dtype", "expected"), [("string", ""), ("float16", "NaN"), ("int32", 0), ("uint8", 0)]
)
def test_fill_values(dtype: str, expected: Any) -> None:
    assert fill_value(dtype) == expected
