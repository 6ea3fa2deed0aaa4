"""The code that each stage runs, as one digest a stage: by it ``dvc repro`` knows which stages a change affects.

A stage's code is its import closure, without comments and docstrings. DVC can only compare whole files, and would list
every module of every stage of every cell in ``dvc.lock``. So one stage, ``code``, which runs each time, writes
``code.yaml``, and every other stage depends on its own line of it.
"""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from pkgutil import iter_modules
from typing import TypeGuard

import yaml

from store.layout import Layout
from store.leaf.commit import write_file

CODE = "code.yaml"
PACKAGES = ("analysis", "pipeline", "stages", "store")

DISCOVERS: Mapping[str, str] = {
    "pipeline.params": "stages",
    "stages.__main__": "stages",
    "store.codecs.registry": "store.codecs",
}
"""Imports that no statement names: the modules that import whatever they find in a package, and that package."""

WITHOUT_VALUES: Mapping[str, str] = {
    "pipeline.code": "says which code is the same, and is run for no value",
    "store.errors": "names what goes wrong: a run that raises commits nothing",
    "store.leaf.ownership": "keeps two runs from one leaf: a run that is refused commits nothing",
    "store.patience": "says how long to wait for an answer",
    "store.progress": "tells the terminal how far a run is",
    "store.revisions": "finds leaves on other machines, which are compared with their identities",
    "store.validation": "words what is wrong with a setting",
}
"""Modules and packages that no value depends on, each with the reason: neither they nor what they import count."""


def import_closure(root: Path, module: str, within: tuple[str, ...] = PACKAGES) -> tuple[str, ...]:
    """Files of the project that ``module`` imports, directly or not, at its top or inside functions; sorted.

    Only what is ``within`` the named packages and modules, or is a package above one of them, counts and is followed,
    and nothing of `WITHOUT_VALUES`. Of a module in `DISCOVERS` the whole package counts, whoever adds to it.
    """
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _module_file(root, name)
        if path is None or path in found or not _is_within(name, within) or _is_below(name, WITHOUT_VALUES):
            continue
        found.add(path)
        package = name if path.endswith("__init__.py") else name.rpartition(".")[0]
        # Importing a.b.c runs a/__init__.py and a/b/__init__.py as well.
        waiting.extend(name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1))
        waiting.extend(_imports(_source(root, path), package))
        if name in DISCOVERS:
            waiting.extend(_modules_of(root, DISCOVERS[name]))
    return tuple(sorted(path for path in found if code_of(_source(root, path))))


def _is_below(name: str, packages: Iterable[str]) -> bool:
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def _is_within(name: str, packages: tuple[str, ...]) -> bool:
    return _is_below(name, packages) or any(package.startswith(f"{name}.") for package in packages)


def _module_file(root: Path, name: str) -> str | None:
    if name.partition(".")[0] not in PACKAGES:
        return None
    relative = name.replace(".", "/")
    for candidate in (f"{relative}.py", f"{relative}/__init__.py"):
        if (root / candidate).is_file():
            return candidate
    return None


def _modules_of(root: Path, package: str) -> list[str]:
    return [f"{package}.{module.name}" for module in iter_modules([str(root / package.replace(".", "/"))])]


def _source(root: Path, path: str) -> str:
    return (root / path).read_text(encoding="utf-8")


@cache
def _tree(source: str) -> ast.Module:
    return ast.parse(source)


@cache
def _imports(source: str, package: str) -> tuple[str, ...]:
    names: list[str] = []
    waiting: list[ast.AST] = [_tree(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(filter(None, [package.rsplit(".", node.level - 1)[0], base]))
            names.append(base)
            names.extend(f"{base}.{alias.name}" for alias in node.names)
        # What a package offers on request (module-level __getattr__) is not what importing from it needs.
        elif not (isinstance(node, ast.FunctionDef) and node.name == "__getattr__"):
            waiting.extend(ast.iter_child_nodes(node))
    return tuple(names)


@cache
def code_of(source: str) -> tuple[str, ...]:
    """The tokens of a module as they are written; comments, blank lines, docstrings and other bare strings left out."""
    lines = io.StringIO(source).readlines()
    bare = [_span(node, lines) for node in ast.walk(_tree(source)) if _is_bare_string(node)]
    code: list[str] = []
    left_out = False
    for kind, start, text in _tokens(lines):
        if kind in ("COMMENT", "NL", "ENDMARKER"):
            continue
        ends = left_out and kind == "NEWLINE"
        left_out = any(first <= start < last for first, last in bare)
        if not (left_out or ends):
            # How far a line is indented says no more than that it is.
            code.append(kind if kind in ("INDENT", "DEDENT", "NEWLINE") else text)
    return tuple(code)


def _tokens(lines: list[str]) -> Iterator[tuple[str, tuple[int, int], str]]:
    """Kind, place and text of each token. A formatted string is one, as it was before Python 3.12."""
    depth, began = 0, (0, 0)
    for token in tokenize.generate_tokens(iter(lines).__next__):
        kind = tokenize.tok_name[token.type]
        if kind.endswith("STRING_START"):
            began = began if depth else token.start
            depth += 1
        elif kind.endswith("STRING_END"):
            depth -= 1
            if not depth:
                yield "STRING", began, _between(lines, began, token.end)
        elif not depth:
            yield kind, token.start, token.string


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    whole = lines[start[0] - 1 : end[0]]
    after = len(whole[-1]) - end[1]
    return "".join(whole)[start[1] :][: -after or None]


def _is_bare_string(node: ast.AST) -> TypeGuard[ast.Expr]:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _span(node: ast.Expr, lines: list[str]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where a statement begins and ends, in characters, of which the syntax tree counts the bytes."""

    def place(line: int, column: int) -> tuple[int, int]:
        return line, len(lines[line - 1].encode()[:column].decode())

    last, end = node.end_lineno, node.end_col_offset
    assert last is not None
    assert end is not None
    return place(node.lineno, node.col_offset), place(last, end)


def digest(root: Path, module: str, within: tuple[str, ...] = PACKAGES) -> str:
    """SHA-256 over the paths and the code of a module's import closure, in hexadecimal."""
    sha = hashlib.sha256()
    for path in import_closure(root, module, within):
        for part in (path, *code_of(_source(root, path))):
            sha.update(len(part.encode()).to_bytes(8, "little"))
            sha.update(part.encode())
    return sha.hexdigest()


def write(root: Path, modules: dict[str, str]) -> None:
    """Write ``code.yaml``: for each stage, whose module is given, its digest."""
    content = {stage: digest(root, module) for stage, module in modules.items()}
    write_file(Layout(root), root / CODE, yaml.safe_dump(content, sort_keys=False).encode())
