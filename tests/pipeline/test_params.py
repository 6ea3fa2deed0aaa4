"""A mistake in ``params.yaml`` is one line that names the field, before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import params
from store.errors import InvalidInput
from tests.paths import ROOT
from tests.stages.projects import make_project, run, tiny_params

Change = Callable[[dict[str, Any]], Any]


def test_the_committed_file_is_valid() -> None:
    parsed = params.load(ROOT)
    assert len(list(parsed.study.cells())) == 9


def codec(key: str, **settings: Any) -> Change:
    """The settings of a further codec."""
    return lambda content: content["extend"]["codecs"].update({key: settings})


def renamed(kind: str, old: str, new: str) -> Change:
    """An entry of models or datasets by another name."""

    def change(content: dict[str, Any]) -> None:
        content[kind][new] = content[kind].pop(old)
        content["study"][kind] = [new if label == old else label for label in content["study"][kind]]

    return change


def meet(content: dict[str, Any]) -> None:
    for kind, names in (("models", ("a", "a-b")), ("datasets", ("b-c", "c"))):
        for old, new in zip(list(content[kind]), names, strict=True):
            renamed(kind, old, new)(content)


CASES: list[tuple[Change, str]] = [
    (meet, r"study: a × b-c and a-b × c are both called a-b-c by DVC: rename"),
    (renamed("models", "lsa-32", "-rf"), r"models\.-rf: '-rf' begins like an option of a command"),
    (renamed("models", "lsa-32", "m" * 240), r"models\.m+: is a label of 240 characters: give at most 100"),
    *(
        (renamed("datasets", "first", label), rf"datasets\.{label}: '{label}' is no text in YAML")
        for label in ("1e5", "null", "true", "No", "12", "0x1f", "1_000", "nan", "2024-01-01")
    ),
    (
        renamed("models", "lsa-32", "LSA-64"),
        r"study\.models\.1: 'lsa-64' and 'LSA-64' are one folder on some",
    ),
    (
        lambda c: c["study"]["models"].append("nope"),
        r"study\.models\.2: 'nope' is not one of models: lsa-32, lsa-64",
    ),
    (lambda c: c["study"]["datasets"].append("nope"), r"study\.datasets\.2: 'nope' is not one of datasets"),
    (lambda c: c["study"]["models"].append("lsa-32"), r"study\.models\.2: 'lsa-32' is named twice"),
    (lambda c: c["study"].update(models=[]), r"study\.models: is empty"),
    (lambda c: c.update(binarise={}), r"binarise: is not a known key"),
    (lambda c: c["binarize"].update(bits=[64]), r"binarize\.bits: is not a known key"),
    (
        lambda c: c["quantize"]["codecs"]["pq"].update(byte=8),
        r"quantize\.codecs\.pq: codec pq: byte: is not a known key",
    ),
    (lambda c: c["geometry"].update(samples=1), r"geometry\.samples: is not a known key"),
    (lambda c: c["correlate"]["settings"].update(draws=1), r"correlate\.settings\.draws: is not a known key"),
    (lambda c: c["models"]["lsa-32"].update(dim=3), r"models\.lsa-32\..*dim: is not a known key"),
    (lambda c: c["datasets"]["first"].update(splits="x"), r"datasets\.first\..*splits: is not a known key"),
    (lambda c: c.pop("search"), r"search: is missing"),
    (
        lambda c: c["binarize"]["codecs"]["phase1"].update(bits="many"),
        r"binarize\.codecs\.phase1: codec phase1: bits: .*; got 'many'",
    ),
    (
        lambda c: c["binarize"]["codecs"].update(itq={}),
        r"binarize\.codecs\.itq: codec 'itq' is not known here: choose one of phase1",
    ),
    (
        lambda c: c["quantize"]["codecs"]["pq"].update(code_bytes=[0]),
        r"quantize\.codecs\.pq: codec pq: code_bytes is 0: give at least 1",
    ),
    (lambda c: c["search"].update(k=[10, 1]), r"search\.k: cut-offs must be ascending"),
    (lambda c: c["results"]["headline"].update(k=7), r"results\.headline\.k: 7 is not one of search\.k"),
    (lambda c: c["correlate"].update(k=7), r"correlate\.k: 7 is not one of search\.k"),
    (lambda c: c["results"].update(draws=10), r"results\.draws: .*got 10"),
    (lambda c: c["geometry"].update(confidence=2), r"geometry\.confidence must be between 0 and 1, got 2"),
    (lambda c: c["models"].update({"a.b": c["models"]["lsa-32"]}), r"models\.a\.b: 'a\.b' is not a label"),
    (lambda c: c["datasets"].update({"a/b": c["datasets"]["first"]}), r"datasets\.a/b: 'a/b' is not a label"),
    (lambda c: c["models"]["lsa-32"].update(source="magic"), r"models\.lsa-32.*magic"),
    (
        lambda c: c["extend"].update(codecs={}),
        r"extend\.codecs: give settings by codec, of at least one codec",
    ),
    (lambda c: c["extend"].update(fit_sample=0), r"extend\.fit_sample: .*got 0"),
    (codec("nope"), r"extend\.codecs\.nope: codec 'nope' is not known here: choose one of bfloat16,"),
    (
        lambda c: c["extend"]["codecs"].update(int4=4),
        r"extend\.codecs\.int4: expected settings by name, got 4",
    ),
    (lambda c: c["extend"].update(codecs=["int4"]), r"extend\.codecs: give settings by codec"),
    (
        codec("pq", code_bytes=4, seeds=[0], iterations=1),
        r"extend\.codecs\.pq: codec 'pq' is not known here: choose one of bfloat16,",
    ),
    (
        codec("itq", bits=[16, 12], seeds=[0], iterations=1),
        r"extend\.codecs\.itq: codec itq: bits is 12: give a positive multiple of 8",
    ),
    (
        codec("itq", bits=64, seeds=[0]),
        r"extend\.codecs\.itq: codec itq: iterations: is missing; the keys are",
    ),
    (
        codec("itq", bits=64, iterations=1),
        r"extend\.codecs\.itq: seeds is missing: codec itq draws at random",
    ),
    (
        codec("itq", bits=64, iterations=1, seeds=[0], seed=1),
        r"extend\.codecs\.itq: seed is not a known key; write seeds, a list",
    ),
    (codec("itq", bits=64, iterations=1, seeds=[1, 1]), r"extend\.codecs\.itq: seeds must be distinct"),
    (
        codec("itq", bits=64, iterations=1, seeds=[-1]),
        r"extend\.codecs\.itq: seeds: give whole numbers from 0 .*got \[-1\]",
    ),
    (
        codec("itq", bits=[64, 64], iterations=1, seeds=[0]),
        r"extend\.codecs\.itq: bits: give at least one value, and each once",
    ),
    (
        codec("itq", bits=[], iterations=1, seeds=[0]),
        r"extend\.codecs\.itq: bits: give at least one value, and each once",
    ),
    (
        codec("itq", bits=[64], iterations=[1, 2], seeds=[0]),
        r"extend\.codecs\.itq: bits and iterations are lists: one setting may be, that of the length",
    ),
    (
        codec("itq", bits=64, iterations=[1, 2], seeds=[0]),
        r"extend\.codecs\.itq: itq-1 and itq-2 are codes of one size, which no table tells apart",
    ),
    (codec("truncate", dimensions=[8.5]), r"extend\.codecs\.truncate: .*'truncate-8\.5' is not a label"),
    (
        codec("int4", seeds=[0]),
        r"extend\.codecs\.int4: seeds is not one of the settings of codec int4, which draws nothing",
    ),
    (
        codec("int4", bits=4),
        r"extend\.codecs\.int4: codec int4: bits: is not a known key; .* its spelling; there are none",
    ),
    (
        lambda c: c["search_further"].update(asymmetric=["pq"]),
        r"search_further\.asymmetric: 'pq' is not a binary codec: choose among itq, phase1, sign",
    ),
    (
        lambda c: c["search_further"].update(asymmetric=["itq", "itq"]),
        r"search_further\.asymmetric: codecs must be distinct",
    ),
    (
        lambda c: (
            c["extend"]["codecs"].pop("sign"),
            c["search_further"].update(asymmetric=["sign"]),
        ),
        r"search_further\.asymmetric: 'sign' has no codes in this study; choose among phase1, pq, int8, float16",
    ),
    (
        lambda c: c["rescore"].update(first=["pq", "float32"]),
        r"rescore\.first: 'float32' has no codes in this study",
    ),
    (
        lambda c: c["rescore"].update(first=["pq", "pq"]),
        r"rescore\.first: codecs must be distinct",
    ),
    (
        lambda c: c["rescore"].update(first=[]),
        r"rescore\.first: .*at least 1",
    ),
    (
        lambda c: c["rescore"].update(second=["pq"]),
        r"rescore\.second\.0: .*'int8' or 'float32'",
    ),
    (
        lambda c: c["rescore"].update(oversample=[4, 1]),
        r"rescore\.oversample: multiples of k must be ascending and distinct",
    ),
    (
        lambda c: c["rescore"].update(oversample=[0, 1]),
        r"rescore\.oversample\.0: .*got 0",
    ),
    (
        lambda c: c["rescore"].update(k=7),
        r"rescore\.k: 7 is not one of search\.k",
    ),
    (lambda c: c["regimes"].update(k=7), r"regimes\.k: 7 is not one of search\.k"),
    (lambda c: c["regimes"].update(metric="map"), r"regimes\.metric: .*got 'map'"),
    (lambda c: c["regimes"].update(margin=0), r"regimes\.margin: .*got 0"),
    (lambda c: c["regimes"].update(draws=10), r"regimes\.draws: .*got 10"),
    (lambda c: c["regimes"]["first"].update(codecs="pq"), r"regimes\.first\.codecs: is not a known key"),
    (lambda c: c["failures"].update(k=7), r"failures\.k: 7 is not one of search\.k"),
    (lambda c: c["failures"].update(cut=0), r"failures\.cut: .*got 0"),
    (
        lambda c: c["sweeps"]["reduced"].update(search={"k": [1]}),
        r"sweeps\.reduced\.search: is not a known key",
    ),
    (
        lambda c: c["sweeps"]["reduced"]["binarize"]["codecs"]["phase1"].update(bits=[12]),
        r"sweeps\.reduced\.binarize\.codecs\.phase1: codec phase1: bits is 12: give a positive multiple of 8",
    ),
    (lambda c: c["sweeps"].update({"a.b": {}}), r"sweeps\.a\.b: 'a\.b' is not a label"),
    (
        lambda c: c["sweeps"]["reduced"].update(
            search_further={"asymmetric": ["sign-mean", "itq"]},
            extend={**c["extend"], "codecs": {"sign-mean": {}}},
        ),
        r"sweeps\.reduced\.search_further\.asymmetric: 'itq' has no codes in this study; "
        r"choose among phase1, pq, int8, sign-mean, or add it to sweeps\.reduced\.extend\.codecs",
    ),
    (lambda c: c["results"].update(allow_partial="some"), r"results\.allow_partial: .*got 'some'"),
    (lambda c: c["results"].pop("allow_partial"), r"results\.allow_partial: is missing"),
    (lambda c: c["results"]["headline"].update(versus=["a", "b"]), r"versus: 'a' is not one of codecs"),
]


@pytest.mark.parametrize(("change", "message"), CASES)
def test_one_line_names_the_field(change: Change, message: str, tmp_path: Path) -> None:
    content = tiny_params(tmp_path)
    change(content)
    with pytest.raises(InvalidInput, match=message) as caught:
        params.parse(content)
    assert str(caught.value).startswith("params.yaml: ")
    assert "\n" not in str(caught.value)


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("study:\n  name: a: b\nmodels: x\n")
    with pytest.raises(InvalidInput, match=r"params\.yaml line 2: "):
        params.load(tmp_path)


def test_a_wrong_label_on_the_command_line_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_project(tmp_path)
    assert run(tmp_path, "corpus", "--dataset", "third") == 1
    assert capsys.readouterr().err == "error: --dataset: 'third' is not in the study; it has first, second\n"
