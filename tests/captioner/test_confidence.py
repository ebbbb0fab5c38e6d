"""How sure words are: what is stated comes true, and careful wording does without what is not."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from captioner import Captioner, Decoding
from captioner.careful import CAREFUL_CLARITY
from captioner.confidence import FEATURES, ConfidenceModel, caption_confidence, word_features
from captioner.metrics.truth import is_content, singular
from captioner.network.backbones import create_encoder
from captioner.network.decoder import Decoder, DecoderConfig
from captioner.network.vocabulary import END, SPECIAL, Vocabulary
from captioner.training.confidence import (
    WrittenSentence,
    cross_fitted,
    fit_confidence,
    fit_folds,
    measure,
)
from rnnkit.beam_search import Hypothesis
from rnnkit.checkpoint import update_config
from rnnkit.errors import UserError

WORDS = ("a", "man", "woman", "person", "his", "red", "blue", "grey", "two", "dog", "runs", "on")


def model(words: dict[str, float]) -> ConfidenceModel:
    """Words are sure with 0.88, but for these log-odds."""
    return ConfidenceModel(2.0, dict.fromkeys(FEATURES, 0.0), words)


def written(count: int) -> list[WrittenSentence]:
    """Sentences of five words that are true as often as they are probable; "rock" half as often."""
    source = np.random.default_rng(0)
    names = [f"thing{number}" for number in range(40)] + ["rock"] * 10
    sentences = []
    for _ in range(count):
        words = [str(word) for word in source.choice(names, 5)]
        probable = source.uniform(0.05, 0.95, 5)
        share = np.where(np.array(words) == "rock", probable / 2, probable)
        true = [word for word, yes in zip(words, source.random(5) < share, strict=True) if yes]
        hypothesis = Hypothesis(tuple(range(4, 9)), -1.0, -1.0, tuple(np.log(probable).tolist()))
        sentences.append(WrittenSentence(hypothesis, words, [["a", *true], ["a", *true], ["it"]]))
    return sentences


# --- the model ------------------------------------------------------------------------------------


def test_function_words_have_no_confidence_and_content_words_have_every_feature() -> None:
    sentence = Hypothesis((4, 5, 6), -3.0, -1.0, (-0.5, -1.5, -1.0))
    features = word_features(sentence, ["a", "red", "running"])
    assert features[0] is None and features[1] is not None and features[2] is not None
    named = dict(zip(FEATURES, features[1], strict=True))
    assert named == {
        "log_prob": -1.5, "prob": math.exp(-1.5), "rarity": math.log(5), "place": 1 / 3,
        "length": 3, "mean": -1, "least": -1.5, "colour": 1, "gendered": 0, "number": 0,
        "participle": 0,
    }  # fmt: skip
    sure = model({"red": -2.0}).word_confidence(sentence, ["a", "red", "running"])
    assert sure[0] is None
    assert list(sure[1:]) == pytest.approx([0.5, 1 / (1 + math.exp(-2))])
    assert caption_confidence(sure) == pytest.approx((0.5 + 1 / (1 + math.exp(-2))) / 2)
    assert caption_confidence((None, None)) == 0


def test_what_is_fitted_comes_true_on_photos_that_it_was_not_fitted_on() -> None:
    sentences = written(600)
    photos = [[sentence] for sentence in sentences]
    folds = fit_folds(photos)
    assert folds is not None
    found = measure(*cross_fitted(photos, folds))
    assert found.words == 3000 and max(found.errors) < 0.04 and found.gain > 0.12
    risks = [risk for _, _, risk in found.curve]
    assert risks[0] > risks[5] > risks[-1]
    fitted = fit_confidence(sentences)
    assert fitted is not None and fitted.words["rock"] < min(
        offset for word, offset in fitted.words.items() if word != "rock"
    )
    assert ConfidenceModel.from_config(fitted.as_config()) == fitted
    assert "expected calibration error" in "\n".join(found.lines())


def test_a_few_words_are_too_few_to_fit_and_words_that_are_all_true_give_finite_weights() -> None:
    assert fit_confidence(written(19)) is None
    assert fit_folds([[sentence] for sentence in written(30)]) is None
    true = [WrittenSentence(each.sentence, each.words, [list(each.words)]) for each in written(40)]
    fitted = fit_confidence(true)
    assert fitted is not None
    assert all(abs(weight) < 100 for weight in fitted.weights.values())
    assert min(filter(None, fitted.word_confidence(true[0].sentence, true[0].words))) > 0.9


def test_of_a_photos_sentences_the_first_is_likely_and_sure_by_a_model_of_other_photos() -> None:
    def sentence(word: str, score: float) -> WrittenSentence:
        return WrittenSentence(Hypothesis((4,), score, score, (-1.0,)), [word], [[word]])

    photos = [
        [sentence("rock", -1.0), sentence("lake", -1.2)],  # 0.5 and 0.88 sure of them
        [sentence("rock", -1.0), sentence("lake", -1.5)],
        [sentence("rock", -1.0), sentence("lake", -1.2)],
    ]
    models = [model({"rock": -2.0}), model({})]
    first, sure = cross_fitted(photos, models)
    assert [each.words for each in first] == [["lake"], ["rock"], ["lake"]]
    assert sure[1] == models[1].word_confidence(photos[1][0].sentence, ["rock"])


# --- a captioner with and without it --------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained captioner that talks of people and colours."""
    torch.manual_seed(0)
    encoder = create_encoder("efficientnet-lite0")
    decoder = Decoder(DecoderConfig(len(SPECIAL) + len(WORDS), encoder.channels, 16, 16, 8))
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(3)
        decoder.output_bias[END] = -4
    path = tmp_path_factory.mktemp("talkative")
    captioner = Captioner(encoder, decoder, Vocabulary((*SPECIAL, *WORDS)))
    captioner.save(path)
    return path


