"""Shortcut report: what rules without a model score on a split, and whether one of them only has to follow an order.

Two of the rules know something honest, popularity and what goes with the last item. Two follow an order over items: the
next larger id, and the next item in the one order that train sequences agree on best. In a log in time these find
little; where sequences are sorted, they find most targets.
Dimension key: r rows, n candidates, i items of the catalogue, k places of a full list.
"""

import heapq
import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from contracts.words import HELD_OUT
from evaluation.arrays import Floats, Ids
from evaluation.baselines.candidate_lists import CandidateLists, candidate_lists
from evaluation.baselines.list_rules import shared_hits
from evaluation.baselines.repeats import REPEAT_RULES, RepeatRule, repeat_cells
from evaluation.leakage.probe import NOISE, LeakProbe, Numbers
from evaluation.leakage.sampling import Frame, collected, sampled_by
from evaluation.reports.document import Table, as_markdown

_MOST_ROWS = 5_000
"""Rows of each split that are judged; of more, a sample."""
_MOST_INTERACTIONS = 100_000
"""Train interactions that the rules about neighbours learn from; of more, a sample of users."""
_WITHIN = 5
"""Places in a user's order that two items which go together may be apart."""
_TOP = 10
_FOLLOWS = ("next_id", "next_in_order")
"""The rules that follow an order over items."""
_FAR = 0.25
"""Share of the way from chance to certainty that such a rule may get; the largest seen on a log in time is 0.16."""


@dataclass(frozen=True)
class Shortcut:
    """The scores of one rule on one split."""

    split: str
    rule: str
    hit_ratio_at_1: float
    """On the candidate lists."""
    recall_at_10: float
    """On the whole catalogue without the row's history."""
    rows: int
    """Rows that were judged."""


@dataclass(frozen=True)
class ShortcutReport(LeakProbe):
    """The scores of every rule on every held-out split."""

    scores: tuple[Shortcut, ...]
    n_candidates: int
    n_items: int
    sample: float
    """Share of held-out rows that were judged."""
    train_sample: float
    """Share of users whose train interactions the rules about neighbours learned from."""

    @property
    def metrics(self) -> tuple[str, str]:
        """The names of the two measures, as on the leaderboard."""
        return f"hit_ratio_at_1_of_{self.n_candidates}", f"recall_at_{_TOP}_full"

    @property
    def chances(self) -> tuple[float, float]:
        """The scores of chance on the two measures."""
        return 1.0 / self.n_candidates, min(1.0, _TOP / self.n_items)

    @property
    def reasons(self) -> tuple[str, ...]:
        """See `LeakProbe`."""
        said = {
            "next_id": "the candidate with the smallest id above the last history item's",
            "next_in_order": "the candidate that comes next in the order that all train sequences follow",
        }
        by_chance, by_chance_of_all = self.chances
        return tuple(
            f"the rule '{said[score.rule]}' finds {score.hit_ratio_at_1:.1%} of {score.split} targets (chance "
            f"{by_chance:.1%}), and on the whole catalogue {score.recall_at_10:.1%} among ten guesses (chance "
            f"{by_chance_of_all:.1%}): sequences are sorted by item, and no model is needed to continue them"
            for score in self.scores
            if score.rule in _FOLLOWS
            and (
                score.hit_ratio_at_1 > limit(by_chance, score.rows)
                or score.recall_at_10 > limit(by_chance_of_all, score.rows)
            )
        )

    @property
    def all_clear(self) -> str:
        """See `LeakProbe`."""
        return "No order over items leads from a history to its target."

    @property
    def numbers(self) -> Numbers:
        """See `LeakProbe`."""
        on_lists, on_all = self.metrics
        numbers: dict[str, int | float | str] = {
            "rows_read": self.sample,
            "train_users_read": self.train_sample,
        }
        for score in self.scores:
            if score.rule == "chance":
                numbers[f"{score.split}_rows"] = score.rows
                numbers[f"{score.split}_largest_{on_lists}"] = limit(score.hit_ratio_at_1, score.rows)
                numbers[f"{score.split}_largest_{on_all}"] = limit(score.recall_at_10, score.rows)
            numbers[f"{score.split}_{score.rule}_{on_lists}"] = score.hit_ratio_at_1
            numbers[f"{score.split}_{score.rule}_{on_all}"] = score.recall_at_10
        return numbers

    def as_json(self) -> list[dict[str, str | float]]:
        """One object for each split and rule, the scores under the names of the leaderboard's metrics."""
        on_lists, on_all = self.metrics
        return [
            {"split": s.split, "rule": s.rule, on_lists: s.hit_ratio_at_1, on_all: s.recall_at_10} for s in self.scores
        ]

    def as_markdown(self) -> str:
        """A table with a line for each split and rule."""
        rows = [[s.split, s.rule, f"{s.hit_ratio_at_1:.3f}", f"{s.recall_at_10:.3f}"] for s in self.scores]
        return as_markdown([Table(["split", "rule", *self.metrics], rows)])


