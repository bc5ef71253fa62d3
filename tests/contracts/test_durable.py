"""Files that are whole or absent."""

import hashlib
import json
from pathlib import Path

import pytest

from contracts import durable
from contracts.durable import commit, sha256_of, staging_path, write_json, write_text


@pytest.fixture
def disk_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(durable, "flush", refuse)


def test_a_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000  # more than one block
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_text_replaces_what_was_there_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_text(tmp_path / "note", "one")
    write_text(tmp_path / "note", "zwei: é")
    assert (tmp_path / "note").read_bytes() == "zwei: é".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["note"]


def test_json_is_read_back(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"run_id": "a", "n": [1, 2]})
    assert json.loads((tmp_path / "run.json").read_text()) == {"run_id": "a", "n": [1, 2]}


@pytest.mark.usefixtures("disk_is_full")
def test_a_file_whose_bytes_do_not_reach_the_disk_never_gets_its_name(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("before")
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "note", "after")
    assert (tmp_path / "note").read_text() == "before"


def test_a_folder_is_flushed_down_to_its_last_file_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    target = tmp_path / "policy"

    def remember(path: Path) -> None:
        flushed.append(f"{path.name} {'after' if target.exists() else 'before'}")

    monkeypatch.setattr(durable, "flush", remember)
    staging = staging_path(target)
    (staging / "tokens").mkdir(parents=True)
    (staging / "weights").write_bytes(b"w")
    (staging / "tokens" / "codes").write_bytes(b"c")
    commit(staging, target)
    assert sorted(flushed[:-2]) == ["codes before", "tokens before", "weights before"]
    assert flushed[-2:] == [f"{staging.name} before", f"{tmp_path.name} after"]
    assert (target / "tokens" / "codes").read_bytes() == b"c"


def test_a_folder_that_holds_something_is_never_replaced(tmp_path: Path) -> None:
    target = tmp_path / "policy"
    target.mkdir()
    (target / "weights").write_bytes(b"old")
    staging = staging_path(target)
    staging.mkdir()
    with pytest.raises(OSError, match="not empty"):
        commit(staging, target)
    assert (target / "weights").read_bytes() == b"old"


def test_staging_is_hidden_beside_its_target_and_shared_by_nobody(tmp_path: Path) -> None:
    first, second = staging_path(tmp_path / "a.parquet"), staging_path(tmp_path / "a.parquet")
    assert first != second
    assert first.parent == tmp_path
    assert first.name.startswith(".a.parquet.")
