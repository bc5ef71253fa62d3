"""Whether raw files are the publisher's own, byte for byte, as far as their digests are known."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import PurePath

from assets.sources.contract import SourceCard
from assets.sources.files import RawFile

AS_PUBLISHED, DIFFERS, UNKNOWN = "as published", "differs from the publisher's", "no digest is known"


def verdicts(card: SourceCard, found: Iterable[RawFile], digests: Mapping[str, str]) -> dict[str, str]:
    """Each file on disk, and each member that is read of an archive packed anew, and whether it is the publisher's.

    A mirror may pack the same files into another archive. Then what is in it is compared, where its digest is known.

    Args:
        card: names the publisher's digests.
        found: the files that are read.
        digests: file on disk, relative to the data set's folder → sha256.
    """
    said = {name: _verdict(card, name, digest) for name, digest in digests.items()}
    for file in found:
        is_packed_anew = file.member is not None and said.get(file.path.name) != AS_PUBLISHED
        if is_packed_anew and PurePath(file.name).name in card.sha256:
            with file.open() as stream:
                said[file.name] = _verdict(card, file.name, hashlib.file_digest(stream, "sha256").hexdigest())  # type: ignore[arg-type]
    return said


def _verdict(card: SourceCard, name: str, digest: str) -> str:
    known = card.sha256.get(PurePath(name).name)
    if known is None:
        return UNKNOWN
    return AS_PUBLISHED if digest == known else DIFFERS
