"""Published rows in their publishers' layouts, and what is said when a file is not in its layout."""

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import TypeAdapter

from assets.lake.validate import validate
from assets.sources import MissingRawFile, RawTables, UnusableSource, presplit
from contracts.config.sources import PresplitSource
from contracts.tables import TABLES

PROMPTS = {
    "kind": "prompts",
    "train": "train.json",
    "validation": "val.json",
    "test": "test.json",
    "items": "names.txt",
}
SEQUENCES = {"kind": "sequences", "path": "log.txt"}
INPUTS = {"kind": "inputs", "train": "train", "validation": "val", "test": "test"}

TITLES = {"a": ":wumpscut:", "b": "Covenant", "c": "Björk", "d": "a::b", "e": "E", "f": "F", "g": "G"}
NAMES = "".join(f"{item}::{title}\n" for item, title in TITLES.items()).encode()


def prompt(history: str, target: str, others: str) -> dict[str, Any]:
    shown = "::".join(TITLES[item] for item in history)
    return {
        "historyList": shown,
        "itemList": [TITLES[item] for item in target + others],
        "trueSelection": TITLES[target],
    }


def dump(*prompts: Any) -> bytes:
    return json.dumps(prompts, indent=4).encode()


TRAIN = [prompt("abc", "d", "fg"), prompt("bcd", "e", "fg"), prompt("gfe", "d", "ab")]
VALIDATION = [prompt("cba", "f", "de")]


def read(folder: Path, rows: dict[str, Any], files: dict[str, bytes]) -> RawTables:
    raw_folder, scratch = folder / "raw", folder / "scratch"
    scratch.mkdir(parents=True)
    for name, content in files.items():
        (raw_folder / name).parent.mkdir(parents=True, exist_ok=True)
        (raw_folder / name).write_bytes(content)
    raw = presplit.read(source(rows), raw_folder, scratch)
    for name, table in (
        ("raw_interactions", raw.interactions.collect()),
        ("raw_items", raw.items),
        ("paper_rows", raw.paper_rows),
        ("quarantine", raw.quarantine),
    ):
        validate(table, TABLES[name])
    return raw


def source(rows: dict[str, Any]) -> PresplitSource:
    config = {"kind": "presplit", "rows": rows, "title": "T", "page": "https://example.org", "terms": "none"}
    return TypeAdapter(PresplitSource).validate_python(config)


def rows_of(raw: RawTables) -> list[tuple[Any, ...]]:
    columns = [
        "split",
        "user",
        "position",
        pl.col("history").list.join(""),
        "target",
        pl.col("candidates").list.join(""),
    ]
    return raw.paper_rows.select(columns).rows()


def log_of(raw: RawTables) -> dict[str, str]:
    log = raw.interactions.collect().sort("user", "position")
    assert log.select(pl.col("position") == pl.int_range(pl.len()).over("user")).to_series().all()
    return {user: "".join(items) for user, items in log.group_by("user", maintain_order=True).agg("item").rows()}


def test_prompts_become_rows_and_the_sequences_that_they_are_cut_from(tmp_path: Path) -> None:
    files = {"train.json": dump(*TRAIN), "val.json.gz": gzip.compress(dump(*VALIDATION)), "names.txt": NAMES}
    raw = read(tmp_path, PROMPTS, files)
    assert rows_of(raw) == [
        ("train", "train-1", 3, "abc", "d", "dfg"),
        ("train", "train-1", 4, "bcd", "e", "efg"),
        ("train", "train-2", 3, "gfe", "d", "dab"),
        ("validation", "validation-1", 3, "cba", "f", "fde"),
    ]
    assert log_of(raw) == {"train-1": "abcde", "train-2": "gfed", "validation-1": "cbaf"}
    assert raw.items.select("item", "title").rows() == list(TITLES.items())
    assert raw.paper_rows["line"].to_list() == [2, 11, 20, 2]
    located = presplit.locate(source(PROMPTS), tmp_path / "raw")
    assert [file.name for file in located] == ["names.txt", "train.json", "val.json.gz"]


def test_a_test_part_is_read_when_it_is_there(tmp_path: Path) -> None:
    files = {"train.json": dump(*TRAIN), "val.json": dump(*VALIDATION), "test.json": dump(prompt("ab", "g", "cd"))}
    raw = read(tmp_path, PROMPTS, {**files, "names.txt": NAMES})
    assert rows_of(raw)[-1] == ("test", "test-1", 2, "ab", "g", "gcd")


def test_any_other_part_must_be_there(tmp_path: Path) -> None:
    message = r"T must have train\.json and val\.json and .* but found names\.txt, train\.json\. Download it from https"
    with pytest.raises(MissingRawFile, match=message):
        read(tmp_path, PROMPTS, {"train.json": dump(*TRAIN), "names.txt": NAMES})


