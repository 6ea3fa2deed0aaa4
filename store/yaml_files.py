"""The one reader of YAML: a mapping, or one line that says where in the file it is not one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from store.errors import InvalidInput

MAX_REPEATED = 100_000
"""Upper bound of the values that aliases (``*name``) repeat. What shares a few sections repeats some thousand; nested
anchors reach billions within some kilobytes."""

MAX_DEPTH = 500
"""Upper bound of values within values."""


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping from ``path``. Raises `InvalidInput` where it is not there or is none."""
    try:
        return parse_yaml(path.read_bytes(), path.name)
    except FileNotFoundError:
        raise InvalidInput(
            f"{path.name}: is not in {path.parent}; run from inside the project, or restore it with "
            f"`git checkout {path}`"
        ) from None


def parse_yaml(text: str | bytes, name: str) -> dict[str, Any]:
    """A YAML mapping from ``text``. Raises `InvalidInput`, naming the file as ``name``, where it is none."""
    text = text if isinstance(text, str) else _decoded(text, name)
    kind = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader = kind(text)
    try:
        _check_depth(text, kind, name)
        node = loader.get_single_node()
        if node is not None:
            _check_repeated(node, name)
        content = loader.construct_document(node) if node is not None else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "is not YAML"
        raise InvalidInput(f"{name}{where}: {problem}; correct it") from None
    except InvalidInput:
        raise
    except RecursionError:
        raise _too_deep(name) from None
    except (ValueError, TypeError) as error:
        # A date like 2026-13-45, or a list as a key.
        raise InvalidInput(
            f"{name}: holds a value that YAML cannot read ({error}); put it in quotes"
        ) from None
    finally:
        loader.dispose()
    if not isinstance(content, dict):
        raise InvalidInput(f"{name}: expected a mapping of sections, and it is {_kind(content)}; correct it")
    return content


def _too_deep(name: str) -> InvalidInput:
    return InvalidInput(f"{name}: is nested too deeply; write it flat")


def _check_depth(text: str, kind: Any, name: str) -> None:
    """Refuse nesting at which the parser, which calls itself, would end the process.

    So deep goes only what has many brackets or a very long line.
    """
    if (
        text.count("[") + text.count("{") <= MAX_DEPTH
        and max(map(len, text.splitlines()), default=0) <= MAX_DEPTH
    ):
        return
    depth = 0
    for event in yaml.parse(text, Loader=kind):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _too_deep(name)


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{name}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def _kind(content: Any) -> str:
    return "empty" if content is None else f"a {type(content).__name__}"


def _check_repeated(root: yaml.Node, name: str) -> None:
    """Refuse aliases that repeat too much, before any value is made.

    The parser shares what an alias names, so that its own tree is small; whoever walks through the values, or merges
    them with ``<<``, meets each as often as it is repeated.
    """
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1
        known = sizes.get(id(node))
        if known == 0:
            raise InvalidInput(
                f"{name} line {node.start_mark.line + 1}: holds itself through an alias; write it out"
            )
        if known is None:
            sizes[id(node)] = 0
            pairs = node.value if isinstance(node, yaml.MappingNode) else ((item,) for item in node.value)
            known = 1 + sum(size(part) for pair in pairs for part in pair)
            sizes[id(node)] = known
        return known

    repeated = size(root) - _written(root)
    if repeated > MAX_REPEATED:
        raise InvalidInput(
            f"{name}: its aliases repeat more than {MAX_REPEATED:,} values; write them out, without nested anchors"
        )


def _written(root: yaml.Node) -> int:
    """Number of values as written, aliases not counted."""
    seen: dict[int, yaml.Node] = {}
    open_nodes = [root]
    count = 0
    while open_nodes:
        node = open_nodes.pop()
        if id(node) in seen:
            continue
        seen[id(node)] = node
        count += 1
        if isinstance(node, yaml.MappingNode):
            open_nodes += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            open_nodes += node.value
    return count
