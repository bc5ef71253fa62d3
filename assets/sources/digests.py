"""Whether raw files are the publisher's own, byte for byte, as far as their digests are known."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import PurePath

from assets.sources.contract import SourceCard
from assets.sources.files import RawFile

AS_PUBLISHED, DIFFERS, UNKNOWN = "as published", "differs from the publisher's", "no digest is known"
PACKED_ANEW = "another archive of the published files"


def verdicts(card: SourceCard, found: Iterable[RawFile], digests: Mapping[str, str]) -> dict[str, str]:
    """Each file on disk, and each member that is read of an archive packed anew, and whether it is the publisher's.

    A mirror may pack the same files into another archive. Then what is in it is compared, where its digest is known.

    Args:
        card: names the publisher's digests.
        found: the files that are read.
        digests: file on disk, relative to the data set's folder → sha256.
    """
    said = {name: _verdict(card, name, digest) for name, digest in digests.items()}
    members: dict[str, list[str]] = {}
    for file in found:
        if file.member is not None and said.get(file.path.name) != AS_PUBLISHED:
            verdict = UNKNOWN
            if PurePath(file.name).name in card.sha256:
                with file.open() as stream:
                    digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
                said[file.name] = verdict = _verdict(card, file.name, digest)
            members.setdefault(file.path.name, []).append(verdict)
    packed_anew = [name for name, verdicts in members.items() if set(verdicts) == {AS_PUBLISHED}]
    return said | dict.fromkeys(packed_anew, PACKED_ANEW)


def _verdict(card: SourceCard, name: str, digest: str) -> str:
    known = card.sha256.get(PurePath(name).name)
    if known is None:
        return UNKNOWN
    return AS_PUBLISHED if digest == known else DIFFERS
