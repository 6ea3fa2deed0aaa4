"""Sentence-transformers models: where the weights are found, and encoding by their own modules."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from store.encoders.base import (
    Advance,
    Identity,
    Vectors,
    check_dimension,
    check_vectors,
    unit_length,
    versions,
)
from store.encoders.checkpoint import check_files, loaded_as_written
from store.encoders.device import CPU, Device
from store.encoders.spec import SentenceTransformer
from store.encoders.tokens import Features, Tokens, padded_tokens, plan_batches, without_padding
from store.errors import BitlakeError, InvalidInput, UnavailableResource
from store.hub import snapshot
from store.progress import unwatched
from store.threads import overlapped

if TYPE_CHECKING:
    import sentence_transformers
    import torch

# What a model needs: never pickles, never the same weights again for another runtime.
_DOWNLOADED = ["*.json", "*.txt", "*.model", "*.safetensors"]
_NOT_DOWNLOADED = ["onnx/*", "openvino/*"]
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "*.model")
_TOKENIZED_AT_ONCE = 1024
"""Texts that are padded to one length while they are tokenized."""


def model_folder(spec: SentenceTransformer, label: str) -> Path:
    """The folder with a model's files: in a package, as given, or downloaded into the hub's cache.

    Raises `UnavailableResource` where it cannot be had and `InvalidInput` where it is not a
    sentence-transformers model with safetensors weights.
    """
    if spec.package is not None:
        folder = _packaged(spec.package, label)
    elif spec.is_folder:
        folder = Path(spec.name)
        if not folder.is_dir():
            raise UnavailableResource(
                f"models.{label}.name: there is no folder {spec.name}; correct the path"
            )
    else:
        folder = _downloaded(spec, label)
    if not (folder / "modules.json").is_file():
        raise InvalidInput(
            f"models.{label}: {spec.public_name} has no modules.json, so it is not a sentence-transformers model; "
            "its pooling would have to be guessed"
        )
    pickled = [path.parent for path in folder.rglob("pytorch_model*.bin")]
    if not any(folder.rglob("*.safetensors")) or not all(any(at.glob("*.safetensors")) for at in pickled):
        raise InvalidInput(
            f"models.{label}: {spec.public_name} has no .safetensors file, and pickled weights are not read; "
            "choose a revision with safetensors"
        )
    check_files(folder, f"models.{label}: {spec.public_name}")
    return folder


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of a model's weights and of its tokenizer, by content and place inside the folder."""
    tokenizer = next((found for name in _TOKENIZERS if (found := sorted(folder.rglob(name)))), [])
    return {
        "weights_sha256": _digest(folder, sorted(folder.rglob("*.safetensors"))),
        "tokenizer_sha256": _digest(folder, tokenizer),
    }