def limit(chance: float, rows: int) -> float:
    """The largest share of targets that a rule which follows an order may find.

    >>> round(limit(0.05, 10_000), 4)  # a quarter of the way from 5 % to certainty, and the noise of 10,000 rows
    0.3056
    """
    far = chance + _FAR * (1.0 - chance)
    return far + NOISE * math.sqrt(far * (1.0 - far) / max(rows, 1))


def shortcut_report(
    histories: Frame, candidate_sets: Frame, interactions: Frame, *, n_items: int, keeps_repeats: bool = False
) -> ShortcutReport:
    """Scores popularity, co-occurrence with the last item, the next id and the next item in order.

    Where the data set keeps repeats, also the last items of the history, latest first, and the most frequent ones.

    The first two break ties by popularity, then by item id, as the baselines that count do. Ties of the others share
    the hit, so that a rule which knows nothing scores exactly chance.

    Args:
        histories: row_id, split, history, target; train rows are passed over.
        candidate_sets: row_id, candidates.
        interactions: user_id, item_id, split; each user's rows in the order to be probed. Rules learn from train.
        n_items: size of the catalogue.
        keeps_repeats: whether full lists hold the items of the row's history too.
    """
    lists, share = sampled_by(candidate_sets, "row_id", 2 * _MOST_ROWS, stream="shortcut report")
    held_out = collected(lists)
    rows = collected(
        histories.lazy()
        .filter(pl.col("row_id").is_in(held_out["row_id"].implode()))
        .select("row_id", "split", "history", "target")
    ).sort("row_id")
    train = interactions.lazy().filter(pl.col("split") == "train")
    sampled, train_share = sampled_by(train, "user_id", _MOST_INTERACTIONS, stream="shortcut report")
    learned = _learned(train, collected(sampled.select("user_id", "item_id")), n_items)
    scores: list[Shortcut] = []
    n_candidates = 0
    for split in HELD_OUT:
        of_split = rows.filter(pl.col("split") == split)
        if of_split.height:
            part = candidate_lists(of_split, held_out.join(of_split.select("row_id"), on="row_id", how="semi"))
            scores += _scores(split, of_split, part, learned, n_items, keeps_repeats=keeps_repeats)
            n_candidates = part.items.shape[1]
    return ShortcutReport(tuple(scores), n_candidates, n_items, share, train_share)


@dataclass(frozen=True)
class _Learned:
    """The knowledge of train that rules use."""

    popularity: Floats
    """Train interactions of each item, shape [i]."""
    together: pl.DataFrame
    """item, other, times: how often another item follows or precedes within reach; most often first for each item."""
    place: Ids
    """The place of each item in the order that train sequences follow, shape [i]."""

    @property
    def rank(self) -> Floats:
        """The place of each item by popularity, equals by item id, shape [i]."""
        rank = np.empty(self.popularity.size)
        rank[np.argsort(-self.popularity, kind="stable")] = np.arange(self.popularity.size)
        return rank


def _learned(train: pl.LazyFrame, log: pl.DataFrame, n_items: int) -> _Learned:
    counts = collected(train.group_by("item_id").len())
    popularity = np.zeros(n_items)
    popularity[counts["item_id"].to_numpy()] = counts["len"].to_numpy()
    return _Learned(popularity, _together(log, popularity), item_order(log, n_items))


