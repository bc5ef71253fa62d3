"""Which data sets there are, whether their files are here, and where to get them, in words.

Reads names and sizes of files only, so that it is instant beside gigabytes.
"""

from collections.abc import Iterator
from pathlib import Path

from assets.lake.versions import Lake
from assets.sources import (
    MissingRawFile,
    SourceCard,
    UnusableSource,
    located,
    source_card,
)
from contracts.config.sources import StatedCounts
from contracts.files.load import load_dataset, raw_folder
from contracts.files.names import dataset_keys, project_folder
from contracts.files.yaml_lines import ConfigurationError

_KEY, _TITLE = 31, 48
TABLES = (
    "raw_interactions", "raw_items", "quarantine", "interactions", "users", "items", "histories", "candidate_sets",
)  # fmt: skip


def listed() -> Iterator[str]:
    """A line for each data set: its key and title, and its files with their sizes, or what is wrong."""
    for key in dataset_keys():
        try:
            title = source_card(load_dataset(key).source).title
            yield f"{key:<{_KEY}} {title:<{_TITLE}} {_state(key)}"
        except ConfigurationError as error:
            yield f"{key:<{_KEY}} {error}"


def shown(key: str) -> str:
    """Where the files of a data set come from, where they belong, on what terms, and what its YAML chooses.

    Raises:
        ConfigurationError: there is no such data set, or its YAML is wrong.
    """
    card = source_card(load_dataset(key).source)
    path = project_folder() / "datasets" / f"{key}.yaml"
    facts: dict[str, str | None] = {
        "files": " or ".join(card.files) or "none: it is simulated",
        "from": card.page,
        "put into": str(raw_folder(key)) if card.files else None,
        "state": _state(key),
        "terms": card.terms,
        "published": _published(card.published),
        "note": card.note,
        "sha256": _digests(card),
        "run": f"borderline run --dataset {key}",
        "choices": f"{path}\n\n{path.read_text(encoding='utf-8').rstrip()}",
    }
    lines = [card.title, ""]
    lines += [f"{name:<11} {value}" for name, value in facts.items() if value]
    return "\n".join(lines)


def ingested(lake: Lake, dataset: str) -> Iterator[str]:
    """The rows of each table, how many were set aside, and the counts that the source states."""
    raw = lake.require("raw_interactions", (dataset,)).manifest["metadata"]
    for table in TABLES:
        rows = lake.require(table, (dataset,)).manifest["metadata"]["dagster/row_count"]["value"]
        yield f"{table:<20} {rows:>12,} rows"
    if "published_statistics" in raw:
        yield f"\n{raw['published_statistics']['value']}\n"
    for name, verdict in raw["as_published"]["value"].items() if "as_published" in raw else ():
        yield f"{name}: {verdict}"


def _state(key: str) -> str:
    config = load_dataset(key)
    try:
        files = located(config.source, raw_folder(key))
    except MissingRawFile:
        return f"files missing: borderline datasets show {key}"
    except UnusableSource as error:
        return str(error)
    paths = sorted({file.path for file in files})
    return f"ready: {', '.join(f'{path.name} ({_size(path)})' for path in paths)}" if paths else "ready"


def _size(path: Path) -> str:
    n_bytes = path.stat().st_size
    for unit, bytes_each in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= bytes_each:
            return f"{n_bytes / bytes_each:.1f} {unit}"
    return f"{n_bytes} bytes"


def _published(published: StatedCounts | None) -> str | None:
    if published is None:
        return None
    counts = {
        "interactions": published.interactions,
        "users": published.users,
        "items": published.items,
        "items in the catalogue": published.catalogue,
    }
    stated = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count is not None)
    return ". ".join(part.rstrip(".") for part in (stated, published.note) if part) + "." or None


def _digests(card: SourceCard) -> str | None:
    return f"\n{' ' * 12}".join(f"{digest}  {name}" for name, digest in card.sha256.items()) or None
