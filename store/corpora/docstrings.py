"""Docstrings of installed packages, read from their sources by syntax tree; nothing is imported."""

from __future__ import annotations

import ast
import inspect
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from store.errors import InvalidInput

# NumPy has distutils up to Python 3.11 only; the corpus is not to depend on the version of Python.
_LEFT_OUT = frozenset({"tests", "test", "_tests", "conftest.py", "distutils"})
_WORKERS = 2
_SIGNATURE = re.compile(r"(?:[\w, ]+= ?)?[A-Za-z_][\w.]*\(.*\)(?: ?->.*)?(?: --)?", re.DOTALL)
_UNDERLINE = re.compile(r"([=\-~*^#\"'`+.])\1{2,}")
_NO_SUMMARY = re.compile(r"\.\. |>>> |@|:[\w ]+:(?!`)")
_PLACEHOLDER_LINE = re.compile(r"^[ \t]*%(?:\(\w+\))?s[ \t]*(?:\n|\Z)", re.MULTILINE)
_SECTION = re.compile(
    r"attributes|examples?|methods|notes?|parameters|raises|references|returns|see also|warn(ing)?s|yields",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Docstring:
    """A docstring and the readable name of what it documents (``scipy.signal.butter``)."""

    name: str
    text: str


def read_docstrings(packages: Sequence[str]) -> list[Docstring]:
    """The docstrings of all public modules, classes, functions and methods, by package, file and line.

    ``add_newdoc`` calls, by which NumPy and SciPy document what is compiled, count as docstrings. A name is
    public if no part of it below its module starts with an underscore; modules that do
    (``scipy.signal._filter_design``) are read, but the underscored parts do not appear in the names. Folders
    of tests are left out.
    """
    sources = [source for package in packages for source in _sources(package)]
    if len(sources) < 2 * _WORKERS:
        found = [_read_source(*source) for source in sources]
    else:
        with ProcessPoolExecutor(_WORKERS) as pool:
            found = list(pool.map(_read_source, *zip(*sources, strict=True), chunksize=16))
    return [docstring for docstrings in found for docstring in docstrings]


def split_docstring(text: str) -> tuple[str, str]:
    """(summary, body) of a docstring; the summary is its first paragraph on one line, "" where there is none.

    A signature before the summary is dropped, as are the lines that are nothing but a ``%(template)s``
    placeholder, which is filled in only when the package is imported. A first paragraph that is a section
    heading or a directive is no summary.
    """
    if "%" in text:
        text = _PLACEHOLDER_LINE.sub("", text)
    text = text.strip()
    first, rest = _first_paragraph(text)
    while rest and _SIGNATURE.fullmatch(" ".join(first.split())):
        text = rest
        first, rest = _first_paragraph(text)
    lines = [line.strip() for line in first.splitlines()]
    heading = next((i for i, line in enumerate(lines) if i > 0 and _UNDERLINE.fullmatch(line)), None)
    if heading is not None and _SECTION.fullmatch(lines[heading - 1]):
        lines = lines[: heading - 1]
        rest = "\n".join(text.splitlines()[heading - 1 :])
    lines = [line for line in lines if not _UNDERLINE.fullmatch(line)]
    summary = " ".join(" ".join(lines).split())
    if not summary or _NO_SUMMARY.match(summary):
        return "", text
    return summary, rest


def _first_paragraph(text: str) -> tuple[str, str]:
    first, *rest = re.split(r"\n[ \t]*\n", text, maxsplit=1)
    return first, rest[0].strip("\n") if rest else ""


def _sources(package: str) -> Iterator[tuple[str, str]]:
    """(path, module name) of each source file of a package, in sorted order."""
    # The path finder looks up a top-level name without running any of the package's code.
    spec = PathFinder.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise InvalidInput(
            f"packages: {package!r} is not an installed package; install it or take it out of the list "
            "(import names: sklearn, not scikit-learn)"
        )
    for root in spec.submodule_search_locations:
        for folder, subfolders, files in os.walk(root):
            subfolders[:] = sorted(set(subfolders) - _LEFT_OUT)
            inside = Path(folder).relative_to(root).parts
            for file in sorted(set(files) - _LEFT_OUT):
                stem, extension = os.path.splitext(file)
                if extension == ".py":
                    parts = (package, *inside) if stem == "__init__" else (package, *inside, stem)
                    yield os.path.join(folder, file), ".".join(parts)


def _read_source(path: str, module: str) -> list[Docstring]:
    source = Path(path).read_bytes()
    if b'"""' not in source and b"'''" not in source:
        return []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in strings that are not ours
            tree = ast.parse(source)
    except SyntaxError:  # a template, or written for another version of Python
        return []
    name = _without_private(module)
    folder, _, last = module.rpartition(".")
    package = name if os.path.basename(path) == "__init__.py" else _without_private(folder)
    found = []
    if not last.startswith("_") and (text := ast.get_docstring(tree)):
        found.append(Docstring(name, text))
    found.extend(_definitions(tree.body, name, package))
    return found


def _without_private(name: str) -> str:
    return ".".join(part for part in name.split(".") if not part.startswith("_"))


def _definitions(body: Sequence[ast.stmt], prefix: str, package: str) -> Iterator[Docstring]:
    """Docstrings of what a module or class defines; what is local to a function is no interface."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name.startswith("_"):
                continue
            name = f"{prefix}.{node.name}"
            if text := ast.get_docstring(node):
                yield Docstring(name, text)
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node.body, name, package)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield from _added(node.value, package)
        elif isinstance(node, ast.If | ast.Try | ast.With):
            for block in _blocks(node):
                yield from _definitions(block, prefix, package)


def _blocks(node: ast.If | ast.Try | ast.With) -> Iterator[Sequence[ast.stmt]]:
    yield node.body
    if isinstance(node, ast.Try):
        for handler in node.handlers:
            yield handler.body
        yield node.orelse
        yield node.finalbody
    elif isinstance(node, ast.If):
        yield node.orelse


def _added(call: ast.Call, package: str) -> Iterator[Docstring]:
    """What a call of ``add_newdoc`` documents.

    Its arguments are (place, name, text), with (member, text) or a list of such pairs in place of the
    text for what belongs to a class, or (name, text), where the place is ``package``.
    """
    if not isinstance(call.func, ast.Name) or call.func.id != "add_newdoc":
        return
    try:
        arguments = [ast.literal_eval(argument) for argument in call.args]
    except ValueError:  # a text that is put together at run time
        return
    match arguments:
        case [str(name), str(text)]:
            place, members = package, [(name, text)]
        case [str(place), str(name), str(text), *_]:
            members = [(name, text)]
        case [str(place), str(name), (str(member), str(text)), *_]:
            members = [(f"{name}.{member}", text)]
        case [str(place), str(name), list(pairs), *_]:
            members = [(f"{name}.{member}", text) for member, text in pairs]
        case _:
            return
    for member, text in members:
        if not any(part.startswith("_") for part in member.split(".")):
            yield Docstring(f"{_without_private(place)}.{member}", inspect.cleandoc(text))
