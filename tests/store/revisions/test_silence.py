"""Nothing outside this machine is waited for without end: one clear line, within the limits of `store.patience`."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from store import patience
from store.errors import UnavailableResource
from store.hub import snapshot
from store.revisions.places import everywhere
from store.revisions.pulling import pull
from store.revisions.revision import open_revision
from store.revisions.verification import verify
from tests.silent_servers import silent_server
from tests.store.revisions.lake_projects import LakeProject
from tests.store.revisions.remote_projects import add_remote, environment
from tests.store.small_studies import make_study

LIMIT = 1.0


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LakeProject]:
    with environment(tmp_path_factory.mktemp("environment")):
        yield make_study(tmp_path_factory.mktemp("sound") / "project", tag="v1")


@pytest.fixture
def project(sound: LakeProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LakeProject:
    monkeypatch.setattr(patience, "ANSWER_SECONDS", LIMIT)
    monkeypatch.setattr(patience, "SLOWEST_BYTES", 10**12)
    monkeypatch.setattr(patience, "WAITING_SECONDS", 0.1)
    monkeypatch.setattr(patience, "_said", set())
    copy = LakeProject(Path(shutil.copytree(sound.root, tmp_path / "copy")))
    shutil.rmtree(copy.root / ".dvc/cache")
    return copy


def mute(connection: socket.socket, stop: threading.Event) -> None:
    """Take the connection, and say nothing."""
    stop.wait()


def drip(connection: socket.socket, stop: threading.Event) -> None:
    """Promise an answer, and send a byte of it now and then."""
    with contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not stop.wait(0.05):
            connection.sendall(b"x")


def refused(call: Callable[[], object]) -> str:
    before = time.monotonic()
    with pytest.raises(UnavailableResource) as raised:
        call()
    # Asked at most a few times, and the machine may be busy.
    assert time.monotonic() - before < 20 * LIMIT
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("behave", [mute, drip])
@pytest.mark.parametrize("kind", ["http", "s3"])
def test_a_remote_that_does_not_answer_or_drips_is_given_up(
    project: LakeProject,
    behave: Callable[[socket.socket, threading.Event], None],
    kind: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with silent_server(behave) as address:
        settings = (
            {"url": f"http://{address}/lake"}
            if kind == "http"
            else {"url": "s3://bucket/lake", "endpointurl": f"http://{address}"}
        )
        add_remote(project, "slow", default=True, **settings)
        for call in (lambda: pull(project.root), lambda: verify(str(project.root), "v1", "slow")):
            message = refused(call)
            assert "remote 'slow'" in message
            assert "no complete answer within" in message
        outputs = open_revision(str(project.root)).outputs
        assert outputs
        assert everywhere(project.root, []).notes == ()
    assert capsys.readouterr().err.count("waiting for remote 'slow' (up to ") == 1


@pytest.mark.parametrize("behave", [mute, drip])
def test_a_git_url_that_hangs_is_given_up(
    project: LakeProject,
    behave: Callable[[socket.socket, threading.Event], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with silent_server(behave) as address:
        for url in (f"http://me:secret@{address}/lake.git", f"git://{address}/lake.git"):
            message = refused(lambda url=url: open_revision(url))  # type: ignore[misc]
            assert "cannot be cloned (" in message
            assert "secret" not in message
    assert "waiting for " in capsys.readouterr().err


def test_a_hub_from_which_nothing_comes_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, project: LakeProject
) -> None:
    never = threading.Event()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: never.wait())
    message = refused(lambda: snapshot("owner/name", "5" * 40, kind="model", field="models.m", allowed=["*"]))
    assert message.startswith(
        f"models.m: owner/name at revision {'5' * 40}: next to nothing came within 1 s; check "
    )
    folder = tmp_path / "hub/models--owner--name/blobs"
    folder.mkdir(parents=True)
    arrived = threading.Event()

    def slowly(*_: object, **__: object) -> str:
        for part in range(5):
            (folder / f"{part}.incomplete").write_bytes(bytes(200_000))
            time.sleep(0.4 * LIMIT)
        arrived.set()
        raise OSError("the end")

    monkeypatch.setattr("huggingface_hub.snapshot_download", slowly)
    refused(lambda: snapshot("owner/name", "5" * 40, kind="model", field="models.m", allowed=["*"]))
    assert arrived.is_set()
    never.set()
