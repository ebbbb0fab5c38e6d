"""OpenVINO: encoder and decoder as graphs, converted once and kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captioner.backends.base import DecoderRunner, DecoderStart, DecoderStep, EncoderPart
from captioner.network.decoder import Decoder, Memory, State
from captioner.network.encoder import Encoder, LazyEncoder, encoder_config
from rnnkit.cache import cache_folder, make_private_folder
from rnnkit.openvino import CORE, openvino

logger = logging.getLogger(__name__)

# Not bf16, although it runs the encoder 1.6 times as fast on CPUs that have it: with bf16, one
# caption in seven differed from PyTorch's, with f32 none of sixty (scripts/benchmarks/captioning.py
# backends). The decoder's products are too small to gain from it.
PRECISION = "f32"


class OpenVinoBackend:
    """See `captioner.backends.base.Backend`. One call runs at a time; other callers wait."""

    name = "openvino"

    def __init__(self, encoder: Encoder | LazyEncoder, trained: int, weights: str) -> None:
        self._weights = weights
        size = encoder.preprocessing.size

        def convert() -> Any:
            return openvino.convert_model(
                EncoderPart(encoder.built, trained).cpu().eval(),
                example_input=torch.zeros(2, size, size, 3, dtype=torch.uint8),
                input=[openvino.PartialShape([-1, size, size, 3])],
            )

        self._graph = _Graph(f"encoder {encoder_config(encoder)} {trained} {weights}", convert)

    def encode(self, pixels: np.ndarray) -> Tensor:
        pixels = np.ascontiguousarray(pixels)
        return self._graph(pixels)[0] if len(pixels) == 1 else self._graph.each(pixels)

    def run_decoder(self, decoder: Decoder) -> DecoderRunner:
        # Without attention there is nothing that OpenVINO would make faster.
        return OpenVinoDecoder(decoder, self._weights) if decoder.attends else decoder.cpu().eval()

    @contextmanager
    def threads(self) -> Iterator[None]:
        # What is left to PyTorch beside the networks is small. With more threads it would keep busy
        # the cores that OpenVINO and the decoding of photos need.
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


class OpenVinoDecoder:
    """A decoder's `start` and `step`; the attention that `step` returns is empty."""

    def __init__(self, decoder: Decoder, weights: str) -> None:
        config = decoder.cpu().eval().config
        partial = openvino.PartialShape
        key = f"{config} {weights}"
        features = torch.zeros(2, 5, config.channels)
        self._start = _Graph(
            f"start {key}",
            lambda: openvino.convert_model(
                DecoderStart(decoder),
                example_input=features,
                input=[partial([-1, -1, config.channels])],
            ),
        )
        with torch.no_grad():
            state, memory = decoder.start(features)
        inputs = (torch.zeros(2, 1, dtype=torch.long), *state, *memory)
        shapes = [partial([-1, -1, *tensor.shape[2:]]) for tensor in inputs]
        self._step = _Graph(
            f"step {key}",
            lambda: openvino.convert_model(
                DecoderStep(decoder), example_input=inputs, input=shapes
            ),
        )

    def start(self, features: Tensor) -> tuple[State, Memory]:
        hidden, cell, keys, values = self._start(features.numpy())
        return State(hidden, cell), Memory(keys, values)

    def step(self, words: Tensor, state: State, memory: Memory) -> tuple[Tensor, State, Tensor]:
        logits, hidden, cell = self._step(
            *(tensor.contiguous().numpy() for tensor in (words, *state, *memory))
        )
        return logits, State(hidden, cell), logits[..., :0]


