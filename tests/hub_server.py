"""A Hugging Face hub on the loopback address, for the real client libraries: point ``HF_ENDPOINT`` at `Server.url`.

It speaks what they ask when they download a snapshot: listings, the head and the content of files with their digests
and commit, ranges, and redirects to signed addresses. A repository answers to any revision unless it names its own.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from tests.servers import Server
from tests.stages.projects import write_beir
from tests.store.encoders.tiny_models import save_tiny_bert

SIGNATURE = "ThisSignatureMustNeverBeShown"
TOKEN = "hf_ThisTokenMustNeverBeShown"

NANO = {
    "zeta-alpha-ai/NanoMSMARCO": 0,
    "zeta-alpha-ai/NanoNQ": 1,
    "zeta-alpha-ai/NanoSciFact": 2,
}
"""Collections of the nano study, by the seed of what stands in for them."""

NANO_DOCUMENTS, NANO_QUERIES = 800, 50

MODELS = {
    "sentence-transformers/all-MiniLM-L6-v2": {"dimension": 384, "pooling": "mean"},
    "intfloat/e5-base-v2": {"dimension": 768, "pooling": "mean"},
    "BAAI/bge-large-en-v1.5": {"dimension": 1024, "pooling": "cls"},
}
"""Models of the study, by the shape of what stands in for them."""


@dataclass
class Repository:
    """A repository: its files by path, and what goes wrong with them.

    ``revisions`` are the only ones it has, None for any. ``absent`` are listed but not served, ``shortened`` are served
    by half, and ``signed`` are redirected to a signed address, which answers with the given status.
    """

    files: dict[str, bytes]
    revisions: frozenset[str] | None = None
    absent: set[str] = field(default_factory=set)
    shortened: set[str] = field(default_factory=set)
    signed: dict[str, int] = field(default_factory=dict)

    def commit(self, revision: str) -> str:
        """The commit that a revision stands for."""
        if re.fullmatch("[0-9a-f]{40}", revision):
            return revision
        return hashlib.sha1(revision.encode()).hexdigest()


@dataclass
class Hub:
    """What a hub has: models and datasets by name. ``serve`` starts a server of it."""

    models: dict[str, Repository] = field(default_factory=dict)
    datasets: dict[str, Repository] = field(default_factory=dict)

    def serve(self) -> Server:
        """A server that is started and stopped as a context."""
        return Server(self._answer)

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], urllib.parse.unquote(environ["PATH_INFO"])
        api = re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/(.+))?", path)
        file = re.fullmatch(r"(/datasets)?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if method == "POST" and api is None:
            return _send(start_response, "405 Method Not Allowed")
        if api:
            kind, name, what, revision = api.groups()
            repository = (self.models if kind == "models" else self.datasets).get(name)
            if repository is None:
                return _error(start_response, "RepoNotFound")
            if not _has(repository, revision):
                return _error(start_response, "RevisionNotFound")
            content = (
                _listing(repository) if what in ("tree", "paths-info") else _info(repository, name, revision)
            )
            body = json.dumps(content).encode()
            return _send(start_response, "200 OK", body, {"Content-Type": "application/json"}, method)
        if file:
            kind, name, revision, at = file.groups()
            repository = (self.datasets if kind else self.models).get(name)
            if repository is None:
                return _error(start_response, "RepoNotFound")
            if not _has(repository, revision):
                return _error(start_response, "RevisionNotFound")
            return _file(repository, revision, at, environ, start_response)
        return _send(start_response, "404 Not Found")


def _has(repository: Repository, revision: str | None) -> bool:
    return repository.revisions is None or revision is None or revision in repository.revisions


def _is_large(path: str) -> bool:
    return path.endswith((".safetensors", ".parquet", ".jsonl", ".bin"))


def _digest(path: str, content: bytes) -> str:
    if _is_large(path):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _listing(repository: Repository) -> list[dict[str, Any]]:
    folders = sorted(
        {str(parent) for path in repository.files for parent in Path(path).parents} - {".", "..", "/"}
    )
    entries: list[dict[str, Any]] = [
        {"type": "directory", "path": folder, "size": 0, "oid": "0" * 40} for folder in folders
    ]
    for path, content in sorted(repository.files.items()):
        entry = {"type": "file", "path": path, "size": len(content), "oid": _digest(path, content)[:40]}
        if _is_large(path):
            entry["lfs"] = {"oid": _digest(path, content), "size": len(content), "pointerSize": 130}
        entries.append(entry)
    return entries


def _info(repository: Repository, name: str, revision: str | None) -> dict[str, Any]:
    return {
        "_id": "0",
        "id": name,
        "sha": repository.commit(revision or "main"),
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": [{"rfilename": path} for path in sorted(repository.files)],
    }


def _file(
    repository: Repository, revision: str, path: str, environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    method = environ["REQUEST_METHOD"]
    if path not in repository.files or path in repository.absent:
        return _error(start_response, "EntryNotFound", {"X-Repo-Commit": repository.commit(revision)})
    content = repository.files[path]
    headers = {
        "X-Repo-Commit": repository.commit(revision),
        "ETag": f'"{_digest(path, content)}"',
        "Accept-Ranges": "bytes",
    }
    redirected = "signature=" in environ.get("QUERY_STRING", "")
    if path in repository.signed and not redirected:
        # Another host than the hub's own, as that of the real one is.
        host = environ["HTTP_HOST"].replace("127.0.0.1", "localhost")
        address = f"http://{host}{environ['PATH_INFO']}?signature={SIGNATURE}"
        headers |= {
            "Location": address,
            "X-Linked-Etag": headers["ETag"],
            "X-Linked-Size": str(len(content)),
        }
        return _send(start_response, "302 Found", b"", headers)
    if redirected and repository.signed.get(path, 200) != 200:
        return _send(start_response, f"{repository.signed[path]} Refused")
    line, length = "200 OK", len(content)
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", environ.get("HTTP_RANGE", ""))
    if asked:
        first, last = int(asked[1]), int(asked[2] or length - 1)
        line, headers["Content-Range"] = "206 Partial Content", f"bytes {first}-{last}/{length}"
        content = content[first : last + 1]
    if method == "GET" and path in repository.shortened:
        content = content[: len(content) // 2]
    return _send(start_response, line, content, headers, method)


def _error(
    start_response: StartResponse, code: str, headers: Mapping[str, str] | None = None
) -> Iterable[bytes]:
    return _send(start_response, "404 Not Found", b"", {"X-Error-Code": code, **(headers or {})})


def _send(
    start_response: StartResponse,
    line: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
) -> Iterable[bytes]:
    start_response(line, [("Content-Length", str(len(body))), *(headers or {}).items()])
    return [] if method == "HEAD" else [body]


def client_environment(url: str, home: Path, **changes: str) -> dict[str, str]:
    """The environment of a process whose clients know this hub, keep what they keep in ``home`` and have a token.

    A change to the empty string takes a variable away.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    ours = {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
    return {name: value for name, value in (kept | ours | changes).items() if value}


def files_below(folder: Path) -> dict[str, bytes]:
    """The files of a folder by their paths in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def parquet(columns: Mapping[str, list[Any]]) -> bytes:
    """A Parquet file of the given columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), buffer)
    return buffer.getvalue()


