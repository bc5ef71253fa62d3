"""A reader of the lake sees the previous version or the new one, whole."""

import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import duckdb
import polars as pl
import pytest

from assets.lake.versions import NotMaterialised
from orchestration.resources.lake import KEPT_VERSIONS, CorruptVersion, LakeStorage

DEMO = ("demo",)


def lake_in(folder: Path) -> LakeStorage:
    return LakeStorage(root=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"))


def put(
    lake: LakeStorage,
    rows: int,
    *,
    fingerprint: str = "f",
    asset: str = "interactions",
    partition: tuple[str, ...] = DEMO,
) -> None:
    with lake.writing(asset, partition), lake.staging(asset, partition) as staged:
        pl.DataFrame({"user_id": range(rows)}).write_parquet(staged / f"{asset}.parquet")
        lake.publish(asset, partition, staged, fingerprint=fingerprint, manifest={})


def test_what_was_published_is_what_is_read(tmp_path: Path) -> None:
    lake = lake_in(tmp_path)
    assert lake.current("interactions", DEMO) is None
    put(lake, 3)
    version = lake.require("interactions", DEMO)
    assert version.table()["user_id"].to_list() == [0, 1, 2]
    assert version.fingerprint == "f"
    assert lake.partitions("interactions") == [DEMO]


def test_the_same_content_has_the_same_data_version(tmp_path: Path) -> None:
    lake = lake_in(tmp_path)
    seen = []
    for rows in (3, 3, 4):
        put(lake, rows)
        seen.append(lake.require("interactions", DEMO).data_version)
    assert seen[0] == seen[1] != seen[2]


def test_behind_a_damaged_version_stands_the_newest_that_is_whole(tmp_path: Path) -> None:
    lake = lake_in(tmp_path)
    assert lake.newest_whole("interactions", DEMO) is None
    for rows in (1, 2):
        put(lake, rows)
    whole = lake.newest_whole("interactions", DEMO)
    assert whole is not None
    assert whole.folder.samefile(lake.require("interactions", DEMO).folder)
    whole.table_path.write_bytes(b"x")
    again = lake_in(tmp_path)  # another process: this one has read the version already
    with pytest.raises(CorruptVersion):
        again.require("interactions", DEMO)
    older = again.newest_whole("interactions", DEMO)
    assert older is not None
    assert older.table()["user_id"].to_list() == [0]
    (older.folder / "manifest.json").unlink()
    assert lake_in(tmp_path).newest_whole("interactions", DEMO) is None


def test_logs_are_not_content(tmp_path: Path) -> None:
    lake = lake_in(tmp_path)
    versions = []
    for text in ("first", "second"):
        with lake.staging("sft_policies", ("demo", "sft")) as staged:
            (staged / "train.log").write_text(text)
            (staged / "weights").write_text("same")
            versions.append(
                lake.publish("sft_policies", ("demo", "sft"), staged, fingerprint="f", manifest={}).data_version
            )
    assert versions[0] == versions[1]


def test_an_attempt_that_fails_leaves_the_previous_version_and_its_log(tmp_path: Path) -> None:
    lake = lake_in(tmp_path)
    put(lake, 3)

    def fail() -> None:
        with lake.staging("interactions", DEMO) as staged:
            (staged / "train.log").write_text("what happened")
            (staged / "interactions.parquet").write_bytes(b"half a file")
            raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        fail()
    folder = tmp_path / "lake" / "interactions" / "demo"
    assert lake.require("interactions", DEMO).table().height == 3
    assert (folder / "failed" / "train.log").read_text() == "what happened"
    assert not list(folder.glob(".staging-*"))


@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    put(lake_in(tmp_path), 1000)
    path = lake_in(tmp_path).require("interactions", DEMO).table_path
    if damage == "flip":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.unlink()
    with pytest.raises(CorruptVersion, match=r"interactions\.parquet"):
        lake_in(tmp_path).current("interactions", DEMO)  # a new process: nothing is remembered as checked


def test_a_damaged_partition_stops_no_other_publication(tmp_path: Path) -> None:
    put(lake_in(tmp_path), 1000)
    path = lake_in(tmp_path).require("interactions", DEMO).table_path
    path.write_bytes(path.read_bytes() + b"x")
    put(lake_in(tmp_path), 5, asset="users")
    with pytest.warns(UserWarning, match=r"interactions\.parquet is left out of the warehouse"):
        put(lake_in(tmp_path), 5, partition=("other",))
    with pytest.warns(UserWarning, match=r"interactions\.parquet is left out of the warehouse"):
        lake_in(tmp_path).refresh_warehouse()
    assert lake_in(tmp_path).require("users", DEMO).table().height == 5


def test_an_unreadable_manifest_is_refused_by_name(tmp_path: Path) -> None:
    put(lake_in(tmp_path), 3)
    (lake_in(tmp_path).require("interactions", DEMO).folder / "manifest.json").write_text("")
    with pytest.raises(CorruptVersion, match=r"manifest\.json cannot be read"):
        lake_in(tmp_path).current("interactions", DEMO)


def test_only_the_last_versions_are_kept(tmp_path: Path) -> None:
    lake = lake_in(tmp_path)
    for rows in range(1, KEPT_VERSIONS + 4):
        put(lake, rows)
    assert len(list((tmp_path / "lake" / "interactions" / "demo" / ".versions").iterdir())) == KEPT_VERSIONS
    assert lake.require("interactions", DEMO).table().height == KEPT_VERSIONS + 3


def test_a_clock_that_was_set_back_costs_no_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = lake_in(tmp_path)

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(days=1)

    with monkeypatch.context() as patch:
        patch.setattr("orchestration.resources.lake.datetime", Ahead)
        for rows in range(1, KEPT_VERSIONS + 1):
            put(lake, rows)
    for rows in range(10, 10 + KEPT_VERSIONS + 1):
        put(lake, rows)
        assert lake_in(tmp_path).require("interactions", DEMO).table().height == rows
        newest = lake_in(tmp_path).newest_whole("interactions", DEMO)
        assert newest is not None
        assert newest.table().height == rows
    names = sorted(path.name for path in (tmp_path / "lake" / "interactions" / "demo" / ".versions").iterdir())
    assert len(names) == KEPT_VERSIONS
    published = lake.require("interactions", DEMO).manifest["published_at"]
    assert datetime.fromisoformat(published) <= datetime.now(UTC)


def test_what_is_missing_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(NotMaterialised, match="borderline run --dataset demo --experiments sft"):
        lake_in(tmp_path).require("sft_policies", ("demo", "sft"))
    with pytest.raises(NotMaterialised, match="borderline run --dataset demo --experiments sft --mine"):
        lake_in(tmp_path).require("mined_negatives", ("demo", "sft"))


@pytest.mark.parametrize("name", ["../demo", "a/b", "", ".hidden", "x" * 65, "=1+1", "Demo\0"])
def test_a_name_cannot_leave_the_lake(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="a name in the lake must match"):
        lake_in(tmp_path).current("interactions", (name,))


def test_the_warehouse_shows_the_current_versions_in_sql(tmp_path: Path) -> None:
    lake = lake_in(tmp_path)
    put(lake, 3)
    held = duckdb.connect(str(tmp_path / "warehouse.duckdb"), read_only=True)  # a reader that stays must not stop us
    put(lake, 5)
    held.close()
    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT dataset, count(*) FROM interactions GROUP BY ALL").fetchall() == [("demo", 5)]


def test_a_publication_rewrites_its_own_view_and_reads_no_other_table(tmp_path: Path) -> None:
    lake = lake_in(tmp_path)
    for asset in ("interactions", "items"):
        put(lake, 3, asset=asset)
    lake.require("items", DEMO).table_path.write_bytes(b"damaged")
    put(lake, 5)  # a look at items would warn, and a warning fails a test
    shown = "SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY ALL"
    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), read_only=True) as connection:
        assert connection.execute(shown).fetchall() == [("interactions",), ("items",)]
        assert connection.execute("SELECT count(*) FROM interactions").fetchall() == [(5,)]


