"""Texts as keys of random numbers."""

import polars as pl

from assets.transforms.text_keys import text_keys


def test_keys_are_the_same_on_every_machine_and_in_every_release() -> None:
    # Changing one of these changes every order by hash ever made.
    assert text_keys(pl.Series(["u1", "é"])).tolist() == [15378189911849802130, 3394012004367669963]


def test_no_texts_have_no_keys() -> None:
    assert text_keys(pl.Series([], dtype=pl.String)).tolist() == []


def test_equal_texts_have_equal_keys_wherever_they_stand() -> None:
    keys = text_keys(pl.Series(["a", "b", "a", ""]))
    assert keys[0] == keys[2]
    assert len(set(keys.tolist())) == 3
