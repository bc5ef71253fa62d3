"""Candidates in prompts: how they are drawn, what the prompt says, what is scored behind it, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from transformers import PreTrainedTokenizerFast

from contracts.config import CandidateList, ScratchBackbone, SftExperiment, Titles
from training.backbones.scratch import scratch_model
from training.criteria.win_rate_probe import probe_items
from training.engine.attention import ATTENTION
from training.engine.catalogue_scores import item_scores
from training.engine.policy import Policy
from training.engine.rank_rows import rank_rows, rank_targets
from training.engine.rankings import joined_rankings
from training.engine.windows import find_windows, lay_out
from training.io.ragged import Ragged
from training.io.readers import read_rows, read_texts
from training.io.rows import Rows, joined_rows
from training.representations import candidate_prompts as candidates
from training.representations.candidate_prompts import refuse_long_lists, with_drawn, with_given
from training.representations.prompted_rows import fit_context
from training.representations.titles import candidates_cut_through, title_lists, trained_tokeniser
from training.representations.token_lists import TokenLists, load_representation, save_representation

BEHIND = "Films:\n{history}One of: {candidates}.\nNext: "
BEFORE = "One of: {candidates}.\nFilms:\n{history}Next: "
N = 5
CONTEXT = 128


def config_of(prompt: str = BEHIND, n: int = N) -> Titles:
    listed = CandidateList(n=n, separator=", ")
    return Titles(kind="titles", prompt=prompt, line="- {title}\n", candidates=listed, vocabulary=300)


def lists_of(tables: Any, prompt: str = BEHIND, n: int = N) -> TokenLists:
    config, titles, items = config_of(prompt, n), read_texts(tables.items, "title"), read_texts(tables.items, "item")
    return title_lists(config, trained_tokeniser(config, titles), None, titles, items)


def policy_of(lists: TokenLists) -> Policy:
    backbone = ScratchBackbone(hidden=16, layers=2, heads=2, context=CONTEXT, dropout=0.0)
    model = scratch_model(backbone, lists.n_tokens, seed=1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2.0)
    return Policy(model, lists, CONTEXT)


def train_rows(tables: Any, lists: TokenLists) -> Rows:
    return with_drawn(read_rows(tables.histories, "train", tables.n_items), lists, tables.interactions)


def table_of(rows: Rows) -> np.ndarray:
    assert rows.candidates is not None
    return rows.candidates.padded(-1)


def touched_in(tables: Any, *splits: str) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for row in pq.read_table(tables.interactions).to_pylist():
        if row["split"] in splits:
            found.setdefault(row["user_id"], set()).add(row["item_id"])
    return found


def test_a_train_row_lists_its_target_among_items_its_user_did_not_touch_in_train(tables: Any) -> None:
    rows = train_rows(tables, lists_of(tables))
    touched = touched_in(tables, "train")
    assert rows.candidates is not None
    for row in range(len(rows)):
        listed = rows.candidates[row].tolist()
        assert len(set(listed)) == N
        assert touched[int(rows.user_id[row])] & set(listed) == {int(rows.target[row])}


def test_held_out_items_are_listed_as_often_as_any_other_and_the_target_stands_anywhere(
    simulate: Any, tmp_path: Path
) -> None:
    tables = simulate(tmp_path, users=400)
    rows = train_rows(tables, lists_of(tables))
    table = table_of(rows)
    touched, held_out = touched_in(tables, "train"), touched_in(tables, "validation", "test")
    listed = expected = 0.0
    for row in range(len(rows)):
        user = int(rows.user_id[row])
        answers = held_out[user] - touched[user]
        listed += len(answers & set(table[row].tolist()))
        expected += len(answers) * (N - 1) / (tables.n_items - len(touched[user]))
    assert listed == pytest.approx(expected, rel=0.1)
    places = np.bincount((table == rows.target[:, None]).argmax(axis=1), minlength=N) / len(rows)
    assert np.abs(places - 1 / N).max() < 0.03


def test_a_list_is_the_same_whatever_else_is_drawn_for(tables: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lists, rows = lists_of(tables), read_rows(tables.histories, "train", tables.n_items)
    whole = train_rows(tables, lists)
    assert whole.candidates is not None
    order = np.random.default_rng(0).permutation(len(rows))[:17]
    monkeypatch.setattr(candidates, "CELLS", 3 * tables.n_items)  # three rows at a time
    some = with_drawn(rows.take(order), lists, tables.interactions)
    assert some.candidates is not None
    assert np.array_equal(some.candidates.padded(-1), whole.candidates.take(order).padded(-1))


def test_a_list_does_not_change_with_held_out_interactions(tables: Any, tmp_path: Path) -> None:
    lists, rows = lists_of(tables), read_rows(tables.histories, "train", tables.n_items)
    log = pq.read_table(tables.interactions)
    pq.write_table(log.filter(pc.field("split") == "train"), tmp_path / "train.parquet")
    alone, whole = with_drawn(rows, lists, tmp_path / "train.parquet"), train_rows(tables, lists)
    assert alone.candidates is not None
    assert whole.candidates is not None
    assert np.array_equal(alone.candidates.values, whole.candidates.values)


@pytest.mark.parametrize("prompt", [BEHIND, BEFORE])
def test_a_prompt_reads_as_its_template(prompt: str, tables: Any, tmp_path: Path) -> None:
    lists, titles = lists_of(tables, prompt), read_texts(tables.items, "title")
    (tmp_path / "folder").mkdir()
    save_representation(lists, tmp_path / "folder")
    tokeniser = PreTrainedTokenizerFast.from_pretrained(tmp_path / "folder")
    histories, listed = Ragged.of([[3, 5], []]), Ragged.of([[7, 1, 2, 9, 0], [4, 8, 6, 11, 10]])
    prompts = lists.prompts(histories, listed)
    for at in range(2):
        lines = "".join(f"- {titles[item]}\n" for item in histories[at])
        text = prompt.format(history=lines, candidates=", ".join(titles[item] for item in listed[at]))
        assert tokeniser.decode(prompts[at]) == f"<|end|>{text}"
    assert lists.prompt_tokens(histories, listed).tolist() == prompts.lengths.tolist()
    found = load_representation(tmp_path / "folder", tables.n_items)
    assert found.n_candidates == N
    assert np.array_equal(found.prompts(histories, listed).values, prompts.values)
    with pytest.raises(ValueError, match="must be given them, got a history alone"):
        lists.prompts(histories)


def alone(policy: Policy, prompt: np.ndarray, items: np.ndarray) -> torch.Tensor:
    """Each item's tokens behind a copy of the prompt, as `transformers` itself computes it."""
    policy.model.config._attn_implementation = "sdpa"
    sums = []
    for item in items:
        tokens = torch.tensor([[*prompt, *policy.vocabulary.completions[item]]])
        logps = torch.log_softmax(policy.model(input_ids=tokens).logits[0], dim=-1)
        at = torch.arange(len(prompt) - 1, tokens.shape[1] - 1)
        sums.append(logps[at, tokens[0, at + 1]].sum())
    policy.model.config._attn_implementation = ATTENTION
    return torch.stack(sums)


