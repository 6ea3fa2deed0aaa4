"""A model is loaded as its files say, or refused: never with other weights, activations, classes or tokens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from store.encoders.sentence import SentenceEncoder
from store.errors import InvalidInput
from tests.store.encoders.tiny_models import DIMENSION, save_tiny_bert, tiny_spec


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sentence_transformers import SentenceTransformer as Model
    from sentence_transformers.base.modules import Dense

    plain = save_tiny_bert(tmp_path_factory.mktemp("models") / "plain")
    model = Model(str(plain), device="cpu")
    model.append(Dense(DIMENSION, DIMENSION, activation_function=torch.nn.ReLU()))
    model.save(str(plain.with_name("dense")), create_model_card=False)
    return plain.with_name("dense")


def edited(name: str, **changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / name
        content = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(content | changes))

    return change


def without(part: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "model.safetensors"
        weights = {name: value for name, value in load_file(file).items() if part not in name}
        save_file(weights, file, {"format": "pt"})

    return change


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "its own activation": (
        edited("2_Dense/config.json", activation_function="own.Swish"),
        "needs code of its own for own.Swish",
    ),
    "an activation of another library": (
        edited("2_Dense/config.json", activation_function="transformers.activations.NewGELU"),
        "needs code of its own for transformers.activations.NewGELU",
    ),
    "a setting of Dense that is not known": (
        edited("2_Dense/config.json", gated=True),
        "would be loaded as something else than its files say (Ignoring unrecognized Dense config key",
    ),
    "a layer without weights": (without("layer.1.attention.self.query"), "layer.1.attention.self.query"),
    "more layers than weights": (edited("config.json", num_hidden_layers=3), ": missing)"),
    "fewer layers than weights": (edited("config.json", num_hidden_layers=1), ": unexpected)"),
    "embeddings without weights": (without("word_embeddings"), "embeddings.word_embeddings.weight: missing"),
    "an architecture of its own": (
        edited("config.json", architectures=["NewBert"]),
        "needs code of its own for NewBert",
    ),
    "a tokenizer of its own": (
        edited("tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Tokenizer", None]}),
        "needs code of its own for AutoTokenizer (tokenizer_config.json)",
    ),
    "a tokenizer class that is not known": (
        edited("tokenizer_config.json", tokenizer_class="OwnTokenizer"),
        "needs code of its own for OwnTokenizer",
    ),
    "another kind of model": (
        edited("config_sentence_transformers.json", model_type="SparseEncoder"),
        "would be loaded as something else than its files say (Converting SparseEncoder",
    ),
    "an adapter": (
        edited("adapter_config.json", peft_type="LORA"),
        "keeps a part of its weights apart (adapter_config.json)",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_load_as_something_else_is_refused(kind: str, folder: Path, tmp_path: Path) -> None:
    change, message = REFUSED[kind]
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    change(broken)
    with pytest.raises(InvalidInput) as raised:
        SentenceEncoder(tiny_spec(broken), "tiny", 2)
    assert str(raised.value).startswith("models.tiny: broken ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


LOADED = {
    "as it is": lambda _: None,
    "without the head that nothing uses": without("pooler."),
    "made with a newer version": edited(
        "config_sentence_transformers.json", __version__={"sentence_transformers": "99.0.0"}
    ),
}


@pytest.mark.parametrize("kind", LOADED)
def test_what_changes_no_vector_is_loaded_without_a_word(
    kind: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = Path(shutil.copytree(folder, tmp_path / "changed"))
    LOADED[kind](changed)
    texts = ["matrix of the array", "sparse"]
    expected, found = (
        SentenceEncoder(tiny_spec(at), "tiny", 2).encode_documents(texts) for at in (folder, changed)
    )
    assert found.tobytes() == expected.tobytes()
    assert capsys.readouterr() == ("", "")
