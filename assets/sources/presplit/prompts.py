"""The rows of S-DPO and DynamicPO: JSON of historyList, itemList and trueSelection, all titles."""

import json
from collections.abc import Mapping
from typing import Any

from assets.sources.files import RawFile
from assets.sources.presplit.found import Found, Row, lines_of, objects_of
from contracts.config.sources import PromptRows


def read_prompts(config: PromptRows, files: Mapping[str, RawFile], found: Found) -> None:
    """Rows of one user follow each other: the history of each goes on from the row before."""
    ids = _ids_by_title(files[config.items], found)
    for split, path in (("train", config.train), ("validation", config.validation), ("test", config.test)):
        if path in files:
            _read_prompt_file(files[path], split, ids, found)


def _ids_by_title(file: RawFile, found: Found) -> dict[str, str]:
    ids: dict[str, str] = {}
    for line, text in lines_of(file):
        item, separator, title = text.partition("::")
        item, title = item.strip(), title.strip()
        if not (separator and item and title):
            found.set_aside(file, line, "must be id::title", text)
        elif title in ids or item in found.titles:
            found.set_aside(file, line, "its id or title was listed before; a row could mean either", text)
        else:
            ids[title], found.titles[item] = item, title
    found.n_lines[file.name] = len(ids) + len(found.bad)
    return ids


def _read_prompt_file(file: RawFile, split: str, ids: Mapping[str, str], found: Found) -> None:
    user, sequence = "", list[tuple[str, str, int]]()
    n_users = n_rows = 0
    before: list[str] = []
    for line, prompt in objects_of(file):
        n_rows += 1
        titles = _prompt(prompt, ids)
        if isinstance(titles, str):
            found.set_aside(file, line, titles, json.dumps(prompt, ensure_ascii=False))
            continue
        history, target, candidates = titles
        goes_on = before[-len(history) :] == history and len(history) >= len(before) - 1
        if not goes_on:
            n_users += 1
            user = f"{split}-{n_users}"
            sequence = found.sequences[user] = [(item, file.name, line) for item in history]
        found.rows.append(Row(split, user, len(sequence), history, target, candidates, file.name, line))
        sequence.append((target, file.name, line))
        before = [*history, target]
    found.n_lines[file.name] = n_rows


def _prompt(prompt: Any, ids: Mapping[str, str]) -> tuple[list[str], str, list[str]] | str:
    """History, target and candidates as ids; or what is wrong with the prompt."""
    try:
        shown, listed, chosen = prompt["historyList"], prompt["itemList"], prompt["trueSelection"]
    except (KeyError, TypeError):
        return "must have historyList, itemList and trueSelection"
    if not (isinstance(shown, str) and isinstance(listed, list) and isinstance(chosen, str)):
        return "historyList and trueSelection must be texts, itemList a list of them"
    history = _split_titles(shown, ids)
    if history is None:
        return "historyList must be titles of the catalogue, joined by ::"
    unknown = [title for title in [*listed, chosen] if not isinstance(title, str) or title.strip() not in ids]
    if unknown:
        return f"must be titles of the catalogue, got {str(unknown[0])[:60]!r}"
    candidates, target = [ids[title.strip()] for title in listed], ids[chosen.strip()]
    if candidates.count(target) != 1 or len(set(candidates)) < len(candidates):
        return "itemList must hold trueSelection once, and no item twice"
    return history, target, candidates


def _split_titles(joined: str, ids: Mapping[str, str]) -> list[str] | None:
    """The ids of titles joined by ::, where a title may itself end or start with colons; None if there are none.

    >>> _split_titles(":wumpscut:::Covenant", {":wumpscut:": "7", "Covenant": "8"})
    ['7', '8']
    """
    titles = joined.split("::")
    if all(title.strip() in ids for title in titles):
        return [ids[title.strip()] for title in titles]
    ways: dict[int, list[str]] = {len(joined) + 2: []}  # where a title starts → the ids from there on
    ends = [place for place in range(len(joined) + 1) if place == len(joined) or joined.startswith("::", place)]
    starts = [0, *(end + 2 for end in ends[:-1])]
    for start in reversed(starts):
        for end in ends:
            item = ids.get(joined[start:end].strip())
            if item is not None and end + 2 in ways:
                ways[start] = [item, *ways[end + 2]]
                break
    return ways.get(0)