@pytest.mark.parametrize("prompt", [BEHIND, BEFORE])
def test_items_score_as_they_would_behind_each_rows_own_prompt(prompt: str, tables: Any) -> None:
    policy = policy_of(lists_of(tables, prompt))
    rows, _ = fit_context(train_rows(tables, policy.vocabulary).take(np.arange(12)), policy.vocabulary, CONTEXT)  # type: ignore[arg-type]
    assert rows.candidates is not None
    windows = find_windows(rows)
    assert len(windows) == len(rows)  # rows of one user, but no two prompts have a list in common
    table, prompts = rows.candidates.padded(-1), policy.vocabulary.prompts(rows.history, rows.candidates)
    trunks = lay_out(windows, np.arange(len(windows)), policy.vocabulary)
    with torch.no_grad():
        found = policy.item_logps(trunks, table[trunks.row])
        for at, logps in zip(trunks.row, found, strict=True):
            torch.testing.assert_close(logps, alone(policy, prompts[at], table[at]), rtol=1e-4, atol=1e-4)


def test_another_list_is_another_log_probability(tables: Any) -> None:
    """So nothing may be kept by history: the same one, and the same items asked for, behind two lists."""
    policy = policy_of(lists_of(tables))
    history, target = Ragged.of([[3, 5], [3, 5]]), np.array([7, 7])
    rows = Rows(np.arange(2), np.array([4, 4]), history, target, Ragged.of([[7, 1, 2, 9, 0], [1, 2, 9, 0, 7]]))
    scores = np.concatenate(
        [part.numpy() for _, part in item_scores(policy, find_windows(rows), lambda row: target[row, None])]
    )
    assert abs(scores[0, 0] - scores[1, 0]) > 1e-4


