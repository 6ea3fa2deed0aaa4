"""Changing code reruns exactly what it can affect."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from pipeline import params
from pipeline.code import digest, import_closure, write
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
        file.write("# changed\n")
    return {name for name, module in modules.items() if digest(root, module) != before[name]}


def test_a_change_affects_the_stages_that_import_it(tmp_path: Path) -> None:
    for package in ("analysis", "pipeline", "stages", "store"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    assert affected(tmp_path, "analysis/geometry/cell.py") == {"geometry"}
    extension = {"extend", "search-further", "rescore"}
    assert affected(tmp_path, "store/codecs/pq.py") == {"quantize", "search-quantized", *extension}
    assert affected(tmp_path, "store/codecs/phase1.py") == {"binarize", "search-binary", *extension}
    # The core does not know the codecs beyond it.
    assert affected(tmp_path, "store/codecs/itq.py") == extension
    assert affected(tmp_path, "pipeline/graph.py") == set()
    assert affected(tmp_path, "store/lake.py") == set()
    assert affected(tmp_path, "store/leaf/reading.py") == set(params.stages())


def test_what_a_module_discovers_is_in_its_closure(tmp_path: Path) -> None:
    files = {
        "store/found/__init__.py": "",
        "store/found/one.py": "from store import needed\n",
        "store/found/registry.py": 'DISCOVERS = "store.found"\n',
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