BAD_PROMPTS: list[tuple[str, Any, str]] = [
    ("no target in the list", {**TRAIN[0], "trueSelection": "Covenant"}, "itemList must hold trueSelection once"),
    ("an item twice", {**TRAIN[0], "itemList": ["E", "E", "a::b"]}, "itemList must hold trueSelection once"),
    ("unknown title", {**TRAIN[0], "itemList": ["a::b", "Nobody"]}, "must be titles of the catalogue, got 'Nobody'"),
    ("unknown history", {**TRAIN[0], "historyList": "Nobody::E"}, "historyList must be titles of the catalogue"),
    ("empty history", {**TRAIN[0], "historyList": ""}, "historyList must be titles of the catalogue"),
    ("key missing", {"historyList": "E"}, "must have historyList, itemList and trueSelection"),
    ("no object", "E", "must have historyList, itemList and trueSelection"),
    ("list of numbers", {**TRAIN[0], "itemList": [1, 2]}, "must be titles of the catalogue, got '1'"),
    ("number for a text", {**TRAIN[0], "historyList": 3}, "historyList and trueSelection must be texts"),
]


@pytest.mark.parametrize(("bad", "reason"), [pytest.param(*case[1:], id=case[0]) for case in BAD_PROMPTS])
def test_a_broken_prompt_is_set_aside(bad: Any, reason: str, tmp_path: Path) -> None:
    good = [prompt("abc", "d", "fg")] * 150
    files = {"train.json": dump(*good, bad), "val.json": dump(*VALIDATION), "names.txt": NAMES}
    raw = read(tmp_path, PROMPTS, files)
    assert raw.quarantine["file"].to_list() == ["train.json"]
    assert raw.quarantine["line"].to_list() == [2 + 9 * 150]
    assert raw.quarantine["reason"][0].startswith(reason)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train.json": dump(*TRAIN)[:-30]},
            r"train\.json, line \d+: must be JSON to its end, got: .*Download it again",
        ),
        ({"train.json": b'{"historyList": 1}'}, r"train\.json, line 1: must be a JSON array of rows"),
        ({"train.json": b""}, r"train\.json must hold data, got an empty file"),
        (
            {"train.json": dump(*TRAIN, *["x"] * 3)},
            r"train\.json must have at most 1% unusable rows, got 3 of 6\. First: ",
        ),
        (
            {"names.txt": NAMES + b"h::Covenant\n"},
            r"names\.txt must have at most 1% unusable rows, got 1 of 8\. First: line 8",
        ),
    ],
)
def test_files_of_prompts_that_cannot_be_meant_are_refused(
    changes: dict[str, bytes], message: str, tmp_path: Path
) -> None:
    files = {"train.json": dump(*TRAIN), "val.json": dump(*VALIDATION), "names.txt": NAMES, **changes}
    with pytest.raises(UnusableSource, match=message):
        read(tmp_path, PROMPTS, files)


SPLIT_SEQUENCES = [
    ("train", "u", 2, "ab", "c", None),
    ("validation", "u", 3, "abc", "d", None),
    ("test", "u", 4, "abcd", "e", None),
    ("validation", "v", 1, "b", "c", None),
    ("test", "v", 2, "bc", "a", None),
    ("train", "w", 1, "a", "b", None),
]


@pytest.mark.parametrize(
    "text",
    [
        "u a b c d e\nv b c a\nw a b\n",
        "".join(f"{u} {i}\n" for u, its in (("u", "abcde"), ("v", "bca"), ("w", "ab")) for i in its),
    ],
)
def test_sequences_and_pairs_are_left_one_out(text: str, tmp_path: Path) -> None:
    raw = read(tmp_path, SEQUENCES, {"log.txt": text.encode()})
    assert rows_of(raw) == SPLIT_SEQUENCES
    assert log_of(raw) == {"u": "abcde", "v": "bca", "w": "ab"}
    assert raw.items.rows() == [(item, item, None, None) for item in "abcde"]


def test_numbers_are_mapped_to_the_ids_that_they_stand_for_and_titles_found(tmp_path: Path) -> None:
    maps = {"id2user": {"1": "ann"}, "id2item": {"1": "B01", "2": "B02", "3": "B03"}, "user2id": {}}
    files = {"log.txt": b"1 3 1 2\n", "maps.json.gz": gzip.compress(json.dumps(maps).encode())}
    rows = {**SEQUENCES, "ids": "maps.json", "titles": "titles.txt"}
    raw = read(tmp_path, rows, {**files, "titles.txt": b"B01 a red comb\nB02 soap\nB99 nobody's\n"})
    assert raw.interactions.collect().select("user", "item").rows() == [("ann", "B03"), ("ann", "B01"), ("ann", "B02")]
    assert raw.items.select("item", "title").rows() == [
        ("B01", "a red comb"), ("B02", "soap"), ("B99", "nobody's"), ("B03", "B03"),
    ]  # fmt: skip


