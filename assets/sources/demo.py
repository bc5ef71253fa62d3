"""The built-in data set: a simulated film-rental shop. Nobody in it exists; it is made so that learning can be seen.

**Mechanism.** Films belong to genres that lie on a ring (crime next to thriller next to mystery …). A film's popularity
falls with its rank in its genre by a power law, and a genre's with its own rank, so the catalogue has a Zipf-like head
and tail. Every film has a few *follow-ups* in its genre: what people who saw it tend to take next. A user has three
favourite genres and visits the shop in sessions, each of one genre, drawn from the favourites. Between sessions the
taste drifts: a favourite moves to a neighbour on the ring. Within a session the next film is

* a follow-up of the film before, or now and then of the one before that (`FOLLOW`),
* else a film of the session's genre, by popularity,
* or, rarely, a slip: any film of the shop by popularity, which the user does not follow up (`SLIP`).

So the next film can be told from the last few ones (follow-ups), less surely from the whole history (favourite genres),
and hardly from popularity. Given a history, the handful of follow-ups and the popular films of the genre are hard to
tell from the film that was taken, and the other thousand are easy: a few hard negatives among many easy ones, the
situation that DynamicPO (https://arxiv.org/abs/2605.00327) is about. The constants were set from this description,
before any preference objective was trained on the result; they are not tuned by which objective wins.

**Noise, as in a real log.** 1 % of the rows are written twice, 4 % come back as the same film again within hours, 1 %
share their second with the row before, and 2 % of the users leave after two to four films. Ids tell neither genre nor
popularity.

**Size.** Two policies ranked on the same rows differ on a share d of them in whether the target comes first (hit ratio
at 1). A paired test of level 5 % and power 80 % then detects a difference in hit ratio of (1.96 + 0.84) · √(d / rows).
With 8,000 users, some 7,800 test rows, and d = 0.10, that is 0.010 (0.007 at d = 0.05, 0.012 at d = 0.15).
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from assets.sources.contract import RawTables, SourceCard
from assets.sources.files import RawFile
from contracts.config.sources import DemoSource
from evaluation.schemas import empty

Ints = NDArray[np.int64]

FOLLOW = 0.60
"""Probability that a film within a session follows up an earlier one."""
FOLLOW_EARLIER = 0.20
"""Of these, the share that follow up the film before the last."""
SLIP = 0.05
FOLLOW_UPS = (0.40, 0.25, 0.15, 0.12, 0.08)
"""How likely each follow-up of a film is."""
FAVOURITES = (0.55, 0.30, 0.15)
"""How likely a session's genre is each of the favourites."""
DRIFT = 0.30
"""Probability, before each session, that a favourite moves to a neighbouring genre."""
SESSION_LENGTH = 4.0
"""Mean films in a session."""
MEAN_LENGTH = 22.0
SHORTEST, LONGEST = 6, 60
"""A user takes SHORTEST films and a geometric number more, MEAN_LENGTH in the mean; LONGEST at most."""
LEAVE_EARLY, TAKEN_AGAIN, WRITTEN_TWICE, SAME_SECOND = 0.02, 0.04, 0.01, 0.01
"""Noise: a share of the users, and three shares of the rows."""

