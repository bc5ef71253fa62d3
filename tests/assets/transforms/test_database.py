"""DuckDB reaches the folders it is given and nothing else, within its memory."""

from pathlib import Path

import duckdb
import pytest

from assets.transforms.database import database, sql_text


def test_the_engine_reaches_nothing_but_its_folders_and_stays_locked(tmp_path: Path) -> None:
    scratch, given, other = (tmp_path / name for name in ("scr'atch", "given", "other"))
    for folder in (scratch, given, other):
        folder.mkdir()
        (folder / "x.csv").write_text("1\n")
    with database(scratch, given) as connection:
        for folder in (scratch, given):
            assert connection.execute(f"SELECT * FROM read_csv({sql_text(folder / 'x.csv')})").fetchall() == [(1,)]
        for statement in (
            f"SELECT * FROM read_csv({sql_text(other / 'x.csv')})",
            f"COPY (SELECT 1) TO {sql_text(other / 'y.csv')}",
            f"ATTACH {sql_text(other / 'z.duckdb')}",
            "INSTALL httpfs",
            "LOAD httpfs",
            "SET enable_external_access = true",
            "SET memory_limit = '1TB'",
        ):
            with pytest.raises(duckdb.Error):
                connection.execute(statement)
    assert sorted(path.name for path in other.iterdir()) == ["x.csv"]


def test_a_memory_limit_that_is_no_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BORDERLINE_MEMORY", "plenty")
    with (
        pytest.raises(ValueError, match="BORDERLINE_MEMORY must be a size such as 500MB or 4GB, got 'plenty'"),
        database(tmp_path),
    ):
        pass


def test_the_memory_limit_is_the_environments_and_what_does_not_fit_is_spilled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BORDERLINE_MEMORY", "64MB")
    with database(tmp_path) as connection:
        rows = "SELECT hash(range) AS key, range::VARCHAR || repeat('x', 40) AS text FROM range(3_000_000)"
        connection.execute(f"CREATE TABLE big AS {rows}")  # some 180 MB
        found = connection.execute("SELECT count(*) FROM (SELECT text FROM big ORDER BY key OFFSET 1)").fetchone()
        assert found == (2_999_999,)
