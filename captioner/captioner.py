"""The captioner: photos in, sentences out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from importlib.resources import as_file, files
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, Unpack, overload

import numpy as np
import torch
from torch import Tensor

from captioner.backends.select import choose_backend
from captioner.careful import CAREFUL_CLARITY, search_carefully
from captioner.checkpoint import (
    KIND,
    VERSION,
    confidence_model,
    gender_clarity,
    length_penalty,
    load_part,
    read_parts,
    repeatable_words_of,
    require_confidence,
    save_captioner,
)
from captioner.confidence import ConfidenceModel, caption_confidence, rank
from captioner.data.images import Source, open_image
from captioner.decoding.gender import ClearGender
from captioner.decoding.generate import generate, words_used_once
from captioner.network.backbones import create_encoder
from captioner.network.decoder import Decoder
from captioner.network.encoder import Encoder, LazyEncoder
from captioner.network.vocabulary import END, START, Vocabulary
from captioner.types import Caption, Decoding, DecodingOptions
from rnnkit.beam_search import Hypothesis
from rnnkit.checkpoint import check_sizes, load_checkpoint, weights_hash
from rnnkit.devices import resolve_device
from rnnkit.errors import UserError

Photo = TypeVar("Photo", bound=Source)


class Captioner:
    """Photos in, sentences out. `Captioner.load()` gives the one that comes with the package.

    Attributes:
        info: what the checkpoint says of itself (training, data, scores), as JSON values.
    """

    def __init__(
        self,
        encoder: Encoder | LazyEncoder,
        decoder: Decoder,
        vocabulary: Vocabulary,
        *,
        info: dict[str, Any] | None = None,
        device: torch.device | str = "cpu",
        backend: str = "torch",
        weights: str | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.vocabulary, self.preprocessing = vocabulary, encoder.preprocessing
        self._encoder = encoder
        self.decoder = decoder.to(self.device).eval()
        self.info = info or {}
        weights = weights or self._weights_hash()
        self.backend = choose_backend(backend, encoder, self.device, weights=weights)
        self._running_decoder = self.backend.run_decoder(self.decoder)

    @property
    def encoder_name(self) -> str:
        """What the pretrained CNN is called."""
        return self._encoder.name

    @property
    def encoder(self) -> Encoder:
        """The pretrained CNN; it is built when it is first needed."""
        return self._encoder.built

    @property
    def length_penalty(self) -> float:
        """The length penalty that was chosen for this checkpoint."""
        return length_penalty(self.info)

    def gender_clarity(self, decoding: Decoding) -> float:
        """The share of both genders' probability that a caption's gender needs; 0 for no rule."""
        if decoding.gender_clarity is not None:
            return decoding.gender_clarity
        own = gender_clarity(self.info)
        return max(own, CAREFUL_CLARITY) if decoding.careful else own

    @property
    def confidence_model(self) -> ConfidenceModel | None:
        """How sure this checkpoint's words are; None if it has no model of that."""
        return confidence_model(self.info)

    def require_confidence(self, asked: str) -> ConfidenceModel:
        """The same, for something that cannot do without.

        Args:
            asked: what needs it, for the message.

        Raises: UserError if the checkpoint has none.
        """
        return require_confidence(self.info, asked)

    @cached_property
    def gender_rule(self) -> ClearGender:
        """The vocabulary's gendered words, and what is said where a gender is not clear."""
        return ClearGender(self.vocabulary).to(self.device)

    def _weights_hash(self) -> str:
        encoder, decoder = self.encoder, self.decoder
        return weights_hash(
            {**encoder.state_dict(prefix="encoder."), **decoder.state_dict(prefix="decoder.")}
        )

    # --- checkpoints ------------------------------------------------------------------------------

    @classmethod
    def load(
        cls, folder: str | Path | None = None, *, device: str = "auto", backend: str = "auto"
    ) -> Captioner:
        """Load a checkpoint folder; None loads the bundled one.

        Args:
            device: auto, cpu, cuda or cuda:N.
            backend: what runs the networks: torch, openvino, or auto (OpenVINO on a CPU if it is
                installed).

        Raises: UserError if the folder is not a captioner's or is damaged, or if the device or the
            backend is not available.
        """
        if folder is None:
            with as_file(files("captioner") / "pretrained") as bundled:
                return cls.load(bundled, device=device, backend=backend)
        where, path = resolve_device(device), Path(folder)
        tensors, config = load_checkpoint(path, kind=KIND, version=VERSION)
        parts = read_parts(config, source=path)
        check_sizes(parts.decoder.used(), tensors, source=path)
        decoder = Decoder(parts.decoder)
        load_part(decoder, "decoder.", tensors, source=path)

        def build() -> Encoder:
            encoder = create_encoder(
                parts.encoder, pretrained=False, preprocessing=parts.preprocessing
            )
            stored, _ = load_checkpoint(path, kind=KIND, version=VERSION)
            load_part(encoder, "encoder.", stored, source=path)
            return encoder

        return cls(
            LazyEncoder(parts.encoder, parts.preprocessing, build),
            decoder,
            parts.vocabulary,
            info={
                key: value
                for key, value in config.items()
                if key not in ("encoder", "decoder", "vocabulary")
            },
            device=where,
            backend=backend,
            weights=config["weights_hash"],
        )

    def save(self, folder: str | Path, *, dtype: torch.dtype | None = torch.float16) -> None:
        """Write a checkpoint folder.

        Args:
            dtype: of the weights; None keeps theirs.
        """
        save_captioner(
            Path(folder), self.encoder, self.decoder, self.vocabulary, self.info, dtype=dtype
        )

    # --- captioning -------------------------------------------------------------------------------

    @overload
    def caption(
        self, photo: Source, *, attention: bool = ..., **decoding: Unpack[DecodingOptions]
    ) -> Caption: ...
    @overload
    def caption(
        self,
        photo: list[Photo] | tuple[Photo, ...],
        *,
        attention: bool = ...,
        batch_size: int = ...,
        **decoding: Unpack[DecodingOptions],
    ) -> list[Caption]: ...

    def caption(
        self,
        photo: Source | list[Photo] | tuple[Photo, ...],
        *,
        attention: bool = False,
        batch_size: int = 32,
        **decoding: Unpack[DecodingOptions],
    ) -> Caption | list[Caption]:
        """The best caption of a photo; for a list of photos, `caption_batch`.

        Args:
            photo: a path, encoded bytes, a binary file, a Pillow picture or an array of pixels; see
                `captioner.data.images.open_image`.
            attention: also return where the network looked for each word.
            decoding: fields of `Decoding`, such as beam_size=5, prefix="a photo of", or sample=True
                and seed=1.

        Raises: ImageError for a picture that cannot be used, UserError for a value out of range or
            a prefix with words that the captioner does not know.
        """
        if isinstance(photo, list | tuple):
            return self.caption_batch(photo, attention=attention, batch_size=batch_size, **decoding)
        return self._captions(photo, _for_one(decoding), attention=attention)[0]

    def candidates(
        self,
        photo: Source,
        count: int,
        *,
        attention: bool = False,
        **decoding: Unpack[DecodingOptions],
    ) -> list[Caption]:
        """Several captions of a photo, best first; arguments and errors as for `caption`.

        Args:
            count: how many captions; fewer are returned if the search does not find as many.
        """
        choice = Decoding(num_captions=count, **decoding)
        return self._captions(photo, choice, attention=attention)

    def caption_batch(
        self,
        photos: Iterable[Source],
        *,
        attention: bool = False,
        batch_size: int = 32,
        **decoding: Unpack[DecodingOptions],
    ) -> list[Caption]:
        """The best caption of each photo; arguments and errors as for `caption`.

        Args:
            batch_size: photos computed at the same time.
        """
        if batch_size < 1:
            raise UserError(f"batch-size must be at least 1, not {batch_size}")
        choice = _for_one(decoding)
        captions = []
        for batch in _batches(photos, batch_size):
            pixels = np.stack([self.prepare(photo) for photo in batch])
            groups = self.caption_pixels(pixels, choice, attention=attention)
            captions += [
                replace(group[0], photo=photo) for photo, group in zip(batch, groups, strict=True)
            ]
        return captions

    def _captions(self, photo: Source, decoding: Decoding, *, attention: bool) -> list[Caption]:
        pixels = self.prepare(photo)[None]
        (captions,) = self.caption_pixels(pixels, decoding, attention=attention)
        return [replace(caption, photo=photo) for caption in captions]

    def prepare(self, photo: Source) -> np.ndarray:
        """A photo as the encoder needs it, (size, size, 3) uint8. Safe to call from any thread."""
        size = self.preprocessing.size
        return self.preprocessing.pixels(open_image(photo, size=(size, size)))

    def encode(self, pixels: np.ndarray) -> Tensor:
        """Region features (B, regions, channels) of prepared photos (B, size, size, 3)."""
        return self.backend.encode(pixels)

    def caption_pixels(
        self, pixels: np.ndarray, decoding: Decoding | None = None, *, attention: bool = False
    ) -> list[list[Caption]]:
        """`caption_features` of prepared photos (B, size, size, 3)."""
        return self.caption_features(self.encode(pixels), decoding, attention=attention)

    def caption_features(
        self, features: Tensor, decoding: Decoding | None = None, *, attention: bool = False
    ) -> list[list[Caption]]:
        """Captions from region features (B, regions, channels).

        Returns: for each photo up to num_captions, best first.
        """
        decoding = decoding or Decoding()
        sentences = self.search_features(features, decoding)
        prefix = self.vocabulary.encode_prefix(decoding.prefix)
        grids: list[list[np.ndarray]] | None = None
        if attention:
            with torch.inference_mode(), self.backend.threads():
                grids = self._attention(
                    features, [[prefix + sentence.ids for sentence in group] for group in sentences]
                )
        model = self.confidence_model
        return [
            [
                self._caption(
                    prefix, sentence, model, None if grids is None else grids[photo][place]
                )
                for place, sentence in enumerate(group)
            ]
            for photo, group in enumerate(sentences)
        ]

    def search_features(
        self, features: Tensor, decoding: Decoding | None = None
    ) -> list[list[Hypothesis]]:
        """The sentences of `caption_features`, as ids with their probabilities, without the prefix.

        Raises: UserError if the vocabulary lacks words of the prefix, or if careful wording is
            asked for and the checkpoint does not know how sure it is.
        """
        decoding = decoding or Decoding()
        prefix = self.vocabulary.encode_prefix(decoding.prefix)
        model = (
            self.require_confidence("careful wording")
            if decoding.careful
            else self.confidence_model
        )
        penalty = decoding.length_penalty
        once = self._used_once()
        adjust = self.gender_rule.at(self.gender_clarity(decoding))

        def search(rows: Tensor, excluded: Tensor | None = None) -> list[list[Hypothesis]]:
            with torch.inference_mode(), self.backend.threads():
                found = generate(
                    self._running_decoder,
                    rows,
                    decoding,
                    length_penalty=self.length_penalty if penalty is None else penalty,
                    prefix=prefix,
                    once=once,
                    excluded=excluded,
                    adjust=adjust,
                )
            if model is not None and not decoding.sample:
                found = [self._surest_first(group, model) for group in found]
            return [group[: decoding.num_captions] for group in found]

        sentences = search(features)
        if model is None or not decoding.careful:
            return sentences
        return search_carefully(
            lambda images, excluded: search(
                features[images.to(features.device)], excluded.to(features.device)
            ),
            sentences,
            model,
            self.vocabulary,
        )

    def _surest_first(
        self, sentences: Sequence[Hypothesis], model: ConfidenceModel
    ) -> list[Hypothesis]:
        return sorted(
            sentences,
            key=lambda sentence: rank(sentence, self.vocabulary.tokens(sentence.ids), model),
            reverse=True,
        )

    def _used_once(self) -> Tensor | None:
        """Which words a searched sentence may use only once, (vocabulary,); None for no rule."""
        repeatable = repeatable_words_of(self.info)
        if repeatable is None:
            return None
        return words_used_once(self.vocabulary, tuple(repeatable)).to(self.device)

    def _caption(
        self,
        prefix: tuple[int, ...],
        sentence: Hypothesis,
        model: ConfidenceModel | None,
        attention: np.ndarray | None,
    ) -> Caption:
        given, words = self.vocabulary.tokens(prefix), self.vocabulary.tokens(sentence.ids)
        sure = None
        if model is not None:  # which says nothing of words that the network did not choose
            sure = (None,) * len(given) + model.word_confidence(sentence, words)
        return Caption(
            self.vocabulary.decode(prefix + sentence.ids),
            sentence.score,
            (*given, *words),
            attention,
            sentence.log_prob,
            word_confidence=sure,
            confidence=None if sure is None else caption_confidence(sure),
        )

    def _attention(
        self, features: Tensor, sentences: Sequence[Sequence[tuple[int, ...]]]
    ) -> list[list[np.ndarray]]:
        """Attention (words, rows, columns) of finished sentences, as ids, by teacher forcing."""
        regions = features.shape[1]
        side = round(regions**0.5)
        if not self.decoder.attends:
            raise UserError(
                "this captioner has no attention, because it was trained with --attention none"
            )
        if side * side != regions:
            raise UserError(f"the {regions} regions of '{self.encoder_name}' are not a square grid")
        grids = []
        for row, group in zip(features, sentences, strict=True):
            longest = max(len(ids) for ids in group)
            words = torch.tensor(
                [[START, *ids, *[END] * (longest - len(ids))] for ids in group],
                device=self.device,
            )
            _, attention = self.decoder(words.unsqueeze(0), row.unsqueeze(0))  # (1, K, T, R)
            grids.append(
                [
                    attention[0, index, : len(ids)].reshape(-1, side, side).float().cpu().numpy()
                    for index, ids in enumerate(group)
                ]
            )
        return grids


def _for_one(options: DecodingOptions) -> Decoding:
    """How to decode the best caption of each photo."""
    decoding = Decoding(**options)
    if decoding.num_captions != 1:
        raise UserError("caption gives one caption: use candidates(photo, count) for several")
    return decoding


def _batches(photos: Iterable[Source], size: int) -> Iterator[list[Source]]:
    rest = iter(photos)
    while batch := list(islice(rest, size)):
        yield batch
