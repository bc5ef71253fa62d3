"""The base model under a policy, as files on this machine: another one under the same name is another training.

On the hub a model is pinned by its revision; a folder holds whatever was copied there last.
"""

import hashlib
import json
from functools import cache
from pathlib import Path

from contracts.config import Backbone, CheckpointBackbone
from contracts.durable import sha256_of

READ = ("*.json", "*.safetensors", "*.model", "*.tiktoken", "merges.txt", "vocab.txt")
"""Files of a folder that architecture, weights and tokeniser are read from; other files beside them are not."""
WEIGHTS = "model.safetensors"


def base_folder(backbone: Backbone) -> Path | None:
    """The folder of a base model that is named by one; none, where nothing but its revision says what it is."""
    if backbone.kind != "checkpoint" or not Path(backbone.name).is_dir():
        return None
    return Path(backbone.name)


def base_files(folder: Path) -> list[Path]:
    """The files of a folder that decide what is made from it."""
    return sorted({path for pattern in READ for path in folder.glob(pattern) if path.is_file()})


def base_sha256(backbone: Backbone) -> str | None:
    """Of the names and contents of all files that a training reads from the base model's folder; none without one."""
    folder = base_folder(backbone)
    return None if folder is None else _of_all(base_files(folder))


def weights_sha256(backbone: CheckpointBackbone) -> str:
    """Of the weights of a base model that was loaded: of its one file, or of the list of sha256 and names of several.

    Raises:
        ValueError: there are none in safetensors.
    """
    folder = base_folder(backbone) or _downloaded(backbone)
    index = folder / f"{WEIGHTS}.index.json"
    if (folder / WEIGHTS).is_file():
        return _sha256(folder / WEIGHTS)
    if index.is_file():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return _of_all([folder / name for name in sorted(names)])
    raise ValueError(
        f"backbone.name must hold {WEIGHTS} or its parts and {index.name}, got neither in {folder}. "
        "Convert its weights to safetensors."
    )


def _downloaded(backbone: CheckpointBackbone) -> Path:
    """Where a repository of the hub lies on this machine since it was loaded."""
    from huggingface_hub import snapshot_download  # part of transformers; half a second of loading

    return Path(snapshot_download(backbone.name, revision=backbone.revision, local_files_only=True))


def _of_all(paths: list[Path]) -> str:
    lines = [f"{_sha256(path)}  {path.name}\n" for path in paths]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _sha256(path: Path) -> str:
    stat = path.stat()
    return _content_sha256(path, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@cache  # gigabytes that are asked for several times; writing a file changes one of these numbers
def _content_sha256(path: Path, *_: int) -> str:
    return sha256_of(path)
