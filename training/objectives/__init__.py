"""Every preference objective: pure functions from one batch to the unreduced loss, by the kind that names them.

>>> sorted(OBJECTIVES)[:3]
['cpo', 'dmpo', 'dpo']
"""

from training.objectives.cpo import cpo_loss
from training.objectives.dmpo import dmpo_loss
from training.objectives.dpo import dpo_loss
from training.objectives.dynamicpo import dynamicpo
from training.objectives.ipo import ipo_loss
from training.objectives.lpo import lpo_loss
from training.objectives.mcpo import mcpo_loss
from training.objectives.mppo import mppo_loss
from training.objectives.nll import with_nll
from training.objectives.orpo import orpo_loss
from training.objectives.rpo import rpo_loss
from training.objectives.sdpo import sdpo_loss
from training.objectives.simpo import simpo_loss
from training.objectives.types import Loss, Preferences

__all__ = ["BASES", "OBJECTIVES", "Loss", "Preferences"]

BASES: dict[str, Loss] = {
    "cpo": cpo_loss,  # these two have an nll_weight of their own
    "rpo": rpo_loss,
    "dmpo": with_nll(dmpo_loss),
    "dpo": with_nll(dpo_loss),
    "ipo": with_nll(ipo_loss),
    "lpo": with_nll(lpo_loss),
    "mcpo": with_nll(mcpo_loss),
    "mppo": with_nll(mppo_loss),
    "orpo": with_nll(orpo_loss),
    "sdpo": with_nll(sdpo_loss),
    "simpo": with_nll(simpo_loss),
}

OBJECTIVES: dict[str, Loss] = BASES | {f"dynamicpo-{kind}": dynamicpo(base) for kind, base in BASES.items()}
