"""The same blocks as Markdown, HTML and plain text: nothing is lost, nothing breaks out of its place, terminals fit."""

import json

import pytest

from evaluation.reports.document import (
    Block,
    Bullets,
    Data,
    Heading,
    Notes,
    Paragraph,
    Picture,
    Table,
    as_html,
    as_markdown,
    as_text,
)

TABLE = Table(
    ["experiment", "first", "second"], [["sft", "0.1 ▲", "x"], ["popularity", "0.25", "a | b"]], starred=[1], align=">"
)
BLOCKS: list[Block] = [
    Heading("Results"),
    Paragraph("A lead.", "lead"),
    Bullets(["† a leak", "one", "two"]),
    TABLE,
    Picture("plot", "A plot"),
    Notes(["first note", "second note"]),
    Data("numbers", {"text": "</script><b>"}),
]


def test_markdown_escapes_cells_links_pictures_and_leaves_data_out() -> None:
    assert as_markdown(BLOCKS, title="Title") == (
        "# Title\n\n## Results\n\nA lead.\n\n- † a leak\n- one\n- two\n\n"
        "| experiment | first | second |\n| --- | --- | --- |\n"
        "| sft | 0.1 ▲ | x |\n| popularity * | 0.25 | a \\| b |\n\n"
        "![A plot](plot.png)\n\nfirst note; second note\n"
    )


def test_html_holds_its_pictures_and_data_and_nothing_in_it_can_end_an_element() -> None:
    page = as_html("a < b", BLOCKS, {"plot": b"png"})
    assert "<title>a &lt; b</title>" in page
    assert 'src="data:image/png;base64,cG5n"' in page
    assert '<li class="leak">† a leak</li>' in page
    assert '<td class="better">0.1 ▲</td>' in page
    assert '<tr class="starred"><td>* popularity</td>' in page
    assert page.count("</script>") == 1
    data = page.partition('id="numbers">')[2].partition("</script>")[0]
    assert json.loads(data) == {"text": "</script><b>"}


def test_text_aligns_the_table_and_leaves_pictures_and_data_out() -> None:
    assert as_text(BLOCKS, width=60) == (
        "Results\n\nA lead.\n\n† a leak\none\ntwo\n\n"
        "experiment    first  second\n  sft         0.1 ▲       x\n* popularity   0.25   a | b\n\n"
        "first note\nsecond note\n"
    )


@pytest.mark.parametrize("width", [20, 26, 40])
def test_a_table_that_is_too_wide_goes_on_below_with_its_names(width: int) -> None:
    wide = Table(["name", "a" * 6, "b" * 6, "c" * 6], [["long-name-that-ends-in-s3", "1", "2", "3"]])
    text = as_text([wide], width=width)
    assert max(map(len, text.splitlines())) <= width
    assert all(column in text for column in wide.head[1:])
    names = [line for line in text.splitlines() if line.startswith("long")]
    assert len(names) == len(text.split("\n\n"))
    assert all("s3" in name for name in names), "both ends of a shortened name stay"


def test_long_statements_wrap_and_long_words_stay_whole() -> None:
    text = as_text([Bullets(["one two three " * 4, "u" * 50])], width=30)
    lines = text.splitlines()
    assert lines[-1] == "u" * 50
    assert all(len(line) <= 30 for line in lines[:-1])
    assert all(line.startswith("  ") for line in lines[1:-1])
