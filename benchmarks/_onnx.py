"""A transformer computed by ONNX Runtime with its weights in INT8, inside a model that is otherwise the same."""

from __future__ import annotations

import copy
import logging
import warnings
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from store.encoders.sentence import SentenceEncoder

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_OPSET = 18


class _Hidden(torch.nn.Module):
    """The last hidden states of a BERT, by position."""

    def __init__(self, bert: Any) -> None:
        super().__init__()
        self._bert = bert

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self._bert(input_ids=ids, attention_mask=mask, token_type_ids=types)[0]
        return hidden


def with_onnx_int8(encoder: SentenceEncoder, folder: Path) -> SentenceEncoder:
    """The same model with its transformer exported to ``folder`` and quantised dynamically, one thread a batch."""
    session = _session(encoder._model[0].auto_model, folder)
    transformer = copy.copy(encoder._model[0])

    def forward(features: dict[str, Any], **_: Any) -> dict[str, Any]:
        given = {name: features[name].numpy() for name in _INPUTS}
        return {**features, "token_embeddings": torch.from_numpy(session.run(None, given)[0])}

    transformer.forward = forward
    other = copy.copy(encoder)
    other._model = copy.copy(encoder._model)
    other._model._modules = {**encoder._model._modules, "0": transformer}
    return other


def _session(bert: Any, folder: Path) -> onnxruntime.InferenceSession:
    folder.mkdir(parents=True)
    plain, quantised = folder / "float32.onnx", folder / "int8.onnx"
    example = torch.ones((2, 8), dtype=torch.int64)
    axes = {0: "text", 1: "token"}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # what the exporter traces, and which exporter will be the next
        torch.onnx.export(
            _Hidden(bert),
            (example, example, torch.zeros_like(example)),
            str(plain),
            input_names=list(_INPUTS),
            output_names=["hidden"],
            dynamic_axes=dict.fromkeys([*_INPUTS, "hidden"], axes),
            opset_version=_OPSET,
            dynamo=False,
        )
    logging.disable(logging.WARNING)  # the quantiser asks for an optimisation that changes nothing here
    try:
        quantize_dynamic(plain, quantised, weight_type=QuantType.QInt8, per_channel=True)
    finally:
        logging.disable(logging.NOTSET)
    options = onnxruntime.SessionOptions()
    # Batches are computed side by side, one thread each, as they are by torch.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(quantised, options, providers=["CPUExecutionProvider"])
