"""Docstrings by syntax tree."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from store.corpora.docstrings import read_docstrings, split_docstring
from store.errors import InvalidInput

SOURCES = {
    "__init__.py": '"""The package."""\nraise RuntimeError("this package must not be imported")\n',
    "plain.py": "x = 1\n",
    "broken.py": '"""Not Python.""" {{ template }}\n',
    "_private.py": '''
        """A private module."""

        def public(x):
            """A public function.

            With a body, \\d.
            """

            def local():
                """Nobody can call this."""

        def _helper():
            """A helper."""

        async def waits():
            """An async function."""

        class Thing:
            """A class."""

            def method(self):
                """A method."""

            def __call__(self):
                """Has no public name."""

            class Inner:
                """A class within."""

        class _Hidden:
            def method(self):
                """A method of a hidden class."""

        try:
            import fast
        except ImportError:
            def fallback():
                """Defined where an import failed."""
        else:
            if fast:
                def quick():
                    """Defined where it did not."""
        ''',
    "added.py": '''
        def add_newdoc(*args): """Says so."""

        add_newdoc("pkg._core.umath", "add", """
            add(x1, x2, /)

            Add arguments.
            """)
        add_newdoc("pkg._core", "flat", ("base", """The base."""))
        add_newdoc("pkg", "flat", [("one", """First."""), ("_two", """Hidden.""")])
        add_newdoc("short", """Of two arguments.""")
        add_newdoc("pkg", "made", "at" + run_time)
        add_newdoc("pkg", 3, """No name.""")
        other.add_newdoc("pkg", "x", """Another function.""")
        ''',
    "sub/_deep/mod.py": '"""Deep."""\n',
    "tests/test_it.py": '"""A test."""\n',
    "sub/_tests/more.py": '"""A test."""\n',
    "test/more.py": '"""A test."""\n',
    "conftest.py": '"""A test."""\n',
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed package that fails if it is imported."""
    for name, source in SOURCES.items():
        path = tmp_path / "bitlake_probe" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(str(tmp_path))
    return "bitlake_probe"


@pytest.mark.filterwarnings("error")
def test_public_names_and_their_docstrings(package: str) -> None:
    assert [(d.name, d.text) for d in read_docstrings([package])] == [
        (package, "The package."),
        (f"{package}.public", "A public function.\n\nWith a body, \\d."),
        (f"{package}.waits", "An async function."),
        (f"{package}.Thing", "A class."),
        (f"{package}.Thing.method", "A method."),
        (f"{package}.Thing.Inner", "A class within."),
        (f"{package}.fallback", "Defined where an import failed."),
        (f"{package}.quick", "Defined where it did not."),
        (f"{package}.added.add_newdoc", "Says so."),
        ("pkg.umath.add", "add(x1, x2, /)\n\nAdd arguments."),
        ("pkg.flat.base", "The base."),
        ("pkg.flat.one", "First."),
        (f"{package}.short", "Of two arguments."),
        (f"{package}.sub.mod", "Deep."),
    ]
    assert package not in sys.modules


@pytest.mark.parametrize("name", ["bitlake_no_such_package", "scikit-learn", "os.path", "this"])
def test_what_is_not_an_installed_package_is_named(name: str) -> None:
    with pytest.raises(InvalidInput, match=f"packages: '{name}' is not an installed package; install it"):
        read_docstrings([name])


@pytest.mark.parametrize(
    ("text", "summary", "body"),
    [
        ("Add numbers.\n\nSlowly.\n\nVery.", "Add numbers.", "Slowly.\n\nVery."),
        ("Add\n   numbers.\n \nSlowly.", "Add numbers.", "Slowly."),
        ("Only a summary.", "Only a summary.", ""),
        ("add(x1, x2, /, out=None)\n\nAdd.\n\nBody.", "Add.", "Body."),
        ("a.copy($self, order='C')\n--\n\nfl.copy()\n\nCopy.\n\nBody.", "Copy.", "Body."),
        ("y = f(x,\n      n=(1, 2)) -> float\n\nEvaluate.\n\nBody.", "Evaluate.", "Body."),
        ("=====\nTitle\n=====\n\nBody.", "Title", "Body."),
        ("Fit it.\nParameters\n----------\nx : int", "Fit it.", "Parameters\n----------\nx : int"),
        ("Parameters\n----------\nx : int", "", "Parameters\n----------\nx : int"),
        (".. note::\n\n   Beware.", "", ".. note::\n\n   Beware."),
        (">>> f(1)\n2\n\nMore.", "", ">>> f(1)\n2\n\nMore."),
        (":param x: a number\n\nMore.", "", ":param x: a number\n\nMore."),
        (":math:`R^2` score.\n\nMore.", ":math:`R^2` score.", "More."),
        ("Filter.\n\n%(input)s\n  %s\nReturns 50%s.", "Filter.", "Returns 50%s."),
        ("Autocorrelation (ACF)\n\nBody.", "Autocorrelation (ACF)", "Body."),
        ("Compute (roughly) a mean (or not)\n\nBody.", "Compute (roughly) a mean (or not)", "Body."),
    ],
)
def test_summary_and_body(text: str, summary: str, body: str) -> None:
    assert split_docstring(text) == (summary, body)