def json_lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """A file of JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def readme(**configs: Mapping[str, str]) -> bytes:
    """A dataset's ``README.md`` that declares the pattern of data files by configuration and split."""
    lines = ["---", "configs:"]
    for name, splits in configs.items():
        lines += [f"- config_name: {name}", "  data_files:"]
        for split, pattern in splits.items():
            lines += [f"  - split: {split}", f"    path: {pattern}"]
    return "\n".join([*lines, "---", ""]).encode()


def nano_dataset(folder: Path, seed: int) -> Repository:
    """A collection in the layout of NanoBEIR: three tables of Parquet, judgements without scores."""
    write_beir(folder, seed, NANO_DOCUMENTS, NANO_QUERIES)
    documents = [json.loads(line) for line in (folder / "corpus.jsonl").open()]
    queries = [json.loads(line) for line in (folder / "queries.jsonl").open()]
    pairs = [line.split("\t") for line in (folder / "qrels/test.tsv").read_text().splitlines()[1:]]
    name = "train-00000-of-00001.parquet"
    return Repository(
        {
            "README.md": readme(
                **{part: {"train": f"{part}/train-*"} for part in ("corpus", "qrels", "queries")}
            ),
            f"corpus/{name}": parquet({key: [line[key] for line in documents] for key in ("_id", "text")}),
            f"queries/{name}": parquet({key: [line[key] for line in queries] for key in ("_id", "text")}),
            f"qrels/{name}": parquet(
                {"query-id": [pair[0] for pair in pairs], "corpus-id": [pair[1] for pair in pairs]}
            ),
        }
    )


def model(folder: Path, **shape: Any) -> Repository:
    """A random model, small but in the layout of the hub; ``shape`` is that of `save_tiny_bert`."""
    return Repository(files_below(save_tiny_bert(folder, **shape)))


def study_hub(folder: Path) -> Hub:
    """All that the nano study takes from the hub, under the real names and at any revision; made in ``folder``."""
    return Hub(
        models={
            name: model(
                folder / f"model-{number}", positions=512, layers=1, normalize=True, seed=number, **shape
            )
            for number, (name, shape) in enumerate(MODELS.items())
        },
        datasets={name: nano_dataset(folder / f"dataset-{seed}", seed) for name, seed in NANO.items()},
    )
