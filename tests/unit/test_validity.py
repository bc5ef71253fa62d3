import pytest

from evaluation.validity import judge_answers

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
    for rule, (is_valid, is_hit) in (("exact", exact), ("lenient", lenient)):
        judged = judge_answers([answer], [CANDIDATES], [target], rule=rule)
        assert (bool(judged.is_valid[0]), bool(judged.is_hit[0])) == (is_valid, is_hit), rule


def test_ratios_are_over_all_rows() -> None:
    judged = judge_answers(["Heat", "Alien", "?"], [CANDIDATES] * 3, ["Heat"] * 3)
    assert judged.valid_ratio == pytest.approx(2 / 3)
    assert judged.hit_ratio == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("answers", "candidates", "targets", "message"),
    [
        (["Heat"], [CANDIDATES], ["Ran"], "no target 'Ran' among them in row 0"),
        (["Heat"], [["Heat", "Heat"]], ["Heat"], "a name twice in row 0"),
        (["Heat"], [CANDIDATES] * 2, ["Heat"], "of one length, 1 or more, got 1, 2 and 1"),
        ([], [], [], "1 or more, got 0"),
    ],
)
def test_rows_that_cannot_be_judged_are_refused(
    answers: list[str], candidates: list[list[str]], targets: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        judge_answers(answers, candidates, targets)