@pytest.fixture
def captioner(folder: Path) -> Captioner:
    return Captioner.load(folder, device="cpu", backend="torch")


@pytest.fixture(scope="module")
def features() -> torch.Tensor:
    return 2 * torch.rand(6, 9, 1280, generator=torch.Generator().manual_seed(1))


def test_a_caption_is_the_same_with_and_without_a_model_that_is_equally_sure_of_all_words(
    captioner: Captioner, features: torch.Tensor
) -> None:
    plain = [group[0] for group in captioner.caption_features(features)]
    assert all(caption.confidence is None for caption in plain)
    assert all(caption.word_confidence is None for caption in plain)
    captioner.info["confidence"] = model({}).as_config()
    sure = [group[0] for group in captioner.caption_features(features)]
    for before, after in zip(plain, sure, strict=True):
        assert (before.text, before.score, before.log_prob) == (
            after.text, after.score, after.log_prob,
        )  # fmt: skip
        assert after.word_confidence is not None
        known = [sure is not None for sure in after.word_confidence]
        assert known == [word not in ("a", "his", "on") for word in after.words]


def test_the_search_prefers_what_it_is_sure_of_and_loses_no_sentence(
    captioner: Captioner, features: torch.Tensor
) -> None:
    several = Decoding(max_length=6, beam_size=4, num_captions=4)
    likely = captioner.caption_features(features, several)
    captioner.info["confidence"] = model({"dog": -9.0, "red": -2.0}).as_config()
    found = captioner.caption_features(features, several)
    moved = 0
    for before, after in zip(likely, found, strict=True):
        assert {caption.text for caption in before} == {caption.text for caption in after}
        ranks = [caption.score + (caption.confidence or 0) for caption in after]
        assert ranks == sorted(ranks, reverse=True)
        moved += before[0].text != after[0].text
    assert moved > 0
    best = captioner.caption_features(features, Decoding(max_length=6, beam_size=4))
    assert [group[0].text for group in best] == [group[0].text for group in found]


def test_a_gender_is_told_only_where_it_is_clear_and_as_the_checkpoint_or_the_caller_says(
    captioner: Captioner, features: torch.Tensor
) -> None:
    def words(**options: float) -> set[str]:
        decoding = Decoding(max_length=8, num_captions=3, **options)  # type: ignore[arg-type]
        groups = captioner.caption_features(features, decoding)
        return {word for group in groups for caption in group for word in caption.words}

    assert {"man", "woman"} & words()  # a checkpoint of former days has no such rule
    captioner.info["decoding"] = {"gender_clarity": 1.0}
    assert not {"man", "woman"} & words()
    assert "person" in words()
    assert {"man", "woman"} & words(gender_clarity=0)
    captioner.info["decoding"] = {"gender_clarity": 0.0}
    assert not {"man", "woman"} & words(gender_clarity=1)
    captioner.info["confidence"] = model({}).as_config()
    assert words(careful=True) == words(gender_clarity=CAREFUL_CLARITY)


def test_careful_wording_avoids_what_is_unsure_and_leaves_other_captions_alone(
    captioner: Captioner, features: torch.Tensor
) -> None:
    unsure = {"man": -9.0, "red": -9.0, "two": -9.0, "dog": -9.0}
    captioner.info["confidence"] = model(unsure).as_config()
    plain = captioner.caption_features(features, Decoding(max_length=8))
    options = Decoding(max_length=8, careful=True, gender_clarity=0)
    careful = captioner.caption_features(features, options)
    changed = 0
    for (before,), (after,) in zip(plain, careful, strict=True):
        assert not {"man", "red", "two"} & set(after.words)  # a dog is none of the kinds
        if {"man", "red", "two"} & set(before.words):
            changed += 1
            if "man" in before.words:
                assert "his" not in after.words
            said = {singular(word) for word in before.words} | {"person", "child"}
            assert {singular(word) for word in after.words if is_content(word)} <= said
        else:
            assert (before.text, before.score) == (after.text, after.score)
    assert changed > 0


def test_if_a_whole_kind_is_unsure_none_of_it_is_left(
    captioner: Captioner, features: torch.Tensor
) -> None:
    captioner.info["confidence"] = model(
        {singular(word): -9.0 for word in ("man", "woman", "red", "blue", "grey")}
    ).as_config()
    for sample in (False, True):
        seed = 1 if sample else None
        choice = Decoding(max_length=8, num_captions=2, careful=True, sample=sample, seed=seed)
        for group in captioner.caption_features(features, choice):
            for caption in group:
                assert not {"man", "woman", "his", "red", "blue", "grey"} & set(caption.words)


def test_a_checkpoint_without_it_says_so_where_it_is_asked_for(
    captioner: Captioner, features: torch.Tensor
) -> None:
    assert captioner.confidence_model is None
    with pytest.raises(UserError, match=r"careful wording needs .* scripts/fit_confidence.py"):
        captioner.caption_features(features, Decoding(careful=True))


def test_a_confidence_that_makes_no_sense_is_a_damaged_config(folder: Path, tmp_path: Path) -> None:
    Captioner.load(folder, device="cpu", backend="torch").save(tmp_path)
    for wrong in ({}, {"bias": "x"}, model({"red": math.nan}).as_config()):
        update_config(tmp_path, {"confidence": wrong})
        with pytest.raises(UserError, match="is damaged"):
            Captioner.load(tmp_path, device="cpu", backend="torch")
