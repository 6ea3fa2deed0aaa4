"""Processes that ask a hub through the project: the client libraries read their variables when they are imported."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.hub_server import client_environment
from tests.paths import ROOT

_LOOP = """
import json, sys
from pathlib import Path
from store.corpora.beir import read_beir
from store.corpora.spec import Beir
from store.encoders.sentence import SentenceEncoder
from store.encoders.spec import SentenceTransformer
from store.errors import BitlakeError

def corpus(entry):
    found = read_beir(Beir.model_validate(entry), Path(sys.argv[1]) / "data", 0, Path(sys.argv[1]) / "scratch")
    return {
        "digest": found.digest,
        "counts": dict(found.counts),
        "documents": dict(zip(found.document_ids, found.document_texts)),
        "queries": dict(zip(found.query_ids, found.query_texts)),
        "training": dict(zip(found.training_ids, found.training_texts)),
        "judgements": [
            [found.query_ids[query], found.document_ids[document], int(relevance)]
            for query, document, relevance in zip(
                found.judgements.query, found.judgements.document, found.judgements.relevance
            )
        ],
    }

def model(entry):
    encoder = SentenceEncoder(SentenceTransformer.model_validate(entry), "tiny", 2)
    return {"identity": dict(encoder.identity), "vectors": encoder.encode_documents(["a matrix", "the mean"]).tolist()}

for line in sys.stdin:
    what, entry = json.loads(line)
    try:
        answer = {"corpus": corpus, "model": model}[what](entry)
    except BitlakeError as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print("\\n" + json.dumps(answer), flush=True)
"""


class Client(AbstractContextManager["Client"]):
    """One process that answers questions one after the other; use it as a context.

    Its caches and its scratch are below ``folder``. ``said`` is everything that it printed beside its answers, known
    once it has ended.
    """

    def __init__(self, url: str, folder: Path, **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.cache = folder / "home"
        self.said = ""
        self._errors = (folder / "stderr").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LOOP, str(folder)],
            cwd=ROOT,
            env=client_environment(url, self.cache, **environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def corpus(self, entry: dict[str, Any]) -> dict[str, Any]:
        """What reading a collection gives, or its error."""
        return self._ask("corpus", entry)

    def model(self, entry: dict[str, Any]) -> dict[str, Any]:
        """What loading a model gives, or its error."""
        return self._ask("model", entry)

    def _ask(self, what: str, entry: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([what, entry]) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            self.said += line
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        self._errors.seek(0)
        raise AssertionError(f"the client ended: {self._errors.read()}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=60)
        self._errors.seek(0)
        self.said += self._errors.read()
        self._errors.close()