class SentenceEncoder:
    """A sentence-transformers model on one device: float32 on the CPU, half precision by autocast on CUDA.

    Texts are batched by length, at most ``batch_tokens`` tokens with padding to a batch: at first ``batch_size`` ×
    ``max_tokens``, halved where the device's memory does not hold it. On the CPU every batch is computed by one
    thread: for given texts the vectors are the same bytes for any number of threads. Another selection of texts makes
    other batches, which changes a vector by rounding alone.
    """

    def __init__(
        self,
        spec: SentenceTransformer,
        label: str,
        batch_size: int,
        device: Device = CPU,
        advance: Advance = unwatched,
    ) -> None:
        folder = model_folder(spec, label)
        self._spec, self._label, self._device, self._advance = spec, label, device, advance
        self._model = _load(folder, spec, label, device)
        self.batch_tokens = batch_size * spec.max_tokens
        self.identity: Identity = {
            "source": spec.source,
            "name": spec.public_name,
            "revision": spec.revision,
            **digests(folder),
            "modules": _modules(self._model),
            "dimension": spec.dimension,
            "max_tokens": spec.max_tokens,
            "query_prefix": spec.query_prefix,
            "document_prefix": spec.document_prefix,
            "normalize": spec.normalize,
            "device": device.kind,
            "precision": device.precision,
        }

    @property
    def dimension(self) -> int:
        return self._spec.dimension

    @property
    def conditions(self) -> Mapping[str, str]:
        return {
            **self._device.conditions(),
            **versions("sentence-transformers", "tokenizers", "torch", "transformers"),
        }

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self._encode(texts, self._spec.query_prefix, "query")

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        return self._encode(texts, self._spec.document_prefix, "document")

    def _encode(self, texts: Sequence[str], prefix: str, one: str) -> Vectors:
        tokens = self._tokenize(texts, prefix)
        counts = tokens.counts
        vectors = None
        # All of the texts are encoded by one plan, so their vectors follow from the plan that is recorded.
        while vectors is None:
            plan = plan_batches(counts, self.batch_tokens)
            vectors = self._encode_batches(tokens, plan)
            if vectors is None:
                self._halve(counts, plan)
        check_vectors(vectors, one, label=self._label, dimension=self.dimension, names=texts)
        return unit_length(vectors) if self._spec.normalize else vectors

    def _encode_batches(self, tokens: Tokens, plan: Sequence[NDArray[np.int64]]) -> Vectors | None:
        """Vectors of all texts; None where a batch is more than the device's memory holds."""
        import torch

        tokenizer: Any = self._model[0].tokenizer
        padding = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}

        def forward(rows: NDArray[np.int64]) -> torch.Tensor:
            return self._forward(tokens.batch(rows, padding, tokenizer.padding_side))

        compute = _side_by_side if self._device.kind == "cpu" else _in_turn
        vectors = np.empty((len(tokens.rows), self.dimension), np.float32)
        done = seen = 0
        try:
            for rows, encoded in zip(plan, compute(forward, plan), strict=True):
                check_dimension(encoded.shape[1], self.dimension, self._label)
                vectors[rows] = encoded
                amount = sum(len(tokens.rows[row]["attention_mask"]) for row in rows)
                done, seen = done + len(rows), seen + amount
                self._advance(len(rows), amount)
        except torch.OutOfMemoryError:
            self._advance(-done, -seen)
            return None
        return vectors

    def _halve(self, counts: NDArray[np.int64], plan: Sequence[NDArray[np.int64]]) -> None:
        """Set `batch_tokens` to half of the largest batch, after one did not fit."""
        import torch

        if all(len(rows) == 1 for rows in plan):
            raise UnavailableResource(
                f"models.{self._label}: memory does not hold a single text of {counts.max()} tokens; "
                "free some, or set CUDA_VISIBLE_DEVICES to nothing"
            )
        largest = int(padded_tokens(counts, plan).max())
        self.batch_tokens = largest // 2
        if self._device.kind == "cuda":
            torch.cuda.empty_cache()
        print(
            f"  {self._label}: out of memory with {largest} tokens a batch; goes on with {self.batch_tokens}",
            file=sys.stderr,
            flush=True,
        )

    def _tokenize(self, texts: Sequence[str], prefix: str) -> Tokens:
        parts = [
            without_padding(
                self._model.preprocess(list(texts[start : start + _TOKENIZED_AT_ONCE]), prompt=prefix or None)
            )
            for start in range(0, len(texts), _TOKENIZED_AT_ONCE)
        ]
        rows = [row for part in parts for row in part.rows]
        return Tokens(rows, parts[0].settings if parts else {})

    def _forward(self, features: Features) -> torch.Tensor:
        """Vectors of a batch, float32, where they were computed."""
        import torch

        on_device = {
            name: value.to(self._device.kind, non_blocking=True) if torch.is_tensor(value) else value
            for name, value in features.items()
        }
        with torch.inference_mode(), self._device.autocast():
            encoded: torch.Tensor = self._model(on_device)["sentence_embedding"]
            return encoded.float()


