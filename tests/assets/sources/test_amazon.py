"""Amazon reviews in the layouts of 2014, 2018 and 2023. The files are made here."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from assets.sources import MissingRawFile, UnusableSource, source_card
from contracts.config.sources import AmazonSource
from tests.assets.sources.test_movielens import Raw
from tests.assets.sources.test_movielens import read as read_source

REVIEWS: dict[int, list[dict[str, Any]]] = {
    2014: [
        {"reviewerID": "A1", "asin": "B1", "helpful": [2, 3], "overall": 5.0, "unixReviewTime": 1252800000},
        {"reviewerID": "A2", "asin": "B2", "reviewerName": "Zoë", "overall": 1.0, "unixReviewTime": 1252886400},
    ],
    2018: [
        {"overall": 5.0, "vote": "2", "verified": True, "reviewerID": "A1", "asin": "B1", "unixReviewTime": 1252800000},
        {"overall": 1.0, "style": {"Size:": "L"}, "reviewerID": "A2", "asin": "B2", "unixReviewTime": 1252886400},
    ],
    2023: [
        {"rating": 5.0, "asin": "V1", "parent_asin": "B1", "user_id": "A1", "timestamp": 1252800000123, "text": "a\nb"},
        {"rating": 1.0, "asin": "V2", "parent_asin": "B2", "user_id": "A2", "timestamp": 1252886400456},
    ],
}
METADATA = {
    2014: """{'asin': 'B1', 'title': "Zoë's Soap", 'description': 'Soft', 'categories': [['Beauty', 'Bath'], ['Gifts']]}
{'asin': 'B9', 'price': 3.17, 'imUrl': 'http://x', 'categories': [['Beauty']]}
""",
    2018: """{"asin": "B1", "title": "Zoë's Soap", "category": ["Beauty", "Bath"], "description": ["Soft", ""]}
{"asin": "B9", "title": "", "category": [], "description": []}
""",
    2023: """{"parent_asin": "B1", "title": "Zoë's Soap", "categories": ["Beauty", "Bath"], "description": ["Soft"]}
{"parent_asin": "B9", "main_category": "All Beauty", "title": null, "categories": []}
""",
}


def source(year: int, **more: Any) -> AmazonSource:
    names = {"reviews": "reviews.jsonl.gz", "metadata": "meta.jsonl.gz", "category": "Beauty"}
    return AmazonSource.model_validate({"kind": "amazon", "year": year, **names, **more})


def written(folder: Path, year: int, *, reviews: str | None = None, metadata: str | None = None) -> Path:
    lines = reviews if reviews is not None else "\n".join(map(json.dumps, REVIEWS[year]))
    (folder / "reviews.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "meta.jsonl.gz").write_bytes(gzip.compress((METADATA[year] if metadata is None else metadata).encode()))
    return folder


def read(config: AmazonSource, folder: Path) -> Raw:
    return read_source(config, folder)


@pytest.mark.parametrize("year", [2014, 2018, 2023])
def test_the_layouts_of_all_years_give_the_same_tables(tmp_path: Path, year: int) -> None:
    raw = read(source(year), written(tmp_path, year))
    assert raw.quarantine.is_empty()
    assert raw.interactions.select("user", "item", "weight", "file", "line").rows() == [
        ("A1", "B1", 5.0, "reviews.jsonl.gz", 1),
        ("A2", "B2", 1.0, "reviews.jsonl.gz", 2),
    ]
    part = 123_000 if year == 2023 else 0
    assert raw.interactions["at"][0] == datetime.fromtimestamp(1252800000, UTC).replace(microsecond=part)
    assert raw.items.rows() == [
        ("B1", "Zoë's Soap", "Beauty|Bath", "Soft"),
        ("B2", "B2", None, None),
        ("B9", "B9", "Beauty" if year == 2014 else None, None),
    ]


def test_without_metadata_an_item_is_called_by_its_id(tmp_path: Path) -> None:
    raw = read(source(2014, metadata=None), written(tmp_path, 2014))
    assert raw.items.rows() == [("B1", "B1", None, None), ("B2", "B2", None, None)]


def test_a_product_listed_twice_is_set_aside_and_does_not_refuse_the_file(tmp_path: Path) -> None:
    raw = read(source(2018), written(tmp_path, 2018, metadata=METADATA[2018] * 3))
    assert raw.items["item"].to_list() == ["B1", "B2", "B9"]
    assert raw.quarantine.select("file", "line").rows() == [("meta.jsonl.gz", line) for line in (3, 4, 5, 6)]
    assert set(raw.quarantine["reason"]) == {"item is listed more than once; the first line counts"}


@pytest.mark.parametrize(
    ("review", "reason"),
    [
        ("not json", "must be a JSON object"),
        ('["A1", "B1"]', "must be a JSON object"),
        ('{"user_id": "A1", "parent_asin": "B1"', "must be a JSON object"),
        ('{"parent_asin": "B1", "rating": 5, "timestamp": 1252800000123}', "user id must be 1 to 200 characters"),
        ('{"user_id": null, "asin": "B1", "rating": 5, "timestamp": 1}', "user id must be 1 to 200 characters"),
        ('{"user_id": "A\\u0000", "asin": "B1", "rating": 5, "timestamp": 1}', "user id must be 1 to 200 characters"),
        ('{"user_id": "A1", "rating": 5, "timestamp": 1252800000123}', "item id must be 1 to 200 characters"),
        ('{"user_id": "A1", "asin": "B1", "rating": 6, "timestamp": 1}', "rating must be a number from 1 to 5"),
        ('{"user_id": "A1", "asin": "B1", "rating": NaN, "timestamp": 1}', "rating must be a number from 1 to 5"),
        ('{"user_id": "A1", "asin": "B1", "rating": 5}', "time must be"),
        ('{"user_id": "A1", "asin": "B1", "rating": 5, "timestamp": 1252800000}', "time must be"),  # seconds
        ('{"user_id": "A1", "asin": "B1", "rating": 5, "unixReviewTime": 1252800000123}', "time must be"),
        ('{"user_id": "A1", "asin": "B1", "rating": 5, "timestamp": "2009"}', "time must be"),
        ('{"user_id": "A1", "asin": "B1", "rating": 5, "timestamp": 99999999999999}', "time must be"),
    ],
)
def test_an_unusable_review_is_set_aside(tmp_path: Path, review: str, reason: str) -> None:
    good = [json.dumps({**REVIEWS[2023][0], "user_id": f"U{n}"}) for n in range(120)]
    raw = read(source(2023), written(tmp_path, 2023, reviews="\n".join([*good, review])))
    assert raw.quarantine.select("line", "text").rows() == [(121, review)]
    assert raw.quarantine["reason"][0].startswith(reason)
    assert raw.interactions.height == 120


@pytest.mark.parametrize(
    "line",
    [
        "__import__('os').system('touch hacked')",
        "{'asin': __import__('os').system('touch hacked')}",
        "{'asin': open('/etc/passwd').read()}",
        "{'asin': 'B1'",
        "[" * 100_000,
        "{'asin': " + "(" * 5_000,
        "{'asin': 1" + "+1" * 100_000 + "}",
    ],
)
def test_metadata_of_2014_are_read_and_never_executed(
    tmp_path: Path, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good = "".join(f"{{'asin': 'B{n}', 'title': 'Soap {n}'}}\n" for n in range(120))
    raw = read(source(2014), written(tmp_path, 2014, metadata=f"{good}\n\n{line}\n"))
    assert raw.quarantine.select("file", "line", "reason").rows() == [("meta.jsonl.gz", 123, "must be a JSON object")]
    assert not (tmp_path / "hacked").exists()


def test_a_truncated_gzip_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, 2023) / "reviews.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(UnusableSource, match=r"reviews\.jsonl\.gz must be readable to its end, got"):
        read(source(2023), tmp_path)


def test_missing_files_name_both_and_the_page_of_the_year(tmp_path: Path) -> None:
    with pytest.raises(MissingRawFile, match=r"reviews\.jsonl\.gz and meta\.jsonl\.gz in .*amazon-reviews-2023"):
        read(source(2023), tmp_path)


def test_the_counts_of_a_category_come_from_its_file() -> None:
    published = source_card(source(2014, published={"interactions": 198_502, "users": 22_363})).published
    assert published is not None
    assert (published.interactions, published.users, published.items) == (198_502, 22_363, None)


def test_lists_of_anything_become_text_and_an_empty_time_is_no_time(tmp_path: Path) -> None:
    metadata = '{"asin": "B1", "title": "Soap", "category": ["a", 3, null, " ", "b"], "description": "[not json"}\n'
    reviews = '{"reviewerID": "A1", "asin": "B1", "overall": 5, "timestamp": "", "unixReviewTime": 1252800000}'
    raw = read(source(2018), written(tmp_path, 2018, reviews=reviews, metadata=metadata))
    assert raw.items.rows() == [("B1", "Soap", "a|3|b", "[not json")]
    assert raw.interactions["at"].to_list() == [datetime(2009, 9, 13, tzinfo=UTC)]
