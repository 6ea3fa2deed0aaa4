"""One reader of YAML: a mapping, or one line; what would explode is refused before it does."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from store.errors import InvalidInput
from store.yaml_files import parse_yaml, read_yaml


def bomb(levels: int, width: int = 10) -> str:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines)


def merged(levels: int) -> str:
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize("text", [bomb(9), bomb(200, 40), merged(9)])
def test_nested_anchors_are_refused_before_they_expand(text: str) -> None:
    tracemalloc.start()
    with pytest.raises(
        InvalidInput, match=r"^params\.yaml: its aliases repeat more than 100,000 values; write"
    ):
        parse_yaml(text, "params.yaml")
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_aliases_and_merge_keys_of_a_usual_size_are_read() -> None:
    found = parse_yaml("base: &base {k: [1, 2]}\none: {<<: *base, n: 1}\ntwo: *base\n", "params.yaml")
    assert found == {"base": {"k": [1, 2]}, "one": {"k": [1, 2], "n": 1}, "two": {"k": [1, 2]}}
    assert len(parse_yaml(bomb(4), "params.yaml")["a3"]) == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "params.yaml line 2: did not find expected ',' or ']'; correct it"),
        ("", "params.yaml: expected a mapping of sections, and it is empty; correct it"),
        ("- 1", "params.yaml: expected a mapping of sections, and it is a list; correct it"),
        ("a: &a [*a]", "params.yaml line 1: holds itself through an alias; write it out"),
        ("a: " + "[" * 5_000 + "]" * 5_000, "params.yaml: is nested too deeply; write it flat"),
        ("a: " + "[" * 200_000, "params.yaml: is nested too deeply; write it flat"),
        ("- " * 200_000, "params.yaml: is nested too deeply; write it flat"),
        (
            "a: 2026-13-45",
            "params.yaml: holds a value that YAML cannot read (month must be in 1..12); put it",
        ),
        ("{[1]: 2}", "params.yaml line 1: found unhashable key; correct it"),
        ("a: 1\n---\nb: 2", "params.yaml line 2: but found another document; correct it"),
    ],
)
def test_what_is_no_mapping_is_one_line(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        parse_yaml(text, "params.yaml")
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_bytes_that_are_no_utf8_and_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"^x\.yaml: is not UTF-8 text \(byte 3\); save it as UTF-8$"):
        parse_yaml(b"a: \xff", "x.yaml")
    with pytest.raises(
        InvalidInput, match=r"x\.yaml: is not in .*; run from inside the project, or restore it"
    ):
        read_yaml(tmp_path / "x.yaml")
