"""Where a model computes, and in what precision."""

from __future__ import annotations

import os
import platform
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

from store.errors import UnavailableResource


@dataclass(frozen=True)
class Device:
    """``kind`` and the ``precision`` of matrix products: weights, norms, softmax, sums and vectors are float32."""

    kind: Literal["cpu", "cuda"]
    precision: Literal["float32", "float16", "bfloat16"]

    def autocast(self) -> AbstractContextManager[Any]:
        """A context in which torch computes in this precision."""
        import torch

        if self.precision == "float32":
            return nullcontext()
        # Narrowed weights are kept for a batch at a time, which on the CPU several threads would share.
        return torch.autocast(
            self.kind, dtype=getattr(torch, self.precision), cache_enabled=self.kind == "cuda"
        )

    def conditions(self) -> dict[str, str]:
        """The processor, which vectors depend on by rounding: for this machine alone, never for an artifact."""
        import torch

        if self.kind == "cuda":
            return {"processor": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}
        return {"processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"}


CPU = Device("cpu", "float32")

# Float16 rounds eight times finer than bfloat16 at the same speed. A model that leaves its range gives values that are
# not finite, which are refused.
CUDA = Device("cuda", "float16")


VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable by which torch, as everything that uses CUDA, is told which devices there are; empty for none."""


def choose_device() -> Device:
    """CUDA where torch finds it, else the CPU.

    Raises `UnavailableResource` where the environment names a CUDA device and torch finds none.
    """
    import torch

    if torch.cuda.is_available():
        return CUDA
    named = os.environ.get(VISIBLE, "")
    if not named[:1].isdigit() and not named.startswith(("GPU-", "MIG-")):
        return CPU
    why = "torch finds no CUDA device here" if torch.version.cuda else "this build of torch has no CUDA"
    raise UnavailableResource(
        f"{VISIBLE}: {named} is asked for, but {why}; set it to nothing to compute on the CPU, or run "
        "where there is one"
    )
