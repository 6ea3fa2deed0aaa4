"""Slabs encoded by a worker: with the texts and the encoder of the stage, or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import params
from pipeline.embedding import slabs
from pipeline.embedding.slabs import Slabs, encode_slab, identity_of
from store.artifacts.embeddings import EMBEDDINGS
from store.artifacts.judgements import JUDGEMENTS
from store.corpora.corpus import DOCUMENTS_FILE, iter_texts
from store.encoders.device import CPU
from store.encoders.prepare import prepared_encoder
from store.errors import InvalidInput
from store.layout import Layout
from store.leaf.growth import Block, text_blocks
from store.leaf.reading import open_leaf
from tests.stages.projects import make_project, run_cell

MODEL, DATASET = "lsa-32", "first"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    make_project(root, lambda content: content["embed"].update(slab=100))
    run_cell(root, MODEL, DATASET, until="embed")
    return root


@pytest.fixture
def wanted(project: Path) -> Slabs:
    slabs._encoder.cache_clear()
    parsed, layout = params.load(project), Layout(project)
    judgements = open_leaf(layout.leaf("judgements", {"dataset": DATASET}), JUDGEMENTS)
    corpus = judgements.attributes["corpus_digest"]
    wanted = Slabs(project, parsed.models[MODEL], MODEL, DATASET, corpus, 8, CPU, "")
    encoder = prepared_encoder(
        wanted.spec, label=MODEL, documents=[], corpus_digest=corpus, cache=layout.prepared, batch_size=8
    )
    return replace(wanted, identity=identity_of(encoder))


def blocks(project: Path) -> list[Block]:
    return text_blocks(iter_texts(Layout(project).corpus(DATASET) / DOCUMENTS_FILE, 100))


def test_slabs_are_what_the_stage_stored(project: Path, wanted: Slabs) -> None:
    keys = {"model": MODEL, "dataset": DATASET}
    stored = open_leaf(Layout(project).leaf("embeddings", keys), EMBEDDINGS)
    for slab in blocks(project):
        assert encode_slab(wanted, slab).vectors.tobytes() == stored.read("documents", slab.slice).tobytes()


def test_the_texts_of_the_worker_s_own_checkout_serve(
    project: Path, wanted: Slabs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slabs, "CHECKOUT", project)
    slab = blocks(project)[1]
    found = encode_slab(replace(wanted, root=tmp_path), slab)
    assert found.vectors.tobytes() == encode_slab(wanted, slab).vectors.tobytes()


def test_other_texts_are_refused(project: Path, wanted: Slabs) -> None:
    for slab in (replace(blocks(project)[0], content="another"), Block(4000, 100, "beyond")):
        with pytest.raises(
            InvalidInput, match=r"^corpora/first: a worker has other texts than the stage; share the"
        ):
            encode_slab(wanted, slab)


def test_another_encoder_is_refused(project: Path, wanted: Slabs) -> None:
    with pytest.raises(
        InvalidInput, match=r"^models\.lsa-32: a worker has another encoder than the stage; share"
    ):
        encode_slab(replace(wanted, identity="{}"), blocks(project)[0])
