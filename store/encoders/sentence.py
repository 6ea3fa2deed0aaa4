"""Sentence-transformers models: where the weights are found, and encoding by their own modules on the CPU."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from store.encoders.base import Identity, Vectors, check_dimension, check_vectors, progress, unit_length
from store.encoders.spec import SentenceTransformer
from store.errors import InvalidInput, UnavailableResource
from store.hub import snapshot

if TYPE_CHECKING:
    import sentence_transformers

# What a model needs: never pickles, never the same weights again for another runtime.
_DOWNLOADED = ["*.json", "*.txt", "*.model", "*.safetensors"]
_NOT_DOWNLOADED = ["onnx/*", "openvino/*"]
_OWN_MODULES = "sentence_transformers."
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "*.model")
_COUNTED_AT_ONCE = 1024
"""Texts whose tokens are held at a time while they are counted."""


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
            raise UnavailableResource(f"models.{label}.name: there is no folder {spec.name}; mend the path")
    else:
        folder = _downloaded(spec, label)
    if not (folder / "modules.json").is_file():
        raise InvalidInput(
            f"models.{label}: {spec.public_name} has no modules.json, so it is not a sentence-transformers model; "
            "its pooling would have to be guessed"
        )
    if not any(folder.rglob("*.safetensors")):
        raise InvalidInput(
            f"models.{label}: {spec.public_name} has no .safetensors file, and pickled weights are not read; "
            "choose a revision with safetensors"
        )
    _check_code(folder, f"models.{label}: {spec.public_name}")
    return folder


def _check_code(folder: Path, what: str) -> None:
    """Refuse a model whose modules or configuration call for code of its own.

    The libraries would not run it either; but of some such models they load the weights into an architecture that
    they know by name, and the vectors would be silently wrong.
    """
    for path in [folder / "modules.json", *sorted(folder.rglob("config.json"))]:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            own = (
                [module["type"] for module in content if not module["type"].startswith(_OWN_MODULES)]
                if path.name == "modules.json"
                else sorted(content.get("auto_map") or {})
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            raise InvalidInput(f"{what} has no readable {path.name}; choose another revision") from None
        if own:
            raise InvalidInput(
                f"{what} needs code of its own for {own[0]} ({path.name}), which is never run; choose another model"
            )


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of a model's weights and of its tokenizer, by content and place inside the folder."""
    tokenizer = next((found for name in _TOKENIZERS if (found := sorted(folder.rglob(name)))), [])
    return {
        "weights_sha256": _digest(folder, sorted(folder.rglob("*.safetensors"))),
        "tokenizer_sha256": _digest(folder, tokenizer),
    }


class SentenceEncoder:
    """A sentence-transformers model in float32 on the CPU.

    Texts are batched by length, at most ``batch_size`` × ``max_tokens`` tokens with padding to a batch, and every
    batch is computed by one thread: for given texts the vectors are the same bytes for any number of threads.
    Another selection of texts makes other batches, which changes a vector by rounding alone.
    """

    def __init__(self, spec: SentenceTransformer, label: str, batch_size: int) -> None:
        folder = model_folder(spec, label)
        self._spec, self._label = spec, label
        self._model = _load(folder, spec, label)
        self._budget = batch_size * spec.max_tokens
        self._tokenizing = Lock()
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
        }

    @property
    def dimension(self) -> int:
        return self._spec.dimension

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self._encode(texts, self._spec.query_prefix, "query", "queries")

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        return self._encode(texts, self._spec.document_prefix, "document", "documents")

    def _encode(self, texts: Sequence[str], prefix: str, one: str, many: str) -> Vectors:
        plan = plan_batches(self._count_tokens(texts, prefix), self._budget)
        vectors = np.empty((len(texts), self.dimension), np.float32)
        batches = ([texts[row] for row in rows] for rows in plan)
        watched = progress(plan, map(len, plan), len(texts), f"{self._label}: {many}")
        for rows, encoded in zip(watched, self._forward_all(batches, prefix), strict=True):
            check_dimension(encoded.shape[1], self.dimension, self._label)
            vectors[rows] = encoded
        check_vectors(vectors, one, label=self._label, dimension=self.dimension, names=texts)
        return unit_length(vectors) if self._spec.normalize else vectors

    def _tokenize(self, texts: Sequence[str], prefix: str) -> dict[str, Any]:
        # Tokenizers keep their padding in themselves, so they are not for several threads at once.
        with self._tokenizing:
            return self._model.preprocess(list(texts), prompt=prefix or None)

    def _count_tokens(self, texts: Sequence[str], prefix: str) -> NDArray[np.int64]:
        counts = [
            self._tokenize(texts[start : start + _COUNTED_AT_ONCE], prefix)["attention_mask"]
            .sum(dim=1)
            .numpy()
            for start in range(0, len(texts), _COUNTED_AT_ONCE)
        ]
        return np.concatenate([*counts, np.empty(0, np.int64)])

    def _forward(self, texts: list[str], prefix: str) -> Vectors:
        import torch

        with torch.inference_mode():
            encoded = self._model(self._tokenize(texts, prefix))["sentence_embedding"]
            return np.asarray(encoded, dtype=np.float32)

    def _forward_all(self, batches: Iterable[list[str]], prefix: str) -> Iterator[Vectors]:
        """The batches' vectors in order, computed by as many one-threaded workers as torch has threads."""
        import torch

        workers = torch.get_num_threads()
        pool = ThreadPoolExecutor(workers, initializer=lambda: torch.set_num_threads(1))
        try:
            yield from pool.map(lambda texts: self._forward(texts, prefix), batches)
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(workers)


def plan_batches(counts: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
    """Rows of each batch, longest texts first, ties by row; a batch holds at most ``budget`` tokens with padding.

    A text longer than the budget is a batch of its own.
    """
    order = np.argsort(-counts, kind="stable")
    plan, start = [], 0
    while start < len(order):
        size = max(1, budget // max(1, int(counts[order[start]])))
        plan.append(order[start : start + size])
        start += size
    return plan


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Silence what transformers prints while it loads weights; its errors still come as exceptions."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _load(folder: Path, spec: SentenceTransformer, label: str) -> sentence_transformers.SentenceTransformer:
    from sentence_transformers import SentenceTransformer as Model

    try:
        with quiet_loading():
            model = Model(
                str(folder),
                device="cpu",
                trust_remote_code=False,
                local_files_only=True,
                # A checkpoint saved in half precision would otherwise be computed in it.
                model_kwargs={"use_safetensors": True, "dtype": "float32"},
            )
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
