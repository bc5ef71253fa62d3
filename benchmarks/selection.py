"""What DynamicPO's selection and weighting, and the diagnostics, cost of a training step with 15 negatives.

    python benchmarks/selection.py            prints a line of JSON per workload; half a minute on two CPU cores

The step is the real one (forward, backward, AdamW). `demo` has a policy of the size of `experiments/sft.yaml`, whose
step is so short that nothing else could weigh more; `tiny` has hidden 256, 4 layers and 8,192 items, the smallest that
resembles a language model. All calls are interleaved in one process, and times are medians.
"""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from pydantic import TypeAdapter

from contracts.config import ComputeConfig, Objective, ScratchBackbone
from training.backbones.scratch import scratch_model
from training.criteria.preferred import PreferenceTable, Preferred
from training.criteria.win_rate_probe import WinRateProbe
from training.engine.policy import Policy
from training.engine.windows import Windows, find_windows
from training.io.ragged import Ragged
from training.io.rows import Rows
from training.loop.accumulation import accumulate
from training.objectives.diagnostics import diagnose
from training.objectives.dynamicpo import focus
from training.representations.items import ItemVocabulary

HISTORY, ROWS = 30, 1024
WORKLOADS = {
    "demo": (ScratchBackbone(), 1200),
    "tiny": (ScratchBackbone(hidden=256, layers=4, heads=4), 8192),
}


def preference_rows(rows: int, negatives: int, n_items: int, seed: int) -> tuple[Windows, np.ndarray]:
    """Users with logs of `HISTORY` + 1 items, and for each row its target and negatives, all drawn uniformly."""
    random = np.random.default_rng(seed)
    logs = [random.permutation(n_items)[: HISTORY + 1] for _ in range(-(-rows // HISTORY))]
    histories = Ragged.of([log[:end].tolist() for log in logs for end in range(1, HISTORY + 1)])
    target = np.array([log[end] for log in logs for end in range(1, HISTORY + 1)])
    n = len(target)
    away = np.stack([random.choice(n_items - 1, negatives, replace=False) for _ in range(n)])
    windows = find_windows(Rows(np.arange(n), np.repeat(np.arange(len(logs)), HISTORY), histories, target))
    rejected = (target[:, None] + 1 + away) % n_items
    return windows, np.concatenate([target[:, None], rejected], axis=1).astype(np.int32)


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def measure(workload: str, rows: int, negatives: int, repeats: int) -> dict[str, float | str]:
    backbone, n_items = WORKLOADS[workload]
    compute, vocabulary = ComputeConfig(), ItemVocabulary(n_items)
    policy = Policy(scratch_model(backbone, vocabulary.n_tokens, seed=0), vocabulary, backbone.context)
    windows, items = preference_rows(rows, negatives, n_items, seed=0)
    reference = -8 + np.random.default_rng(1).standard_normal(items.shape).astype(np.float32)
    adapter: TypeAdapter[Objective] = TypeAdapter(Objective)
    vanilla, dynamic = (adapter.validate_python({"kind": kind}) for kind in ("dmpo", "dynamicpo-dmpo"))
    table = PreferenceTable(np.arange(len(items)), items, np.full(len(items), negatives), reference)
    probe = WinRateProbe(policy, windows.rows)
    of_dmpo, of_dynamicpo = (
        Preferred(objective, table, vocabulary.completions.lengths, None, probe) for objective in (vanilla, dynamic)
    )
    optimizer = torch.optim.AdamW(policy.trained_parameters().values(), lr=1e-4, fused=True)

    def step(criterion: Preferred) -> list[tuple[np.ndarray, torch.Tensor]]:
        _, scored = accumulate(policy, windows, criterion, compute)
        optimizer.step()
        optimizer.zero_grad()
        return scored

    scored = step(of_dmpo)
    batch = of_dmpo.batch(np.concatenate([row for row, _ in scored]))
    prefs = batch.preferences(torch.cat([logps for _, logps in scored]))
    of_focus = {name: value for name, value in dynamic.hyperparameters.items() if name != "nll_weight"}
    calls: dict[str, Callable[[], object]] = {
        "step_dmpo": lambda: step(of_dmpo),
        "step_dynamicpo": lambda: step(of_dynamicpo),
        "selection_and_weighting": lambda: focus(prefs, **of_focus),
        "diagnostics": lambda: diagnose(prefs, dynamic.kind, **dynamic.hyperparameters),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(seconds(call))
    ms = {name: 1000 * median(of_call) for name, of_call in times.items()}
    return {
        "workload": workload,
        "rows": len(items),
        "negatives": negatives,
        "threads": torch.get_num_threads(),
        **{f"{name}_ms": round(value, 3) for name, value in ms.items()},
        "selection_and_weighting_share": round(ms["selection_and_weighting"] / ms["step_dmpo"], 4),
        "diagnostics_share": round(ms["diagnostics"] / ms["step_dmpo"] / compute.log_every, 4),
        "diagnostics_every": compute.log_every,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of one step")
    parser.add_argument("--negatives", type=int, default=15)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    for workload in WORKLOADS:
        print(json.dumps(measure(workload, options.rows, options.negatives, options.repeats)))


if __name__ == "__main__":
    main()
