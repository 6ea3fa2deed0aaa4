"""From embeddings on, nothing depends on the processor, the kernel of the BLAS or the number of threads.

Other processors are stood in for by what the libraries let the environment switch: the kernels of OpenBLAS, NumPy's and
Faiss's SIMD levels, the variants in the C library.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import import_module

import pytest

from tests.counts import full_counts
from tests.paths import ROOT

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
PLAIN = {
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    "FAISS_OPT_LEVEL": "generic",
    "OPENBLAS_CORETYPE": "Prescott",
}
MACHINES = {
    "an old processor": PLAIN,
    "an old processor, two threads": {**PLAIN, **dict.fromkeys(THREADS, "2")},
}
if full_counts():
    MACHINES |= {
        "two threads": dict.fromkeys(THREADS, "2"),
        "Nehalem": {"OPENBLAS_CORETYPE": "Nehalem"},
        "Sandy Bridge": {"OPENBLAS_CORETYPE": "Sandybridge"},
        "Haswell": {"OPENBLAS_CORETYPE": "Haswell"},
        "Zen": {"OPENBLAS_CORETYPE": "Zen"},
        "Skylake": {"OPENBLAS_CORETYPE": "SkylakeX"},
        "no AVX-512": {"NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR", "FAISS_OPT_LEVEL": "avx2"},
        "a C library without FMA": {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX512F"},
    }
SIZE = (1500, 96) if full_counts() else (300, 32)


def can_be_stood_in_for(machine: dict[str, str]) -> bool:
    """A kernel with AVX-512 needs it; the others run wherever this processor has what they were made for."""
    features: dict[str, bool] = import_module("numpy._core._multiarray_umath").__cpu_features__
    core = machine.get("OPENBLAS_CORETYPE")
    if core == "SkylakeX":
        return features.get("AVX512_SKX", False) or features.get("X86_V4", False)
    return core not in ("Haswell", "Zen") or features.get("AVX2", False) or features.get("X86_V3", False)


def computed(machine: dict[str, str]) -> dict[str, str]:
    changed = {"OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES", "FAISS_OPT_LEVEL", "GLIBC_TUNABLES", *THREADS}
    inherited = {name: value for name, value in os.environ.items() if name not in changed}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.stages.any_processor", *map(str, SIZE)],
        env={**inherited, **dict.fromkeys(THREADS, "1"), **machine},
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=900,
    )
    return dict(line.split("\t") for line in ran.stdout.splitlines())


@pytest.fixture(scope="module")
def here() -> dict[str, str]:
    return computed({})


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the switches are those of x86-64")
@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES.keys())
def test_another_machine_computes_the_same_bytes(here: dict[str, str], machine: dict[str, str]) -> None:
    if not can_be_stood_in_for(machine):
        pytest.skip("this processor cannot stand in for that one")
    there = computed(machine)
    assert list(there) == list(here)
    assert {name: (here[name], there[name]) for name in here if there[name] != here[name]} == {}


def test_everything_is_compared(here: dict[str, str]) -> None:
    subjects = {name.split()[0] for name in here}
    assert {
        "pq",
        "opq",
        "rq",
        "itq",
        "pca",
        "rabitq",
        "phase1",
        "geometry",
        "prediction",
        "relation",
        "family",
    } <= subjects
