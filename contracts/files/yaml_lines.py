"""YAML files with the line of every key, and what is wrong with them in one line: file, line, key, what is accepted.

Knows nothing of data sets or experiments: `validated` takes any pydantic type.
"""

import difflib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from contracts.config.mistakes import MISTAKE, Place

Lines = dict[Place, int]
"""The line of every key of a file."""
_TAGGED_BY = ("kind", "baseline")
"""Fields by which the members of a union are told apart."""


class ConfigurationError(ValueError):
    """A file or a name that a person wrote is wrong; the message is one line: what, where, and what is accepted."""


def read_yaml(path: Path) -> tuple[Any, Lines]:
    """The value in a YAML file, and the line of every key in it.

    A key written twice is refused: YAML itself would keep the last one and say nothing.
    """
    try:
        return _parsed(path, path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: must be UTF-8 text, byte {error.start} is not. Save it as UTF-8.") from error
    except OSError as error:
        raise ConfigurationError(f"{path}: must be a file that can be read: {error.strerror}.") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigurationError(f"{path}:{line}: not valid YAML: {error.problem}.") from error
    except yaml.YAMLError as error:  # a control character, say
        raise ConfigurationError(f"{path}: not valid YAML: {' '.join(str(error).split())}.") from error
    except RecursionError as error:
        raise ConfigurationError(
            f"{path}: must not be nested without end. Look for an anchor inside itself."
        ) from error


def validated(value: Any, model: TypeAdapter[Any], root: Any, lines: Lines, where: Callable[[int], str]) -> Any:
    """A value as one of the models of `root`.

    Args:
        value: what a file holds.
        model: adapter of `root`; making one takes as long as reading many files.
        root: a model, or a union of models.
        lines: the line of every key of `value`.
        where: a line → how messages name it.

    Raises:
        ConfigurationError: it is not of that type. Every mistake is named, each with its line.
    """
    try:
        return model.validate_python(value)
    except ValidationError as error:
        problems = [_problem(problem, root, lines) for problem in error.errors(include_url=False)]
        raise ConfigurationError("; ".join(f"{where(line)}: {text}" for line, text in problems)) from error


def line_of(lines: Lines, place: Place) -> int:
    """The line of a key, or of the nearest that holds it."""
    return next((lines[at] for n in range(len(place), -1, -1) if (at := place[:n]) in lines), 1)


def did_you_mean(given: str, accepted: list[str]) -> str:
    """The name among the accepted ones that was probably meant, as a sentence with a space before it; or nothing."""
    close = difflib.get_close_matches(given, accepted, n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


@functools.lru_cache(maxsize=256)
def _parsed(path: Path, text: str) -> tuple[Any, Lines]:
    """Kept for the next time: a study reads the same few files for each of its experiments."""
    lines: Lines = {}
    return _construct(yaml.compose(text, Loader=yaml.SafeLoader), (), lines, path), lines


def _construct(node: Any, at: Place, lines: Lines, path: Path) -> Any:
    if node is None:
        return None
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        value: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            if key in value:
                raise ConfigurationError(f"{path}:{line}: '{key}' is written twice. Keep one of them.")
            lines[(*at, key)] = line
            value[key] = _construct(value_node, (*at, key), lines, path)
        return value
    if isinstance(node, yaml.SequenceNode):
        return [_construct(item, (*at, index), lines, path) for index, item in enumerate(node.value)]
    try:
        return yaml.SafeLoader("").construct_object(node)
    except (ValueError, OverflowError) as error:  # a date such as 2024-99-99, !!int abc
        line = node.start_mark.line + 1
        raise ConfigurationError(f"{path}:{line}: {node.value!r} cannot be read: {error}. Put it in quotes.") from error


def _problem(problem: Any, root: Any, lines: Lines) -> tuple[int, str]:
    """Line and sentence of one pydantic error, whose location also holds the tags of unions, no keys of the file."""
    keys: list[str | int] = []
    members = _members(root)
    for part in problem["loc"]:
        tagged = [member for member in members if part in _tags(member)]
        if tagged and len(members) > 1:
            members = tagged  # a tag of the union, no key of the file
            continue
        keys.append(part)
        fields = members[0].model_fields if len(members) == 1 else {}
        members = _members(fields[part].annotation) if part in fields else members
    line = line_of(lines, tuple(keys))
    name = ".".join(map(str, keys)) or "the file"
    kind, given = problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        accepted = list(members[0].model_fields) if members else []
        return line, f"unknown key '{name}'.{did_you_mean(str(keys[-1]), accepted)} Accepted: {', '.join(accepted)}."
    if kind == MISTAKE:
        return line, problem["msg"]
    if kind == "missing":
        return line, f"'{name}' is missing."
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return line, f"{name} must be keys with values, got {given!r}. Write it as key: value."
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        tagged_by = problem["ctx"]["discriminator"].strip("'")
        accepted = list(dict.fromkeys(str(tag) for member in members for tag in _tags(member, tagged_by)))
        if kind == "union_tag_not_found":
            return line, f"'{name}' must say its {tagged_by}. Accepted: {', '.join(accepted)}."
        tag = str(problem["ctx"]["tag"])
        line = lines.get((*keys, tagged_by), line)
        meant = f"{did_you_mean(tag, accepted)} Accepted: {', '.join(accepted)}."
        return line, f"unknown {tagged_by} '{tag}' of {name}.{meant}"
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return line, f"{name} must be {message}, got {given!r}." if "should be" in problem["msg"] else f"{name}: {message}"


def _members(annotation: Any) -> list[Any]:
    """The models an annotation admits: itself, or the members of its union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (list, dict, Literal):
        return []
    return [m for arg in get_args(annotation) for m in _members(arg)]


def _tags(model: Any, *fields: str) -> list[Any]:
    """What the model's fields that tell the members of a union apart may say."""
    told = [model.model_fields[name].annotation for name in fields or _TAGGED_BY if name in model.model_fields]
    return list(dict.fromkeys(tag for annotation in told for tag in get_args(annotation)))
