"""From a model entry of ``params.yaml`` to an encoder; what has to be fitted is fitted once and kept.

A fitted state is a folder of safetensors and JSON under the cache, named by what it was made from, so every cell
that needs it finds it. It is checked against its own digests on reading; a damaged one is made again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from store.encoders.base import Advance, Encoder
from store.encoders.device import CPU, Device
from store.encoders.distilled import DistilledEncoder, distil
from store.encoders.lsa import LsaEncoder, fit
from store.encoders.sentence import SentenceEncoder, digests, model_folder
from store.encoders.spec import Distilled, EncoderSpec, Lsa
from store.progress import unwatched

Documents = Sequence[str] | Callable[[], Sequence[str]]
Fitted = tuple[dict[str, NDArray[Any]], str]

_FORMAT = 1
"""Part of every name: raised when a state is fitted or laid out differently."""
_ARRAYS, _TEXT, _LISTING = "arrays.safetensors", "text.json", "files.json"


def prepared_encoder(
    spec: EncoderSpec,
    *,
    label: str,
    documents: Documents,
    corpus_digest: str,
    cache: Path,
    batch_size: int,
    device: Device = CPU,
    advance: Advance = unwatched,
) -> Encoder:
    """The encoder that ``spec`` describes, fitted if it has to be.

    ``label`` names the model in messages. ``documents`` (or a function that reads them) and ``corpus_digest`` are
    those of the cell; only models fitted on documents look at them. ``cache`` is a private folder.
    ``batch_size`` texts of full length go through a transformer at once, on ``device``; everything else is computed on
    the CPU. ``advance`` is called with what has been encoded.
    """
    if isinstance(spec, Lsa):

        def fitted() -> Fitted:
            return fit(spec, label, documents() if callable(documents) else documents)

        state, text = _kept(_place(cache, spec, corpus_digest), fitted)
        return LsaEncoder(spec, label, state, text, corpus_digest, advance)
    if isinstance(spec, Distilled):
        teacher = model_folder(spec.teacher, f"{label}.teacher")
        known = digests(teacher)
        place = _place(cache, spec, *known.values())
        state, text = _kept(place, lambda: distil(spec, label, teacher))
        return DistilledEncoder(spec, label, state, text, known, advance)
    return SentenceEncoder(spec, label, batch_size, device, advance)


def _place(cache: Path, spec: Distilled | Lsa, *made_from: str) -> Path:
    meaning = json.dumps([_FORMAT, spec.model_dump(), *made_from], sort_keys=True)
    return cache / f"{spec.source}-{hashlib.sha256(meaning.encode()).hexdigest()[:16]}"


def _kept(place: Path, make: Callable[[], Fitted]) -> Fitted:
    """What is kept at ``place``; made and kept there first where it is missing or damaged."""
    found = _read(place)
    if found is not None:
        return found
    fitted = make()
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        _write(beside, *fitted)
        if _read(place) is None:
            shutil.rmtree(place, ignore_errors=True)
            # If another process was faster, the name has the same state.
            with suppress(OSError):
                beside.rename(place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    # Read back, so that the first run computes with exactly what later runs find; a lost race loses nothing.
    return _read(place) or fitted


def _write(folder: Path, arrays: dict[str, NDArray[Any]], text: str) -> None:
    from safetensors.numpy import save_file

    save_file(arrays, folder / _ARRAYS)
    (folder / _TEXT).write_text(text, encoding="utf-8")
    listing = {name: _sha256(folder / name) for name in (_ARRAYS, _TEXT)}
    (folder / _LISTING).write_text(json.dumps(listing, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _read(folder: Path) -> Fitted | None:
    """What `_write` wrote, or None where it is not there as it was written."""
    from safetensors.numpy import load_file

    try:
        listing = json.loads((folder / _LISTING).read_text(encoding="utf-8"))
        if any(listing[name] != _sha256(folder / name) for name in (_ARRAYS, _TEXT)):
            return None
        return load_file(folder / _ARRAYS), (folder / _TEXT).read_text(encoding="utf-8")
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
