"""What a source states of itself in a data set's file."""

import pytest
from pydantic import ValidationError

from contracts.config import identity
from contracts.config.sources import AmazonSource, StatedCounts


def amazon(**stated: int | str) -> AmazonSource:
    fields = {"kind": "amazon", "year": 2014, "category": "Beauty", "reviews": "a.gz", "published": stated}
    return AmazonSource.model_validate(fields)


def test_the_identity_of_a_source_is_that_with_which_raw_tables_were_published() -> None:
    assert identity(amazon(interactions=3)) == "9199b1981788279d"
    assert identity(amazon(interactions=3)) != identity(amazon(interactions=4))


def test_a_catalogue_and_a_note_leave_raw_tables_current() -> None:
    assert identity(amazon(interactions=3, catalogue=9, note="rounded")) == identity(amazon(interactions=3))


@pytest.mark.parametrize("count", ["interactions", "users", "items", "catalogue"])
def test_a_stated_count_is_at_least_one(count: str) -> None:
    with pytest.raises(ValidationError, match=f"{count}\n.*greater than or equal to 1"):
        StatedCounts.model_validate({count: 0})
