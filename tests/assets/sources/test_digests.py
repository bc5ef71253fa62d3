"""Whether raw files are the publisher's own, byte for byte."""

import hashlib
import zipfile
from pathlib import Path

from assets.sources.contract import SourceCard
from assets.sources.digests import AS_PUBLISHED, DIFFERS, PACKED_ANEW, UNKNOWN, verdicts
from assets.sources.files import find, hashed


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def card(**digests: str) -> SourceCard:
    return SourceCard(
        title="x", files=(), page=None, terms="x", sha256={name.replace("_", "."): d for name, d in digests.items()}
    )


def said(folder: Path, of: SourceCard) -> dict[str, str]:
    found = find(folder, "a.zip", ("log.csv", "items.csv"))
    assert found is not None
    return verdicts(of, found, dict(hashed(folder, found)))


def packed(folder: Path, log: bytes = b"log") -> Path:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("a/log.csv", log)
        archive.writestr("a/items.csv", b"items")
    return folder / "a.zip"


def test_the_published_archive_is_told_by_its_digest_alone(tmp_path: Path) -> None:
    path = packed(tmp_path)
    assert said(tmp_path, card(a_zip=digest(path.read_bytes()), log_csv="0" * 64)) == {"a.zip": AS_PUBLISHED}


def test_in_an_archive_packed_anew_each_file_is_compared_where_its_digest_is_known(tmp_path: Path) -> None:
    packed(tmp_path)
    assert said(tmp_path, card(a_zip="0" * 64, log_csv=digest(b"log"))) == {
        "a.zip": DIFFERS,
        "a.zip/a/log.csv": AS_PUBLISHED,
    }
    assert said(tmp_path, card(a_zip="0" * 64, log_csv=digest(b"another")))["a.zip/a/log.csv"] == DIFFERS


def test_another_archive_of_the_published_files_is_no_difference(tmp_path: Path) -> None:
    packed(tmp_path)
    both = {"log_csv": digest(b"log"), "items_csv": digest(b"items")}
    assert said(tmp_path, card(a_zip="0" * 64, **both)) == {
        "a.zip": PACKED_ANEW,
        "a.zip/a/log.csv": AS_PUBLISHED,
        "a.zip/a/items.csv": AS_PUBLISHED,
    }


def test_unpacked_files_are_compared_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(b"log")
    (tmp_path / "items.csv").write_bytes(b"items")
    assert said(tmp_path, card(log_csv=digest(b"log"))) == {"log.csv": AS_PUBLISHED, "items.csv": UNKNOWN}
