"""What is checked before anything is computed: the device, and the raw files."""

import os

from contracts.files.load import load_dataset, raw_folder
from contracts.files.yaml_lines import ConfigurationError
from orchestration.compute import compute_from_environment


def choose_device(device: str) -> None:
    """Make every training of this process use a device.

    Raises:
        ConfigurationError: it is not accepted, or this machine cannot have it.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigurationError(f"--device must be auto, cpu or cuda, got '{device}'.")
    os.environ["BORDERLINE_DEVICE"] = device
    compute_from_environment()


def check_raw_files(dataset: str) -> None:
    """Refuse a data set whose raw files are not here.

    Raises:
        MissingRawFile: with the folder, the file and where to get it.
        UnusableSource: there is a file, and it is not what the data set needs.
    """
    from assets.sources import located

    located(load_dataset(dataset).source, raw_folder(dataset))
