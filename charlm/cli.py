"""The command line: charlm train | evaluate | sample | inspect."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from charlm.training.config import TrainingSettings  # the settings are the flags
from rnnkit.command_line import run_app
from rnnkit.errors import ALL_DONE, INTERRUPTED, UserError
from rnnkit.settings import with_flags

if TYPE_CHECKING:
    from charlm.data import UnknownPolicy
    from charlm.inference.base import Precision

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

ModelOption = Annotated[
    Path | None,
    typer.Option("--model", help="Checkpoint or run folder; the bundled model if not given."),
]
UnknownOption = Annotated[
    str,
    typer.Option(
        "--unknown",
        help="For characters that the model has never seen: error names them, skip drops them.",
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
MAX_INSPECTED = 1000  # characters; nobody could read figures of more


@app.callback()
def about() -> None:
    """Train a character-level language model, write text with it, score texts and look inside."""


@app.command()
@with_flags(TrainingSettings)
def train(
    corpus: Annotated[
        list[Path],
        typer.Argument(help="UTF-8 text; several files are read as one text.", metavar="CORPUS..."),
    ],
    output: Annotated[
        Path, typer.Option("--output", help="Folder of the run, which is also the checkpoint.")
    ],
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --output, with its settings.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option("--config", help="JSON file of settings; flags win over it.")
    ] = None,
    device: DeviceOption = "auto",
    **flags: Any,
) -> None:
    """Train a model on a text."""
    from rich.console import Console

    from charlm.data import read_text
    from charlm.training.trainer import train as run_training
    from rnnkit.devices import resolve_device
    from rnnkit.runs import RunFolder, run_settings

    run = RunFolder(output, "charlm")
    settings = run_settings(TrainingSettings, run, config, flags, resume=resume)
    text = "".join(read_text(path) for path in corpus)
    finished = run_training(
        text,
        output,
        settings,
        device=resolve_device(device),
        resume=resume,
        console=Console(stderr=True),
    )
    sys.exit(ALL_DONE if finished else INTERRUPTED)


@app.command()
def evaluate(
    file: Annotated[Path, typer.Argument(help="UTF-8 text to score.")],
    model: ModelOption = None,
    unknown: UnknownOption = "error",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    device: DeviceOption = "auto",
) -> None:
    """Score a text in nats and bits per character, under the two protocols stream and window-256."""
    from charlm import evaluation
    from charlm.data import read_text
    from charlm.model import CharLM

    lm = CharLM.load(model, device=device)
    text = read_text(file)
    # Where the model has a symbol for unknown characters, that is what it is asked to predict.
    ids = lm.vocabulary.encode(
        text, unknown="skip" if unknown_policy(unknown) == "skip" else "replace"
    )
    if len(ids) < len(text):
        print(
            f"{len(text) - len(ids):,} of {len(text):,} characters, which the model has never seen,"
            " are left out",
            file=sys.stderr,
        )
    scores = evaluation.evaluate(lm.network, ids.to(lm.device))
    if as_json:
        print(json.dumps({name: score.as_json() for name, score in scores.items()}, indent=1))
        return
    for name, score in scores.items():
        print(
            f"{name:<10}  {score.nats_per_char:.4f} nats/char  {score.bits_per_char:.4f} bits/char "
            f" {score.characters:,} characters"
        )


@app.command()
def sample(
    model: ModelOption = None,
    prompt: Annotated[
        str, typer.Option("--prompt", help="The text to continue; may be empty.")
    ] = "",
    length: Annotated[int, typer.Option("--length", help="Characters to write.")] = 1000,
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature", help="Below 1 likelier, above 1 wilder; 0 takes the likeliest."
        ),
    ] = 0.8,
    top_k: Annotated[
        int, typer.Option("--top-k", help="Only the k likeliest characters; 0 is all.")
    ] = 0,
    top_p: Annotated[
        float,
        typer.Option(
            "--top-p", help="Only the likeliest characters whose probabilities sum to this."
        ),
    ] = 1.0,
    stop: Annotated[
        list[str] | None,
        typer.Option("--stop", help="End before this string; may be given more than once."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="The same seed gives the same text.")
    ] = None,
    count: Annotated[
        int,
        typer.Option("--count", min=1, help="How many texts to write; they are made as one batch."),
    ] = 1,
    unknown: UnknownOption = "error",
    precision: Annotated[
        str, typer.Option("--precision", help="Precision of the weights: auto, float32 or int8.")
    ] = "auto",
    device: DeviceOption = "cpu",
) -> None:
    """Continue a prompt; the text goes to stdout as it is written."""
    from charlm.model import CharLM
    from charlm.sampling import Choice

    lm = CharLM.load(model, device=device)
    policy = unknown_policy(unknown)
    prompt = lm.vocabulary.decode(lm.vocabulary.encode(prompt, unknown=policy))
    pieces = lm.sample_many(
        [prompt] * count,
        length=length,
        choice=Choice(temperature, top_k, top_p),
        stop=stop or (),
        seed=seed,
        precision=cast("Precision", precision),
    )
    if count == 1:
        write_as_it_comes(prompt, pieces)
    else:
        write_when_whole(prompt, pieces, count)


def write_as_it_comes(prompt: str, pieces: Iterator[list[str]]) -> None:
    """One text, flushed at most some twenty times a second; Ctrl-C ends it with a whole line."""
    out, flushed = sys.stdout, 0.0
    out.write(prompt)
    try:
        for (piece,) in pieces:
            out.write(piece)
            if time.monotonic() - flushed > 0.05:
                out.flush()
                flushed = time.monotonic()
    finally:
        out.write("\n")
        out.flush()


def write_when_whole(prompt: str, pieces: Iterator[list[str]], count: int) -> None:
    """Several texts under headings; Ctrl-C writes what there is of each."""
    texts = [prompt] * count
    try:
        for step in pieces:
            texts = [text + piece for text, piece in zip(texts, step, strict=True)]
    finally:
        for number, text in enumerate(texts, 1):
            print(f"--- {number} ---\n{text}")


@app.command()
def inspect(
    text: Annotated[str, typer.Option("--text", help="The text to look at.")],
    output: Annotated[Path, typer.Option("--output", help="Folder for the figures.")],
    model: ModelOption = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(
            "--compare", help="More models for the gradient flow; may be given more than once."
        ),
    ] = None,
    position: Annotated[
        int,
        typer.Option(
            "--position", help="Character whose prediction is traced back; -1 is the last."
        ),
    ] = -1,
    clip_norm: Annotated[
        float,
        typer.Option(
            "--clip-norm", help="Norm to which the gradient is clipped in the dashed curves."
        ),
    ] = 1.0,
    unknown: UnknownOption = "error",
    device: DeviceOption = "cpu",
) -> None:
    """Draw what goes on inside: gradient flow, hidden units, surprise, and what a prediction
    depends on.
    """
    from charlm.analysis import figures, insight
    from charlm.model import CharLM

    lm = CharLM.load(model, device=device)
    policy = unknown_policy(unknown)
    text = lm.vocabulary.decode(lm.vocabulary.encode(text, unknown=policy))
    if not 2 <= len(text) <= MAX_INSPECTED:
        raise UserError(
            f"--text must have 2 to {MAX_INSPECTED:,} characters that the model knows, not"
            f" {len(text):,}"
        )
    if not clip_norm > 0:
        raise UserError(f"--clip-norm must be above 0, not {clip_norm}")
    models = {lm.network.architecture.cell.upper(): lm}
    for folder in compare or []:
        other = CharLM.load(folder, device=device)
        models[f"{other.network.architecture.cell.upper()} ({folder.name})"] = other
    flows = {}
    for name, m in models.items():
        ids = m.vocabulary.encode(text, unknown=policy).to(m.device)
        flows[name] = insight.gradient_flow(m.network, ids, clip_norm=clip_norm)
    traces = insight.unit_traces(lm, text)
    place = len(text) + position if position < 0 else position
    if not 1 <= place < len(text):
        raise UserError(
            f"--position must be from 1 to {len(text) - 1}, or from -{len(text) - 1} to -1 counted"
            f" from the end, not {position}"
        )
    drawn = {
        "gradient-flow.png": figures.draw_gradient_flow(flows),
        "hidden-units.png": figures.draw_units(
            text, traces, insight.matching_units(traces, text)[:6]
        ),
        "surprise.png": figures.draw_surprise(text, insight.surprise(lm, text)),
        "connectivity.png": figures.draw_connectivity(
            text, place, insight.connectivity(lm, text, place)
        ),
    }
    output.mkdir(parents=True, exist_ok=True)
    for name, figure in drawn.items():
        figure.savefig(output / name, dpi=110)
        print(output / name)


def unknown_policy(name: str) -> UnknownPolicy:
    """Checks what --unknown was given."""
    if name not in ("error", "skip"):
        raise UserError(f"--unknown must be error or skip, not '{name}'")
    return cast("UnknownPolicy", name)


def main() -> None:
    """The console command."""
    run_app("charlm", app)


if __name__ == "__main__":
    main()
