"""The captioner whole: encoder, decoder, vocabulary and search behind one method, `caption`; and
its checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from captioner.backends.base import Writer, choose_engine
from captioner.data.images import Source, open_image
from captioner.decoding.beam_search import Hypothesis, beam_search, sample
from captioner.network.backbones import create_encoder
from captioner.network.decoder import Decoder, DecoderConfig, Memory, State
from captioner.network.encoder import Encoder, LazyEncoder, Preprocessing, encoder_config
from captioner.network.vocabulary import END, PAD, SPECIAL, START, UNKNOWN, Vocabulary
from captioner.types import Caption, Decoding
from rnnkit.checkpoint import (
    check_sizes,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    weights_hash,
)
from rnnkit.devices import resolve_device
from rnnkit.errors import UserError

KIND, VERSION = "captioner", 1
FORBIDDEN = (PAD, START, UNKNOWN)
LENGTH_PENALTY = 0.9  # of checkpoints that name none


class Captioner:
    """Photos in, sentences out. `Captioner.load()` gives the one that comes with the package."""

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
        self.vocabulary, self.preprocessing, self._encoder = (
            vocabulary,
            encoder.preprocessing,
            encoder,
        )
        self.decoder = decoder.to(self.device).eval()
        self.info = info or {}
        self.engine = choose_engine(
            backend, encoder, self.device, weights=weights or self._weights_hash()
        )
        self.writer = self.engine.writer(self.decoder)

    @property
    def encoder_name(self) -> str:
        """What the pretrained CNN is called."""
        return self._encoder.name

    @property
    def encoder(self) -> Encoder:
        """The pretrained CNN, built now if nothing needed it yet."""
        return self._encoder.built

    def _weights_hash(self) -> str:
        return weights_hash(
            {
                **self.encoder.state_dict(prefix="encoder."),
                **self.decoder.state_dict(prefix="decoder."),
            }
        )

    # --- checkpoints ---

    @classmethod
    def load(
        cls, folder: str | Path | None = None, *, device: str = "auto", backend: str = "auto"
    ) -> Captioner:
        """Load a checkpoint folder; None loads the bundled one.

        Args:
            device: auto, cpu, cuda or cuda:N.
            backend: what runs the networks: auto (OpenVINO on a CPU where it is there), torch or
                openvino.

        Raises: UserError if the folder is no captioner or its config is damaged, or the device or
            backend is not there.
        """
        if folder is None:
            with as_file(files("captioner") / "pretrained") as bundled:
                return cls.load(bundled, device=device, backend=backend)
        where, path = resolve_device(device), Path(folder)
        tensors, config = load_checkpoint(path, kind=KIND, version=VERSION)
        name, preprocessing, vocabulary, sizes = stored_parts(config, source=path)
        check_sizes(sizes.used(), tensors, source=path)
        decoder = Decoder(sizes)
        load_part(decoder, "decoder.", tensors, source=path)

        def build() -> Encoder:
            encoder = create_encoder(name, pretrained=False, preprocessing=preprocessing)
            load_part(
                encoder,
                "encoder.",
                load_checkpoint(path, kind=KIND, version=VERSION)[0],
                source=path,
            )
            return encoder

        encoder = LazyEncoder(name, preprocessing, build)
        info = {
            key: value
            for key, value in config.items()
            if key not in ("encoder", "decoder", "vocabulary")
        }
        return cls(
            encoder,
            decoder,
            vocabulary,
            info=info,
            device=where,
            backend=backend,
            weights=config["weights_hash"],
        )

    def save(self, folder: str | Path, *, dtype: torch.dtype | None = torch.float16) -> None:
        """Write a checkpoint folder, in half precision unless told otherwise."""
        save_captioner(
            Path(folder), self.encoder, self.decoder, self.vocabulary, self.info, dtype=dtype
        )

    # --- captioning ---

    @overload
    def caption(
        self, images: Source, *, attention: bool = ..., batch_size: int = ..., **decoding: Any
    ) -> Any: ...
    @overload
    def caption(
        self,
        images: Sequence[Source],
        *,
        attention: bool = ...,
        batch_size: int = ...,
        **decoding: Any,
    ) -> list[Any]: ...

    def caption(
        self,
        images: Source | Sequence[Source],
        *,
        attention: bool = False,
        batch_size: int = 32,
        **decoding: Any,
    ) -> Any:
        """Caption one picture or several.

        Args:
            images: paths, encoded bytes, binary files or Pillow pictures; one, or a list of them.
            attention: also return where the network looked for each word.
            batch_size: pictures computed at once.
            decoding: fields of `Decoding`, such as beam_size=5 or sample=True, seed=1.

        Returns: a Caption for one picture, a list for several; with num_captions above 1 each is
            itself a list, best first.
        Raises: ImageError for a picture that cannot be used, UserError for a value out of range.
        """
        choice = Decoding(**decoding)
        if isinstance(images, list | tuple):
            found: list[list[Caption]] = []
            for start in range(0, len(images), batch_size):
                found += self.caption_pixels(
                    np.stack([self.prepare(image) for image in images[start : start + batch_size]]),
                    choice,
                    attention=attention,
                )
            return found if choice.num_captions > 1 else [captions[0] for captions in found]
        captions = self.caption_pixels(self.prepare(images)[None], choice, attention=attention)[0]  # type: ignore[arg-type]
        return captions if choice.num_captions > 1 else captions[0]

    def prepare(self, image: Source) -> np.ndarray:
        """A picture as the encoder wants it: (size, size, 3) uint8. Safe to call from several
        threads.
        """
        size = self.preprocessing.size
        return self.preprocessing.pixels(open_image(image, size=(size, size)))

    def caption_pixels(
        self, pixels: np.ndarray, decoding: Decoding | None = None, *, attention: bool = False
    ) -> list[list[Caption]]:
        """Captions of prepared pictures (B, size, size, 3): for each up to num_captions, best
        first.
        """
        return self.caption_features(self.encode(pixels), decoding, attention=attention)

    def encode(self, pixels: np.ndarray) -> Tensor:
        """Region features (B, regions, channels) of prepared pictures (B, size, size, 3)."""
        return self.engine.run(pixels)

    def caption_features(
        self,
        features: Tensor | Sequence[Tensor],
        decoding: Decoding | None = None,
        *,
        attention: bool = False,
    ) -> list[list[Caption]]:
        """Captions from region features (B, regions, channels), or several such: for each picture
        up to num_captions, best first.
        """
        decoding = decoding or Decoding()
        if decoding.length_penalty is None:
            decoding = replace(decoding, length_penalty=self.length_penalty)
        with torch.inference_mode(), self.engine.threads():
            features = features if isinstance(features, Tensor) else torch.cat(tuple(features))
            found = generate(self.writer, features, decoding, once=self._once())
            nowhere: list[list[np.ndarray | None]] = [[None] * len(group) for group in found]
            grids = self._attention(features, found) if attention else nowhere
        return [
            [self._caption(hypothesis, grid) for hypothesis, grid in zip(group, shown, strict=True)]
            for group, shown in zip(found, grids, strict=True)
        ]

    @property
    def length_penalty(self) -> float:
        """The length penalty chosen for this checkpoint."""
        return _length_penalty(self.info)

    def _once(self) -> Tensor | None:
        """Which words may stand in a searched sentence only once, (vocabulary,); None where the
        checkpoint does not say.
        """
        repeatable = self.info.get("decoding", {}).get("repeatable")
        return (
            None if repeatable is None else words_once(self.vocabulary, repeatable).to(self.device)
        )

    def _caption(self, hypothesis: Hypothesis, attention: np.ndarray | None) -> Caption:
        text, words = (
            self.vocabulary.decode(hypothesis.ids),
            tuple(self.vocabulary.tokens(hypothesis.ids)),
        )
        return Caption(text, hypothesis.score, words, attention, hypothesis.log_prob)

    def _attention(
        self, features: Tensor, found: list[list[Hypothesis]]
    ) -> list[list[np.ndarray | None]]:
        """Attention of finished sentences, by reading them to the decoder once more."""
        regions = features.shape[1]
        side = round(regions**0.5)
        if not self.decoder.attends:
            raise UserError(
                "this captioner has no attention (it was trained with --attention none)"
            )
        if side * side != regions:
            raise UserError(
                f"the {regions} regions of '{self._encoder.name}' are not a square grid"
            )
        grids: list[list[np.ndarray | None]] = []
        for row, group in zip(features, found, strict=True):
            longest = max(len(hypothesis.ids) for hypothesis in group)
            words = torch.tensor(
                [
                    [START, *hypothesis.ids, *[END] * (longest - len(hypothesis.ids))]
                    for hypothesis in group
                ],
                device=self.device,
            )
            _, attention = self.decoder(words.unsqueeze(0), row.unsqueeze(0))  # (1, K, T, R)
            grids.append(
                [
                    attention[0, index, : len(h.ids)].reshape(-1, side, side).float().cpu().numpy()
                    for index, h in enumerate(group)
                ]
            )
        return grids


def _length_penalty(info: Mapping[str, Any]) -> float:
    return float(info.get("decoding", {}).get("length_penalty", LENGTH_PENALTY))


def words_once(vocabulary: Vocabulary, repeatable: Iterable[str]) -> Tensor:
    """True for the words that are not repeatable, (vocabulary,); special tokens are no words."""
    kept = frozenset(repeatable)
    return torch.tensor(
        [index >= len(SPECIAL) and word not in kept for index, word in enumerate(vocabulary.words)]
    )


def generate(
    decoder: Writer, features: Tensor, decoding: Decoding, *, once: Tensor | None = None
) -> list[list[Hypothesis]]:
    """Sentences as ids from region features (B, R, channels): for each image up to num_captions,
    best first.

    Args:
        once: as in `beam_search`; sampling draws from the model as it is.
    """
    state, memory = decoder.start(features)
    penalty = LENGTH_PENALTY if decoding.length_penalty is None else decoding.length_penalty
    common: dict[str, Any] = {
        "start": START,
        "end": END,
        "forbidden": FORBIDDEN,
        "max_length": decoding.max_length,
    }

    step = log_prob_step(decoder)
    if not decoding.sample:
        beam = max(decoding.beam_size, decoding.num_captions)
        found = beam_search(
            step, state, memory, beam_size=beam, length_penalty=penalty, once=once, **common
        )
        return [group[: decoding.num_captions] for group in found]
    if decoding.seed is not None and len(features) > 1:
        # One by one, so that what a seed draws for a photo does not hang on the photos around it.
        return [
            found for row in features for found in generate(decoder, row.unsqueeze(0), decoding)
        ]
    generator = torch.Generator(features.device)
    if decoding.seed is None:
        generator.seed()
    else:
        generator.manual_seed(decoding.seed)
    count = decoding.num_captions
    ids, totals = sample(
        step,
        state,
        memory,
        num_samples=count,
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        generator=generator,
        **common,
    )
    return [
        _ranked(rows, scores) for rows, scores in zip(ids.tolist(), totals.tolist(), strict=True)
    ]


def _ranked(rows: list[list[int]], totals: list[float]) -> list[Hypothesis]:
    """Sampled sentences of one image, best first by their log-probability per word."""
    cut = [tuple(row[: row.index(END)] if END in row else row) for row in rows]
    found = [
        Hypothesis(ids, total, total / (len(ids) + 1))
        for ids, total in zip(cut, totals, strict=True)
    ]
    return sorted(found, key=lambda hypothesis: -hypothesis.score)


def log_prob_step(decoder: Writer) -> Callable[[Tensor, State, Memory], tuple[Tensor, State]]:
    """The decoder's step as the search wants it: log-probabilities (B, K, V) instead of logits and
    attention.
    """

    def step(words: Tensor, state: State, memory: Memory) -> tuple[Tensor, State]:
        logits, state, _ = decoder.step(words, state, memory)
        return logits.float().log_softmax(dim=-1), state

    return step


def stored_parts(
    config: Mapping[str, Any], *, source: Path
) -> tuple[str, Preprocessing, Vocabulary, DecoderConfig]:
    """What a checkpoint's config says: the encoder's name, how it sees, the vocabulary, the
    decoder's sizes.

    Raises: UserError naming the checkpoint and a value that makes no sense.
    """
    try:
        name, preprocessing = (
            config["encoder"]["name"],
            Preprocessing.from_config(config["encoder"]["preprocessing"]),
        )
        vocabulary, decoder = Vocabulary(config["vocabulary"]), DecoderConfig(**config["decoder"])
        if not isinstance(name, str):
            raise TypeError(f"the encoder's name must be text, not {name!r}")
        if len(vocabulary) != decoder.vocabulary_size:
            raise ValueError(
                f"{len(vocabulary)} words in the vocabulary, {decoder.vocabulary_size} in the"
                " decoder"
            )
        if not abs(penalty := _length_penalty(config)) <= 100:
            raise ValueError(f"length_penalty must be from -100 to 100, not {penalty}")
        frozenset(config.get("decoding", {}).get("repeatable") or ())
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise UserError(
            f"the config in '{source}' is damaged ({type(error).__name__}: {error})"
        ) from None
    return name, preprocessing, vocabulary, decoder


def load_parts(folder: Path, *, encoder: Encoder, decoder: Decoder) -> dict[str, Any]:
    """Load a checkpoint's weights into its two parts; returns the config.

    Raises: UserError as `load_checkpoint` does, or if the weights do not fit.
    """
    tensors, config = load_checkpoint(folder, kind=KIND, version=VERSION)
    load_part(encoder, "encoder.", tensors, source=folder)
    load_part(decoder, "decoder.", tensors, source=folder)
    return config


def load_part(
    module: torch.nn.Module, prefix: str, tensors: dict[str, Tensor], *, source: Path
) -> None:
    """Copy those of a checkpoint's tensors whose names have the prefix into a module.

    Raises: UserError if they do not fit.
    """
    load_weights(
        module,
        {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        },
        source=source,
    )


def save_captioner(
    folder: Path,
    encoder: Encoder,
    decoder: Decoder,
    vocabulary: Vocabulary,
    info: dict[str, Any],
    *,
    dtype: torch.dtype | None = torch.float16,
) -> None:
    """Write a checkpoint folder: everything that is needed to caption, the encoder's weights too."""
    tensors = {
        f"{part}.{name}": tensor
        for part, module in (("encoder", encoder), ("decoder", decoder))
        for name, tensor in module.state_dict().items()
    }
    config = {
        "kind": KIND,
        "version": VERSION,
        "encoder": encoder_config(encoder),
        "decoder": asdict(decoder.config),
        **info,
        "vocabulary": list(vocabulary.words),
    }
    save_checkpoint(folder, tensors, config, dtype=dtype)