GENRE_WORDS = {
    "Western": ("Dusty Lonesome Bitter Crooked Wanted", "Saddle Canyon Sheriff Stagecoach Ranch Outlaw"),
    "Adventure": ("Lost Forgotten Emerald Uncharted Reckless", "Expedition Treasure Compass Voyage Island Caravan"),
    "Pirates": ("Black Drowned Mutinous Salted Sunken", "Galleon Corsair Lagoon Anchor Tide Buccaneer"),
    "Fantasy": ("Enchanted Silver Sleeping Ancient Cursed", "Dragon Kingdom Sorcerer Crown Prophecy Forest"),
    "Fairy Tale": ("Golden Glass Hidden Wishing Snowy", "Slipper Princess Spindle Mirror Tower Swan"),
    "Animation": ("Tiny Painted Flying Clumsy Curious", "Robot Puppet Balloon Penguin Toymaker Bear"),
    "Family": ("Noisy Muddy Sunny Borrowed Runaway", "Puppy Summer Birthday Grandfather Treehouse Holiday"),
    "Comedy": ("Awkward Perfect Second Wrong Cheerful", "Wedding Roommate Neighbour Diet Reunion Babysitter"),
    "Satire": ("Honourable Modest Official Spotless Grand", "Minister Committee Election Speech Scandal Bureau"),
    "Romance": ("Tender Late Secret Parisian Faithful", "Letter Kiss Promise Garden Waltz Sweetheart"),
    "Musical": ("Dancing Broken Velvet Midnight Swinging", "Melody Chorus Ballroom Trumpet Encore Nightclub"),
    "Drama": ("Quiet Distant Unspoken Empty Long", "Daughter Inheritance Silence Winter Farewell House"),
    "Biography": ("True Restless Remarkable Private Early", "Painter Composer Physicist Diary Genius Poet"),
    "History": ("Imperial Burning Royal Fallen Iron", "Throne Rebellion Senate Cathedral Dynasty Envoy"),
    "War": ("Last Frozen Silent Northern Brave", "Battalion Trench Convoy Airfield Armistice Bridge"),
    "Espionage": ("Double Foreign Coded Cold Borrowed", "Agent Cipher Embassy Defector Dossier Courier"),
    "Thriller": ("Deadly Sudden Final Hollow Sleepless", "Witness Hostage Elevator Stalker Deadline Alibi"),
    "Crime": ("Dirty Crooked Stolen Small Ruthless", "Heist Gangster Casino Getaway Informer Syndicate"),
    "Mystery": ("Vanishing Locked Scarlet Seventh Foggy", "Inspector Manor Riddle Footprint Clue Lighthouse"),
    "Horror": ("Whispering Rotten Unholy Screaming Pale", "Cellar Graveyard Demon Scarecrow Asylum Vampire"),
    "Science Fiction": ("Infinite Artificial Lunar Quantum Orbital", "Colony Android Signal Starship Paradox Reactor"),
    "Disaster": ("Rising Towering Endless Molten Shattered", "Earthquake Avalanche Volcano Storm Wildfire Flood"),
    "Sports": ("Undefeated Muddy Golden Outside Unlikely", "Champion Goalkeeper Marathon Boxer Season Rookie"),
    "Documentary": ("Wild Vanishing Secret Everyday Deep", "Ocean Glacier Bakery Migration Orchard Factory"),
}
"""Adjectives and nouns of each genre; a genre's neighbours on the ring are the ones before and after it."""
GENRES = tuple(GENRE_WORDS)
PLACES = ("Lisbon", "Zürich", "Málaga", "Bergen", "Kraków", "Naples", "Tangier", "Odessa", "Kyoto", "Quebec")
NAMES = ("Anna", "Marek", "Ingrid", "Tomás", "Yuki", "Salma", "Oskar", "Claire", "Hugo", "Zoë")

_TRIES = 6  # draws for each film; the first that the user has not seen is taken
_CHUNK = 16_384  # users simulated together: bounds memory, and belongs to the meaning of the seed
_START = 1_672_531_200  # 2023-01-01, in seconds
_DAY = 86_400


def card(config: DemoSource) -> SourceCard:
    """Whose data these are: nobody's."""
    return SourceCard(
        title="Demo (simulated film-rental shop)",
        files=(),
        page=None,
        terms="Simulated by this project; nobody in it exists.",
    )


def locate(config: DemoSource, folder: Path) -> list[RawFile]:
    """The shop needs no file."""
    return []


def read(config: DemoSource, folder: Path, scratch: Path) -> RawTables:
    """The simulated log and catalogue; nothing in them is unusable."""
    interactions, items = simulate(config.users, config.items, config.seed)
    return RawTables(interactions.lazy(), items, empty("quarantine"))


