"""Counting n-grams with arrays, against counting them with dictionaries."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rnnkit.metrics.ngrams import ORDERS, NgramIndex, shared_ngrams

Caption = list[str]
drawn_captions = st.lists(st.lists(st.sampled_from("abcd"), max_size=9), max_size=6)


def plain_counts(tokens: Caption, order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[start : start + order]) for start in range(len(tokens) - order + 1))


def test_ngrams_are_all_runs_of_one_to_four_tokens() -> None:
    captions = [["a", "b", "a", "b"], ["b"]]
    counted = NgramIndex(captions).count(captions)
    assert [counts.caption.tolist() for (counts,) in counted] == [[0, 0, 1], [0, 0], [0, 0], [0]]
    assert [counts.count.tolist() for (counts,) in counted] == [[2, 2, 1], [2, 1], [1, 1], [1]]


def test_an_index_of_nothing_knows_no_ngram_and_counts_all_the_same() -> None:
    index = NgramIndex([])
    assert index.sizes == [0, 0, 0, 0]
    assert [counts.count.tolist() for (counts,) in index.count([["a", "a"]])] == [[2], [1], [], []]
    assert all(counts.count.size == 0 for (counts,) in index.count([]))


@given(known=drawn_captions, captions=drawn_captions)
def test_each_caption_has_its_ngrams_as_often_as_a_dictionary_counts_them(
    known: list[Caption], captions: list[Caption]
) -> None:
    index = NgramIndex(known)
    for order, ((counts,), size) in enumerate(
        zip(index.count(captions), index.sizes, strict=True), start=1
    ):
        seen = {ngram for tokens in known for ngram in plain_counts(tokens, order)}
        plain = [plain_counts(tokens, order) for tokens in captions]
        assert size == len(seen)
        for row, wanted in enumerate(plain):
            mine = counts.caption == row
            assert sorted(counts.count[mine]) == sorted(wanted.values())
            assert int((counts.ngram[mine] < size).sum()) == len(wanted.keys() & seen)
        assert len(set(counts.ngram)) == len({ngram for wanted in plain for ngram in wanted})


@given(data=st.data(), predictions=drawn_captions.filter(len))
def test_a_prediction_shares_with_its_references_what_dictionaries_share(
    data: st.DataObject, predictions: list[Caption]
) -> None:
    references = data.draw(drawn_captions)
    image = np.array(
        [data.draw(st.integers(0, len(predictions) - 1)) for _ in references], dtype=np.int64
    )
    counted = NgramIndex(data.draw(drawn_captions)).count(predictions, references)
    assert len(counted) == ORDERS
    for order, (ours, theirs) in enumerate(counted, start=1):
        row, other = shared_ngrams(ours, theirs, image)
        found = Counter(
            zip(
                theirs.caption[other].tolist(),
                ours.count[row].tolist(),
                theirs.count[other].tolist(),
                strict=True,
            )
        )
        wanted: Counter[tuple[int, int, int]] = Counter()
        for number, tokens in enumerate(references):
            mine, yours = (
                plain_counts(predictions[image[number]], order),
                plain_counts(tokens, order),
            )
            wanted.update(
                (number, mine[ngram], yours[ngram]) for ngram in mine.keys() & yours.keys()
            )
        assert found == wanted
