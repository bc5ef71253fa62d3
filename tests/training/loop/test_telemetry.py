"""Telemetry is readable while it is written, is valid JSON, and does not flood whoever follows it."""

import json
import math
from pathlib import Path

import pytest

from training.loop import telemetry as module
from training.loop.telemetry import TelemetryWriter


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_is_on_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.jsonl"
    with TelemetryWriter(path) as telemetry:
        telemetry.at(3, 0.25)
        telemetry.write("train", {"loss": 1.5})
        (line,) = lines(path)
        assert line.keys() == {"step", "epoch", "at", "kind", "metrics"}
        assert (line["step"], line["epoch"], line["kind"], line["metrics"]) == (3, 0.25, "train", {"loss": 1.5})


def test_what_is_no_number_is_left_out(tmp_path: Path) -> None:
    with TelemetryWriter(tmp_path / "telemetry.jsonl") as telemetry:
        telemetry.write("diagnostic", {"a": math.nan, "b": math.inf, "c": 1})
    assert lines(tmp_path / "telemetry.jsonl")[0]["metrics"] == {"c": 1}


def test_progress_is_at_most_two_lines_a_second_and_always_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    with TelemetryWriter(tmp_path / "telemetry.jsonl") as telemetry:
        for done in range(1, 101):
            now = done / 50  # fifty a second, for two seconds
            telemetry.progress("rows", done, 100)
    written = [line["metrics"] for line in lines(tmp_path / "telemetry.jsonl")]
    assert [metrics["rows_done"] for metrics in written] == [1, 26, 51, 76, 100]  # type: ignore[index]
    assert written[-1] == {"rows_done": 100, "rows_total": 100, "rows_per_s": 50.0}
