"""Models that the hub does not give: one line each."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.encoders.tiny_models import run_script


class Hub(http.server.BaseHTTPRequestHandler):
    """A hub that has ``owner/known`` without any revision, and nothing else."""

    def do_GET(self) -> None:
        known = self.path.startswith("/api/models/owner/known")
        self.send_response(404)
        self.send_header("X-Error-Code", "RevisionNotFound" if known else "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


ASK = """
import sys
from store.encoders.sentence import model_folder
from store.errors import BitlakeError
from tests.store.encoders.tiny_models import tiny_spec
try:
    model_folder(tiny_spec(sys.argv[1], revision="f00"), "tiny")
except BitlakeError as error:
    print(f"{type(error).__name__}: {error}", end="")
"""


@pytest.mark.parametrize(
    ("name", "setting", "expected"),
    [
        (
            "owner/known",
            {"HF_HUB_OFFLINE": "1"},
            "UnavailableResource: models.tiny: owner/known at revision f00 is not wholly in the local cache and "
            "HF_HUB_OFFLINE is set; unset it to download it",
        ),
        (
            "owner/known",
            {"HF_ENDPOINT": "http://127.0.0.1:9"},
            "UnavailableResource: models.tiny: owner/known at revision f00 is not wholly in the local cache and "
            "the hub cannot be reached; check the network and run again",
        ),
        (
            "owner/known",
            {},
            "UnavailableResource: models.tiny.revision: the hub has owner/known but not revision f00; "
            "correct the revision",
        ),
        (
            "owner/unknown",
            {},
            "UnavailableResource: models.tiny.name: the hub shows no model owner/unknown; correct the name, or run "
            "hf auth login where it is private",
        ),
        (
            "not a name",
            {},
            "InvalidInput: models.tiny.name: 'not a name' is not a name on the hub (owner/model); "
            "a folder starts with / or ./",
        ),
    ],
)
def test_a_model_that_the_hub_does_not_give(
    name: str, setting: dict[str, str], expected: str, hub: str, tmp_path: Path
) -> None:
    result = run_script(ASK, name, **{"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path)} | setting)
    assert result.stdout == expected, result.stderr
