"""Nobody should wonder whether a long step still runs."""

import time
from pathlib import Path

import pytest

from assets.progress import heartbeat


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