Rows = NDArray[np.int64]


def _side_by_side(forward: Callable[[Rows], torch.Tensor], plan: Sequence[Rows]) -> Iterator[Vectors]:
    """The batches' vectors in order, computed by as many one-threaded workers as torch has threads."""
    import torch

    workers = torch.get_num_threads()
    try:
        for encoded in overlapped(forward, plan, workers, lambda: torch.set_num_threads(1)):
            yield encoded.numpy()
    finally:
        torch.set_num_threads(workers)


def _in_turn(forward: Callable[[Rows], torch.Tensor], plan: Sequence[Rows]) -> Iterator[Vectors]:
    """The batches' vectors in order; each batch is on its way to the device before the last one is waited for."""
    before = None
    for rows in plan:
        launched = forward(rows)
        if before is not None:
            yield before.cpu().numpy()
        before = launched
    if before is not None:
        yield before.cpu().numpy()


def _load(
    folder: Path, spec: SentenceTransformer, label: str, device: Device
) -> sentence_transformers.SentenceTransformer:
    from sentence_transformers import SentenceTransformer as Model

    try:
        with loaded_as_written(f"models.{label}: {spec.public_name}"):
            model = Model(
                str(folder),
                device=device.kind,
                trust_remote_code=False,
                local_files_only=True,
                # A checkpoint saved in half precision would otherwise be computed in it.
                model_kwargs={"use_safetensors": True, "dtype": "float32"},
            )
    except BitlakeError:
        raise
    except Exception as error:  # whatever a broken folder makes the libraries raise
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UnavailableResource(f"models.{label}: {spec.public_name} cannot be loaded: {reason}") from error
    model.eval()
    given = model.get_embedding_dimension()
    if given is not None:
        check_dimension(given, spec.dimension, label)
    positions = getattr(getattr(model[0], "config", None), "max_position_embeddings", None)
    if positions is None or getattr(model[0], "tokenizer", None) is None:
        raise InvalidInput(
            f"models.{label}: {spec.public_name} does not start with a text transformer of known length; "
            "choose another model"
        )
    if spec.max_tokens > positions:
        raise InvalidInput(
            f"models.{label}.max_tokens: {spec.max_tokens} is more than the {positions} tokens that "
            f"{spec.public_name} takes"
        )
    model.max_seq_length = spec.max_tokens
    return model


def _packaged(package: str, label: str) -> Path:
    found = importlib.util.find_spec(package)
    locations = [] if found is None else list(found.submodule_search_locations or [])
    if not locations:
        raise UnavailableResource(
            f"models.{label}.package: {package} is not installed; run pip install {package.replace('_', '-')} "
            "or set package to null to take the model from the hub"
        )
    folder = Path(locations[0]) / "model"
    if not folder.is_dir():
        raise UnavailableResource(
            f"models.{label}.package: {package} has no folder model/; choose another package"
        )
    return folder


def _downloaded(spec: SentenceTransformer, label: str) -> Path:
    return snapshot(
        spec.name,
        spec.revision,
        kind="model",
        field=f"models.{label}",
        allowed=_DOWNLOADED,
        ignored=_NOT_DOWNLOADED,
    )


def _modules(model: sentence_transformers.SentenceTransformer) -> str:
    """The chain of modules with the pooling mode, such as ``Transformer+Pooling(mean)+Normalize``."""

    def name(module: Any) -> str:
        mode = getattr(module, "pooling_mode", None)
        kind = type(module).__name__
        if mode is None:
            return kind
        return f"{kind}({mode if isinstance(mode, str) else '+'.join(mode)})"

    return "+".join(map(name, model))


def _digest(folder: Path, files: Sequence[Path]) -> str:
    """SHA-256 of the files' own SHA-256 digests and relative paths, as one JSON object."""
    listed = {}
    for path in files:
        with open(path, "rb") as file:
            listed[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    if len(listed) == 1:
        return next(iter(listed.values()))
    return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()
