"""Models and collections through the real client libraries, from a hub on the loopback address."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from store.encoders.sentence import SentenceEncoder
from tests.hub_server import (
    NANO_DOCUMENTS,
    NANO_QUERIES,
    SIGNATURE,
    TOKEN,
    Hub,
    Repository,
    model,
    nano_dataset,
)
from tests.servers import Server
from tests.store.encoders.tiny_models import DIMENSION, POSITIONS, save_tiny_bert, tiny_spec
from tests.store.hub_clients import Client

COMMIT = "5" * 40
WEIGHTS = "model.safetensors"
QUERIES = "queries/train-00000-of-00001.parquet"
CORPUS = "corpus/train-00000-of-00001.parquet"


def dataset_entry(name: str, **changes: Any) -> dict[str, Any]:
    """An entry for a collection of the shape of NanoBEIR."""
    hub = {
        "name": name,
        "revision": COMMIT,
        "corpus": {"config": "corpus", "split": "train"},
        "queries": {"config": "queries", "split": "train"},
        "judgements": "qrels",
    }
    entry: dict[str, Any] = {
        "source": "beir",
        "path": None,
        "hub": hub,
        "split": "train",
        "training": None,
        "max_documents": None,
        "seed": 0,
        "exclude_self": False,
        "grown_from": [],
        "drop": [],
    }
    return entry | changes


def model_entry(name: str, **changes: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "source": "sentence-transformers",
        "name": name,
        "revision": COMMIT,
        "package": None,
        "dimension": DIMENSION,
        "max_tokens": POSITIONS,
        "query_prefix": "query: ",
        "document_prefix": "passage: ",
        "normalize": True,
    }
    return entry | changes


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Repository]:
    """A model and a collection; tests serve copies of them that something is wrong with."""
    folder = tmp_path_factory.mktemp("made")
    return {"model": model(folder / "model"), "dataset": nano_dataset(folder / "dataset", 1)}


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def server(hub: Hub) -> Iterator[Server]:
    with hub.serve() as server:
        yield server


def put(hub: Hub, made: dict[str, Repository], name: str, **wrong: Any) -> None:
    """Serve the model and the collection as ``name``; ``files`` replaces some of their files, or drops them (None)."""
    files = wrong.pop("files", {})
    for kind, repositories in (("model", hub.models), ("dataset", hub.datasets)):
        content = {path: data for path, data in (made[kind].files | files).items() if data is not None}
        repositories[name] = Repository(content, **wrong)


def leftovers(cache: Path) -> list[str]:
    """Files in the snapshots of a cache that are not what their digests say."""
    return [
        str(path)
        for path in cache.glob("hub/*/snapshots/*/**/*")
        if path.is_file()
        and len(path.resolve().name) == 64
        and hashlib.sha256(path.read_bytes()).hexdigest() != path.resolve().name
    ]


def test_downloaded_once_then_taken_from_the_cache(
    hub: Hub, server: Server, made: dict[str, Repository], tmp_path: Path
) -> None:
    put(hub, made, "owner/right")
    with Client(server.url, tmp_path) as first:
        corpus, encoder = (
            first.corpus(dataset_entry("owner/right")),
            first.model(model_entry("owner/right")),
        )
    assert corpus["counts"]["documents"] == NANO_DOCUMENTS
    assert corpus["counts"]["queries"] == len(corpus["judgements"]) == NANO_QUERIES
    (local,) = [SentenceEncoder(tiny_spec(save_tiny_bert(tmp_path / "tiny"), revision=COMMIT), "tiny", 2)]
    np.testing.assert_allclose(
        encoder["vectors"], local.encode_documents(["a matrix", "the mean"]), atol=1e-6
    )
    assert encoder["identity"]["weights_sha256"] == local.identity["weights_sha256"]
    sent = {answer.path.partition(f"{COMMIT}/")[2] for answer in server.answers if answer.method == "GET"}
    assert {WEIGHTS, QUERIES, CORPUS} <= sent
    server.answers.clear()
    for offline in ("", "1"):
        with Client(server.url, tmp_path, HF_HUB_OFFLINE=offline) as again:
            assert again.corpus(dataset_entry("owner/right")) == corpus
            if offline:
                assert again.model(model_entry("owner/right")) == encoder
        assert not server.answers, "a pinned revision in the cache needs no request"


def test_offline_with_nothing_or_too_little_in_the_cache(
    hub: Hub, server: Server, made: dict[str, Repository], tmp_path: Path
) -> None:
    put(hub, made, "owner/torn", absent={QUERIES, WEIGHTS})
    with Client(server.url, tmp_path) as client:
        client.corpus(dataset_entry("owner/torn"))
        client.model(model_entry("owner/torn"))
    server.answers.clear()
    remedy = "HF_HUB_OFFLINE is set; unset it to download it"
    with Client(server.url, tmp_path, HF_HUB_OFFLINE="1") as client:
        for field, ask, entry in (
            ("hub", client.corpus, dataset_entry),
            ("models.tiny", client.model, model_entry),
        ):
            for name in ("owner/torn", "owner/never"):
                what = f"{field}: {name} at revision {COMMIT}"
                assert ask(entry(name))["error"] == (
                    f"UnavailableResource: {what} is not wholly in the local cache and {remedy}"
                )
    assert not server.answers


def test_what_the_hub_does_not_have_or_not_whole(
    hub: Hub, server: Server, made: dict[str, Repository], tmp_path: Path
) -> None:
    put(hub, made, "owner/known", revisions=frozenset({"6" * 40}))
    put(hub, made, "owner/absent", absent={QUERIES, WEIGHTS})
    put(hub, made, "owner/short", shortened={QUERIES, WEIGHTS})
    put(hub, made, "owner/signed", signed={QUERIES: 403, WEIGHTS: 403})
    put(hub, made, "owner/busy", signed={QUERIES: 429, WEIGHTS: 429})
    put(hub, made, "owner/evil", files={"../evil.json": b"{}"})
    with Client(server.url, tmp_path) as client:
        errors = {
            (field, name): ask(entry(f"owner/{name}"))["error"]
            for field, ask, entry in (
                ("hub", client.corpus, dataset_entry),
                ("models.tiny", client.model, model_entry),
            )
            for name in ("unknown", "known", "absent", "short", "signed", "busy", "evil")
        }
        # Corrected, and run again as the message says.
        put(hub, made, "owner/short")
        assert client.corpus(dataset_entry("owner/short"))["counts"]["documents"] == NANO_DOCUMENTS
        assert "vectors" in client.model(model_entry("owner/short"))
    for field, kind in (("hub", "dataset"), ("models.tiny", "model")):
        what = f"{field}: owner/%s at revision {COMMIT}"
        assert errors[field, "unknown"] == (
            f"UnavailableResource: {field}.name: the hub shows no {kind} owner/unknown; correct the name, or run "
            "hf auth login where it is private"
        )
        assert errors[field, "known"] == (
            f"UnavailableResource: {field}.revision: the hub has owner/known but not revision {COMMIT}; "
            "correct the revision"
        )
        assert errors[field, "absent"] == (
            f"UnavailableResource: {what % 'absent'} lists a file that the hub does not have; run again later or "
            "choose another revision"
        )
        assert re.fullmatch(
            rf"UnavailableResource: {what % 'short'} broke off while it was downloaded \(\w+\); "
            "check the network and run again",
            errors[field, "short"],
        )
        assert errors[field, "signed"] == (
            f"UnavailableResource: {what % 'signed'} was refused by the hub (status 403); run again later, or run "
            "hf auth login where it is gated"
        )
        assert errors[field, "busy"] == (
            f"UnavailableResource: {what % 'busy'}: the hub has had too many requests (status 429); run again in some "
            "minutes, or run hf auth login, which allows more"
        )
        assert errors[field, "evil"] == (
            f"InvalidInput: {what % 'evil'} lists '../evil.json', which leaves its folder; choose another repository"
        )
    assert not leftovers(client.cache)
    assert not list(tmp_path.rglob("*evil.json"))
    for secret in (SIGNATURE, TOKEN):
        assert secret not in client.said + str(errors)


def test_a_hub_that_goes_away_in_the_middle(
    hub: Hub, server: Server, made: dict[str, Repository], tmp_path: Path
) -> None:
    put(hub, made, "owner/large", files={CORPUS: made["dataset"].files[CORPUS]})
    with Client(server.url, tmp_path) as client:
        # The listing and one file, then half of another.
        server.stop_after(2, "GET")
        error = client.corpus(dataset_entry("owner/large"))["error"]
        assert re.fullmatch(
            rf"UnavailableResource: hub: owner/large at revision {COMMIT} broke off while it was downloaded "
            r"\(\w+\); check the network and run again",
            error,
        )
        assert not leftovers(client.cache)
        assert client.corpus(dataset_entry("owner/never"))["error"].endswith(
            "is not wholly in the local cache and the hub cannot be reached; check the network and run again"
        )
        server.stop()
        server.start()
        assert client.corpus(dataset_entry("owner/large"))["counts"]["documents"] == NANO_DOCUMENTS


def test_a_cached_file_that_is_not_the_listed_one(
    hub: Hub, server: Server, made: dict[str, Repository], tmp_path: Path
) -> None:
    put(hub, made, "owner/damaged")
    with Client(server.url, tmp_path) as client:
        assert "digest" in client.corpus(dataset_entry("owner/damaged"))
        assert "vectors" in client.model(model_entry("owner/damaged"))
        for kind, file, entry, ask in (
            ("datasets", CORPUS, dataset_entry, client.corpus),
            ("models", WEIGHTS, model_entry, client.model),
        ):
            (path,) = client.cache.glob(f"hub/{kind}--*/snapshots/*/{file}")
            content = path.read_bytes()
            turned = content[:50] + bytes([content[50] ^ 1]) + content[51:]
            for damaged in (turned, content[:-1]):
                path.resolve().write_bytes(damaged)
                assert ask(entry("owner/damaged"))["error"].endswith(
                    f": {file} in the local cache is not the listed file; remove it there and run again"
                )


def test_models_that_would_run_code_or_unpickle(
    hub: Hub, server: Server, made: dict[str, Repository], tmp_path: Path
) -> None:
    files = made["model"].files
    run = b"import pathlib; pathlib.Path('was-run').touch()\nclass Own: pass\n"
    modules = files["modules.json"].replace(
        b"sentence_transformers.sentence_transformer.modules.pooling.Pooling", b"own.Own"
    )
    assert modules != files["modules.json"]
    config = files["config.json"].replace(b"{", b'{"auto_map": {"AutoModel": "own.Own"},', 1)
    put(hub, made, "owner/module", files={"modules.json": modules, "own.py": run})
    put(hub, made, "owner/auto", files={"config.json": config, "own.py": run})
    put(hub, made, "owner/pickle", files={WEIGHTS: None, "pytorch_model.bin": b"\x80\x04."})
    with Client(server.url, tmp_path) as client:
        errors = {
            name: client.model(model_entry(f"owner/{name}"))["error"] for name in ("module", "auto", "pickle")
        }
    assert errors == {
        "module": "InvalidInput: models.tiny: owner/module needs code of its own for own.Own (modules.json), which is "
        "never run; choose another model",
        "auto": "InvalidInput: models.tiny: owner/auto needs code of its own for AutoModel (config.json), which is "
        "never run; choose another model",
        "pickle": "InvalidInput: models.tiny: owner/pickle has no .safetensors file, and pickled weights are not read; "
        "choose a revision with safetensors",
    }
    fetched = {Path(answer.path).name for answer in server.answers}
    assert WEIGHTS in fetched
    assert not fetched & {"own.py", "pytorch_model.bin"}
    assert not list(Path.cwd().glob("was-run"))
