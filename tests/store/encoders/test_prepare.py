"""Fitted encoders are made once, checked on reading, and made again when damaged."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest

from store.encoders import lsa, prepare
from store.encoders.distilled import DistilledEncoder, distil
from store.encoders.prepare import Fitted, prepared_encoder
from store.encoders.sentence import SentenceEncoder
from store.encoders.spec import Distilled
from store.errors import InvalidInput
from tests.store.encoders import test_distilled as distilled_tests
from tests.store.encoders import test_lsa as lsa_tests
from tests.store.encoders.tiny_models import save_tiny_bert, tiny_spec

DOCUMENTS = lsa_tests.documents()


class Reads:
    """The documents, counting how often they are read."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> list[str]:
        self.count += 1
        return DOCUMENTS


def prepared(cache: Path, documents: Any = DOCUMENTS, digest: str = "d", **changes: object) -> lsa.LsaEncoder:
    encoder = prepared_encoder(
        lsa_tests.spec(**changes),
        label="lsa",
        documents=documents,
        corpus_digest=digest,
        cache=cache,
        batch_size=8,
    )
    assert isinstance(encoder, lsa.LsaEncoder)
    return encoder


def test_fitted_once_and_read_ever_after(tmp_path: Path) -> None:
    reads = Reads()
    first, second = prepared(tmp_path, reads), prepared(tmp_path, reads)
    assert reads.count == 1
    assert first.encode_documents(DOCUMENTS).tobytes() == second.encode_documents(DOCUMENTS).tobytes()
    assert first.identity == second.identity
    assert [path.name[:4] for path in tmp_path.iterdir()] == ["lsa-"]


def test_another_corpus_or_setting_is_another_state(tmp_path: Path) -> None:
    reads = Reads()
    prepared(tmp_path, reads)
    prepared(tmp_path, reads, digest="e")
    prepared(tmp_path, reads, seed=1)
    assert reads.count == 3
    assert len(list(tmp_path.iterdir())) == 3


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: flip(place / "arrays.safetensors"),
        lambda place: flip(place / "text.json"),
        lambda place: (place / "arrays.safetensors").unlink(),
        lambda place: (place / "files.json").unlink(),
        lambda place: (place / "files.json").write_text("{"),
        lambda place: (place / "files.json").write_text("[]"),
    ],
)
def test_a_damaged_state_is_made_again(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    expected = prepared(tmp_path).encode_documents(DOCUMENTS)
    [place] = tmp_path.iterdir()
    kept = {path.name: path.read_bytes() for path in place.iterdir()}
    damage(place)
    reads = Reads()
    assert prepared(tmp_path, reads).encode_documents(DOCUMENTS).tobytes() == expected.tobytes()
    assert reads.count == 1
    assert {path.name: path.read_bytes() for path in place.iterdir()} == kept
    assert list(tmp_path.iterdir()) == [place]


def test_a_failed_fit_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there are 3 documents"):
        prepared(tmp_path, DOCUMENTS[:3])
    assert list(tmp_path.iterdir()) == []


def test_a_killed_write_leaves_nothing_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(folder: Path, *_: object) -> None:
        (folder / "arrays.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(prepare, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            prepared(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_that_race_agree(tmp_path: Path) -> None:
    barrier = Barrier(2, timeout=30)

    def documents() -> list[str]:
        barrier.wait()  # both have found nothing, so both fit
        return DOCUMENTS

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: prepared(tmp_path, documents), range(2))
    assert one.encode_documents(DOCUMENTS).tobytes() == two.encode_documents(DOCUMENTS).tobytes()
    assert [path.name[:4] for path in tmp_path.iterdir()] == ["lsa-"]


def test_a_distilled_model_is_kept_by_its_teacher_s_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distillations = []

    def counted(spec: Distilled, label: str, teacher: Path) -> Fitted:
        distillations.append(teacher)
        return distil(spec, label, teacher)

    monkeypatch.setattr(prepare, "distil", counted)

    def encoder() -> DistilledEncoder:
        made = prepared_encoder(
            distilled_tests.spec(tmp_path / "teacher"),
            label="static",
            documents=lambda: pytest.fail("distillation reads no documents"),
            corpus_digest=str(len(distillations)),
            cache=tmp_path / "cache",
            batch_size=8,
        )
        assert isinstance(made, DistilledEncoder)
        return made

    save_tiny_bert(tmp_path / "teacher")
    first, second = encoder(), encoder()
    assert len(distillations) == 1
    assert first.encode_queries(["solve"]).tobytes() == second.encode_queries(["solve"]).tobytes()
    save_tiny_bert(tmp_path / "teacher", seed=1)
    assert abs(encoder().encode_queries(["solve"]) - first.encode_queries(["solve"])).max() > 0.01
    assert len(distillations) == 2


def test_a_sentence_transformer_needs_no_preparation(tmp_path: Path) -> None:
    encoder = prepared_encoder(
        tiny_spec(save_tiny_bert(tmp_path / "tiny")),
        label="tiny",
        documents=lambda: pytest.fail("a pretrained model reads no documents"),
        corpus_digest="d",
        cache=tmp_path / "cache",
        batch_size=2,
    )
    assert isinstance(encoder, SentenceEncoder)
    assert encoder.encode_documents(["solve"]).shape == (1, encoder.dimension)
    assert not (tmp_path / "cache").exists()
    assert np.isfinite(encoder.encode_documents(["solve"])).all()
