"""The section ``compute`` of ``params.yaml``: where work is done.

It is read when a stage runs and is no dependency of any: the same artifacts come out wherever they are computed.
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, field_validator

THREADS = "threads"
PROCESSES = "processes"

_ADDRESS = re.compile(r"(?:tcp|tls)://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")


class Compute(BaseModel):
    """``scheduler``: ``threads`` of this process, ``processes`` of this machine, or the address of a Dask scheduler.

    ``device`` is what transformers are computed on; with ``auto`` CUDA where there is any.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    scheduler: str
    device: Literal["auto", "cpu", "cuda"]

    @field_validator("scheduler")
    @classmethod
    def _known(cls, scheduler: str) -> str:
        address = _ADDRESS.fullmatch(scheduler)
        if scheduler not in (THREADS, PROCESSES) and not (address and 0 < int(address[1]) < 1 << 16):
            raise ValueError(
                f"write {THREADS}, {PROCESSES}, or the address of a scheduler such as tcp://host:8786 or tls://host:8786"
            )
        return scheduler