def _together(log: pl.DataFrame, popularity: Floats) -> pl.DataFrame:
    parts: list[pl.DataFrame] = []
    for lag in range(1, _WITHIN + 1):
        later = log.shift(-lag)
        near = pl.DataFrame({"item": log["item_id"], "other": later["item_id"]}).filter(
            log["user_id"] == later["user_id"]
        )
        parts += [near, near.select(item="other", other="item")]
    counts = pl.concat(parts).filter(pl.col("item") != pl.col("other")).group_by("item", "other").agg(times=pl.len())
    return counts.with_columns(often=pl.Series(popularity[counts["other"].to_numpy()])).sort(
        "item", "times", "often", "other", descending=[False, True, True, False]
    )


def item_order(log: pl.DataFrame, n_items: int) -> Ids:
    """The place of each item in the order over items that sequences agree on best, shape [i].

    Topological sort of "mostly comes right before" (Kahn 1962), which finds the order exactly where there is one; where
    the relation has cycles, the item that the fewest remaining ones come before goes next. Items without a neighbour
    come last.

    Args:
        log: user_id, item_id; each user's rows in order.
        n_items: size of the catalogue.
    """
    later = log.shift(-1)
    follows = pl.DataFrame(
        {"first": log["item_id"], "second": later["item_id"], "user": log["user_id"] == later["user_id"]}
    )
    pairs = follows.filter(pl.col("user").fill_null(False) & (pl.col("first") != pl.col("second")))
    low, high = pl.min_horizontal("first", "second"), pl.max_horizontal("first", "second")
    net = pairs.group_by(low=low, high=high).agg(
        rising=(2 * (pl.col("first") < pl.col("second")).cast(pl.Int64) - 1).sum()
    )
    net = net.filter(pl.col("rising") != 0).sort("low", "high")
    after: dict[int, list[tuple[int, int]]] = defaultdict(list)
    before = np.zeros(n_items, dtype=np.int64)
    for first, second, rising in net.iter_rows():
        before_it, after_it = (first, second) if rising > 0 else (second, first)
        after[before_it].append((after_it, abs(rising)))
        before[after_it] += abs(rising)
    waiting = before.tolist()
    touched = {int(item) for item in log["item_id"].unique()}
    queue = [(waiting[item], item) for item in sorted(touched)]
    heapq.heapify(queue)
    place = np.full(n_items, n_items, dtype=np.int64)
    nth = 0
    while queue:
        count, item = heapq.heappop(queue)
        if place[item] < n_items or count != waiting[item]:
            continue  # placed already, or an outdated entry
        place[item], nth = nth, nth + 1
        for other, times in after[item]:
            waiting[other] -= times
            heapq.heappush(queue, (waiting[other], other))
    untouched = np.flatnonzero(place == n_items)
    place[untouched] = nth + np.arange(untouched.size)
    return place


def _scores(
    split: str, rows: pl.DataFrame, lists: CandidateLists, learned: _Learned, n_items: int, *, keeps_repeats: bool
) -> list[Shortcut]:
    last = rows["history"].list.last().to_numpy().astype(np.int64)
    depth = _TOP + int(rows["history"].list.len().to_numpy().max())
    ids = np.arange(n_items, dtype=np.int64)
    found = [
        ("popularity", -learned.rank[lists.items], _most_popular(learned.popularity, depth, last.size)),
        ("co_occurrence", *_co_occurring(lists, last, learned, depth, n_items)),
        ("next_id", _nearness(ids, lists, last), _next(ids, last, depth)),
        ("next_in_order", _nearness(learned.place, lists, last), _next(learned.place, last, depth)),
    ]
    if keeps_repeats:
        found += [(rule, *_repeating(rule, rows, lists, learned, depth, n_items)) for rule in REPEAT_RULES]
    n, seen = lists.items.shape[1], _shown(rows, n_items) if not keeps_repeats else np.full(1, -1)
    chance = Shortcut(split, "chance", 1.0 / n, min(1.0, _TOP / n_items), last.size)
    return [
        chance,
        *(
            Shortcut(
                split,
                name,
                float(shared_hits(scores, lists).mean()),
                _recall(ranked, lists.target, seen, n_items),
                last.size,
            )
            for name, scores, ranked in found
        ),
    ]


