"""Puts a policy, its catalogue and the code that reads them into an MLflow model."""

import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType, Array

from assets.lake.ports import ModelCard

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ("torch", "transformers", "safetensors", "numpy", "pandas", "pyarrow", "pydantic", "jaxtyping")

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(Array(AnyType()), "history", required=False)]),  # ids are text or whole numbers
    outputs=Schema(
        [
            ColSpec(Array(DataType.string), "items"),
            ColSpec(Array(DataType.string), "titles"),
            ColSpec(Array(DataType.double), "scores"),
        ]
    ),
    params=ParamSchema([ParamSpec("k", DataType.long, 10)]),
)


def log_recommender(run_id: str, policy: Path, catalogue: Path, card: ModelCard) -> Any:
    """Logs the model under its run; the caller has set the tracking URI.

    Returns:
        What MLflow knows of it, with its `model_uri` and `model_id`.
    """
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # its progress would appear between our lines
    with mlflow.start_run(run_id=run_id):
        return mlflow.pyfunc.log_model(
            name=card.experiment.replace(".", "-"),
            python_model=str(Path(__file__).with_name("recommender.py")),
            artifacts={"policy": str(policy), "catalogue": str(catalogue)},
            code_paths=[str(ROOT / "training"), str(ROOT / "contracts")],
            pip_requirements=[f"{name}=={version(name).split('+')[0]}" for name in REQUIREMENTS],
            signature=SIGNATURE,
            input_example=pd.DataFrame({"history": [list(history) for history in card.histories_example]}),
            params=dict(card.params),
            tags={"experiment": card.experiment, **card.tags},
        )
