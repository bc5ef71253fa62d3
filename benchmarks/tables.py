"""From a raw file to candidate sets: `borderline ingest` against pandas written the usual way, with equal results.

    python benchmarks/tables.py                            ml-1m: a generated ratings.dat of the size of MovieLens 1M
    python benchmarks/tables.py --workload zipf-10m        ten million ratings, films by Zipf's law
    python benchmarks/tables.py --workload zipf-50m --memory 1GB    five times as many; DuckDB spills

Each contender is a process of its own; a line of JSON per contender gives its wall time, processor time and peak
resident memory. `borderline ingest` is the command that a user runs: it reads, quarantines, cleans, splits, builds and
draws, and also hashes and checks every table, asks the leak probes and publishes, which pandas does not.

pandas reads, drops repeats, finds the 5-core, splits, builds histories and draws candidate sets as its users write it:
`drop_duplicates`, a loop over `value_counts`, `cumcount`, a loop over `groupby`. Interactions with their splits, and
histories, are compared for equality; candidate sets, whose draws differ, for what they must keep. Where the lists of
histories would not fit in memory, pandas stops at the split interactions (`--to interactions`).
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

WORKLOADS = {
    "ml-1m": (1_000_209, 6_040, 3_706),
    "zipf-1m": (1_000_000, 20_000, 10_000),
    "zipf-10m": (10_000_000, 200_000, 50_000),
    "zipf-20m": (20_000_000, 400_000, 100_000),
    "zipf-50m": (50_000_000, 1_000_000, 250_000),
}
"""Rows, users, items."""
PANDAS_HISTORIES = 2_000_000  # rows of which pandas still makes histories: Python lists of 10 million need 30 GB
MAX_LENGTH, N, K_CORE, FIRST, YEAR = 50, 20, 5, 978_300_000, 31_536_000
DATASET = f"""\
source: {{kind: movielens, release: 10m}}
cleaning: {{repeats: first, ties: file_order, k_core: {K_CORE}}}
split: {{kind: leave_one_out}}
histories: {{max_length: {MAX_LENGTH}}}
candidates: {{n: {N}}}
"""


def ratings(n: int, n_users: int, n_items: int, seed: int = 0) -> pl.DataFrame:
    """user, item, rating, time: users of uneven activity, items by Zipf's law, in no order of time, with repeats."""
    random = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "user": 1 + (n_users * random.random(n) ** 1.5).astype(np.int64),
            "item": np.exp(random.random(n) * np.log(n_items)).astype(np.int64),
            "rating": random.integers(1, 6, n),
            "time": FIRST + random.integers(0, YEAR, n),
        }
    )


def ratings_in_parts(workload: str) -> Iterator[pl.DataFrame]:
    """All ratings; those of MovieLens 1M hold no repeats, as published."""
    n, n_users, n_items = WORKLOADS[workload]
    if workload == "ml-1m":
        distinct = ratings(4 * n, n_users, n_items).unique(["user", "item"], keep="first", maintain_order=True)
        yield distinct.head(n)
        return
    for part, first in enumerate(range(0, n, 1_000_000)):
        yield ratings(min(1_000_000, n - first), n_users, n_items, seed=part)


def write_raw(folder: Path, workload: str) -> int:
    """ratings.dat and movies.dat as published in MovieLens 10M; the bytes of the ratings."""
    folder.mkdir(parents=True)
    with (folder / "ratings.dat").open("wb") as out:
        for part in ratings_in_parts(workload):
            lines = part.select(pl.concat_str(pl.all(), separator="::"))
            out.write(lines.write_csv(include_header=False, quote_style="never").encode())
    films = pl.DataFrame({"item": np.arange(1, WORKLOADS[workload][2] + 1)})
    lines = films.select(pl.format("{}::Film {} (2000)::Drama|War", "item", "item"))
    (folder / "movies.dat").write_bytes(lines.write_csv(include_header=False, quote_style="never").encode())
    return (folder / "ratings.dat").stat().st_size