@pytest.mark.parametrize("prompt", [BEHIND, BEFORE])
def test_where_the_context_is_short_the_oldest_titles_go_and_no_candidate(prompt: str, tables: Any) -> None:
    lists = lists_of(tables, prompt)
    rows = train_rows(tables, lists)
    context = int(lists.prompt_tokens(rows.history, rows.candidates).max())  # the completion needs some of it
    cut, n_cut = fit_context(rows, lists, context)
    assert 0 < n_cut < len(rows)
    assert n_cut == int((cut.history.lengths < rows.history.lengths).sum())
    assert cut.candidates is rows.candidates
    longest = int(lists.completions.lengths.max()) - 1
    kept = lists.prompt_tokens(cut.history, cut.candidates) + longest
    assert kept.max() <= context
    for row in np.flatnonzero(cut.history.lengths < rows.history.lengths).tolist():
        n = len(cut.history[row])
        assert cut.history[row].tolist() == rows.history[row].tolist()[-n:]
        assert kept[row] + len(lists.pieces[rows.history[row][-n - 1]]) > context  # one title more would not fit


def test_a_context_that_does_not_hold_the_candidates_is_refused(tables: Any) -> None:
    lists = lists_of(tables)
    rows = train_rows(tables, lists)
    needed = int(lists.prompt_tokens(rows.history.last(0), rows.candidates).max())
    with pytest.raises(ValueError, match=rf"with its 5 candidates \(up to \d+ tokens\).*got {needed}\. .*list fewer"):
        fit_context(rows, lists, needed)
    with pytest.raises(ValueError, match="with its 5 candidates"):  # of test rows too, before anything is trained
        refuse_long_lists(lists, 40, tables.candidate_sets)


def test_the_target_is_ranked_among_the_candidates(tables: Any) -> None:
    policy = policy_of(lists_of(tables))
    held_out = joined_rows([read_rows(tables.histories, split, tables.n_items) for split in ("validation", "test")])
    rows, _ = fit_context(with_given(held_out, policy.vocabulary, tables.candidate_sets), policy.vocabulary, CONTEXT)
    table = table_of(rows)
    ranks, logps = rank_targets(policy, rows)
    parts = list(rank_rows(policy, rows, held_out.history, Ragged.of(table.tolist()), 7))
    assert all(of_catalogue is None for _, _, of_catalogue in parts)
    order = np.argsort(np.concatenate([row for row, _, _ in parts]))
    ranked = joined_rankings([of_candidates for _, of_candidates, _ in parts]).take(order)
    assert ranked.target_rank.tolist() == ranks.tolist()
    for row in range(len(rows)):
        assert sorted(ranked.items[row].tolist()) == sorted(table[row].tolist())
        assert ranked.items[row][ranks[row] - 1] == rows.target[row]
        assert ranked.scores[ranked.items.offsets[row] + ranks[row] - 1] == logps[row]
    order = np.random.default_rng(0).permutation(len(rows))
    again, _ = rank_targets(policy, rows.take(order))
    assert again.tolist() == ranks[order].tolist()
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.zero_()
    lengths = policy.vocabulary.completions.lengths
    tied = [(lengths[listed] == lengths[target]).sum() for listed, target in zip(table, rows.target, strict=True)]
    shorter = [(lengths[listed] < lengths[target]).sum() for listed, target in zip(table, rows.target, strict=True)]
    assert rank_targets(policy, rows)[0].tolist() == np.add(tied, shorter).tolist()  # ties: the target is last


def test_the_probe_asks_for_what_its_prompts_list(tables: Any) -> None:
    lists = lists_of(tables)
    rows = with_given(read_rows(tables.histories, "validation", tables.n_items), lists, tables.candidate_sets)
    assert rows.candidates is not None
    items = probe_items(rows, tables.n_items)
    assert items[:, 0].tolist() == rows.target.tolist()
    assert np.array_equal(np.sort(items, axis=1), np.sort(rows.candidates.padded(-1), axis=1))


