"""Speed of the captioner on the machine at hand. Every speed is compared with another, measured
in turn with it.

    python scripts/benchmarks/captioning.py folder PHOTOS      photos a second, beside BLIP-base's
                                                               architecture (bench extra); with
                                                               --model also of other checkpoints
    python scripts/benchmarks/captioning.py table PHOTOS       speed, memory and size beside two
                                                               other architectures (bench extra)
    python scripts/benchmarks/captioning.py latency PHOTOS     one photo at a time, warm; and one
                                                               cold shell command
    python scripts/benchmarks/captioning.py backends PHOTOS    whether OpenVINO and PyTorch write
                                                               the same captions, and how fast
    python scripts/benchmarks/captioning.py training           seconds for an epoch of 30,000
                                                               captions

PHOTOS is a folder of photos; they are linked under new names until there are enough.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from linked_photos import link_photos

from captioner import Captioner
from captioner.data.images import open_image
from captioner.evaluation.table import Table
from captioner.jobs.find_photos import find_photos
from captioner.network.decoder import Decoder, DecoderConfig
from captioner.network.encoder import Preprocessing
from captioner.network.vocabulary import START
from rnnkit.command_line import run_app
from rnnkit.errors import UserError

app = typer.Typer(add_completion=False, no_args_is_help=True)
BACKENDS, ARCHITECTURES = ("openvino", "torch"), ("BLIP-base", "ViT-GPT2")
Photos = Annotated[Path, typer.Argument(help="Folder of photos.")]
Repeats = Annotated[int, typer.Option(help="Repetitions, of which the median counts.")]


@app.command()
def folder(
    photos: Photos,
    count: int = 2000,
    repeats: Repeats = 5,
    blip_batches: int = 1,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Checkpoint, the bundled one if not given; several are run in turn."),
    ] = None,
) -> None:
    """`captioner caption FOLDER`, start-up included, beside BLIP-base's architecture with random
    weights on the same cores.
    """
    blip = _blip()
    models = model or [""]
    speeds: dict[str, list[float]] = {each: [] for each in models}
    ratios: dict[str, list[float]] = {each: [] for each in models}
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory, "photos")
        link_photos(photos, folder, count)
        for _ in range(repeats):
            theirs = blip(blip_batches)
            for each in models:
                speeds[each].append(_photos_a_second(folder, count, each))
                ratios[each].append(speeds[each][-1] / theirs)
                print(
                    f"{each or 'bundled'}: {speeds[each][-1]:.1f} photos/s, BLIP-base"
                    f" {theirs:.3f}, ratio {ratios[each][-1]:.0f}",
                    flush=True,
                )
    for each in models:
        print(
            f"median of {repeats}, {each or 'bundled'}: {statistics.median(speeds[each]):.1f}"
            f" photos/s, ratio {statistics.median(ratios[each]):.0f}"
        )


def _photos_a_second(folder: Path, count: int, model: str) -> float:
    output = folder.with_name("captions.jsonl")
    chosen = ["--model", model] if model else []
    started = time.perf_counter()
    _command("caption", str(folder), "--format", "jsonl", "--output", str(output), *chosen)
    seconds = time.perf_counter() - started
    rows = output.read_text(encoding="utf-8").count('"status": "ok"')
    output.unlink()
    if rows != count:
        raise UserError(f"only {rows} of {count} photos were captioned")
    return count / seconds


def _blip() -> Callable[[int], float]:
    """A function that captions some batches of 8 photos with BLIP-base's architecture (beam 3, 12
    words) and returns photos a second.
    """
    model, size = _architecture("BLIP-base")
    pixels = torch.randn(8, 3, size, size)

    def measure(batches: int) -> float:
        started = time.perf_counter()
        for _ in range(batches):
            _generate(model, pixels, beam_size=3)
        return 8 * batches / (time.perf_counter() - started)

    measure(1)
    return measure


# --- the table ------------------------------------------------------------------------------------


@app.command()
def table(
    photos: Photos,
    seconds: Annotated[
        float, typer.Option(help="How long each row is measured, for at least one batch.")
    ] = 10,
    batch_size: Annotated[
        int, typer.Option(help="The larger of this captioner's two batch sizes.")
    ] = 32,
    other_batch_size: Annotated[
        int, typer.Option(help="The same for the others, which are slow and need much memory.")
    ] = 8,
    beams: Annotated[str, typer.Option(help="Beam sizes, separated by commas.")] = "1,3,5",
) -> None:
    """A Markdown table: both backends beside BLIP-base's and ViT-GPT2's architectures with random
    weights. Each row is measured in a process of its own.
    """
    rows = []
    for name in (*BACKENDS, *ARCHITECTURES):
        for batch in (1, batch_size if name in BACKENDS else other_batch_size):
            for beam in beams.split(","):
                measured = _measure_row(name, photos, beam, batch, seconds)
                rows.append(
                    [
                        f"captioner, {name}" if name in BACKENDS else name,
                        beam,
                        str(batch),
                        f"{measured['photos_per_second']:.3g}",
                        f"{1000 * measured['median_seconds']:.0f}",
                        f"{measured['peak_mib']:.0f}",
                        f"{measured['parameters'] / 1e6:.1f}",
                    ]
                )
                print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    above = [
        f"{platform.machine()}, {torch.get_num_threads()} threads of {os.cpu_count()} cores, torch"
        f" {torch.__version__.partition('+')[0]}."
    ]
    columns = ["", "beam", "batch", "photos/s", "ms a batch", "peak MiB", "million parameters"]
    below = [
        "From a photo's file to its caption, warm; ms is the median of the batches. The other"
        " architectures have random weights and write 12 words."
    ]
    print(Table(above, columns, rows, below).markdown())


def _measure_row(name: str, photos: Path, beam: str, batch: int, seconds: float) -> dict[str, Any]:
    """What `row` prints, run in a process of its own."""
    arguments = ["row", name, str(photos), "--beam-size", beam]
    arguments += ["--batch-size", str(batch), "--seconds", str(seconds)]
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1]
        raise UserError(f"{name}, beam {beam}, batch {batch}: {reason}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


@app.command(hidden=True)
def row(
    name: str, photos: Photos, beam_size: int = 3, batch_size: int = 1, seconds: float = 10
) -> None:
    """One row of the table, measured in this process, as JSON."""
    paths = itertools.cycle(find_photos([str(photos)]))
    caption, parameters = _contender(name, beam_size)
    caption(list(itertools.islice(paths, 1)))
    if name in BACKENDS:  # a warm batch of the others would take as long as the measurement
        caption(list(itertools.islice(paths, batch_size)))
    times: list[float] = []
    while sum(times) < seconds:
        batch = list(itertools.islice(paths, batch_size))
        started = time.perf_counter()
        caption(batch)
        times.append(time.perf_counter() - started)
    measured = {
        "photos_per_second": batch_size * len(times) / sum(times),
        "median_seconds": statistics.median(times),
        "peak_mib": _peak_mib(),
        "parameters": parameters(),
    }
    print(json.dumps(measured))


def _contender(
    name: str, beam_size: int
) -> tuple[Callable[[list[Path]], object], Callable[[], int]]:
    """A function that captions photos, and one that counts parameters.

    The second is called last: with OpenVINO the CNN is otherwise never built in PyTorch.
    """
    if name in BACKENDS:
        captioner = Captioner.load(device="cpu", backend=name)
        return (
            lambda paths: captioner.caption(paths, beam_size=beam_size, batch_size=len(paths)),
            lambda: _parameters(captioner.encoder) + _parameters(captioner.decoder),
        )
    model, size = _architecture(name)
    preprocessing = Preprocessing(size)

    def caption(paths: list[Path]) -> None:
        pixels = np.stack(
            [preprocessing.pixels(open_image(path, size=(size, size))) for path in paths]
        )  # (B, size, size, 3)
        _generate(
            model, torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1, beam_size=beam_size
        )

    return caption, lambda: _parameters(model)


def _architecture(name: str) -> tuple[Any, int]:
    """Another captioner with random weights, and the size of photo that it takes."""
    import rnnkit.torchvision_import  # noqa: F401 - transformers imports torchvision

    try:
        import transformers as t
    except ImportError:
        raise UserError(
            "transformers is not installed: pip install 'show-and-spell[bench]'"
        ) from None
    if name == "BLIP-base":
        return t.BlipForConditionalGeneration(t.BlipConfig()).eval(), 384
    config = t.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        t.ViTConfig(), t.GPT2Config()
    )
    return t.VisionEncoderDecoderModel(config).eval(), 224


def _generate(model: Any, pixels: torch.Tensor, *, beam_size: int) -> None:
    """Twelve words for each photo (B, 3, size, size), about as many as this captioner writes."""
    special = {"decoder_start_token_id": 50256, "pad_token_id": 50256}  # GPT-2's only one
    start = {} if model.config.model_type == "blip" else special
    with torch.inference_mode():
        model.generate(
            pixel_values=pixels,
            num_beams=beam_size,
            do_sample=False,
            max_new_tokens=12,
            min_new_tokens=12,
            **start,
        )


def _parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _peak_mib() -> float:
    """Peak resident memory of this process. On Linux `getrusage` counts its parent's too."""
    status = Path("/proc/self/status")
    if status.exists():
        (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())
        return int(peak) / 1024
    unit = 2**20 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


