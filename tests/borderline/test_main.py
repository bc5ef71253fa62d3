"""Errors of libraries that a person can do something about end in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FAILS = """\
import sqlite3, sys
import sqlalchemy.exc
from borderline.cli import main as face

def fails():
    try:
        try:
            raise sqlite3.OperationalError(sys.argv[1])
        except sqlite3.OperationalError as error:
            raise sqlalchemy.exc.OperationalError("INSERT INTO runs", {}, error) from error
    except sqlalchemy.exc.OperationalError as error:
        from dagster import DagsterInvariantViolationError
        raise DagsterInvariantViolationError("the run could not be recorded") from error

face.app = fails
face.main()
"""


def ended(said: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "BORDERLINE_HOME": str(home)}
    command = [sys.executable, "-c", FAILS, said]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize("said", ["disk I/O error", "database or disk is full"])
def test_a_full_disk_under_the_databases_is_one_sentence(said: str, tmp_path: Path) -> None:
    result = ended(said, tmp_path)
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("borderline: ")
    assert said in line
    assert str(tmp_path) in line


def test_a_defect_of_this_program_keeps_its_traceback(tmp_path: Path) -> None:
    result = ended("no such table: runs", tmp_path)
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "no such table: runs" in result.stderr