def test_lists_of_another_length_and_missing_tables_are_refused(tables: Any) -> None:
    six = lists_of(tables, n=6)
    validation = read_rows(tables.histories, "validation", tables.n_items)
    with pytest.raises(ValueError, match=r"must be 6, as prompts list so many, got 5\. Give"):
        with_given(validation, six, tables.candidate_sets)
    with pytest.raises(ValueError, match=r"must be 6, as prompts list so many, got 5\. Give"):
        refuse_long_lists(six, CONTEXT, tables.candidate_sets)
    with pytest.raises(ValueError, match="candidate_sets must be a table where prompts list candidates"):
        with_given(validation, six, None)
    with pytest.raises(ValueError, match="interactions must be a table where prompts list candidates"):
        with_drawn(validation, six, None)
    with pytest.raises(ValueError, match=r"must leave each train row n - 1 = 28 items .* of 30 for user \d+\. Lower n"):
        train_rows(tables, lists_of(tables, n=29))


def test_prompts_without_candidates_need_no_tables(tables: Any) -> None:
    config, titles = Titles(kind="titles", vocabulary=300), read_texts(tables.items, "title")
    lists = title_lists(config, trained_tokeniser(config, titles), None, titles, read_texts(tables.items, "item"))
    rows = read_rows(tables.histories, "train", tables.n_items)
    assert with_drawn(rows, lists, None) is rows
    assert with_given(rows, lists, None) is rows
    refuse_long_lists(lists, 1, None)


def test_titles_that_would_be_joined_with_the_separator_are_counted() -> None:
    config = config_of().model_copy(update={"candidates": CandidateList(n=2, separator="x")})
    tokeniser = trained_tokeniser(config.model_copy(update={"line": "x{title}"}), ["ab", "cd"] * 20)
    assert candidates_cut_through(config, tokeniser, ["ab", "cd"]) == 2
    assert candidates_cut_through(Titles(kind="titles"), tokeniser, ["ab", "cd"]) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt": "Films:\n{history}"}, r"\{candidates\} once, as candidates is given"),
        ({"prompt": f"{BEHIND}{{candidates}}"}, r"\{candidates\} once, as candidates is given"),
        ({"candidates": None}, r"\{candidates\} nowhere, as candidates is not given"),
        ({"candidates": {"n": 1}}, "greater than or equal to 2"),
        ({"candidates": {"separator": ""}}, "at least 1 character"),
    ],
)
def test_a_template_and_its_candidates_must_agree(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Titles.model_validate({"kind": "titles", "prompt": BEHIND, "candidates": {}, **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": {"select_by": "ndcg_at_10_full"}}, r"hit_ratio_at_1_of_5 or mrr_of_5, as the prompt lists 5 cand"),
        ({"budget": {"select_by": "mrr_of_20"}}, r"hit_ratio_at_1_of_5 or mrr_of_5.* got mrr_of_20"),
        ({"budget": {"select_by": "mrr_of_0"}}, r"must be one of ndcg_at_10_full, .* got 'mrr_of_0'"),
        ({"pool": {}}, r"the 4 candidates that a row's prompt lists .* got scored: None"),
        ({"pool": {"hard": 0, "uniform": 4, "scored": 4, "popularity": 1}}, r"got scored: 4, popularity: 1"),
        ({"pool": {"hard": 2, "uniform": 4, "scored": 4}}, r"scored must be at least hard \+ uniform, 6, got 4"),
        (
            {"representation": {"kind": "titles"}},
            r"ndcg_at_10_full, recall_at_10_full or mrr_full, as the prompt lists no",
        ),
    ],
)
def test_an_experiment_that_ranks_what_its_prompts_do_not_list_is_refused(
    settings: dict[str, Any], message: str
) -> None:
    good = {
        "kind": "sft",
        "representation": {"kind": "titles", "prompt": BEHIND, "candidates": {"n": 5}},
        "optimizer": {"kind": "adamw", "lr": 1e-3},
        "budget": {"select_by": "hit_ratio_at_1_of_5"},
        "pool": {"hard": 1, "uniform": 3, "scored": 4},
    }
    assert SftExperiment.model_validate(good).budget.select_by == "hit_ratio_at_1_of_5"
    with pytest.raises(ValidationError, match=message):
        SftExperiment.model_validate({**good, **settings})
