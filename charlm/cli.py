"""The command line: charlm train | evaluate | sample | inspect."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from charlm.training.config import TrainingConfig  # its fields are flags
from rnnkit.about import CompletionFlag, VersionFlag
from rnnkit.command_line import run_app
from rnnkit.errors import ALL_DONE, INTERRUPTED, UserError
from rnnkit.files import replace_file
from rnnkit.settings import with_flags

if TYPE_CHECKING:
    from charlm.inference.base import Precision
    from charlm.vocabulary import UnknownPolicy

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

ModelOption = Annotated[
    Path | None,
    typer.Option("--model", help="Checkpoint or run folder; the bundled model if not given."),
]
UnknownOption = Annotated[
    str,
    typer.Option(
        "--unknown",
        help="Characters that the model has never seen: error names them, skip drops them.",
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
MAX_INSPECTED = 1000  # characters; figures of more are unreadable


@app.callback()
def about(version: VersionFlag = False, completion: CompletionFlag = None) -> None:
    """Train a character-level language model, write and score text with it, and look inside it."""


@app.command()
@with_flags(TrainingConfig)
def train(
    corpus: Annotated[
        list[Path],
        typer.Argument(
            help="UTF-8 text files, read as one text; a folder stands for all its text files, in"
            " the order of their names.",
            metavar="CORPUS...",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", help="Folder of the run, which becomes the checkpoint.")
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

    from charlm.data import read_corpus
    from charlm.training.trainer import train as run_training
    from rnnkit.devices import resolve_device
    from rnnkit.runs import RunFolder, run_settings

    run = RunFolder(output, "charlm")
    settings = run_settings(TrainingConfig, run, config, flags, resume=resume)
    found = read_corpus(corpus, leave_out=output)
    for path in found.left_out:
        print(f"charlm: left out '{path}', which is not UTF-8 text", file=sys.stderr)
    finished = run_training(
        found.text,
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
    """Score a text in nats and bits per character, under the protocols stream and window-256."""
    from charlm import evaluation
    from charlm.data import read_text
    from charlm.model import CharLM

    lm = CharLM.load(model, device=device)
    text = read_text(file)
    # A model with a symbol for unknown characters is asked to predict that one.
    policy: UnknownPolicy = "skip" if parse_unknown(unknown) == "skip" else "replace"
    ids = lm.vocabulary.encode(text, unknown=policy)
    if len(ids) < len(text):
        print(
            f"skipped {len(text) - len(ids):,} of {len(text):,} characters, which the model has"
            " never seen",
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
        str | None, typer.Option("--prompt", help="Text to continue; may be empty.")
    ] = None,
    prompt_file: Annotated[
        Path | None,
        typer.Option(
            "--prompt-file",
            help="UTF-8 file with the text to continue, in place of --prompt; its last line end"
            " counts too.",
        ),
    ] = None,
    length: Annotated[int, typer.Option("--length", help="Characters to write.")] = 1000,
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature", help="Below 1 is tamer, above 1 wilder; 0 takes the likeliest."
        ),
    ] = 0.8,
    top_k: Annotated[
        int, typer.Option("--top-k", help="Only the k likeliest characters; 0 is all.")
    ] = 0,
    top_p: Annotated[
        float,
        typer.Option(
            "--top-p", help="Only the likeliest characters that together have this probability."
        ),
    ] = 1.0,
    stop: Annotated[
        list[str] | None,
        typer.Option("--stop", help="End before this string; may be repeated."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="The same seed gives the same text.")
    ] = None,
    count: Annotated[
        int,
        typer.Option("--count", min=1, help="How many texts to write, as one batch."),
    ] = 1,
    unknown: UnknownOption = "error",
    precision: Annotated[
        str, typer.Option("--precision", help="Recurrent weights: auto, float32 or int8.")
    ] = "auto",
    device: DeviceOption = "cpu",
) -> None:
    """Continue a prompt; the text is printed as it is written."""
    from charlm.data import read_text
    from charlm.model import CharLM
    from charlm.sampling import SamplingParams

    if prompt_file is not None:
        if prompt is not None:
            raise UserError(
                "--prompt and --prompt-file both give the prompt: leave one of them out"
            )
        prompt = read_text(prompt_file)
    lm = CharLM.load(model, device=device)
    session = lm.session(
        [prompt or ""] * count,
        seed=seed,
        unknown=parse_unknown(unknown),
        precision=cast("Precision", precision),
    )
    pieces = session.write(length, SamplingParams(temperature, top_k, top_p), stop or ())
    if count == 1:
        print_as_written(session.prompts[0], pieces)
    else:
        print_at_end(session.prompts, pieces)


def print_as_written(prompt: str, pieces: Iterator[list[str]]) -> None:
    """Print one text, flushed at most twenty times a second; Ctrl-C ends it with a whole line."""
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


def print_at_end(prompts: list[str], pieces: Iterator[list[str]]) -> None:
    """Print several texts under headings; after Ctrl-C, as far as they were written."""
    texts = prompts
    try:
        for step in pieces:
            texts = [text + piece for text, piece in zip(texts, step, strict=True)]
    finally:
        for number, text in enumerate(texts, 1):
            print(f"--- {number} ---\n{text}")


@app.command()
def inspect(
    text: Annotated[str, typer.Option("--text", help="Text to look at.")],
    output: Annotated[Path, typer.Option("--output", help="Folder for the figures.")],
    model: ModelOption = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            "--compare",
            help="Other models to compare the gradient flow with, separated by commas: folders, or"
            " rnn, gru and lstm, which come with the package. May be repeated.",
        ),
    ] = None,
    position: Annotated[
        int,
        typer.Option("--position", help="Character whose prediction is explained; -1 is the last."),
    ] = -1,
    clip_norm: Annotated[
        float,
        typer.Option("--clip-norm", help="Gradient norm at which the dashed curves are clipped."),
    ] = 1.0,
    unknown: UnknownOption = "error",
    device: DeviceOption = "cpu",
) -> None:
    """Draw what happens inside: gradient flow, hidden units, surprise, and what a prediction
    depends on.
    """
    from charlm.analysis import figures, insight
    from charlm.analysis.comparison_cells import load_named
    from charlm.model import CharLM

    lm = CharLM.load(model, device=device)
    policy = parse_unknown(unknown)
    text = lm.vocabulary.decode(lm.vocabulary.encode(text, unknown=policy))
    if not 2 <= len(text) <= MAX_INSPECTED:
        raise UserError(
            f"--text must have 2 to {MAX_INSPECTED:,} characters that the model knows, not"
            f" {len(text):,}"
        )
    if not clip_norm > 0:
        raise UserError(f"--clip-norm must be above 0, not {clip_norm}")
    place = len(text) + position if position < 0 else position
    if not 1 <= place < len(text):
        raise UserError(
            f"--position must be from 1 to {len(text) - 1}, or from -{len(text) - 1} to -1, counted"
            f" from the end, not {position}"
        )
    models = {lm.network.architecture.cell.upper(): lm}
    for given in compare or []:
        for name in [given] if Path(given).is_dir() else given.split(","):
            other = load_named(name.strip(), device=device)
            models[f"{other.network.architecture.cell.upper()} ({Path(name.strip()).name})"] = other
    flows = {}
    for name, compared in models.items():
        ids = compared.vocabulary.encode(text, unknown=policy).to(compared.device)
        flows[name] = insight.gradient_flow(compared.network, ids, clip_norm=clip_norm)
    traces = insight.unit_traces(lm, text)
    matches = insight.matching_units(traces, text)[:6]
    drawn = {
        "gradient-flow": figures.draw_gradient_flow(flows),
        "hidden-units": figures.draw_units(text, traces, matches),
        "surprise": figures.draw_surprise(text, insight.surprise(lm, text)),
        "connectivity": figures.draw_connectivity(
            text, place, insight.connectivity(lm, text, place)
        ),
    }
    output.mkdir(parents=True, exist_ok=True)
    for name, figure in drawn.items():
        path = output / f"{name}.png"
        with replace_file(path) as temporary:
            figure.savefig(temporary, dpi=110, format="png")
        print(path)


def parse_unknown(name: str) -> UnknownPolicy:
    """The value of --unknown. Raises: UserError if it is not error or skip."""
    if name not in ("error", "skip"):
        raise UserError(f"--unknown must be error or skip, not '{name}'")
    return cast("UnknownPolicy", name)


def main() -> None:
    """The console command."""
    run_app("charlm", app)


if __name__ == "__main__":
    main()
