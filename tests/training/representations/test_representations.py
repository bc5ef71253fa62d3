"""Items as several tokens: prompts, context, scores of the whole catalogue, the way through the commands, bad input."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from transformers import PreTrainedTokenizerFast

from contracts.config import ScratchBackbone, SemanticIds, Titles
from training.backbones.scratch import scratch_model
from training.engine import trie_scores
from training.engine.attention import ATTENTION
from training.engine.catalogue_scores import catalogue_scores
from training.engine.policy import Policy
from training.engine.windows import find_windows, lay_out
from training.io.ragged import Ragged
from training.io.readers import read_rows, read_texts
from training.io.rows import Rows
from training.representations.prompted_rows import fit_context
from training.representations.semantic_ids import read_codes, semantic_id_lists
from training.representations.titles import title_lists, titles_cut_through, trained_tokeniser
from training.representations.token_lists import TokenLists, load_representation, save_representation

CODES = SemanticIds(kind="semantic_ids", table="codes.json.gz")
TITLES = Titles(kind="titles", vocabulary=300)
BACKBONE = ScratchBackbone(hidden=16, layers=2, heads=2, context=64, dropout=0.0)


def codes_of(n_items: int) -> dict[str, list[int]]:
    return {f"id-{item:03}": [item % 3, item // 3 % 4, item // 12] for item in range(n_items)}


def write_codes(folder: Path, codes: Any) -> Path:
    path = folder / "codes.json.gz"
    path.write_bytes(gzip.compress(json.dumps(codes).encode()))
    return path


def lists_of(kind: str, tables: Any, folder: Path, **settings: Any) -> TokenLists:
    items = read_texts(tables.items, "item")
    if kind == "semantic_ids":
        path = write_codes(folder, codes_of(tables.n_items))
        return semantic_id_lists(CODES.model_copy(update=settings), path, items)
    config, titles = TITLES.model_copy(update=settings), read_texts(tables.items, "title")
    return title_lists(config, trained_tokeniser(config, titles), None, titles, items)


def policy_of(lists: TokenLists) -> Policy:
    model = scratch_model(BACKBONE, lists.n_tokens, seed=1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2.0)
    return Policy(model, lists, BACKBONE.context)


KINDS = [
    ("semantic_ids", {}),
    ("titles", {}),
    ("titles", {"prompt": "Films:\n{history}Which next?\n", "line": "- {title}\n"}),
]


def alone(policy: Policy, history: list[int], items: np.ndarray) -> torch.Tensor:
    """Each item's tokens behind a copy of the prompt, as `transformers` itself computes it."""
    lists = policy.vocabulary
    assert isinstance(lists, TokenLists)
    prompt = [*lists.start, *[token for item in history for token in lists.pieces[item]], *lists.bridge]
    policy.model.config._attn_implementation = "sdpa"
    sums = []
    for item in items:
        tokens = torch.tensor([[*prompt, *lists.completions[item]]])
        logps = torch.log_softmax(policy.model(input_ids=tokens).logits[0, :, : lists.n_scored], dim=-1)
        at = torch.arange(len(prompt) - 1, tokens.shape[1] - 1)
        sums.append(logps[at, tokens[0, at + 1]].sum())
    policy.model.config._attn_implementation = ATTENTION
    return torch.stack(sums)