def test_a_number_that_stands_for_nothing_is_set_aside(tmp_path: Path) -> None:
    maps = {"id2user": {str(n): f"u{n}" for n in range(200)}, "id2item": {"1": "B01", "2": "B02", "3": "B03"}}
    lines = "".join(f"{n} 1 2 3\n" for n in range(199)).encode() + b"7 9\n"
    raw = read(tmp_path, {**SEQUENCES, "ids": "maps.json"}, {"log.txt": lines, "maps.json": json.dumps(maps).encode()})
    assert raw.quarantine.rows() == [("log.txt", 200, "maps.json must map every id, it lacks '9'", "7 9")]


def test_inputs_and_outputs_are_matched_with_the_users_of_train(tmp_path: Path) -> None:
    files = {
        "train/input.txt": b"1 2 3\n4 5\n1 2\n",
        "val/input.txt": b"4 5 6\n1 2 3\n",
        "val/output.txt.gz": gzip.compress(b"7\n8\n"),
    }
    raw = read(tmp_path / "val", INPUTS, files)
    assert rows_of(raw) == [
        ("train", "1", 2, "12", "3", None),
        ("train", "2", 1, "4", "5", None),
        ("train", "3", 1, "1", "2", None),
        ("validation", "2", 3, "456", "7", None),
        ("validation", "1", 3, "123", "8", None),
    ]
    assert log_of(raw) == {"1": "1238", "2": "4567", "3": "12"}
    both = {**files, "test/input.txt": b"1 2 3 8\n4 5 6 7\n1 2\n", "test/output.txt": b"9\n1\n9\n"}
    raw = read(tmp_path / "test", INPUTS, both)
    assert rows_of(raw)[-3:] == [
        ("test", "1", 4, "1238", "9", None),
        ("test", "2", 4, "4567", "1", None),
        ("test", "3", 2, "12", "9", None),
    ]


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (
            b"1 2 3\n4 5\n",
            b"7\n",
            r"input\.txt and .*output\.txt must have the same lines, got line 2 in one of them alone",
        ),
        (b"9 9\n", b"7\n", r"line 1, must go on from a sequence of the train part \('9 9'\)"),
        (b"1 2 3\n", b"7 8\n", r"must have one target on the same line \('7 8'\)"),
    ],
)
def test_rows_that_fit_no_sequence_are_refused(inputs: bytes, outputs: bytes, message: str, tmp_path: Path) -> None:
    files = {"train/input.txt": b"1 2 3\n4 5\n", "val/input.txt": inputs, "val/output.txt": outputs}
    with pytest.raises(UnusableSource, match=message):
        read(tmp_path, INPUTS, files)


def test_a_row_that_contradicts_another_split_is_refused(tmp_path: Path) -> None:
    files = {"train/input.txt": b"1 2 3\n", "val/input.txt": b"1 2 3\n", "val/output.txt": b"7\n"}
    files |= {"test/input.txt": b"1 2 3 8\n", "test/output.txt": b"9\n"}
    with pytest.raises(
        UnusableSource, match=r"test/input\.txt .* line 1, contradicts what another split shows of its user"
    ):
        read(tmp_path, INPUTS, files)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "outside.txt").write_bytes(b"u a b c\n")
    (tmp_path / "raw" / "log.txt").symlink_to(tmp_path / "outside.txt")
    with pytest.raises(UnusableSource, match=r"log\.txt must lie in .*raw, got a link to .*outside\.txt"):
        presplit.locate(source(SEQUENCES), tmp_path / "raw")


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        (json.dumps({"u1": ["a", "b", "c"], "u2": ["b", "c"]}), "JSON.*json_lines"),
        ("[1, 2]\n[3, 4]\n", "JSON.*prompts"),
        ("\n".join(json.dumps({"user": f"u{n}", "item": n}) for n in range(5)), "JSON.*json_lines"),
        ("\n".join(f"{n % 4}\t{n}\t5\t{880_000_000 + n}" for n in range(40)), "40 longer lines of 4 users.*tabular"),
        ("\n".join(f"u{n},i{n},2024-01-01 12:00:00" for n in range(9)), "commas.*kind: tabular"),
    ],
)
def test_text_that_is_no_sequences_is_refused_with_the_reader_that_fits(text: str, fits: str, tmp_path: Path) -> None:
    with pytest.raises(UnusableSource, match=f"log.txt.*{fits}"):
        read(tmp_path, SEQUENCES, {"log.txt": text.encode()})
