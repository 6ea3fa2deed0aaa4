"""Distillation of a tiny teacher, and encoding against the library's ``StaticEmbedding``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from store.encoders.distilled import DistilledEncoder, distil
from store.encoders.sentence import SentenceEncoder
from store.encoders.spec import Distilled
from store.errors import InvalidInput, UnavailableResource
from tests.store.encoders.tiny_models import DIMENSION, save_tiny_bert, tiny_spec

TEXTS = ["the mean of a sparse matrix", "solve", "array " * 100 + "random", "qxz ☃", "a.b:c"]
Fitted = tuple[dict[str, NDArray[np.float32]], str]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("models") / "teacher")


def spec(teacher: Path, **changes: object) -> Distilled:
    entry = {
        "source": "distillation",
        "teacher": tiny_spec(teacher).model_dump(),
        "dimension": DIMENSION,
        "pca": False,
        "sif_coefficient": None,
        "token_remove_pattern": None,
        "normalize": True,
    }
    return Distilled.model_validate(entry | changes)


@pytest.fixture(scope="module")
def plain(teacher: Path) -> Fitted:
    return distil(spec(teacher), "static", teacher)


def encoder(chosen: Distilled, state: Fitted) -> DistilledEncoder:
    return DistilledEncoder(chosen, "static", *state, {"weights_sha256": "digest"})


@pytest.mark.parametrize("normalize", [True, False])
def test_vectors_equal_static_embedding(teacher: Path, plain: Fitted, normalize: bool) -> None:
    from sentence_transformers import SentenceTransformer as Model
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    library = Model(modules=[StaticEmbedding(Tokenizer.from_str(plain[1]), plain[0]["table"])], device="cpu")
    ours = encoder(spec(teacher, normalize=normalize), plain)
    expected = library.encode(TEXTS, normalize_embeddings=normalize)
    np.testing.assert_allclose(ours.encode_queries(TEXTS), expected, atol=1e-5)
    np.testing.assert_array_equal(ours.encode_documents(TEXTS), ours.encode_queries(TEXTS))
    assert ours.encode_documents(TEXTS).dtype == np.float32


def test_a_token_s_vector_is_the_teacher_s_for_that_token_alone(teacher: Path, plain: Fitted) -> None:
    ours = encoder(spec(teacher, normalize=False), plain)
    alone = SentenceEncoder(tiny_spec(teacher, document_prefix="", normalize=False), "teacher", 2)
    words = ["matrix", "solve", "the"]
    np.testing.assert_allclose(ours.encode_documents(words), alone.encode_documents(words), atol=1e-5)


def test_the_number_of_threads_does_not_change_the_state(teacher: Path, plain: Fitted) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        again = distil(spec(teacher), "static", teacher)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert again[0]["table"].tobytes() == plain[0]["table"].tobytes()
    assert again[1] == plain[1]


def test_pca_centres_and_rotates(teacher: Path, plain: Fitted) -> None:
    table = distil(spec(teacher, pca=True, dimension=5), "static", teacher)[0]["table"]
    centred = plain[0]["table"].astype(np.float64)
    centred -= centred.mean(axis=0)
    values = np.linalg.svd(centred, compute_uv=False)[:5]
    np.testing.assert_allclose(table.astype(np.float64).T @ table, np.diag(values**2), atol=1e-3 * values[0])
    np.testing.assert_allclose(table.mean(axis=0), 0, atol=1e-5)


def test_sif_weights_later_tokens_more(teacher: Path, plain: Fitted) -> None:
    coefficient = 0.01
    table = distil(spec(teacher, sif_coefficient=coefficient), "static", teacher)[0]["table"]
    shares = 1 / np.arange(2, len(table) + 2)
    shares /= shares.sum()
    weights = coefficient / (coefficient + shares)
    np.testing.assert_allclose(table, plain[0]["table"] * weights[:, None], rtol=1e-5)


def test_removed_tokens_are_unknown(teacher: Path, plain: Fitted) -> None:
    removed = distil(spec(teacher, token_remove_pattern="^mat"), "static", teacher)
    assert len(removed[0]["table"]) == len(plain[0]["table"]) - 1
    assert '"matrix"' in plain[1]
    assert '"matrix"' not in removed[1]


def test_a_text_without_a_token_is_refused(teacher: Path, plain: Fitted) -> None:
    with pytest.raises(InvalidInput, match=r"^model static: document 1 .* has an all-zero vector"):
        encoder(spec(teacher), plain).encode_documents(["solve", "\x00"])
    assert encoder(spec(teacher), plain).encode_documents([]).shape == (0, DIMENSION)


def test_identity_names_the_teacher(teacher: Path, plain: Fitted) -> None:
    identity = encoder(spec(teacher), plain).identity
    assert identity["teacher_name"] == "teacher"
    assert identity["teacher_weights_sha256"] == "digest"
    assert identity["sif_coefficient"] == "none"
    assert identity["tokens"] == len(plain[0]["table"])
    assert encoder(spec(teacher, sif_coefficient=0.5), plain).identity["sif_coefficient"] == 0.5


def test_a_state_of_another_dimension_is_refused(teacher: Path, plain: Fitted) -> None:
    with pytest.raises(InvalidInput, match=r"model static gives 16 dimensions, .* says 5"):
        encoder(spec(teacher, pca=True, dimension=5), plain)


def test_missing_packages_are_named(teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "skeletoken" else find(name))
    message = r"^models\.static: distillation needs skeletoken; run pip install skeletoken$"
    with pytest.raises(UnavailableResource, match=message):
        distil(spec(teacher), "static", teacher)
