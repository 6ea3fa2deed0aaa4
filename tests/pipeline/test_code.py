"""Changing code reruns exactly what it can affect."""

from __future__ import annotations

import ast
import hashlib
import shutil
from pathlib import Path

import pytest
import yaml

from pipeline import code, params
from pipeline.code import code_of, digest, import_closure, write
from tests.paths import ROOT


def test_the_import_closure_holds_what_a_stage_imports_and_nothing_else() -> None:
    closure = import_closure(ROOT, "stages.binarize")
    assert "store/codecs/phase1.py" in closure
    assert "store/artifacts/binary_codes.py" in closure
    for other in ("store/codecs/pq.py", "analysis/geometry/cell.py", "store/lake.py", "pipeline/graph.py"):
        assert other not in closure


def test_imports_inside_functions_and_through_packages_are_followed(tmp_path: Path) -> None:
    files = {
        "store/__init__.py": "import store.always\n",
        "store/always.py": "",
        "store/late.py": "X = 1\n",
        "store/lazy.py": "X = 1\n",
        "store/deep/__init__.py": "def __getattr__(name):\n    from store import lazy\n",
        "store/deep/leaf.py": "def run():\n    from store.late import X\n",
        "stages/it.py": "from store.deep import leaf\n",
    }
    for name, source in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    assert import_closure(tmp_path, "stages.it") == (
        "stages/it.py",
        "store/__init__.py",
        "store/deep/__init__.py",
        "store/deep/leaf.py",
        "store/late.py",
    )


def affected(root: Path, changed: str) -> set[str]:
    """The stages whose digest changes with one file."""
    modules = {stage.name: f"stages.{stage.module}" for stage in params.stages().values()}
    before = {name: digest(root, module) for name, module in modules.items()}
    with (root / changed).open("a") as file:
        file.write("_CHANGED = 1\n")
    return {name for name, module in modules.items() if digest(root, module) != before[name]}


