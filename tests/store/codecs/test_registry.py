"""Codecs are found by their modules."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import store.codecs
from store.codecs.registry import CODECS, discovered
from store.codecs.sign import MeanSignCodec, SignCodec
from tests.paths import ROOT


def test_every_codec_of_the_methods_is_known() -> None:
    known = {"float32", "float16", "bfloat16", "float8", "truncate", "pca", "phase1", "sign", "sign-mean"}
    known |= {"sign-median", "itq", "int8", "int4", "pq", "opq", "rq", "rabitq"}
    assert known <= set(CODECS)
    assert list(CODECS) == sorted(CODECS)
    assert CODECS["sign"] is SignCodec
    assert CODECS["sign-mean"] is MeanSignCodec


def test_a_class_with_a_codec_s_methods_is_offered_by_its_module() -> None:
    offered = set()
    defined = set()
    for found in pkgutil.iter_modules(store.codecs.__path__):
        module = importlib.import_module(f"store.codecs.{found.name}")
        offered |= set(getattr(module, "OFFERS", ()))
        defined |= {v for n, v in vars(module).items() if n.endswith("Codec") and n != "Codec"}
    assert defined == offered == set(CODECS.values())


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "some_codecs"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "some_codecs"]:
        del sys.modules[name]


CODEC = "class Some:\n    name, variant = {name!r}, {variant!r}\n\nOFFERS = (Some,)\n"


def test_a_file_is_all_that_a_codec_needs(package: Path) -> None:
    (package / "plain.py").write_text(CODEC.format(name="zip", variant=""))
    (package / "other.py").write_text(CODEC.format(name="zip", variant="long"))
    (package / "helpers.py").write_text("X = 1\n")
    found = discovered(importlib.import_module("some_codecs"))
    assert [(key, codec.__module__) for key, codec in found.items()] == [
        ("zip", "some_codecs.plain"),
        ("zip-long", "some_codecs.other"),
    ]


def test_two_codecs_of_one_name_are_an_error(package: Path) -> None:
    (package / "a.py").write_text(CODEC.format(name="zip", variant=""))
    (package / "b.py").write_text(CODEC.format(name="zip", variant=""))
    with pytest.raises(
        ValueError, match=r"codec 'zip' is offered by some_codecs.a and by some_codecs.b: rename"
    ):
        discovered(importlib.import_module("some_codecs"))


def test_finding_codecs_imports_no_heavy_library() -> None:
    program = "import sys, store.codecs.registry; print(*sys.modules)"
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {"scipy", "sklearn", "torch", "xarray", "pandas"}.isdisjoint(printed.stdout.split())