class _Graph:
    """A graph that is ready to run, from the cache if it is intact there, else converted.

    Args:
        key: what the graph depends on; the versions of OpenVINO and torch are added.
        convert: makes the graph.
    """

    def __init__(self, key: str, convert: Callable[[], Any]) -> None:
        digest = hashlib.sha256(
            f"{key} {openvino.__version__} {torch.__version__}".encode()
        ).hexdigest()[:20]
        self._path = cache_folder() / "openvino" / f"{digest}.xml"
        # OpenVINO runs changed weights without a word.
        self._hash = self._path.with_suffix(".sha256")
        self._model, compiled = self._load(convert, key.split()[0])
        self._request = compiled.create_infer_request()
        self._queue: Any = None
        self._lock = threading.Lock()

    def __call__(self, *inputs: np.ndarray) -> Sequence[Tensor]:
        """All outputs for one set of inputs, computed on all cores."""
        with self._lock:
            outputs = self._request.infer(list(inputs), share_inputs=True, share_outputs=True)
            # Copies, because the next request writes over these.
            return [
                torch.from_numpy(np.array(outputs[index], dtype=np.float32))
                for index in range(len(outputs))
            ]

    def each(self, rows: np.ndarray) -> Tensor:
        """The first output for every row, one row to a core, several rows at the same time.

        A core that has a photo to itself keeps the layers' outputs in its own cache
        (scripts/benchmarks/folders.py stages).
        """
        with self._lock:
            if self._queue is None:
                self._queue = openvino.AsyncInferQueue(self._compile(self._model, "THROUGHPUT"))
            outputs: list[Any] = [None] * len(rows)

            def keep(request: Any, index: int) -> None:
                outputs[index] = np.array(request.get_output_tensor(0).data, dtype=np.float32)

            self._queue.set_callback(keep)
            for index in range(len(rows)):
                self._queue.start_async([rows[index : index + 1]], index, share_inputs=True)
            self._queue.wait_all()
        return torch.from_numpy(np.concatenate(outputs))

    def _compile(self, model: Any, hint: str) -> Any:
        return CORE.compile_model(
            model, "CPU", {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": PRECISION}
        )

    def _load(self, convert: Callable[[], Any], what: str) -> tuple[Any, Any]:
        """The graph, and the same compiled for one request at a time."""
        # Not Path.exists, which fails where the cache may not be looked into.
        if os.access(self._hash, os.R_OK):
            try:
                if self._hash.read_text(encoding="ascii") != _hash_of(self._path):
                    raise ValueError("its bytes are not those that were written")
                model = CORE.read_model(self._path)
                return model, self._compile(model, "LATENCY")
            except Exception as error:
                reason = " ".join(str(error).split())[:120]
                logger.warning(
                    "the converted network in '%s' is damaged (%s); converting it again",
                    self._path,
                    reason,
                )
        logger.info(
            "converting the network for OpenVINO (%s), once; it is then kept in %s",
            what,
            self._path.parent,
        )
        started = time.monotonic()
        model = convert()
        self._store(model)
        logger.info("converted in %.1f s", time.monotonic() - started)
        return model, self._compile(model, "LATENCY")

    def _store(self, model: Any) -> None:
        """Keep the graph, whole or not at all; a full disk only means that it is not kept."""
        part = self._path.with_name(f"{self._path.stem}.{os.getpid()}")
        try:
            make_private_folder(self._path.parent)
            part.mkdir(exist_ok=True)
            openvino.save_model(model, part / "model.xml", compress_to_fp16=False)
            (part / "model.sha256").write_text(_hash_of(part / "model.xml"), encoding="ascii")
            (part / "model.bin").replace(self._path.with_suffix(".bin"))
            (part / "model.xml").replace(self._path)
            (part / "model.sha256").replace(self._hash)
        except (OSError, RuntimeError) as error:
            # OpenVINO has no words for a full disk but "basic_ios::clear: iostream error".
            reason = error.strerror if isinstance(error, OSError) else "is the disk full?"
            logger.warning(
                "the converted network could not be kept in '%s' (%s)", self._path.parent, reason
            )
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _hash_of(graph: Path) -> str:
    """SHA-256 of a graph's two files."""
    digests = []
    for path in (graph, graph.with_suffix(".bin")):
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return "\n".join(digests)
