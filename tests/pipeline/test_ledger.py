"""What runs took is entered when they start, while they go on, and when they end, however they do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.ledger import Meter, read_ledger
from store.errors import DamagedArtifact
from store.layout import Layout
from tests.paths import ROOT

CELL = {"model": "m", "dataset": "d"}


def spin(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_run_that_ends_is_entered_with_what_it_took(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with Meter(layout, "embed", CELL) as meter:
        spin(0.05)
        time.sleep(0.05)
        assert meter.note().outcome == "unfinished"
        ((usage,),) = [entry.runs for entry in read_ledger(layout)]
        assert usage.outcome == "unfinished"
    (entry,) = read_ledger(layout)
    assert (entry.stage, entry.keys) == ("embed", CELL)
    (usage,) = entry.runs
    assert usage.outcome == "finished"
    assert usage.wall_s >= 0.1
    assert 0.05 <= usage.cpu_s <= usage.wall_s + 0.05
    assert (usage.gpu_s, usage.gpu_peak_bytes, usage.device) == (0, 0, "cpu")
    assert 10**7 < usage.peak_bytes < 10**11
    assert usage.started.endswith("+00:00")


def test_processor_time_of_children_counts(tmp_path: Path) -> None:
    with Meter(Layout(tmp_path), "extend", CELL):
        burn = "import time\nwhile time.process_time() < 0.3: pass"
        subprocess.run([sys.executable, "-S", "-c", burn], check=True)
    assert read_ledger(Layout(tmp_path))[0].runs[0].cpu_s >= 0.25


def test_every_run_stays_and_a_failed_one_is_told_apart(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with pytest.raises(RuntimeError), Meter(layout, "embed", CELL):
        raise RuntimeError
    with Meter(layout, "embed", CELL):
        pass
    with Meter(layout, "results", {}):
        pass
    entries = read_ledger(layout)
    assert [entry.stage for entry in entries] == ["embed", "results"]
    assert [run.outcome for run in entries[0].runs] == ["failed", "finished"]
    assert sorted(path.name for path in layout.ledger.iterdir()) == ["embed--m--d.json", "results.json"]


KILLED = """
import sys, time
from pathlib import Path
from store.layout import Layout
from pipeline.ledger import Meter
with Meter(Layout(Path(sys.argv[1])), "embed", {"model": "m", "dataset": "d"}) as meter:
    time.sleep(0.2)
    meter.note()
    print("noted", flush=True)
    time.sleep(60)
"""


def test_a_run_that_was_killed_counts_as_far_as_it_is_known(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"noted\n"
        process.send_signal(signal.SIGKILL)
    (entry,) = read_ledger(Layout(tmp_path))
    (usage,) = entry.runs
    assert usage.outcome == "unfinished"
    assert 0.2 <= usage.wall_s < 60
    with Meter(Layout(tmp_path), "embed", CELL):
        pass
    assert [run.outcome for run in read_ledger(Layout(tmp_path))[0].runs] == ["unfinished", "finished"]


class Gpu:
    """What the ledger asks torch for, on a machine that has a GPU which this process has used."""

    class cuda:  # noqa: N801
        is_available = is_initialized = staticmethod(lambda: True)
        get_device_name = staticmethod(lambda: "NVIDIA X")
        max_memory_allocated = staticmethod(lambda: 5 << 30)


def test_a_run_that_used_a_gpu_held_it_all_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", Gpu)
    with Meter(Layout(tmp_path), "embed", CELL):
        time.sleep(0.02)
    (usage,) = read_ledger(Layout(tmp_path))[0].runs
    assert usage.gpu_s == usage.wall_s >= 0.02
    assert (usage.device, usage.gpu_peak_bytes) == ("NVIDIA X", 5 << 30)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"stage": "embed", "keys": {}}',
        '{"stage": "embed", "keys": {}, "runs": [{"wall_s": 1}]}',
        '{"stage": "embed", "keys": {}, "runs": [%s]}',
    ],
)
def test_a_file_that_is_no_entry_is_named(tmp_path: Path, content: str) -> None:
    layout = Layout(tmp_path)
    with Meter(layout, "embed", CELL):
        pass
    (file,) = layout.ledger.iterdir()
    run = json.loads(file.read_text())["runs"][0]
    file.write_text(content.replace("%s", json.dumps(run | {"gpu_s": -1})))
    message = r"^\.bitlake/ledger/embed--m--d\.json: is no entry of the ledger \(\w+\); remove it, its hours"
    with pytest.raises(DamagedArtifact, match=message):
        read_ledger(layout)
    with pytest.raises(DamagedArtifact, match=message):
        Meter(layout, "embed", CELL)