def with_pandas(raw: Path, out: Path, to: str) -> None:
    """What `borderline ingest` makes, the usual way."""
    import pandas as pd

    log: Any = pd.read_csv(
        raw / "ratings.dat", sep="::", engine="python", header=None, names=["user", "item", "weight", "time"]
    )
    log = log.drop_duplicates()
    log = log.sort_values(["user", "time"], kind="stable").drop_duplicates(["user", "item"], keep="first")
    while True:
        of_users, of_items = log["user"].map(log["user"].value_counts()), log["item"].map(log["item"].value_counts())
        is_in = (of_users >= K_CORE) & (of_items >= K_CORE)
        if is_in.all():
            break
        log = log[is_in]
    log["user_id"] = log["user"].rank(method="dense").astype("int32") - 1
    log["item_id"] = log["item"].rank(method="dense").astype("int32") - 1
    from_last = log.groupby("user_id").cumcount(ascending=False)
    log["split"] = np.select([from_last == 0, from_last == 1], ["test", "validation"], "train")
    log["at"] = pd.to_datetime(log["time"], unit="s", utc=True)
    log[["user_id", "item_id", "at", "weight", "split"]].to_parquet(out / "interactions.parquet")
    if to == "interactions":
        return

    rows = []
    for user, items in log.groupby("user_id")["item_id"]:
        items = items.tolist()
        n_train = len(items) - 2
        stride = MAX_LENGTH // 2
        for place in range(1, n_train):
            start = max(0, -(-(place - MAX_LENGTH) // stride)) * stride
            rows.append((0, user, "train", items[start:place], items[place]))
        for order, split, place in ((1, "validation", n_train), (2, "test", n_train + 1)):
            rows.append((order, user, split, items[max(0, place - MAX_LENGTH) : place], items[place]))
    histories: Any = pd.DataFrame(rows, columns=["order", "user_id", "split", "history", "target"])
    histories = histories.sort_values("order", kind="stable").drop(columns="order").reset_index(drop=True)
    histories.insert(0, "row_id", np.arange(len(histories)))
    histories.to_parquet(out / "histories.parquet")

    random = np.random.default_rng(0)
    n_items = log["item_id"].nunique()
    touched = log.groupby("user_id")["item_id"].agg(set)
    drawn = []
    for row in histories[histories["split"] != "train"].itertuples():
        candidates = [row.target]
        while len(candidates) < N:
            item = int(random.integers(n_items))
            if item not in touched[row.user_id] and item not in candidates:
                candidates.append(item)
        random.shuffle(candidates)
        drawn.append((row.row_id, candidates))
    pd.DataFrame(drawn, columns=["row_id", "candidates"]).to_parquet(out / "candidate_sets.parquet")


def measured(name: str, command: list[str], environment: dict[str, str], log: Path) -> dict[str, float | str]:
    """Runs a command to its end: wall and processor seconds, peak resident bytes of the process."""
    started = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{name} failed:\n{log.read_text()[-3000:]}")
    return {
        "contender": name,
        "wall_s": round(time.perf_counter() - started, 1),
        "processor_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_gb": round(usage.ru_maxrss / 1e6, 2),
    }


def compared(lake: Path, out: Path, to: str) -> str:
    """Raises unless both contenders made the same tables; says what was compared."""

    def ours(name: str) -> pl.LazyFrame:
        return pl.scan_parquet(lake / name / "bench" / "current" / f"{name}.parquet")

    def of_pandas(name: str) -> pl.LazyFrame:
        return pl.scan_parquet(out / f"{name}.parquet")

    for name in ("interactions", "histories")[: 1 if to == "interactions" else 2]:
        wanted = ours(name)
        schema = {column: dtype for column, dtype in wanted.collect_schema().items() if column != "__index_level_0__"}
        found = of_pandas(name).select(pl.col(column).cast(dtype) for column, dtype in schema.items())
        assert wanted.collect().equals(found.collect()), f"{name} differ"
    if to == "interactions":
        return "interactions equal"
    sets = [table("candidate_sets").collect().sort("row_id") for table in (ours, of_pandas)]
    targets = ours("histories").filter(pl.col("split") != "train").select("row_id", "target", "user_id").collect()
    touched = ours("interactions").select("user_id", "item_id").collect()
    for table in sets:
        table = table.cast({"row_id": pl.Int32, "candidates": pl.List(pl.Int32)})
        rows = table.join(targets, on="row_id", how="full", coalesce=True)
        assert (rows["candidates"].list.n_unique() == N).all()
        flat = rows.explode("candidates")
        assert (flat["candidates"] == flat["target"]).sum() == rows.height == targets.height
        others = flat.filter(pl.col("candidates") != pl.col("target"))
        assert others.join(touched, left_on=["user_id", "candidates"], right_on=["user_id", "item_id"]).is_empty()
    return "interactions and histories equal; candidate sets of the same rows, sound"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=WORKLOADS, default="ml-1m")
    parser.add_argument("--memory", help="what DuckDB may hold before it spills")
    parser.add_argument("--without-pandas", action="store_true", help="our side alone")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder if not given")
    parser.add_argument("--opponent", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.opponent:
        raw, out, to = options.opponent
        return with_pandas(Path(raw), Path(out), to)
    n = WORKLOADS[options.workload][0]
    to = "interactions" if n > PANDAS_HISTORIES else "candidate_sets"
    with TemporaryDirectory(dir=options.folder) as folder:
        place = Path(folder)
        raw = place / "raw" / "bench"
        n_bytes = write_raw(raw, options.workload)
        for name, text in (
            ("datasets/bench", DATASET),
            ("experiments/popularity", "kind: baseline\nbaseline: popularity\n"),
        ):
            path = place / f"{name}.yaml"
            path.parent.mkdir()
            path.write_text(text)
        setting = {"raw_mb": round(n_bytes / 1e6), "cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
        print(json.dumps({"workload": options.workload, "rows": n, **setting}))
        environment = {
            "BORDERLINE_PROJECT": folder,
            "BORDERLINE_HOME": str(place / "home"),
            "BORDERLINE_RAW": str(place / "raw"),
            **({"BORDERLINE_MEMORY": options.memory} if options.memory else {}),
        }
        command = [sys.executable, "-m", "borderline", "ingest", "--dataset", "bench"]
        results = [measured("borderline", command, environment, place / "borderline.log")]
        print(json.dumps(results[0]), flush=True)
        print((place / "borderline.log").read_text(), file=sys.stderr)
        if options.without_pandas:
            return None
        command = [sys.executable, __file__, "--opponent", str(raw), folder, to]
        results.append(measured(f"pandas, to {to}", command, {}, place / "pandas.log"))
        print(json.dumps({**results[1], "compared": compared(place / "home" / "lake", place, to)}))
    return None


if __name__ == "__main__":
    main()
