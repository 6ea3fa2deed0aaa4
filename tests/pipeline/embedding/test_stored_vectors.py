"""What is stored of vectors is what is checked: zeros, infinity and other directions are refused, all else is kept."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from pipeline.embedding.stored_vectors import stored
from store.encoders.lsa import LsaEncoder
from store.errors import InvalidInput
from tests.stages.projects import make_project, run


def drawn(scale: float, rows: int = 5, dimension: int = 384) -> np.ndarray:
    values = np.random.RandomState(0).standard_normal((rows, dimension))
    return np.asarray(scale * values / np.linalg.norm(values, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize(
    ("scale", "problem"),
    [
        (1e-30, "no component above .*, and float16 would store only zeros"),
        (1e-9, "no component above .*, and float16 would store only zeros"),
        (1e-6, "no component above .*, and float16 would change its direction"),
        (1e-4, "no component above .*, and float16 would change its direction"),
        (1e6, r"a component of \d\S+, and float16 ends at 65504"),
        (1e30, r"a component of \d\S+, and float16 ends at 65504"),
    ],
)
def test_vectors_that_float16_cannot_hold_are_one_line_without_a_warning(scale: float, problem: str) -> None:
    vectors = drawn(1.0)
    vectors[3] *= np.float32(scale)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            InvalidInput,
            match=f"^model big: document 103 has {problem}; set models.big.normalize to true in params.yaml$",
        ):
            stored(vectors, "document", "big", 100)


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e3])
@pytest.mark.parametrize("dimension", [1, 32, 4096])
def test_vectors_that_float16_holds_are_its_nearest(scale: float, dimension: int) -> None:
    vectors = drawn(scale, rows=3000, dimension=dimension)
    np.testing.assert_array_equal(stored(vectors, "query", "m"), vectors.astype(np.float16))


def test_unit_vectors_with_one_large_component_are_kept() -> None:
    """All others are subnormal in float16: what they lose is nothing beside the large one."""
    vectors = np.full((1, 4096), 1e-6, np.float32)
    vectors[0, 0] = 1
    stored(vectors, "query", "m")


@pytest.mark.parametrize(("method", "what"), [("encode_queries", "query"), ("encode_documents", "document")])
@pytest.mark.parametrize("scale", [1e-9, 1e6])
def test_a_model_that_float16_cannot_hold_is_refused_by_embed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    method: str,
    what: str,
    scale: float,
) -> None:
    make_project(tmp_path, lambda content: content["models"]["lsa-32"].update(normalize=False))
    assert run(tmp_path, "corpus", "--dataset", "first") == 0
    real = getattr(LsaEncoder, method)
    monkeypatch.setattr(LsaEncoder, method, lambda self, texts: real(self, texts) * np.float32(scale))
    capsys.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(tmp_path, "embed", "--model", "lsa-32", "--dataset", "first") == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line.startswith(f"error: model lsa-32: {what} 0 has ")
    assert line.endswith("; set models.lsa-32.normalize to true in params.yaml")
    assert not (tmp_path / "lake.zarr/embeddings/lsa-32/first/zarr.json").exists()
