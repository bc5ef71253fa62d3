"""What an experiment is, and what a training command reads: frozen models, validated before anything is computed.

An experiment is the whole scientific choice; `identity` hashes its meaning. Where it runs (device, precision, batch
that fits) is `ComputeConfig` and stays outside that hash: on another machine it is the same experiment.
Imports no torch: the orchestrator reads experiments without loading a deep-learning library.
"""

from contracts.config.experiment import (
    EXPERIMENT,
    Als,
    BaselineExperiment,
    Bpr,
    Chance,
    Experiment,
    ItemCooccurrence,
    ItemKnn,
    ListFloor,
    Popularity,
    PreferenceExperiment,
    RecentPopularity,
    RepeatHistory,
    SftExperiment,
    policy_identity,
)
from contracts.config.identity import Frozen, fingerprint_of, identity
from contracts.config.learning import AdamW, Budget, Descent, Lion, Negatives, Pool, SampledSoftmax
from contracts.config.objective import Dmpo, DynamicBoundary, Objective
from contracts.config.policy import (
    Backbone,
    CandidateList,
    CheckpointBackbone,
    LoraConfig,
    Representation,
    ScratchBackbone,
    SemanticIds,
    Titles,
    candidates_in_prompt,
)
from contracts.config.specs import (
    ComputeConfig,
    MineSpec,
    PreferenceSpec,
    ReferenceSpec,
    ScoreSpec,
    SftSpec,
    Spec,
    TrainingSpec,
)

__all__ = [
    "EXPERIMENT",
    "AdamW",
    "Als",
    "Backbone",
    "BaselineExperiment",
    "Bpr",
    "Budget",
    "CandidateList",
    "Chance",
    "CheckpointBackbone",
    "ComputeConfig",
    "Descent",
    "Dmpo",
    "DynamicBoundary",
    "Experiment",
    "Frozen",
    "ItemCooccurrence",
    "ItemKnn",
    "Lion",
    "ListFloor",
    "LoraConfig",
    "MineSpec",
    "Negatives",
    "Objective",
    "Pool",
    "Popularity",
    "PreferenceExperiment",
    "PreferenceSpec",
    "RecentPopularity",
    "ReferenceSpec",
    "RepeatHistory",
    "Representation",
    "SampledSoftmax",
    "ScoreSpec",
    "ScratchBackbone",
    "SemanticIds",
    "SftExperiment",
    "SftSpec",
    "Spec",
    "Titles",
    "TrainingSpec",
    "candidates_in_prompt",
    "fingerprint_of",
    "identity",
    "policy_identity",
]