def simulate(n_users: int, n_items: int, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The tables `raw_interactions`, in order of time as a shop logs them, and `raw_items`; a seed gives one shop."""
    rng = np.random.default_rng(seed)
    shop = _open_shop(n_items, rng)
    chunks: list[pl.DataFrame] = []
    for first in range(0, n_users, _CHUNK):
        chunks.append(_visits(shop, np.arange(first, min(first + _CHUNK, n_users)), rng))
    log = _with_noise(pl.concat(chunks), rng).sort("at", "user", "item")
    user_ids = _ids("u", n_users, rng)
    interactions = log.select(
        user=user_ids.gather(log["user"]),
        item=shop.items["item"].gather(log["item"]),
        at=pl.from_epoch("at", time_unit="s").dt.cast_time_unit("us").dt.replace_time_zone("UTC"),
        position=pl.lit(None, pl.Int64),
        weight=pl.lit(1.0, pl.Float32),
        event=pl.lit(None, pl.String),
        file=pl.lit("simulated"),
        line=pl.int_range(1, pl.len() + 1),
    )
    return interactions, shop.items.sort("item").with_columns(text=pl.lit(None, pl.String))


@dataclass(frozen=True)
class _Shop:
    """The catalogue, film by film; the films of a genre come together, most popular first."""

    items: pl.DataFrame
    """item, title, category."""
    genres: Ints
    """Genre of each film."""
    ends: NDArray[np.float64]
    """Cumulative popularity of the films: film f owns the interval from ends[f] to ends[f + 1]."""
    first_films: Ints
    """First film of each genre, and the number of films at the end."""
    genre_popularity: NDArray[np.float64]
    follow_ups: Ints
    """[films, len(FOLLOW_UPS)]"""


def _open_shop(n_items: int, rng: np.random.Generator) -> _Shop:
    n_genres = int(np.clip(n_items // 50, 4, len(GENRES)))
    names = [GENRES[place] for place in np.linspace(0, len(GENRES), n_genres, endpoint=False).astype(int)]
    genres = np.sort(np.arange(n_items) % n_genres)
    first_films = np.searchsorted(genres, np.arange(n_genres + 1))
    ranks = np.arange(n_items) - first_films[genres]
    genre_popularity = rng.permutation((np.arange(n_genres) + 2.0) ** -0.8)
    genre_popularity /= genre_popularity.sum()
    within = (ranks + 1.0) ** -1.0
    popularity = within / np.bincount(genres, within)[genres] * genre_popularity[genres]

    follow_ups = np.empty((n_items, len(FOLLOW_UPS)), dtype=np.int64)
    for start, end in itertools.pairwise(first_films):
        # Gumbel noise on log-weights: the largest are a draw without replacement. The power keeps the tail in play.
        keys = 0.7 * np.log(popularity[start:end]) + rng.gumbel(size=(end - start, end - start))
        np.fill_diagonal(keys, -np.inf)
        follow_ups[start:end] = start + np.argsort(-keys, axis=1)[:, : len(FOLLOW_UPS)]

    titles = [title for genre, name in enumerate(names) for title in _titles(name, int((genres == genre).sum()), rng)]
    items = pl.DataFrame({"item": _ids("f", n_items, rng), "title": titles, "category": [names[g] for g in genres]})
    ends = np.concatenate([[0.0], np.cumsum(popularity)])
    return _Shop(items, genres, ends, first_films, genre_popularity, follow_ups)


def _visits(shop: _Shop, users: Ints, rng: np.random.Generator) -> pl.DataFrame:
    """user, item (as numbers), at (seconds): every film these users took, without noise; all users step together."""
    n, longest = len(users), min(LONGEST, len(shop.genres) // 2)
    n_genres = len(shop.genre_popularity)
    lengths = np.minimum(SHORTEST - 1 + rng.geometric(1 / (MEAN_LENGTH - SHORTEST + 1), n), longest)
    leaves_early = rng.random(n) < LEAVE_EARLY
    lengths[leaves_early] = rng.integers(2, 5, leaves_early.sum())
    keys = np.log(shop.genre_popularity) + rng.gumbel(size=(n, n_genres))
    favourites = np.argsort(-keys, axis=1)[:, : len(FAVOURITES)]

    taken = np.full((n, longest), -1, dtype=np.int64)
    times = np.empty((n, longest), dtype=np.int64)
    genre = np.zeros(n, dtype=np.int64)
    last = np.zeros(n, dtype=np.int64)  # the film that is followed up, and the one before it
    earlier = np.zeros(n, dtype=np.int64)
    now = _START + rng.integers(0, 540 * _DAY, n)
    for step in range(longest):
        is_new = rng.random(n) < (1 / SESSION_LENGTH if step else 1.0)
        _drift(favourites, is_new & (rng.random(n) < DRIFT), n_genres, rng)
        favourite = np.searchsorted(np.cumsum(FAVOURITES), rng.random(n) * sum(FAVOURITES), side="right")
        genre = np.where(is_new, favourites[np.arange(n), favourite], genre)
        kind = rng.random((n, _TRIES))
        follows = (kind < FOLLOW) & ~is_new[:, None]
        slips = kind >= 1 - SLIP
        film = _choose(shop, genre, last, earlier, follows, slips, rng)
        is_unseen = (film[:, :, None] != taken[:, None, :step]).all(axis=2)
        choice = np.where(is_unseen.any(axis=1), is_unseen.argmax(axis=1), 0)[:, None]
        film, is_slip = (np.take_along_axis(each, choice, axis=1)[:, 0] for each in (film, slips))
        now = now + np.where(
            is_new, rng.exponential(6 * _DAY, n).astype(np.int64) + _DAY // 2, rng.integers(60, 9_000, n)
        )
        taken[:, step], times[:, step] = film, now
        earlier = np.where(is_slip, earlier, np.where(is_new, film, last))
        last = np.where(is_slip & ~is_new, last, film)

    happened = np.arange(longest) < lengths[:, None]
    row, _ = np.nonzero(happened)
    return pl.DataFrame({"user": users[row], "item": taken[happened], "at": times[happened]})


def _choose(
    shop: _Shop,
    genre: Ints,
    last: Ints,
    earlier: Ints,
    follows: NDArray[np.bool_],
    slips: NDArray[np.bool_],
    rng: np.random.Generator,
) -> Ints:
    """Several films that each user might take next, in the order they are tried; shape of `follows`."""
    shape = follows.shape
    anchor = np.where(rng.random(shape) < FOLLOW_EARLIER, earlier[:, None], last[:, None])
    nth = np.searchsorted(np.cumsum(FOLLOW_UPS), rng.random(shape) * sum(FOLLOW_UPS), side="right")
    low = np.where(slips, 0.0, shop.ends[shop.first_films[genre]][:, None])
    high = np.where(slips, shop.ends[-1], shop.ends[shop.first_films[genre + 1]][:, None])
    by_popularity = np.searchsorted(shop.ends, low + rng.random(shape) * (high - low), side="right") - 1
    by_popularity = np.minimum(by_popularity, len(shop.genres) - 1)
    return np.where(follows, shop.follow_ups[anchor, np.minimum(nth, len(FOLLOW_UPS) - 1)], by_popularity)


def _drift(favourites: Ints, moves: NDArray[np.bool_], n_genres: int, rng: np.random.Generator) -> None:
    """Moves one favourite of each user marked to a neighbouring genre, in place."""
    rows = np.flatnonzero(moves)
    which = rng.integers(0, favourites.shape[1], len(rows))
    favourites[rows, which] = (favourites[rows, which] + rng.choice([-1, 1], len(rows))) % n_genres


def _with_noise(log: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Rows of the same second, the same film again within hours, and rows written twice."""
    at = log["at"].to_numpy().copy()
    same_user = log["user"].to_numpy()[1:] == log["user"].to_numpy()[:-1]
    tied = 1 + np.flatnonzero(same_user & (rng.random(len(at) - 1) < SAME_SECOND))
    at[tied] = at[tied - 1]
    log = log.with_columns(pl.Series("at", at))
    again = log.filter(pl.Series(rng.random(log.height) < TAKEN_AGAIN))
    again = again.with_columns(pl.col("at") + pl.Series(rng.integers(600, 20_000, again.height)))
    log = pl.concat([log, again])
    return pl.concat([log, log.filter(pl.Series(rng.random(log.height) < WRITTEN_TWICE))])


def _ids(prefix: str, n: int, rng: np.random.Generator) -> pl.Series:
    """Distinct ids of equal length in random order."""
    return pl.Series([f"{prefix}{number:0{len(str(n))}d}" for number in rng.permutation(n) + 1])


def _titles(genre: str, n: int, rng: np.random.Generator) -> list[str]:
    """`n` distinct titles in the words of a genre; sequels when the words run out. No other genre has its nouns."""
    adjectives, nouns = (words.split() for words in GENRE_WORDS[genre])
    stems = [f"The {adjective} {noun}" for adjective in adjectives for noun in nouns]
    stems += [f"{noun} of {place}" for noun in nouns for place in PLACES]
    stems += [f"{'An' if noun[0] in 'AEIOU' else 'A'} {noun} for {name}" for noun in nouns for name in NAMES]
    order = rng.permutation(len(stems))
    years = rng.integers(1948, 2023, n)
    sequels = ("", *(f" {part}" for part in range(2, 2 + n // len(stems))))
    titles = [stems[place] + sequel for sequel in sequels for place in order]
    return [f"{title} ({year})" for title, year in zip(titles, years, strict=False)]
