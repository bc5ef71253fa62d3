"""One word for each thing: the words that the glossary refuses stand nowhere in the code."""

import re

from contracts.files.load import project_folder

ROOMS = ("orchestration", "assets", "training", "evaluation")


def refused_words() -> list[str]:
    lines = (project_folder() / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines()
    rows = [line.strip("|").split("|") for line in lines if line.startswith("| ") and not line.startswith("| word")]
    return [word.strip() for row in rows for word in row[-1].split(",")]


def test_the_glossary_refuses_words() -> None:
    assert len(refused_words()) > 15


def test_no_refused_word_stands_in_the_code() -> None:
    # Libraries name their own parameters: our seed may be handed to them.
    pattern = re.compile("|".join(rf"\b{re.escape(word)}(?!=seed\b)" for word in refused_words()))
    found = [
        f"{path.relative_to(project_folder())}:{number}: {line.strip()}"
        for room in ROOMS
        for path in (project_folder() / room).rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]
    assert found == []
