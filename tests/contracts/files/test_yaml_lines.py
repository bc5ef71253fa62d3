"""Where in a file a mistake is, and what its one line says; shown on models that are no experiment's."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from contracts.config.mistakes import refuse
from contracts.files.yaml_lines import ConfigurationError, did_you_mean, line_of, read_yaml, validated


class Tea(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["tea"]
    minutes: int = Field(ge=1)
    milk: bool = False


class Coffee(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["coffee"]
    grams: list[int] = [7]


class Tray(BaseModel):
    model_config = ConfigDict(extra="forbid")
    drink: Annotated[Tea | Coffee, Field(discriminator="kind")]
    cups: dict[str, Tea] = {}

    @model_validator(mode="after")
    def _all_cups_have_milk(self) -> Self:
        bare = [name for name, cup in self.cups.items() if not cup.milk]
        refuse(self, ((("cups", name, "minutes"), f"the cup {{{name}}} needs milk.") for name in bare))
        return self


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tray.yaml"


def read(path: Path, text: str) -> Any:
    path.write_text(text, encoding="utf-8")
    value, lines = read_yaml(path)
    return validated(value, TypeAdapter(Tray), Tray, lines, lambda line: f"{path.name}:{line}")


def refusal(path: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as raised:
        read(path, text)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_every_key_has_its_line(path: Path) -> None:
    path.write_text("# a comment\ndrink:\n  kind: tea\n\n  minutes: [3,\n    4]\n")
    value, lines = read_yaml(path)
    assert value == {"drink": {"kind": "tea", "minutes": [3, 4]}}
    assert {place: line for place, line in lines.items() if place} == {
        ("drink",): 2,
        ("drink", "kind"): 3,
        ("drink", "minutes"): 5,
        ("drink", "minutes", 0): 5,
        ("drink", "minutes", 1): 6,
    }


def test_what_has_no_line_is_on_that_of_what_holds_it() -> None:
    lines = {(): 1, ("drink",): 4}
    assert line_of(lines, ("drink", "minutes")) == 4
    assert line_of(lines, ("cups",)) == 1
    assert line_of({}, ("cups",)) == 1


def test_a_file_without_mistakes_is_a_model(path: Path) -> None:
    assert read(path, "drink: {kind: tea, minutes: 3}\n").drink == Tea(kind="tea", minutes=3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("drink:\n  kind: tea\n  minuts: 3\n  minutes: 3\n", "tray.yaml:3: unknown key 'drink.minuts'. Did you mean"),
        ("drink:\n  kind: tea\n", "tray.yaml:1: 'drink.minutes' is missing"),
        ("drink:\n  kind: tea\n  minutes: 0\n", "tray.yaml:3: drink.minutes must be greater than or equal to 1, got 0"),
        ("drink:\n  minutes: 3\n", "tray.yaml:1: 'drink' must say its kind. Accepted: tea, coffee."),
        ("drink:\n  minutes: 3\n  kind: te\n", "tray.yaml:3: unknown kind 'te' of drink. Did you mean 'tea'?"),
        ("drink: 3\n", "tray.yaml:1: drink must be keys with values, got 3"),
        ("drink:\n  kind: coffee\n  grams:\n  - 7\n  - much\n", "tray.yaml:5: drink.grams.1 must be"),
        (
            "drink: {kind: coffee}\ncups:\n  tea:\n    kind: tea\n    minutes: 0\n",
            "tray.yaml:5: cups.tea.minutes must be greater than or equal to 1",
        ),
        ("- drink\n", "tray.yaml:1: the file must be keys with values, got ['drink']"),
        ("", "tray.yaml:1: the file must be keys with values, got None"),
    ],
)
def test_a_mistake_names_its_line_and_what_is_accepted(path: Path, text: str, said: str) -> None:
    assert said in refusal(path, text)


def test_every_mistake_is_named_with_its_own_line(path: Path) -> None:
    said = refusal(path, "drink:\n  kind: tea\n  minutes: 0\n  milk: maybe\ncupz: {}\n")
    assert [part.split(":")[1] for part in said.split("; ")] == ["3", "4", "5"]


def test_a_model_names_the_places_of_its_own_mistakes(path: Path) -> None:
    milk = {"a": "no", "b": "yes", "c": "no"}
    cups = "".join(f"  {name}: {{kind: tea,\n    minutes: 3, milk: {has}}}\n" for name, has in milk.items())
    said = refusal(path, f"drink: {{kind: coffee}}\ncups:\n{cups}")
    assert said == "tray.yaml:4: the cup {a} needs milk.; tray.yaml:8: the cup {c} needs milk."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: !odd sft\n", "tray.yaml:1: not valid YAML: could not determine a constructor for the tag '!odd'"),
        ("kind: !!int sft\n", "tray.yaml:1: 'sft' cannot be read: invalid literal for int()"),
        ("kind: sft\nseed: 2024-99-99\n", "tray.yaml:2: '2024-99-99' cannot be read: month must be in 1..12"),
        ("kind: sft\nseed: \x07\n", "tray.yaml: not valid YAML: unacceptable character"),
        ("kind: &a\n  again: *a\n", "tray.yaml: must not be nested without end"),
        ("kind: sft\nseed: [\n", "tray.yaml:3: not valid YAML"),
        ("drink:\n  kind: tea\n  kind: coffee\n", "tray.yaml:3: 'kind' is written twice"),
    ],
)
def test_text_that_yaml_trips_over_is_refused_in_one_line(path: Path, text: str, said: str) -> None:
    assert said in refusal(path, text)


def test_what_cannot_be_read_as_a_file_is_refused(path: Path, tmp_path: Path) -> None:
    path.mkdir()
    with pytest.raises(ConfigurationError, match=r"tray.yaml: must be a file that can be read: Is a directory"):
        read_yaml(path)
    link = tmp_path / "link.yaml"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match=r"link.yaml: must be a file that can be read: No such file"):
        read_yaml(link)


def test_latin_1_is_refused_with_the_byte(path: Path) -> None:
    path.write_bytes("# caf\xe9\n".encode("latin-1"))
    with pytest.raises(ConfigurationError, match="must be UTF-8 text, byte 5 is not"):
        read_yaml(path)


def test_a_file_that_was_changed_is_read_again(path: Path) -> None:
    assert read(path, "drink: {kind: tea, minutes: 3}\n").drink.minutes == 3
    assert read(path, "drink: {kind: tea, minutes: 4}\n").drink.minutes == 4


def test_only_a_close_name_is_suggested() -> None:
    assert did_you_mean("minuts", ["kind", "minutes"]) == " Did you mean 'minutes'?"
    assert did_you_mean("sugar", ["kind", "minutes"]) == ""