@pytest.mark.parametrize(("kind", "settings"), KINDS)
def test_the_scores_of_rows_on_shared_trunks_and_of_the_catalogue_are_those_of_each_item_alone(
    kind: str, settings: dict[str, Any], tables: Any, tmp_path: Path
) -> None:
    lists = lists_of(kind, tables, tmp_path, **settings)
    policy = policy_of(lists)
    rows, _ = fit_context(read_rows(tables.histories, "train", tables.n_items).take(np.arange(12)), lists, 64)
    windows = find_windows(rows)
    assert len(windows) < len(rows)  # they share trunks
    items = np.random.default_rng(0).integers(tables.n_items, size=(len(rows), 4))
    trunks = lay_out(windows, np.arange(len(windows)), lists)
    with torch.no_grad():
        some = policy.item_logps(trunks, items[trunks.row])
        for row, logps in catalogue_scores(policy, windows):
            for at, scores in zip(row, logps, strict=True):
                wanted = alone(policy, rows.history[at].tolist(), np.arange(tables.n_items))
                torch.testing.assert_close(scores, wanted, rtol=1e-4, atol=1e-4)
                found = some[int(np.flatnonzero(trunks.row == at)[0])]
                torch.testing.assert_close(found, wanted[torch.from_numpy(items[at])], rtol=1e-4, atol=1e-4)


def scores_of(policy: Policy, rows: Rows) -> np.ndarray:
    table = np.full((len(rows), policy.vocabulary.n_items), np.nan, dtype=np.float32)
    for row, logps in catalogue_scores(policy, find_windows(rows)):
        table[row] = logps.numpy()
    return table


@pytest.mark.parametrize("kind", ["semantic_ids", "titles"])
def test_scores_are_the_same_to_the_bit_whatever_else_is_scored(kind: str, tables: Any, tmp_path: Path) -> None:
    policy = policy_of(lists_of(kind, tables, tmp_path))
    rows, _ = fit_context(read_rows(tables.histories, "test", tables.n_items), policy.vocabulary, 64)
    together = scores_of(policy, rows)
    assert np.isfinite(together).all()
    order = np.random.default_rng(0).permutation(len(rows))[:11]
    assert np.array_equal(scores_of(policy, rows.take(order)), together[order])


