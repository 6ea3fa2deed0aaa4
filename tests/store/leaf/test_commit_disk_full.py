"""A disk that fills up while an artifact is written: one clear line, and the earlier artifact as it was."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.layout import Layout
from store.leaf.reading import open_leaf
from tests.paths import ROOT
from tests.store.lakes import CELL, commit_embeddings, commit_judgements, vectors

SMALL, LARGE = 50, 20_000
"""Rows of the artifact that is there, and of the one for which there is no room: 640 kB."""

WRITER = textwrap.dedent(
    f"""
    import resource, sys
    from pathlib import Path
    from store.errors import BitlakeError
    from store.layout import Layout
    from tests.store.lakes import commit_embeddings, commit_judgements

    layout, artifact, limit = Layout(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        if artifact == "embeddings":
            commit_embeddings(layout, rows={LARGE}, seed=5)
        else:
            commit_judgements(layout, {LARGE}, {LARGE})
    except BitlakeError as error:
        print(f"error: {{error}}", file=sys.stderr)
        sys.exit(1)
    """
)


def write(lake: Path, artifact: str, limit: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WRITER, str(lake), artifact, str(limit)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def check_unharmed(layout: Layout) -> None:
    found = open_leaf(layout.leaf("embeddings", CELL), EMBEDDINGS)
    np.testing.assert_array_equal(found.read("documents"), vectors(SMALL))
    judged = open_leaf(layout.leaf("judgements", {"dataset": "d"}), JUDGEMENTS)
    assert judged.strings("document_id") == [f"document-{row}" for row in range(SMALL)]
    assert list(layout.staging.iterdir()) == []


# A chunk file, a compressed one, and a document a few hundred bytes long.
@pytest.mark.parametrize(
    ("artifact", "limit"), [("embeddings", 100_000), ("judgements", 20_000), ("embeddings", 300)]
)
def test_a_write_that_finds_no_room_is_one_line_and_leaves_the_earlier_artifact(
    tmp_path: Path, artifact: str, limit: int
) -> None:
    """No file may grow beyond ``limit`` bytes."""
    layout = Layout(tmp_path)
    commit_embeddings(layout, rows=SMALL)
    commit_judgements(layout, SMALL, 10)
    done = write(tmp_path, artifact, limit)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        f"error: {layout.leaf(artifact, CELL if artifact == 'embeddings' else {'dataset': 'd'})}"
    )
    assert "no space left to write it (File too large); free some, then run again" in line
    check_unharmed(layout)


def test_with_room_the_same_write_succeeds(tmp_path: Path) -> None:
    done = write(tmp_path, "embeddings", 0)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_system_that_is_full_is_one_line_and_leaves_the_earlier_artifact(tmp_path: Path) -> None:
    """A real file system of 512 kB, where a process may mount one for itself."""
    mount = f"mount -t tmpfs -o size=512k tmpfs {tmp_path}"
    if subprocess.run(["unshare", "-Urm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("this system lets no unprivileged process mount a file system of its own")
    check = textwrap.dedent(
        f"""
        import sys
        from pathlib import Path
        from store.errors import BitlakeError
        from store.layout import Layout
        from tests.store.leaf import test_commit_disk_full as full
        layout = Layout(Path({str(tmp_path)!r}))
        full.commit_embeddings(layout, rows=full.SMALL)
        full.commit_judgements(layout, full.SMALL, 10)
        try:
            full.commit_embeddings(layout, rows=full.LARGE, seed=5)
        except BitlakeError as error:
            print(error)
        full.check_unharmed(layout)
        """
    )
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", f'{mount} && exec "$@"', "sh", sys.executable, "-c", check],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"{Layout(tmp_path).leaf('embeddings', CELL)}: no space left to write it "
        "(No space left on device); free some, then run again\n"
    )