def _repeating(
    rule: RepeatRule, rows: pl.DataFrame, lists: CandidateLists, learned: _Learned, depth: int, n_items: int
) -> tuple[Floats, Ids]:
    """Scores of candidates [r n], and the distinct items of the history, best first, -1 past the end [r depth]."""
    cells, scores = repeat_cells(rows, rule)
    by_popularity = -learned.rank / n_items  # above -1: less than a step between scores of the history
    at, item = cells["row"].to_numpy().astype(np.int64), cells["item_id"].to_numpy().astype(np.int64)
    key = at * n_items + item
    by_key = np.argsort(key)
    wanted = np.arange(lists.row_id.size)[:, None] * n_items + lists.items
    place = np.minimum(np.searchsorted(key[by_key], wanted), key.size - 1)
    of_lists = np.where(key[by_key][place] == wanted, scores[by_key][place], 0.0) + by_popularity[lists.items]
    order = np.lexsort((learned.rank[item], -scores, at))
    nth = np.arange(key.size) - np.searchsorted(at[order], at[order])
    ranked = np.full((lists.row_id.size, depth), -1, dtype=np.int64)
    is_kept = nth < depth
    ranked[at[order][is_kept], nth[is_kept]] = item[order][is_kept]
    return of_lists, ranked


def _most_popular(popularity: Floats, depth: int, rows: int) -> Ids:
    order = np.argsort(-popularity, kind="stable")[:depth]
    return np.broadcast_to(order, (rows, order.size))


def _nearness(place: Ids, lists: CandidateLists, last: Ids) -> Floats:
    """Larger the sooner a candidate comes after the last item, the same for all that come before it; shape [r n]."""
    ahead = place[lists.items] - place[last][:, None]
    return np.where(ahead > 0, -ahead, -place.size - 1).astype(np.float64)


def _next(place: Ids, last: Ids, depth: int) -> Ids:
    """The items that come after the last one, in order; -1 past the end; shape [r depth]."""
    by_place = np.argsort(place, kind="stable")
    wanted = place[last][:, None] + np.arange(1, depth + 1)
    return np.where(wanted < place.size, by_place[np.minimum(wanted, place.size - 1)], -1)


def _co_occurring(lists: CandidateLists, last: Ids, learned: _Learned, depth: int, n_items: int) -> tuple[Floats, Ids]:
    """Scores of candidates [r n], and the items that go with the last one, most often first, -1 past the end [r depth].

    Equals are ordered by popularity, then by item id.
    """
    table = learned.together
    key = table["item"].to_numpy().astype(np.int64) * n_items + table["other"].to_numpy()
    by_key = np.argsort(key)
    wanted = last[:, None] * n_items + lists.items
    times = np.zeros(wanted.shape)
    starts = np.zeros(last.size, dtype=np.int64)
    ends = starts
    if key.size:
        place = np.minimum(np.searchsorted(key[by_key], wanted), key.size - 1)
        is_known = key[by_key][place] == wanted
        times = np.where(is_known, table["times"].to_numpy()[by_key][place], 0).astype(np.float64)
        items = table["item"].to_numpy()
        starts, ends = np.searchsorted(items, last, side="left"), np.searchsorted(items, last, side="right")
    scores = times * n_items - learned.rank[lists.items]
    nth = starts[:, None] + np.arange(depth)
    others = table["other"].to_numpy().astype(np.int64) if key.size else np.full(1, -1, dtype=np.int64)
    return scores, np.where(nth < ends[:, None], others[np.minimum(nth, others.size - 1)], -1)


def _shown(rows: pl.DataFrame, n_items: int) -> Ids:
    """Every (row, item of its history) as one number, in order."""
    cells = rows.select(pl.int_range(pl.len()).alias("row"), "history").explode("history")
    return np.sort(cells["row"].to_numpy() * n_items + cells["history"].to_numpy())


def _recall(ranked: Ids, target: Ids, seen: Ids, n_items: int) -> float:
    """Share of rows whose target is among the first ten of a ranked list without the row's history."""
    cells = np.arange(target.size)[:, None] * n_items + ranked
    place = np.minimum(np.searchsorted(seen, cells), seen.size - 1)
    is_target = ranked == target[:, None]
    is_kept = (ranked >= 0) & ((seen[place] != cells) | is_target)
    is_hit: NDArray[np.bool_] = is_target & is_kept & (is_kept.cumsum(axis=1) <= _TOP)
    return float(is_hit.any(axis=1).mean())
