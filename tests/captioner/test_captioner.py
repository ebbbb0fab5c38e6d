"""The captioner whole: one method for one picture or many, and a checkpoint that brings all it
needs.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from captioner import Caption, Captioner, ImageError
from captioner.network.backbones import create_encoder
from captioner.network.decoder import Decoder, DecoderConfig
from captioner.network.vocabulary import END, SPECIAL, Vocabulary
from rnnkit.errors import UserError

WORDS = ("a", "dog", "cat", "runs", "sits", "on", "grass", "'s", "red", "two")


def untrained(attention: str = "additive", seed: int = 0) -> Captioner:
    torch.manual_seed(seed)
    encoder = create_encoder("efficientnet-lite0")
    config = DecoderConfig(
        len(SPECIAL) + len(WORDS), encoder.channels, 16, 16, 8, attention=attention
    )
    return Captioner(
        encoder,
        Decoder(config),
        Vocabulary((*SPECIAL, *WORDS)),
        info={"decoding": {"length_penalty": 0.7}},
    )


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    generator = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path in paths:
        Image.fromarray(generator.integers(0, 256, (30, 40, 3), dtype=np.uint8)).resize(
            (120, 90)
        ).save(path)
    return paths


def test_a_saved_captioner_writes_the_same_captions_after_loading(
    tmp_path: Path, photos: list[Path]
) -> None:
    captioner = untrained()
    captioner.save(tmp_path / "kept", dtype=None)
    loaded = Captioner.load(tmp_path / "kept", device="cpu", backend="torch")
    assert loaded.caption(photos) == captioner.caption(photos)
    assert loaded.length_penalty == 0.7


def test_a_checkpoint_is_half_precision_unless_told_otherwise_and_scores_move_little(
    tmp_path: Path, photos: list[Path]
) -> None:
    captioner = untrained()
    captioner.save(tmp_path / "half")
    captioner.save(tmp_path / "whole", dtype=None)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.52 * sizes[1]
    scores = [
        Captioner.load(tmp_path / name, device="cpu", backend="torch").caption(photos[0]).score
        for name in ("half", "whole")
    ]
    assert scores[0] == pytest.approx(scores[1], abs=0.01)


def test_one_picture_gives_a_caption_and_a_list_gives_a_list_in_its_order(
    photos: list[Path],
) -> None:
    captioner = untrained()
    alone = [captioner.caption(photo) for photo in photos]
    assert all(isinstance(caption, Caption) for caption in alone)
    assert [caption.text for caption in captioner.caption(photos, batch_size=2)] == [
        caption.text for caption in alone
    ]
    assert captioner.caption([]) == []
    with pytest.raises(UserError, match="batch-size must be at least 1, not 0"):
        captioner.caption(photos, batch_size=0)


def test_paths_bytes_files_and_pillow_pictures_are_captioned_alike(photos: list[Path]) -> None:
    captioner = untrained()
    expected = captioner.caption(photos[0]).text
    assert captioner.caption(str(photos[0])).text == expected
    assert captioner.caption(photos[0].read_bytes()).text == expected
    with photos[0].open("rb") as file:
        assert captioner.caption(file).text == expected
    assert captioner.caption(Image.open(photos[0])).text == expected


def test_several_captions_are_different_and_best_first(photos: list[Path]) -> None:
    candidates = untrained().candidates(photos[0], 4, beam_size=2)
    assert len({caption.text for caption in candidates}) == 4
    assert [caption.score for caption in candidates] == sorted(
        (caption.score for caption in candidates), reverse=True
    )


def test_sampling_is_repeated_by_its_seed_only(photos: list[Path]) -> None:
    captioner = untrained()
    drawn = [captioner.candidates(photos[0], 6, sample=True, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def test_what_a_seed_draws_for_a_photo_does_not_depend_on_the_rest_of_the_batch(
    photos: list[Path],
) -> None:
    captioner = untrained()
    alone = [captioner.caption(photo, sample=True, seed=3).text for photo in photos]
    assert [
        caption.text for caption in captioner.caption(photos, sample=True, seed=3, batch_size=3)
    ] == alone


def test_captions_go_on_from_a_prefix_and_score_what_follows_it(photos: list[Path]) -> None:
    captioner = untrained()
    ids = captioner.vocabulary.encode_prefix("Two red dog")
    features = captioner.encode(captioner.prepare(photos[0])[None])
    plans: tuple[dict[str, Any], ...] = ({}, {"beam_size": 1}, {"sample": True, "seed": 1})
    for options in plans:
        found = captioner.candidates(
            photos[0], 3, prefix="Two red dog", max_length=8, attention=True, **options
        )
        assert len({caption.text for caption in found}) == 3
        for caption in found:
            assert caption.text.startswith("two red dog") and len(caption.words) <= 8
            assert caption.attention is not None and len(caption.attention) == len(caption.words)
            whole = captioner.vocabulary.encode(caption.words)
            with torch.no_grad():
                logits, _ = captioner.decoder(torch.tensor([[whole[:-1]]]), features)
            each = logits.log_softmax(-1)[0, 0].gather(1, torch.tensor(whole[1:])[:, None])
            after = each[len(ids) : len(caption.words) + (len(caption.words) < 8)]
            assert caption.log_prob == pytest.approx(float(after.sum()), abs=1e-3)


def test_words_of_a_prefix_that_the_captioner_does_not_know_are_named(photos: list[Path]) -> None:
    captioner = untrained()
    with pytest.raises(UserError, match="does not know 'zorb' and 'sks' of the prefix"):
        captioner.caption(photos[0], prefix="a Zorb, sks dog")
    with pytest.raises(UserError, match="has no words"):
        captioner.caption(photos[0], prefix="...")
    with pytest.raises(UserError, match="the prefix has 3 words, and a caption may have 3"):
        captioner.caption(photos[0], prefix="a red dog", max_length=3)
    assert captioner.caption(photos[0], prefix=" ") == captioner.caption(photos[0])


def test_a_word_of_the_prefix_is_not_used_again_unless_people_repeat_it(
    photos: list[Path],
) -> None:
    captioner = untrained()
    captioner.info["decoding"]["repeatable"] = ["a"]
    with torch.no_grad():
        captioner.decoder.output_bias[captioner.vocabulary.encode(["dog"])[1]] += 20
    assert captioner.caption(photos[0]).words[0] == "dog"
    assert captioner.caption(photos[0], prefix="red dog").words.count("dog") == 1


def test_captions_have_the_least_number_of_words(photos: list[Path]) -> None:
    captioner = untrained()
    with torch.no_grad():
        captioner.decoder.output_bias[END] += 20
    plans: tuple[dict[str, Any], ...] = ({}, {"sample": True, "seed": 1}, {"prefix": "a red"})
    for options in plans:
        short, long = (
            captioner.caption(photos[0], min_length=least, **options) for least in (1, 6)
        )
        assert len(long.words) == 6 and len(short.words) == (2 if "prefix" in options else 1)
    with pytest.raises(UserError, match="at least 6 and at most 5 words"):
        captioner.caption(photos[0], min_length=6, max_length=5)


def test_attention_has_a_grid_for_every_word_that_sums_to_one(photos: list[Path]) -> None:
    caption = untrained().caption(photos[0], attention=True, max_length=6)
    assert caption.attention is not None
    assert caption.attention.shape == (len(caption.words), 7, 7)
    np.testing.assert_allclose(caption.attention.sum(axis=(1, 2)), 1, atol=1e-5)
    assert untrained().caption(photos[0]).attention is None
    with pytest.raises(UserError, match="no attention"):
        untrained("none").caption(photos[0], attention=True)


def test_captions_hold_no_special_word_and_keep_to_the_length(photos: list[Path]) -> None:
    for seed in range(3):
        for caption in untrained(seed=seed).caption(photos, max_length=5):
            assert 0 < len(caption.words) <= 5
            assert not set(caption.words) & set(SPECIAL)


@pytest.mark.parametrize(
    "wrong",
    [
        {"beam_size": 0},
        {"num_captions": 0},
        {"max_length": 1000},
        {"temperature": 0.0},
        {"top_p": 1.5},
    ],
)
def test_values_out_of_range_are_named(wrong: dict[str, Any], photos: list[Path]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong)).replace("_", "-")):
        untrained().caption(photos[0], **wrong)


@pytest.mark.parametrize("decoding", [{}, {"sample": True}])
def test_weights_that_give_no_sentence_a_probability_are_named(
    decoding: dict[str, Any], photos: list[Path]
) -> None:
    captioner = untrained()
    with torch.no_grad():
        captioner.decoder.output_bias[len(SPECIAL)] = math.nan
    with pytest.raises(UserError, match="give no sentence a probability: copy or train them again"):
        captioner.caption(photos[0], **decoding)


def test_a_bad_picture_in_a_list_is_named(photos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"")
    with pytest.raises(ImageError, match=r"bad\.jpg: the file is empty"):
        untrained().caption([photos[0], tmp_path / "bad.jpg"])


def test_a_folder_that_is_not_a_captioner_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint at"):
        Captioner.load(tmp_path / "nothing")
    untrained().save(tmp_path / "kept")
    config = json.loads((tmp_path / "kept" / "config.json").read_text(encoding="utf-8"))
    for change, message in (
        ({"kind": "charlm"}, "not a captioner checkpoint"),
        ({"version": 99}, "update show-and-spell"),
        ({"decoder": {}}, "damaged"),
        ({"vocabulary": ["a"]}, "damaged"),
        (
            {"vocabulary": config["vocabulary"][:-1]},
            r"config in '.*kept' is damaged .* words in the vocabulary, \d+ in the decoder",
        ),
        ({"decoding": {"length_penalty": "long"}}, r"config in '.*kept' is damaged .*'long'"),
        (
            {"decoding": {"length_penalty": math.nan}},
            r"config in '.*kept' is damaged .*length_penalty must be .*, not nan",
        ),
        ({"decoding": 0.9}, r"config in '.*kept' is damaged"),
        ({"decoding": {"length_penalty": 10**400}}, "damaged"),
        ({"decoding": {"repeatable": 5}}, "damaged"),
        ({"decoding": {"gender_clarity": 2}}, r"gender_clarity must be from 0 to 1, not 2.0"),
        ({"vocabulary": [*config["vocabulary"][:-1], 5]}, "words must be text"),
        ({"encoder": config["encoder"] | {"name": 5}}, "the encoder's name must be text, not 5"),
        *(
            (
                {"decoder": config["decoder"] | {name: value}},
                rf"config in '.*kept' is damaged .*{name} must be .*, not {re.escape(repr(value))}",
            )
            for name, value in (
                ("hidden_size", -5),
                ("hidden_size", 0),
                ("hidden_size", 10**12),
                ("vocabulary_size", True),
                ("channels", -1),
                ("embedding_size", 0),
                ("attention_size", 1.5),
                ("attention_size", "8"),
                ("tied", "no"),
                ("attention", "all"),
                ("dropout", 2),
            )
        ),
        (
            {"decoder": config["decoder"] | {"hidden_size": 900_000}},
            "do not fit its config: hidden_size is 900000, their largest size",
        ),
        *(
            (
                {
                    "encoder": config["encoder"]
                    | {"preprocessing": config["encoder"]["preprocessing"] | wrong}
                },
                rf"is damaged .*{said}",
            )
            for wrong, said in (
                ({"size": -1}, "size must be a whole number of pixels from 1 to 4096, not -1"),
                ({"size": 10**9}, "size must be"),
                ({"size": math.inf}, "size must be"),
                ({"size": "224"}, "size must be"),
                ({"mean": [0.5]}, "three numbers"),
                ({"mean": list("abc")}, ""),
                ({"std": [0, 0, 0]}, "three numbers"),
                ({"std": None}, ""),
            )
        ),
        ({"weights_hash": "0"}, "belong to different checkpoints"),
    ):
        (tmp_path / "kept" / "config.json").write_text(
            json.dumps(config | change), encoding="utf-8"
        )
        with pytest.raises(UserError, match=message):
            Captioner.load(tmp_path / "kept", device="cpu", backend="torch")
    (tmp_path / "kept" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    weights = (tmp_path / "kept" / "model.safetensors").read_bytes()
    (tmp_path / "kept" / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(UserError, match="damaged"):
        Captioner.load(tmp_path / "kept", device="cpu", backend="torch")
