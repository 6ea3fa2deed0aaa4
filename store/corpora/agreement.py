"""Whether the texts of a dataset are those that its judgements were made for."""

from __future__ import annotations

from pathlib import Path

from store.corpora.corpus import DOCUMENTS_FILE, Judgements, stored_digest
from store.leaf.reading import Leaf


def are_texts_of(folder: Path, judgements: Leaf) -> bool:
    """Whether the texts in ``folder``, if any are there, are those of a leaf of judgements. All of them are read.

    Raises `MissingArtifact` where only some files are there, and `DamagedArtifact` where one cannot be read.
    """
    if not (folder / DOCUMENTS_FILE).is_file():
        return True
    pairs = Judgements(*(judgements.read(name) for name in ("judged_query", "judged_document", "relevance")))
    return stored_digest(folder, pairs) == str(judgements.attributes["corpus_digest"])
