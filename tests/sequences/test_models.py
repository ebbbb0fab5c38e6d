"""Each model learns ten examples by heart, and is the same after it was stored."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from rnnkit.beam_search import Hypothesis
from rnnkit.errors import UserError
from sequences import Classifier, Tagger, Translator
from sequences.data import Labelled
from sequences.evaluation.entities import entities
from sequences.load import load_model
from sequences.model import DEFAULTS, bundled_models, default_model
from sequences.network.architecture import SentenceArchitecture, SentenceDropout
from sequences.translator import END, START, TARGET_SPECIAL, written_forms
from sequences.words import UNKNOWN
from tests.sequences.conftest import LABELLED, PAIRS, SMALL, TAGGED, folder_of


def test_a_classifier_learns_ten_texts_by_heart(classifier: Classifier) -> None:
    found = classifier.classify_batch([example.text for example in LABELLED])
    assert [answer.label for answer in found] == [example.label for example in LABELLED]
    assert all(answer.probability == max(answer.probabilities.values()) > 0.5 for answer in found)
    assert sum(found[0].probabilities.values()) == pytest.approx(1)


def test_a_tagger_learns_ten_sentences_by_heart(tagger: Tagger) -> None:
    for example, words in zip(
        TAGGED, tagger.tag_batch([example.words for example in TAGGED]), strict=True
    ):
        assert tuple(word.tag for word in words) == example.tags
        assert all(word.probability > 0.5 for word in words)
        assert sum(words[0].probabilities.values()) == pytest.approx(1, abs=1e-4)


def test_a_translator_learns_ten_sentences_by_heart(translator: Translator) -> None:
    found = translator.translate_batch([pair.source for pair in PAIRS])
    assert [translation.text for translation in found] == [pair.target for pair in PAIRS]


def test_a_text_says_the_same_alone_and_in_a_batch(
    classifier: Classifier, tagger: Tagger, translator: Translator
) -> None:
    texts = [example.text for example in LABELLED]
    alone = [classifier.classify(text).probability for text in texts]
    batch = [answer.probability for answer in classifier.classify_batch(texts)]
    assert alone == pytest.approx(batch, abs=1e-5)
    assert [[w.tag for w in row] for row in tagger.tag_batch(texts)] == [
        [word.tag for word in tagger.tag(text)] for text in texts
    ]
    assert [translator.translate(pair.source).text for pair in PAIRS] == [
        each.text for each in translator.translate_batch([pair.source for pair in PAIRS])
    ]


def test_the_curve_of_a_text_ends_at_its_label(classifier: Classifier) -> None:
    reading = classifier.as_read("not a good film")
    assert [word for word, _ in reading] == ["not", "a", "good", "film"]
    assert reading[-1][1] == pytest.approx(
        classifier.classify("not a good film").probabilities, abs=1e-5
    )


def test_the_word_that_turns_a_text_round_has_the_largest_effect(classifier: Classifier) -> None:
    effects = dict(classifier.effects("not a good film", "negative"))
    assert max(effects, key=lambda word: effects[word]) == "not" and effects["not"] > 0.3
    (only,) = classifier.effects("warm", "positive")
    assert only[1] == pytest.approx(classifier.classify("warm").probabilities["positive"] - 0.5)


def test_beam_search_finds_the_best_of_all_short_translations(translator: Translator) -> None:
    source = ["Dia", "makan", "."]
    words = range(TARGET_SPECIAL, TARGET_SPECIAL + len(translator.targets))

    def score(ids: tuple[int, ...]) -> float:
        before = torch.tensor([START, *ids])[:, None]
        logits, _ = translator.network(translator.vocabulary.encode([source]), before)
        rows = logits[:, 0].log_softmax(-1)
        return float(rows[range(len(ids) + 1), [*ids, END]].sum()) / (len(ids) + 1)

    with torch.inference_mode():
        shorter = {ids: score(ids) for ids in itertools.product(words, repeat=2)}
    best = max(shorter, key=lambda ids: shorter[ids])
    (found,) = translator.candidates(["Dia makan ."], 1, beam_size=8)
    assert found[0].score >= shorter[best] - 1e-5
    ids = tuple(translator.targets.index(word) + TARGET_SPECIAL for word in found[0].words[:-1])
    with torch.inference_mode():
        assert found[0].score == pytest.approx(score(ids), abs=1e-5)


def test_several_translations_are_different_and_best_first(translator: Translator) -> None:
    (group,) = translator.candidates(["Dia makan."], 3, beam_size=2)
    assert len({each.text for each in group}) == 3
    assert [each.score for each in group] == sorted((each.score for each in group), reverse=True)


def test_attention_has_a_row_a_word_that_adds_up_to_one(translator: Translator) -> None:
    (group,) = translator.candidates(["Dia makan."], 1, with_attention=True)
    grid = group[0].attention
    assert grid is not None and grid.shape == (len(group[0].words), 3)
    assert np.allclose(grid.sum(1), 1, atol=1e-5)
    assert translator.translate("Dia makan.").attention is None


def test_words_are_written_as_they_mostly_are_inside_sentences() -> None:
    sentences = [["The", "cat"], ["Tom", "saw", "the", "NATO"], ["Yes", "Tom"], ["I", "did"]]
    forms = written_forms(sentences, 1)
    assert {"the", "Tom", "NATO", "yes", "I"} <= set(forms) and "The" not in forms
    assert written_forms(sentences, 2) == ["the", "Tom"]


def test_a_model_in_half_precision_says_the_same_after_it_was_stored(
    tmp_path: Path, classifier: Classifier, tagger: Tagger, translator: Translator
) -> None:
    for model in (classifier, tagger, translator):
        again = load_model(folder_of(model, tmp_path / model.task))
        assert type(again) is type(model) and again.info == model.info
        assert again.vocabulary.words == model.vocabulary.words
        for name, tensor in model.network.state_dict().items():
            assert torch.equal(tensor.half().float(), again.network.state_dict()[name]), name


def test_a_model_of_another_task_or_none_is_refused(tmp_path: Path, tagger: Tagger) -> None:
    folder = folder_of(tagger, tmp_path / "tagger")
    with pytest.raises(UserError, match="is a model to tag, not to classify"):
        Classifier.load(folder)
    with pytest.raises(UserError, match="there is no model 'nothing'"):
        Classifier.load("nothing")


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("vocabulary", None),
        ("vocabulary", {"words": 3, "characters": [], "cased": True}),
        ("architecture", {"cell": "mlp", "dilations": [1]}),
        ("architecture", {"dilations": None}),
        ("tags", 7),
        ("usual_tags", None),
        ("task", "sing"),
    ],
)
def test_a_damaged_config_is_refused_in_words(
    entry: str, value: object, tmp_path: Path, tagger: Tagger
) -> None:
    folder = folder_of(tagger, tmp_path / "tagger")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, entry: value}), encoding="utf-8")
    with pytest.raises(UserError):
        load_model(folder)


def test_neighbours_are_other_words_the_most_alike_first(classifier: Classifier) -> None:
    found = classifier.neighbours("film", 3)
    assert len(found) == 3 and "film" not in dict(found)
    assert [cosine for _, cosine in found] == sorted((c for _, c in found), reverse=True)
    with pytest.raises(UserError, match="zebra"):
        classifier.neighbours("zebra")


@pytest.mark.parametrize("text", ["", "  ", "word " * 2001])
def test_a_text_that_cannot_be_read_is_refused(text: str, classifier: Classifier) -> None:
    with pytest.raises(UserError, match="words"):
        classifier.classify(text)


@pytest.mark.parametrize(("beam", "count"), [(0, 1), (101, 1), (1, 0)])
def test_a_beam_out_of_its_range_is_refused(beam: int, count: int, translator: Translator) -> None:
    with pytest.raises(UserError, match="from 1 to 100"):
        translator.candidates(["Dia makan."], count, beam_size=beam)


def test_a_task_without_a_bundled_model_asks_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sequences.model.bundled_models", list)
    with pytest.raises(UserError, match="--model"):
        default_model("classify")


def test_every_bundled_model_loads_and_has_a_card_and_all_are_small() -> None:
    folder = Path(__file__).parents[2] / "sequences" / "pretrained"
    assert set(bundled_models()) >= {*DEFAULTS.values(), "entities"}
    for name in bundled_models():
        assert f"`{name}`" in (folder / "README.md").read_text(encoding="utf-8")
        assert load_model(name).info
    assert sum(path.stat().st_size for path in folder.rglob("*")) < 12e6


def test_the_bundled_models_read_a_plain_sentence() -> None:
    tags = [word.tag for word in Tagger.load("pos").tag("The cat sat.")]
    assert tags == ["DET", "NOUN", "VERB", "PUNCT"]
    names = Tagger.load("entities").tag("Barack Obama met Angela Merkel in Berlin.")
    found = [(each.first, each.last, each.kind) for each in entities([word.tag for word in names])]
    assert found == [(0, 1, "person"), (3, 4, "person"), (6, 6, "location")]
    assert Classifier.load("sentiment").classify("A moving story.").label == "positive"
    translator = Translator.load("indonesian-english")
    assert translator.translate("Tolong bantu saya.").text == "Please help me."
    assert translator.doubt("She eats rice.").endswith("is the sentence in Indonesian?")


def test_a_strange_name_is_copied_and_a_strange_word_is_not(translator: Translator) -> None:
    unknown = Hypothesis((UNKNOWN,), -1.0, -0.5)
    assert translator._written(["makan", "Zorro"], unknown, False).words[0] == "Zorro"
    bias = translator.network.bias
    with torch.no_grad():
        before = bias.clone()
        bias[UNKNOWN] = 100.0
        copied, translated = translator.translate_batch(["Zorro makan.", "zorro makan."])
        bias.copy_(before)
    assert "Zorro" in copied.words and "zorro" not in translated.words


def test_a_folder_is_needed_whole(tmp_path: Path, tagger: Tagger) -> None:
    folder = folder_of(tagger, tmp_path / "tagger")
    shutil.move(folder / "model.safetensors", tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"no model\.safetensors"):
        load_model(folder)


@pytest.mark.parametrize("output", ["softmax", "crf"])
def test_even_an_untrained_tagger_begins_every_entity_as_it_must(output: str) -> None:
    torch.manual_seed(3)
    architecture = SentenceArchitecture(**{**vars(SMALL), "output": output})
    model = Tagger.new(TAGGED, architecture, SentenceDropout(), min_count=1)
    with torch.no_grad():
        model.network.output.weight.mul_(20)
    kinds = set()
    for words in model.tag_batch([example.words for example in TAGGED]):
        before = "O"
        for word in words:
            kinds.add(word.tag[:1])
            if word.tag.startswith("I-"):
                assert before in (word.tag, "B-" + word.tag[2:])
            before = word.tag
    assert "I" in kinds or "B" in kinds


def test_texts_without_a_pair_that_comes_twice_can_be_learned() -> None:
    examples = [Labelled("warm", "a"), Labelled("cold", "b"), Labelled("grey sky", "c")]
    model = Classifier.new(examples, SMALL, SentenceDropout(), min_count=1, evidence=True)
    model.begin_epoch(examples, 0)
    assert model.loss(examples, range(3)).isfinite()
    assert len(model.classify("grey sea").probabilities) == 3