# --- one thing at a time --------------------------------------------------------------------------


@app.command()
def latency(photos: Photos, repeats: Repeats = 100) -> None:
    """Milliseconds from a photo's path to its caption, warm, beam 3; and the seconds that
    `captioner caption PHOTO` takes in a new process.
    """
    captioner = Captioner.load()
    paths = list(itertools.islice(itertools.cycle(find_photos([str(photos)])), repeats + 10))
    times = []
    for path in paths:
        started = time.perf_counter()
        captioner.caption(path, beam_size=3)
        times.append(1000 * (time.perf_counter() - started))
    warm = sorted(times[10:])
    late = warm[int(0.95 * len(warm))]
    print(
        f"warm, {captioner.backend.name}: median {statistics.median(warm):.1f} ms, 95th percentile"
        f" {late:.1f} ms of {len(warm)} photos"
    )
    cold = []
    for path in paths[:5]:
        started = time.perf_counter()
        _command("caption", str(path))
        cold.append(time.perf_counter() - started)
    print(
        f"cold shell: median {statistics.median(cold):.2f} s, slowest {max(cold):.2f} s of"
        f" {len(cold)}"
    )


@app.command()
def backends(photos: Photos, count: int = 100, repeats: Repeats = 5) -> None:
    """Compare captions, log-probabilities and the encoder's speed under OpenVINO and PyTorch."""
    both = {name: Captioner.load(device="cpu", backend=name) for name in BACKENDS}
    paths = list(itertools.islice(itertools.cycle(find_photos([str(photos)])), count))
    pixels = np.stack([both["torch"].prepare(path) for path in paths])
    parts = np.array_split(pixels, -(-count // 16))
    features = {
        name: torch.cat([captioner.backend.encode(part) for part in parts])
        for name, captioner in both.items()
    }
    captions = {
        name: [group[0] for group in both[name].caption_features(regions)]
        for name, regions in features.items()
    }
    same = sum(a.text == b.text for a, b in zip(*captions.values(), strict=True))
    worst = []
    for row, caption in enumerate(captions["torch"]):
        ids = both["torch"].vocabulary.encode(caption.words)
        words = torch.tensor(ids)[None, None]
        per_word = []
        for name in both:
            with torch.inference_mode():
                logits, _ = both[name].decoder(words[..., :-1], features[name][row : row + 1])
            per_word.append(
                logits.log_softmax(-1).gather(-1, words[..., 1:, None]).squeeze(-1).flatten()
            )
        worst.append(float((per_word[0].sum() - per_word[1].sum()).abs()) / len(per_word[0]))
    print(
        f"same caption on {same} of {count} photos; log-probability per word differs by"
        f" {np.mean(worst):.4f}, at most {max(worst):.4f}"
    )
    speeds: dict[str, list[float]] = {name: [] for name in both}
    for _ in range(repeats):
        for name, captioner in both.items():
            started = time.perf_counter()
            captioner.backend.encode(pixels[:32])
            speeds[name].append(min(32, count) / (time.perf_counter() - started))
    ratio = statistics.median(
        a / b for a, b in zip(speeds["openvino"], speeds["torch"], strict=True)
    )
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    print(
        f"encoder: OpenVINO {medians['openvino']:.0f}, PyTorch {medians['torch']:.0f} photos/s;"
        f" ratio {ratio:.1f}"
    )


@app.command()
def training(captions: int = 30_000, repeats: Repeats = 5, steps: int = 20) -> None:
    """Seconds for an epoch of captions of about 11 words with the default settings, from cached
    EfficientNet-Lite2 features, in bf16 and fp32.
    """
    from captioner.training.config import TrainingConfig
    from captioner.training.loss import Batch, CaptionModel

    config = TrainingConfig()
    generator = np.random.default_rng(0)
    vocabulary = 4200

    class _NoEncoder(torch.nn.Module):
        pass

    decoder = Decoder(
        DecoderConfig(
            vocabulary,
            1280,
            config.embedding_size,
            config.hidden_size,
            config.attention_size,
            dropout=config.dropout,
        )
    )
    model: Any = CaptionModel(_NoEncoder(), decoder, 0).train()  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    rows, sentences = config.batch_size, config.captions_per_photo

    def batch() -> Batch:
        lengths = np.clip(generator.normal(11.5, 3, (rows, sentences)).round().astype(int), 5, 21)
        lengths = np.sort(lengths, axis=1)[:, ::-1]  # as training sorts them
        longest = int(lengths.max())
        words = torch.zeros(rows, sentences, longest + 1, dtype=torch.long)
        for (row, column), length in np.ndenumerate(lengths):
            words[row, column, : length + 1] = torch.tensor(
                [START, *generator.integers(4, vocabulary, length - 1), 2]
            )
        weights = (words[..., 1:] != 0).float()
        return Batch(torch.rand(rows, 81, 1280), words, weights, float(weights.sum()))

    def seconds(bf16: bool) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = model(batch(), label_smoothing=0.1, attention_penalty=0.0, sampling_rate=0.0)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return (time.perf_counter() - started) / steps * captions / (rows * sentences)

    seconds(True)
    pairs = [(seconds(True), seconds(False)) for _ in range(repeats)]
    ratio = statistics.median(slow / fast for fast, slow in pairs)
    bf16, fp32 = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"an epoch of {captions} captions: bf16 {bf16:.0f} s, fp32 {fp32:.0f} s; ratio {ratio:.2f}"
        f" (medians of {repeats})"
    )


def _command(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "captioner.cli", *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    run_app("benchmark_captioner", app)