def test_a_damaged_warehouse_is_made_again(tmp_path: Path) -> None:
    lake = lake_in(tmp_path)
    put(lake, 3, asset="items")
    (tmp_path / "warehouse.duckdb").write_bytes(b"damaged" * 5000)
    put(lake, 5)
    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM items JOIN interactions USING (user_id)").fetchall() == [(3,)]


def test_two_publications_at_once_both_reach_the_warehouse(tmp_path: Path) -> None:
    lake = lake_in(tmp_path)

    def publish(asset: str) -> None:
        for rows in range(1, 9):
            put(lake, rows, asset=asset)

    with ThreadPoolExecutor() as threads:
        list(threads.map(publish, ("interactions", "items", "users")))
    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), read_only=True) as connection:
        for asset in ("interactions", "items", "users"):
            assert connection.execute(f"SELECT count(*) FROM {asset}").fetchall() == [(8,)]


def _publish_for_ever(folder: str) -> None:
    lake = lake_in(Path(folder))
    for n in range(1, 1_000_000):
        put(lake, 1000 + n % 7)


def test_killed_at_any_moment_a_reader_finds_one_whole_version(tmp_path: Path) -> None:
    put(lake_in(tmp_path), 1000)
    context = multiprocessing.get_context("spawn")
    for delay in (0.0, 0.013, 0.041, 0.087, 0.151):
        writer = context.Process(target=_publish_for_ever, args=(str(tmp_path),))
        writer.start()
        before = lake_in(tmp_path).require("interactions", DEMO).folder
        deadline = time.monotonic() + 30
        while lake_in(tmp_path).require("interactions", DEMO).folder == before and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(delay)
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        version = lake_in(tmp_path).require("interactions", DEMO)
        assert version.folder != before
        assert 1000 <= version.table().height <= 1006
    put(lake_in(tmp_path), 7)  # and the next writer is not stopped by what the dead left
    assert lake_in(tmp_path).require("interactions", DEMO).table().height == 7
    assert not list((tmp_path / "lake" / "interactions" / "demo").glob(".staging-*"))


def test_a_twin_is_another_experiment_on_the_same_data_made_from_the_same_things(tmp_path: Path) -> None:
    lake = lake_in(tmp_path)
    for partition, made_from in [
        (("demo", "a"), "others"),
        (("demo", "b"), "this"),
        (("films", "c"), "this"),
        (("demo", "d"), "this"),
    ]:
        put(lake, 3, fingerprint=made_from, asset="metrics", partition=partition)
    found = lake.twin("metrics", ("demo", "d"), "this")
    assert found is not None
    assert found.partition == ("demo", "b")
    assert lake.twin("metrics", ("demo", "b"), "never") is None
    assert lake.twin("metrics", ("films", "c"), "this") is None
    fresh, damaged = lake_in(tmp_path), lake.require("metrics", ("demo", "a")).table_path
    damaged.write_bytes(b"damaged")
    assert fresh.twin("metrics", ("demo", "d"), "this") is not None  # what is not taken is not read
    with pytest.raises(CorruptVersion):
        fresh.twin("metrics", ("demo", "d"), "others")
