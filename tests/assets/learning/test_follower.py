"""Nobody should wonder whether a long step still runs."""

import json
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from assets.lake.heartbeat import heartbeat
from assets.lake.ports import Telemetry
from assets.learning.curves import read_curves
from assets.learning.follower import Follower


def test_a_long_step_says_how_long_it_takes_and_what_it_wrote_and_stops_when_it_ends(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "part").write_bytes(b"x" * 3_000_000)
    with heartbeat(said.append, "reading", tmp_path, every_s=0.02):
        while not said:
            time.sleep(0.01)
    heard = len(said)
    time.sleep(0.1)
    assert len(said) == heard
    assert said[0] == "reading: 0 s, 3 MB written"


def test_a_short_step_says_nothing_and_an_error_passes_through(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(KeyError), heartbeat(said.append, "reading", tmp_path):
        raise KeyError
    assert said == []


def test_a_training_whose_checkpoints_are_all_torn_is_said_to_start_from_the_beginning() -> None:
    said: list[str] = []
    follower = Follower(said.append, "sft")
    follower(Telemetry(0, 0.0, "checkpoint", {"torn_checkpoints": 2}))
    assert said == ["sft: all 2 checkpoints are torn, training starts from the beginning"]
    assert follower.resumed_from_step == 0


def test_curves_are_read_back_as_they_were_followed(tmp_path: Path) -> None:
    events = [
        Telemetry(0, 0.0, "validation", {"ndcg_at_10_full": 0.1}),
        Telemetry(1, 0.1, "train", {"loss": 0.7}),
        Telemetry(2, 0.2, "progress", {"steps_done": 2}),
        Telemetry(2, 0.2, "diagnostic", {"saturation": 0.5}),
        Telemetry(4, 0.4, "train", {"loss": 0.6}),
        Telemetry(4, 0.4, "end", {"ndcg_at_10_full": 0.1, "selected_step": 0, "success": 1}),
    ]
    follower = Follower(lambda _: None, "sft")
    for event in events:
        follower(event)
    path = tmp_path / "telemetry.jsonl"
    path.write_text("".join(json.dumps(asdict(event)) + "\n" for event in events), encoding="utf-8")
    assert read_curves(path) == follower.curves
    assert follower.curves["train/loss"] == [(1, 0.7), (4, 0.6)]
    assert follower.end["selected_step"] == 0
