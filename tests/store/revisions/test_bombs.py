"""Documents of a repository, and answers of a server, that would fill the memory are refused before they do."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import socket
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from store import open_lake
from store.errors import BitlakeError, InvalidInput
from store.revisions import objects
from store.revisions.pulling import pull
from store.revisions.revision import open_revision
from store.revisions.verification import verify
from tests.silent_servers import silent_server
from tests.store.lakes import CELL
from tests.store.revisions.lake_projects import make_project
from tests.store.revisions.remote_projects import add_remote, environment
from tests.store.small_studies import make_study

ANCHORS = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 10)}]" for at in range(1, 9)]
)
LISTS = "\n".join(f"l{at}: [{', '.join(map(str, range(100)))}]" for at in range(5))
STAGE = {"cmd": "true", "outs": ["lake.zarr/embeddings/m/d"]}
BOMBS: dict[str, tuple[dict[str, str], str]] = {
    "nested anchors in params.yaml": (
        {
            "params.yaml": ANCHORS,
            "dvc.yaml": yaml.safe_dump({"stages": {"s": STAGE | {"matrix": {"m": "${a8}"}}}}),
        },
        r"^params\.yaml: its aliases repeat more than",
    ),
    "nested anchors in dvc.yaml": (
        {"dvc.yaml": f"{ANCHORS}\nstages: {{}}"},
        r"^dvc\.yaml: its aliases repeat",
    ),
    "nested anchors in dvc.lock": (
        {"dvc.lock": f"{ANCHORS}\nstages: {{}}"},
        r"^dvc\.lock: its aliases repeat",
    ),
    "nested anchors in another file of values": (
        {"more.yaml": ANCHORS, "dvc.yaml": "vars: [more.yaml]\nstages: {}"},
        r"^more\.yaml: its aliases repeat",
    ),
    "nested anchors in a folder": (
        {"deep/params.yaml": ANCHORS, "deep/dvc.yaml": "stages: {}"},
        r"^params\.yaml: its aliases repeat",
    ),
    "an import with nested anchors": (
        {"data.dvc": f"{ANCHORS}\nouts: []"},
        r"^data\.dvc: its aliases repeat",
    ),
    "a matrix of billions": (
        {
            "params.yaml": LISTS,
            "dvc.yaml": yaml.safe_dump(
                {"stages": {"s": STAGE | {"matrix": {f"l{at}": f"${{l{at}}}" for at in range(5)}}}}
            ),
        },
        r"^dvc\.yaml: stage s would run more than 100,000 times",
    ),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_documents_that_would_fill_the_memory_are_refused_however_they_come(
    kind: str, tmp_path: Path
) -> None:
    files, message = BOMBS[kind]
    project = make_project(tmp_path / "project")
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "empty")
    for name, content in {"dvc.yaml": "stages: {}\n", **files}.items():
        (project.root / name).parent.mkdir(exist_ok=True)
        (project.root / name).write_text(content + "\n")
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "bomb")
    for url, rev in ((str(project.root), None), (str(project.root), "HEAD"), (project.root.as_uri(), None)):
        with pytest.raises(InvalidInput, match=message):
            open_revision(url, rev)


def endless(connection: socket.socket, stop: threading.Event) -> None:
    """Whatever is asked for, send zeros without end."""
    with contextlib.suppress(OSError):
        connection.recv(10_000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
        while not stop.is_set():
            connection.sendall(bytes(1 << 20))


PACKED = gzip.compress(bytes(400_000_000), 9)


def inflating(connection: socket.socket, stop: threading.Event) -> None:
    """Whatever is asked for, send what expands to 400 MB."""
    with contextlib.suppress(OSError):
        connection.recv(10_000)
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(PACKED)}\r\n\r\n"
        connection.sendall(head.encode() + PACKED)


@pytest.mark.parametrize("behave", [endless, inflating])
def test_answers_are_read_no_further_than_what_was_asked_for(
    behave: Callable[[socket.socket, threading.Event], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "LARGEST_BYTES", 2_000_000)
    with environment(tmp_path / "environment"), silent_server(behave) as address:
        project = make_study(tmp_path / "project", tag="v1")
        add_remote(project, "large", default=True, url=f"http://{address}/lake")
        shutil.rmtree(project.root / ".dvc/cache")
        tracemalloc.start()
        try:
            for call in (
                lambda: pull(project.root),
                lambda: open_lake(project.root, "v1", "large").embeddings.sel(**CELL),
            ):
                with pytest.raises(BitlakeError):
                    call()
            assert verify(str(project.root), "v1", "large").faults
            assert tracemalloc.get_traced_memory()[1] < 150_000_000
        finally:
            tracemalloc.stop()