@pytest.mark.parametrize("kind", ["semantic_ids", "titles"])
def test_a_trie_in_parts_gives_the_same_scores(
    kind: str, tables: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = policy_of(lists_of(kind, tables, tmp_path))
    rows = read_rows(tables.histories, "test", tables.n_items).take(np.arange(5))
    whole = scores_of(policy, rows)
    monkeypatch.setattr(trie_scores, "TRIE_TOKENS", 12)
    assert len(list(trie_scores.trie_parts(policy.vocabulary.completions))) > 3
    np.testing.assert_allclose(scores_of(policy, rows), whole, rtol=1e-5, atol=1e-5)


def test_semantic_ids_share_the_probability_of_each_level(tables: Any, tmp_path: Path) -> None:
    lists = lists_of("semantic_ids", tables, tmp_path)
    assert (lists.n_scored, lists.n_tokens) == (3 + 4 + 3, 3 + 4 + 3 + 2)
    assert lists.completions[17].tolist() == [17 % 3, 3 + 17 // 3 % 4, 7 + 17 // 12]
    assert lists.prompts(Ragged.of([[17], []])).padded(-1).tolist() == [[10, 2, 4, 8], [10, -1, -1, -1]]


@pytest.mark.parametrize(("kind", "settings"), KINDS)
def test_a_history_loses_its_oldest_items_where_prompt_and_completion_need_the_space(
    kind: str, settings: dict[str, Any], tables: Any, tmp_path: Path
) -> None:
    lists = lists_of(kind, tables, tmp_path, **settings)
    histories = Ragged.of([list(range(30)), [4], [], [7, 8, 9]])
    context = 60
    kept = lists.fit(histories, context)
    longest = int(lists.completions.lengths.max())
    for before, after in zip(map(histories.__getitem__, range(4)), map(kept.__getitem__, range(4)), strict=True):
        n = len(after)
        assert after.tolist() == before.tolist()[len(before) - n :]
        needed = [
            len(lists.start) + len(lists.bridge) + longest - 1 + lists.pieces.take(before[-k:]).lengths.sum()
            for k in range(1, len(before) + 1)
        ]
        assert n == sum(need <= context for need in needed)
    assert 0 < len(kept[0]) < 30
    assert lists.prompt_tokens(kept).tolist() == lists.prompts(kept).lengths.tolist()
    with pytest.raises(ValueError, match=r"must hold a prompt with the longest item .* got 4\. Raise it"):
        lists.fit(histories, 4)


@pytest.mark.parametrize("kind", ["semantic_ids", "titles"])
def test_token_lists_come_back_from_a_folder(kind: str, tables: Any, tmp_path: Path) -> None:
    lists = lists_of(kind, tables, tmp_path)
    folder = tmp_path / "policy"
    folder.mkdir()
    names = save_representation(lists, folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    found = load_representation(folder, tables.n_items)
    assert isinstance(found, TokenLists)
    assert (found.n_tokens, found.n_scored, found.pad) == (lists.n_tokens, lists.n_scored, lists.pad)
    for name in ("start", "bridge"):
        assert np.array_equal(getattr(found, name), getattr(lists, name))
    for name in ("pieces", "completions"):
        assert np.array_equal(getattr(found, name).values, getattr(lists, name).values)
        assert np.array_equal(getattr(found, name).offsets, getattr(lists, name).offsets)
    assert found.files == lists.files
    assert ("tokenizer.json" in names) == (kind == "titles")


@pytest.mark.parametrize(
    ("codes", "settings", "message"),
    [
        ({"id-000": [1, 2]}, {}, r"must have codes for every item .* got none for 29 of 30 items"),
        (
            {**codes_of(30), "id-003": [1]},
            {},
            r"must have as many codes for each item, got \[1, 3\], the first f",
        ),
        (
            {**codes_of(30), "id-003": [0, 0, 0]},
            {},
            r"tell any two items apart.*'id-000' and 'id-003'",
        ),
        ({**codes_of(30), "more": [0, 0, 0]}, {"keys": "rank"}, r"must have a code list for each of the 30 items.*31"),
        ([1, 2], {}, r"must be a JSON object of lists"),
        ({"id-000": "abc"}, {}, r"must be a JSON object of lists"),
    ],
)
def test_bad_codes_are_refused_by_name(
    codes: Any, settings: dict[str, Any], message: str, tables: Any, tmp_path: Path
) -> None:
    path = write_codes(tmp_path, codes)
    with pytest.raises(ValueError, match=message):
        semantic_id_lists(CODES.model_copy(update=settings), path, read_texts(tables.items, "item"))


@pytest.mark.parametrize(
    ("items", "codes", "message"),
    [
        (["a", "b", "a"], [[1], [2], [3]], r"got row 3, item 'a', which has codes in a row before\."),
        (["a", None], [[1], [2]], r"got row 2, item None, which is neither an integer nor text\."),
        (["a", "b"], [[1, 2], [3, None]], r"got row 2, item 'b', with None among its codes\."),
        (["a", "b"], [[1], None], r"got row 2, item 'b', whose codes are None and no list\."),
        (["a", "b"], [1, 2], r"got row 1, item 'a', whose codes are 1 and no list\."),
        (["a"], [[0.5]], r"got row 1, item 'a', with 0\.5 among its codes\."),
    ],
)
def test_bad_rows_of_codes_are_refused_alike_in_parquet_and_json(
    items: list[Any], codes: list[Any], message: str, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"item": items, "codes": codes}), tmp_path / "codes.parquet")
    paths = [tmp_path / "codes.parquet"]
    if None not in items:  # every key of JSON is text
        pairs = ", ".join(f"{json.dumps(item)}: {json.dumps(of)}" for item, of in zip(items, codes, strict=True))
        (tmp_path / "codes.json").write_text(f"{{{pairs}}}")
        paths.append(tmp_path / "codes.json")
    for path in paths:
        with pytest.raises(ValueError, match=message):
            read_codes(path)


def test_codes_are_read_from_json_and_parquet_and_a_missing_table_is_named(tmp_path: Path) -> None:
    codes = {"a": [1, 2], "b": [1, 3]}
    (tmp_path / "codes.json").write_text(json.dumps(codes))
    pq.write_table(pa.table({"item": ["a", "b"], "codes": [[1, 2], [1, 3]]}), tmp_path / "codes.parquet")
    for path in (write_codes(tmp_path, codes), tmp_path / "codes.json", tmp_path / "codes.parquet"):
        assert read_codes(path) == codes
    with pytest.raises(ValueError, match=r"must be a file that exists, got .*nowhere\.json"):
        read_codes(tmp_path / "nowhere.json")


def test_a_code_more_tells_apart_what_collides_and_ranks_are_those_of_the_sorted_ids(tmp_path: Path) -> None:
    path = write_codes(tmp_path, {"0": ["<a_1>"], "1": ["<a_1>"], "2": ["<a_0>"]})
    lists = semantic_id_lists(CODES.model_copy(update={"keys": "rank", "extend": True}), path, ["c", "a", "b"])
    assert lists.completions.padded(-1).tolist() == [[0, 2], [1, 2], [1, 3]]


def test_titles_are_cut_into_tokens_where_the_template_is_and_end_with_a_token(tables: Any, tmp_path: Path) -> None:
    lists = lists_of("titles", tables, tmp_path, prompt="Films:\n{history}Next: ", line="- {title}\n")
    titles = read_texts(tables.items, "title")
    (tmp_path / "folder").mkdir()
    save_representation(lists, tmp_path / "folder")
    tokeniser = PreTrainedTokenizerFast.from_pretrained(tmp_path / "folder")
    text = tokeniser.decode(lists.prompts(Ragged.of([[3, 5]]))[0])
    assert text == f"<|end|>Films:\n- {titles[3]}\n- {titles[5]}\n"
    assert tokeniser.decode(lists.bridge) == "Next: "
    assert tokeniser.decode(lists.completions[7]) == f"{titles[7]}<|end|>"
    assert lists.completions[7].tolist()[:-1] == tokeniser(titles[7])["input_ids"]


def test_a_tokeniser_is_made_the_same_twice(tables: Any, tmp_path: Path) -> None:
    assert lists_of("titles", tables, tmp_path).files == lists_of("titles", tables, tmp_path).files


def test_titles_that_would_be_joined_with_what_stands_around_them_are_counted() -> None:
    titles = ["ab", "cd"] * 20
    tokeniser = trained_tokeniser(TITLES.model_copy(update={"line": "x{title}"}), titles)
    assert titles_cut_through(TITLES, tokeniser, ["ab", "cd"]) == 0
    assert titles_cut_through(TITLES.model_copy(update={"line": "x{title}"}), tokeniser, ["ab", "cd"]) == 2


@pytest.mark.parametrize(
    ("titles", "settings", "message"),
    [
        (
            ["Up", "Up", "Her"],
            {},
            r"titles with their end must tell any two items apart.*'Up \(a\)' and 'Up \(b\)'",
        ),
        (["Up", "", "Her"], {}, r"titles must not be empty, got none for item ' \(b\)'"),
        (["Up", "Ant", "Her"], {"end": ""}, r"representation.end must be text with a token"),
        (
            ["Alien", "Alien: Aliens", "Her"],
            {"end": ":"},
            r"titles with their end .*begins the other, 1 times: 'Alien \(a\)' and 'Alien: Aliens \(b\)'.*title holds",
        ),
    ],
)
def test_bad_titles_are_refused_by_name(titles: list[str], settings: dict[str, Any], message: str) -> None:
    config = TITLES.model_copy(update=settings)
    with pytest.raises(ValueError, match=message):
        title_lists(config, trained_tokeniser(config, titles), None, titles, ["a", "b", "c"])


def test_a_tokeniser_of_another_model_is_refused() -> None:
    titles = ["Up", "Ant", "Her"]
    tokeniser = trained_tokeniser(TITLES, titles)
    with pytest.raises(ValueError, match=r"must be among the backbone's 100, got token \d+ of \d+\. Give"):
        title_lists(TITLES, tokeniser, 100, titles, titles)


def test_one_code_an_item_is_scored_by_the_code_and_not_by_the_item(tmp_path: Path) -> None:
    (tmp_path / "codes.json").write_text('{"a": [5], "b": [3], "c": [4]}')  # as tokens: 2, 0, 1
    lists = semantic_id_lists(SemanticIds(kind="semantic_ids", table="codes.json"), tmp_path / "codes.json", [*"abc"])
    policy = policy_of(lists)
    windows = find_windows(Rows(np.arange(1), np.arange(1), Ragged.of([[1]]), np.array([0])))
    trunks = lay_out(windows, np.arange(1), lists)
    with torch.no_grad():
        of_items = policy.item_logps(trunks, np.array([[0, 1, 2]]))[0]
        of_tokens = torch.log_softmax(policy.states(trunks)[0] @ policy.head.T, dim=-1)
    torch.testing.assert_close(of_items, of_tokens[[int(lists.completions[item][0]) for item in range(3)]])


def test_items_with_the_same_title_are_numbered_when_asked() -> None:
    config = TITLES.model_copy(update={"repeated": "number"})
    titles = ["Up", "Up", "Her"]
    tokeniser = trained_tokeniser(config, titles)
    lists = title_lists(config, tokeniser, None, titles, ["a", "b", "c"])
    assert [tokeniser.decode(lists.completions[item][:-1]) for item in range(3)] == ["Up [a]", "Up [b]", "Her"]


def test_a_tokeniser_without_end_is_refused_or_given_one_and_one_without_pad_is_used() -> None:
    titles = ["Up", "Ant", "Her"]
    made = trained_tokeniser(TITLES, titles)
    bare = PreTrainedTokenizerFast(tokenizer_object=made.backend_tokenizer)  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValueError, match="the tokeniser must have an end token"):
        title_lists(TITLES, bare, None, titles, titles)
    lists = title_lists(TITLES.model_copy(update={"end": "\n"}), bare, None, titles, titles)
    assert bare.decode(lists.completions[1]) == "Ant\n"
    assert lists.pad == lists.completions[0][-1]
    with pytest.raises(ValueError, match=r"must have text before \{history\}"):
        title_lists(TITLES.model_copy(update={"prompt": "{history}", "end": "\n"}), bare, None, titles, titles)