def test_a_change_affects_the_stages_that_import_it(tmp_path: Path) -> None:
    for package in ("analysis", "pipeline", "stages", "store"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    assert affected(tmp_path, "analysis/geometry/cell.py") == {"geometry"}
    further = {"extend", "search-further", "rescore"}
    assert affected(tmp_path, "store/codecs/pq.py") == {"quantize", "search-quantized", *further}
    assert affected(tmp_path, "store/codecs/phase1.py") == {"binarize", "search-binary", *further}
    assert affected(tmp_path, "analysis/theory/prediction.py") == {"predict"}
    # The core does not know the codecs beyond it.
    assert affected(tmp_path, "store/codecs/itq.py") == further
    assert affected(tmp_path, "pipeline/graph.py") == set()
    assert affected(tmp_path, "store/lake.py") == set()
    assert affected(tmp_path, "store/leaf/reading.py") == set(params.stages())


def test_what_a_module_discovers_is_in_its_closure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "DISCOVERS", {"store.found.registry": "store.found"})
    files = {
        "store/found/__init__.py": "",
        "store/found/one.py": "from store import needed\n",
        "store/found/registry.py": "X = 1\n",
        "store/found/deep/__init__.py": "X = 1\n",
        "store/found/deep/below.py": "X = 1\n",
        "store/needed.py": "X = 1\n",
        "stages/discovers.py": "from store.found.registry import X\n",
        "stages/imports.py": "from store.found import one\n",
    }
    for name, source in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    assert import_closure(tmp_path, "stages.discovers") == (
        "stages/discovers.py",
        "store/found/deep/__init__.py",
        "store/found/one.py",
        "store/found/registry.py",
        "store/needed.py",
    )
    stages = ("stages.discovers", "stages.imports")
    before = [digest(tmp_path, stage) for stage in stages]
    (tmp_path / "store/found/two.py").write_text("X = 2\n")
    after = [digest(tmp_path, stage) for stage in stages]
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_a_new_codec_is_in_the_closure_of_the_registry_alone(tmp_path: Path) -> None:
    for package in ("analysis", "pipeline", "stages", "store"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    modules = [f"stages.{stage.module}" for stage in params.stages().values()] + ["store.codecs.registry"]
    before = {module: digest(tmp_path, module) for module in modules}
    (tmp_path / "store/codecs/newest.py").write_text("OFFERS = ()\n")
    changed = {module for module in modules if digest(tmp_path, module) != before[module]}
    assert changed == {
        module for module in modules if "store/codecs/registry.py" in import_closure(tmp_path, module)
    }
    assert "store.codecs.registry" in changed
    assert changed.isdisjoint({"stages.binarize", "stages.embed", "stages.geometry"})


def test_a_new_file_with_the_same_content_elsewhere_is_another_closure(tmp_path: Path) -> None:
    for name, source in {"stages/one.py": "import store.x\n", "store/x.py": "X = 1\n"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    before = digest(tmp_path, "stages.one")
    (tmp_path / "store/x.py").rename(tmp_path / "store/y.py")
    (tmp_path / "stages/one.py").write_text("import store.y\n")
    assert digest(tmp_path, "stages.one") != before


def test_the_file_has_a_line_for_every_stage(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/it.py").write_text("X = 1\n")
    write(tmp_path, {"it": "stages.it"})
    assert yaml.safe_load((tmp_path / "code.yaml").read_text()) == {"it": digest(tmp_path, "stages.it")}


SOURCE = '''"""Says what it is."""

import math  # a comment

X = 1
"""What X is."""


def area(radius: float) -> float:
    """Of a circle."""
    text = f"{radius:>{3}} # no comment"
    """Not a docstring, and no value either."""
    return 3.14 * radius**2 if text else math.nan
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Says what it is.", "Says it in other words,\n\nand at length."),
        ('"""Says what it is."""\n', ""),
        ("  # a comment", ""),
        ("X = 1", "# Why it is 1.\n\nX = 1  # one"),
        ('"""What X is."""\n', '"""What X is."""  # one\n'),
        ('    """Of a circle."""\n', ""),
        ('"""Of a circle."""', "'Of a disc, with an é.'"),
        ("    ", "  "),
        ("\n\n\n", "\n"),
    ],
)
def test_comments_and_docstrings_are_no_code(old: str, new: str) -> None:
    assert old in SOURCE
    assert code_of(SOURCE.replace(old, new)) == code_of(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("3.14", "3.141"),
        ("# no comment", "# no remark"),
        ('"{radius', '"{ radius'),
        ("if text", "if not text"),
        ("X = 1", 'X = """What X is."""'),
        ("    return", "return"),
    ],
)
def test_every_other_string_and_expression_is(old: str, new: str) -> None:
    assert old in SOURCE
    changed = SOURCE.replace(old, new).replace("\nreturn", "\nlater = lambda radius, text:")
    assert code_of(changed) != code_of(SOURCE)


def test_every_python_finds_the_same_code() -> None:
    """Python 3.12 takes a formatted string apart, and counts nothing else anew."""
    found = code_of(SOURCE)
    assert 'f"{radius:>{3}} # no comment"' in found
    assert digest_of(found) == "c9722dc8f907b0cc"


def digest_of(tokens: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(tokens).encode()).hexdigest()[:16]


def sources() -> dict[str, str]:
    """The text of every module that a stage may run, by its path."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for package in code.PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def without_words(source: str) -> str:
    """``source`` with another docstring in every place that has one, and a comment below."""
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            (first, last) = node.body[0].lineno, node.body[0].end_lineno or 0
            lines[first - 1 : last] = [f"{' ' * node.body[0].col_offset}'other'\n", *[""] * (last - first)]
    return "".join(lines) + "# a comment\n"


def test_no_word_about_the_code_makes_a_stage_stale(tmp_path: Path) -> None:
    for name, source in sources().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(without_words(source))
    for stage in params.stages().values():
        assert digest(tmp_path, f"stages.{stage.module}") == digest(ROOT, f"stages.{stage.module}")


def test_imports_that_no_statement_names_are_listed() -> None:
    hidden = {
        name.removesuffix(".py").replace("/", ".")
        for name, source in sources().items()
        if "import_module(" in source or "__import__(" in source
    }
    assert hidden == set(code.DISCOVERS)
    # A package that imports on request is not asked to by any stage.
    lazy = {name for name, source in sources().items() if "def __getattr__(" in source}
    assert lazy == {"store/__init__.py"}
    assert not any("from store import " in source for source in sources().values())


def test_what_counts_for_no_value_is_there() -> None:
    for name in code.WITHOUT_VALUES:
        assert (ROOT / name.replace(".", "/")).with_suffix(".py").is_file() or (
            ROOT / name.replace(".", "/") / "__init__.py"
        ).is_file()


@pytest.mark.parametrize(
    "stage", ["predict", "quality", "results", "regimes", "failures", "correlate", "theory", "report"]
)
def test_from_quality_on_and_in_predictions_nothing_depends_on_where_blocks_are_computed(stage: str) -> None:
    closure = import_closure(ROOT, f"stages.{stage}")
    assert "pipeline/stage.py" in closure
    assert not [path for path in closure if "executors" in path or "from distributed" in sources()[path]]
