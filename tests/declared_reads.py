"""Hold every step to its declaration: a file of a version that the asset does not declare cannot be opened."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from unittest import mock

from assets.lake import asset
from assets.lake.versions import Version
from orchestration.resources import lake


class UndeclaredRead(AssertionError):
    """A step has opened a file of a version that its asset does not declare to read."""


@contextmanager
def held_to_declarations(seen: set[tuple[str, str]] | None = None) -> Iterator[None]:
    """Inside, a step that reads what it does not declare fails; `seen` gets each pair of an asset and what it read."""
    path = Version.path

    def opened(version: Version, name: str) -> Path:
        step = _step()
        if step is not None:
            outputs, may_read = step
            if version.asset not in may_read | outputs:
                raise UndeclaredRead(
                    f"{', '.join(sorted(outputs))} reads {name} of {version.asset}, which is not declared"
                )
            if seen is not None:
                seen.update((output, version.asset) for output in outputs)
        return path(version, name)

    with mock.patch.object(Version, "path", opened):
        yield


def _step() -> tuple[set[str], frozenset[str]] | None:
    """The outputs of the step that is running, and what it may read; None outside of steps."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename == lake.__file__:
            return None  # the lake itself looks at files when it publishes, for the warehouse
        if frame.f_code.co_name == "materialise" and frame.f_code.co_filename == asset.__file__:
            keys = frame.f_locals["context"].selected_asset_keys
            return {key.to_user_string() for key in keys}, frame.f_locals["may_read"]
        frame = frame.f_back
    return None
