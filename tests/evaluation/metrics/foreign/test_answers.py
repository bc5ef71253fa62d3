import polars as pl
import pytest

from evaluation.metrics.foreign.answers import Rule, answer_metrics, judge_answers
from evaluation.metrics.ranking import Defect, InvalidPredictions

CANDIDATES = ["Alien", "Aliens", "Heat"]


@pytest.mark.parametrize(
    ("answer", "target", "exact", "lenient"),
    [
        ("Heat", "Heat", (True, True), (True, True)),
        (" Heat\n", "Heat", (True, True), (True, True)),
        ("Heat", "Alien", (True, False), (True, False)),
        ("I would watch Heat.", "Heat", (False, False), (True, True)),
        ("Aliens", "Aliens", (True, True), (False, False)),  # the published rule finds Alien in it as well
        ("Alien", "Alien", (True, True), (True, True)),
        ("heat", "Heat", (False, False), (False, False)),
        ("Alien or Heat", "Heat", (False, False), (False, False)),
        ("", "Heat", (False, False), (False, False)),
    ],
)
def test_exact_and_lenient_rule(answer: str, target: str, exact: tuple[bool, bool], lenient: tuple[bool, bool]) -> None:
    by_rule: dict[Rule, tuple[bool, bool]] = {"exact": exact, "lenient": lenient}
    for rule, (is_valid, is_hit) in by_rule.items():
        judged = judge_answers([answer], [CANDIDATES], [target], rule=rule)
        assert (bool(judged.is_valid[0]), bool(judged.is_hit[0])) == (is_valid, is_hit), rule


def test_an_answer_that_names_nothing_is_a_row_like_any_other() -> None:
    judged = judge_answers(["Heat", "Alien", "?"], [CANDIDATES] * 3, ["Heat"] * 3)
    assert (judged.is_valid.tolist(), judged.is_hit.tolist()) == ([True, True, False], [True, False, False])


@pytest.mark.parametrize(
    ("answers", "candidates", "targets", "message"),
    [
        (["Heat"], [CANDIDATES], ["Ran"], "no target 'Ran' among them in row 0"),
        (["Heat"], [CANDIDATES] * 2, ["Heat"], "of one length, 1 or more, got 1, 2 and 1"),
        ([], [], [], "1 or more, got 0"),
    ],
)
def test_rows_that_cannot_be_judged_are_refused(
    answers: list[str], candidates: list[list[str]], targets: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        judge_answers(answers, candidates, targets)


def test_a_name_of_two_candidates_names_none() -> None:
    assert not judge_answers(["Heat"], [["Heat", "Heat", "Alien"]], ["Heat"]).is_valid[0]


ROWS = pl.DataFrame(
    {"row_id": [4, 5, 9], "user_id": [0, 1, 0], "split": ["test", "test", "validation"], "target": [2, 0, 1]},
    schema={"row_id": pl.Int32, "user_id": pl.Int32, "split": pl.String, "target": pl.Int32},
)
SETS = pl.DataFrame(
    {"row_id": [5, 4], "candidates": [[0, 1], [1, 2]]}, schema={"row_id": pl.Int32, "candidates": pl.List(pl.Int32)}
)


def test_answers_are_judged_against_the_candidates_of_their_own_row() -> None:
    answers = pl.DataFrame({"row_id": [5, 4], "answer": ["Heat", "It is Heat."]})
    table = answer_metrics(answers, ROWS, SETS, CANDIDATES, split="test")
    values = {(row, metric): value for row, metric, value in table.select("row_id", "metric", "value").iter_rows()}
    assert values == {
        (4, "valid_ratio_of_2"): 0,  # of its own candidates none is named exactly
        (5, "valid_ratio_of_2"): 0,  # Heat is none of its candidates
        (4, "hit_ratio_at_1_of_2"): 0,
        (5, "hit_ratio_at_1_of_2"): 0,
        (4, "lenient_valid_ratio_of_2"): 1,
        (5, "lenient_valid_ratio_of_2"): 0,
        (4, "lenient_hit_ratio_at_1_of_2"): 1,
        (5, "lenient_hit_ratio_at_1_of_2"): 0,
    }
    assert table.equals(answer_metrics(answers.reverse(), ROWS.reverse(), SETS.reverse(), CANDIDATES, split="test"))


@pytest.mark.parametrize(
    ("row_ids", "defect"), [([4], "missing_row"), ([4, 4, 5], "duplicate_row"), ([4, 5, 6], "unknown_row")]
)
def test_rows_that_were_not_all_answered_once_are_refused(row_ids: list[int], defect: Defect) -> None:
    answers = pl.DataFrame({"row_id": row_ids, "answer": ["Heat"] * len(row_ids)})
    with pytest.raises(InvalidPredictions) as refused:
        answer_metrics(answers, ROWS, SETS, CANDIDATES, split="test")
    assert refused.value.defect == defect


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"row_id": ["four", "5"]},
            "row_id must hold whole numbers up to 2,147,483,647, got 'four' in row 1 of the file",
        ),
        ({"row_id": [4.5, 5.0]}, "got 4.5 in row 1 of the file"),
        ({"row_id": [4, 2**40]}, "got 1099511627776 in row 2 of the file"),
        ({"row_id": [4, None]}, "row_id must be of a row in histories, got 1 rows without one"),
        ({"answer": [["Heat"], ["Alien"]]}, "answer must hold text, got List(String)"),
        ({"answer": [b"\xff", b"Heat"]}, "answer must hold text, got Binary"),
    ],
)
def test_columns_of_another_kind_are_refused_by_name(changes: dict[str, list[object]], said: str) -> None:
    with pytest.raises(InvalidPredictions) as refused:
        answer_metrics(
            pl.DataFrame({"row_id": [4, 5], "answer": ["Heat", "Alien"]} | changes, strict=False),
            ROWS,
            SETS,
            CANDIDATES,
            split="test",
        )
    assert refused.value.defect == "columns"
    assert said in str(refused.value)


def test_rows_of_the_other_split_are_passed_over_and_a_split_without_rows_is_named() -> None:
    answers = pl.DataFrame({"row_id": [9, 5, 4], "answer": ["Alien", "Heat", "It is Heat."]})
    table = answer_metrics(answers, ROWS, SETS, CANDIDATES, split="test")
    assert table["row_id"].unique().sort().to_list() == [4, 5]
    with pytest.raises(InvalidPredictions, match="the data set has no validation rows to evaluate"):
        answer_metrics(answers, ROWS.filter(pl.col("split") == "test"), SETS, CANDIDATES, split="validation")