def test_a_template_without_its_places_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"prompt must hold \{history\} once"):
        Titles(kind="titles", prompt="Films:")
    with pytest.raises(ValidationError, match=r"line must hold \{title\} once"):
        Titles(kind="titles", line="{title} {title}")


def test_activations_computed_again_give_the_same_gradients(tables: Any, tmp_path: Path) -> None:
    policy = policy_of(lists_of("titles", tables, tmp_path))
    windows = find_windows(read_rows(tables.histories, "train", tables.n_items).take(np.arange(12)))
    trunks = lay_out(windows, np.arange(len(windows)), policy.vocabulary)
    items = np.random.default_rng(0).integers(tables.n_items, size=(len(trunks.row), 4))

    def gradients() -> list[torch.Tensor]:
        policy.model.zero_grad()
        policy.item_logps(trunks, items).sum().backward()
        return [weight.grad.clone() for weight in policy.model.parameters() if weight.grad is not None]

    policy.model.train()
    kept = gradients()
    base: Any = policy.model.base_model
    forward, calls = base.layers[0].mlp.forward, []
    base.layers[0].mlp.forward = lambda *inputs: (calls.append(1), forward(*inputs))[1]
    policy.recompute_activations()
    again = gradients()
    assert len(calls) == 2
    assert len(kept) == len(again) > 10
    for one, other in zip(kept, again, strict=True):
        assert torch.equal(one, other)
