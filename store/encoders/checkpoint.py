"""What the files of a model say, and whether the libraries make just that of them.

Where they do not understand a file, or lack a part of the weights, they take something else and warn. The vectors of
such a model would be wrong without an error, so that it is refused.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from store.errors import InvalidInput

_OWN_MODULES = "sentence_transformers."
_LIBRARIES = ("sentence_transformers", "transformers")
_HARMLESS = ("created with Sentence Transformers version", "README.md")
"""Parts of warnings of the first that say nothing of what is computed."""

_SUBSTITUTED = ("to instantiate a model of type", "alling back", "incorrect tokenization")
"""Parts of warnings of the second, which warns of much else."""

_SETTINGS = ("config.json", "tokenizer_config.json", "processor_config.json")
"""Files that may name classes."""

_REPORTED = re.compile(
    r"^(?P<name>[\w.{}\[\], …]+?)\s*\|\s*(?P<status>MISSING|UNEXPECTED|MISMATCH|CONVERSION)\b"
)
"""A line of the report of transformers on the weights it has loaded."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_UNUSED = re.compile(r"(^|\.)(pooler\.|position_ids$|rotary_emb\.inv_freq$)")
"""Weights that no vector depends on: the head over the first token, and constants that older versions stored."""


def check_files(folder: Path, what: str) -> None:
    """Refuse a model whose files name code or classes that the libraries do not have, or weights they would not load.

    The libraries would not run such code either; but of some such models they load the weights into an architecture,
    or the vocabulary into a tokenizer, that they know by name.
    """
    settings = [path for path in folder.rglob("*config.json") if path.name in _SETTINGS]
    for path in [folder / "modules.json", *sorted(settings)]:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            own = list(_own_code(path.name, content))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            raise InvalidInput(f"{what} has no readable {path.name}; choose another revision") from None
        if own:
            raise InvalidInput(
                f"{what} needs code of its own for {own[0]} ({path.name}), which is never run; choose another model"
            )
    for adapter in sorted(folder.rglob("adapter_config.json")):
        raise InvalidInput(
            f"{what} keeps a part of its weights apart ({adapter.relative_to(folder)}), which would be left out; "
            "merge them into the model, or choose another one"
        )


def _own_code(name: str, content: Any) -> Iterator[str]:
    """What a file of a model names that the libraries do not have."""
    if name == "modules.json":
        yield from (module["type"] for module in content if not module["type"].startswith(_OWN_MODULES))
        return
    yield from sorted(content.get("auto_map") or {})
    activation = content.get("activation_function")
    if isinstance(activation, str) and not activation.startswith("torch.") and "in_features" in content:
        yield activation
    classes = [*(content.get("architectures") or []), content.get("tokenizer_class")]
    if any(classes):
        import transformers

        yield from (found for found in classes if found and not hasattr(transformers, found))


@contextmanager
def loaded_as_written(what: str) -> Iterator[None]:
    """Load a model without a word in the log. Raises `InvalidInput` for what the libraries would only warn of."""
    with _heard() as warnings:
        yield
    for warning in warnings:
        lines = [_COLOURS.sub("", line).strip() for line in warning.splitlines()]
        reported = [match for line in lines if (match := _REPORTED.match(line))]
        changed = [match for match in reported if not _is_harmless(match["name"], match["status"])]
        if changed:
            raise InvalidInput(
                f"{what} has other weights than its configuration asks for ({changed[0]['name']}: "
                f"{changed[0]['status'].lower()}), and the libraries would make some up; choose another revision"
            )
        if not reported:
            raise InvalidInput(
                f"{what} would be loaded as something else than its files say ({' '.join(lines)[:300]}); "
                "choose another model"
            )


def _is_harmless(name: str, status: str) -> bool:
    # What is not used is there for another task, such as the head of a language model; a layer would be used.
    return bool(_UNUSED.search(name)) or (status == "UNEXPECTED" and not re.search(r"(^|\.)layers?\.", name))


@contextmanager
def _heard() -> Iterator[list[str]]:
    """The warnings of the libraries while the block runs, in the place of their log, whose bars are silent too."""
    from transformers.utils import logging as settings

    warnings: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            message = record.getMessage()
            if record.name.startswith(_OWN_MODULES):
                heard = not any(part in message for part in _HARMLESS)
            else:
                heard = "LOAD REPORT" in message or any(part in message for part in _SUBSTITUTED)
            if heard:
                warnings.append(message)

    level, bars = settings.get_verbosity(), settings.is_progress_bar_enabled()
    loggers = [logging.getLogger(name) for name in _LIBRARIES]
    before = [(logger.propagate, logger.handlers[:]) for logger in loggers]
    settings.set_verbosity_warning()  # type: ignore[no-untyped-call]
    settings.disable_progress_bar()  # type: ignore[no-untyped-call]
    for logger in loggers:
        logger.propagate, logger.handlers = False, [Listener(logging.WARNING)]
    try:
        yield warnings
    finally:
        for logger, (propagate, handlers) in zip(loggers, before, strict=True):
            logger.propagate, logger.handlers = propagate, handlers
        settings.set_verbosity(level)
        if bars:
            settings.enable_progress_bar()  # type: ignore[no-untyped-call]
