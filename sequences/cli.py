"""The command line: sequences classify | tag | translate | forecast | train | evaluate | ..."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from rnnkit.about import CompletionFlag, VersionFlag
from rnnkit.command_line import run_app
from rnnkit.errors import ALL_DONE, INTERRUPTED, SOME_FAILED, UserError, either
from rnnkit.layers import parse_dilations
from rnnkit.settings import with_flags
from sequences.data import read_labelled, read_pairs, read_tagged
from sequences.model import bundled_models, default_model
from sequences.texts import text_chunks
from sequences.training.config import (
    ClassifyConfig,
    TagConfig,
    TrainingConfig,
    TranslateConfig,
)

if TYPE_CHECKING:
    from rich.console import Console

    from sequences.evaluation.report import Evaluation

C = TypeVar("C", bound=TrainingConfig)
app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
train = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(train, name="train")

Row = tuple[str, dict[str, Any]]  # as tsv, and the fields of its jsonl
MAX_INSPECTED = 100  # words; figures of more are unreadable
MODEL_HELP = "A checkpoint or run folder" + (
    f", or one of {', '.join(bundled_models())}." if bundled_models() else "."
)
ModelOption = Annotated[str | None, typer.Option("--model", help=MODEL_HELP)]
Texts = Annotated[
    list[str] | None,
    typer.Argument(metavar="TEXT...", help="Texts; standard input's lines if there are none."),
]
FromFile = Annotated[
    str | None,
    typer.Option("--from-file", help="Take a text from each line; - is standard input."),
]
Format = Annotated[str, typer.Option("--format", help="Output format: the default, or jsonl.")]
BeamSize = Annotated[
    int, typer.Option("--beam-size", min=1, help="Translations searched at once; 1 is greedy.")
]
SourceColumn = Annotated[int, typer.Option(min=1, help="Column of the text, from 1.")]
TargetColumn = Annotated[int, typer.Option(min=1, help="Column of its translation, from 1.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Dev = Annotated[
    Path, typer.Option("--dev", help="Examples that the best weights are chosen by, not learned.")
]
Output = Annotated[
    Path, typer.Option("--output", help="Folder of the run, which becomes the checkpoint.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue the run in --output, with its settings.")
]
Config = Annotated[
    Path | None, typer.Option("--config", help="JSON file of settings; flags win over it.")
]


@app.callback()
def about(version: VersionFlag = False, completion: CompletionFlag = None) -> None:
    """Read sentences and series: a label, a tag for each word, a translation, a forecast."""


@app.command()
def classify(
    texts: Texts = None,
    from_file: FromFile = None,
    model: ModelOption = None,
    format: Format = "tsv",
    device: DeviceOption = "cpu",
) -> None:
    """Say which label each text has: a line with text, label and probability."""
    from sequences.answers import label_fields
    from sequences.classifier import Classifier

    check_format(format)
    classifier = Classifier.load(model or default_model("classify"), device=device)

    def rows(chunk: list[str]) -> list[Row]:
        return [
            (
                f"{one_line(text)}\t{found.label}\t{found.probability:.4f}",
                label_fields(found),
            )
            for text, found in zip(chunk, classifier.classify_batch(chunk), strict=True)
        ]

    print_rows(text_chunks(texts, from_file), rows, format)


@app.command()
def tag(
    texts: Texts = None,
    from_file: FromFile = None,
    model: ModelOption = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="The words are separated by spaces already.")
    ] = False,
    format: Format = "tsv",
    device: DeviceOption = "cpu",
) -> None:
    """Tag each word: a line with the word and its tag, and a blank line between sentences."""
    from sequences.answers import tag_fields
    from sequences.network.crf import is_bio
    from sequences.tagger import Tagger

    check_format(format)
    tagger = Tagger.load(model or default_model("tag"), device=device)

    def rows(chunk: list[str]) -> list[Row]:
        found = tagger.tag_batch([text.split() for text in chunk] if tokens else chunk)
        return [
            (
                "".join(f"{word.word}\t{word.tag}\n" for word in words),
                tag_fields(words, whole_entities=is_bio(tagger.tags)),
            )
            for words in found
        ]

    print_rows(text_chunks(texts, from_file), rows, format)


@app.command()
def translate(
    texts: Texts = None,
    from_file: FromFile = None,
    model: ModelOption = None,
    beam_size: BeamSize = 5,
    num_translations: Annotated[
        int, typer.Option(min=1, help="Translations of each text, best first, tabs between.")
    ] = 1,
    format: Format = "tsv",
    device: DeviceOption = "cpu",
) -> None:
    """Translate: a line for a line.

    A text that is not in the model's language is translated all the same; stderr says so.
    """
    from sequences.answers import translation_fields
    from sequences.translator import Translator

    check_format(format)
    translator = Translator.load(model or default_model("translate"), device=device)

    def rows(chunk: list[str]) -> list[Row]:
        groups = translator.candidates(chunk, num_translations, beam_size=beam_size)
        return [
            ("\t".join(translation.text for translation in group), translation_fields(group))
            for group in groups
        ]

    # A line that cannot be translated leaves an empty one, so that lines stay beside each other.
    print_rows(text_chunks(texts, from_file), rows, format, failed="", doubt=translator.doubt)


@app.command()
def forecast(
    file: Annotated[Path, typer.Argument(help="CSV with a header and a row for each step.")],
    column: Annotated[
        str | None, typer.Option(help="Column of the series; the last one if not given.")
    ] = None,
    horizon: Annotated[int, typer.Option(min=1, help="Steps to forecast.")] = 1,
    window: Annotated[int, typer.Option(min=1, help="Steps that the network sees at once.")] = 24,
    method: Annotated[
        str,
        typer.Option(
            help="direct learns all steps at once; fed-back the next one, and reads its own."
        ),
    ] = "direct",
    season: Annotated[
        int,
        typer.Option(min=1, help="Steps in a year, for the baseline that repeats the last one."),
    ] = 12,
    cell: Annotated[str, typer.Option(help="Recurrent cell: rnn, gru or lstm.")] = "gru",
    num_layers: Annotated[int, typer.Option(min=1, help="Recurrent layers.")] = 1,
    dilations: Annotated[
        str, typer.Option(help="Steps that each layer reaches back, for example 1,2,4.")
    ] = "1",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same forecast.")] = 1,
    output: Annotated[Path | None, typer.Option(help="PNG of the series and its forecast.")] = None,
    format: Format = "csv",
) -> None:
    """Train on a series and say what comes next: a row with each step and its value.

    The error one step ahead on the last third, and that of simple baselines, goes to stderr.
    """
    from rnnkit.files import replace_file
    from sequences.forecasting import ForecastSettings
    from sequences.forecasting import forecast as run_forecast
    from sequences.series import read_series

    check_format(format, ("csv", "jsonl"))
    name, series = read_series(file, column)
    settings = ForecastSettings(
        cell=cell, num_layers=num_layers, dilations=parse_dilations(dilations), seed=seed
    )
    found = run_forecast(series, window, horizon, method=method, season=season, settings=settings)
    print("root mean squared error one step ahead on the last third:", file=sys.stderr)
    for who, error in found.errors.items():
        print(f"  {error:10.4g}  {who}", file=sys.stderr)
    if output is not None:
        from sequences.figures import draw_forecast

        with replace_file(output) as temporary:
            draw_forecast(series, found, name).savefig(temporary, dpi=110, format="png")
    _print_forecast(name, found.values.tolist(), format)


@app.command()
def evaluate(
    test: Annotated[Path, typer.Argument(help="Examples in the layout that `train` reads.")],
    model: Annotated[str, typer.Option(help=MODEL_HELP)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    learned: Annotated[
        Path | None,
        typer.Option(
            "--train",
            help="Pairs that a translator learned from, for a baseline that repeats the translation"
            " of the nearest one.",
        ),
    ] = None,
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Resamples for the intervals; 0 leaves them out.")
    ] = 1000,
    beam_size: BeamSize = 5,
    source_column: SourceColumn = 1,
    target_column: TargetColumn = 2,
    device: DeviceOption = "cpu",
) -> None:
    """Score a model on examples, beside what needs no network."""
    from sequences.evaluation import report
    from sequences.load import load_model
    from sequences.tagger import Tagger
    from sequences.translator import Translator

    loaded = load_model(model, device=device)
    if isinstance(loaded, Translator):
        columns = {"source": source_column, "target": target_column}
        pairs = read_pairs(test, **columns)
        known = read_pairs(learned, **columns) if learned else []
        found = report.evaluate_translator(
            loaded, pairs, learned=known, beam_size=beam_size, bootstrap=bootstrap
        )
    elif isinstance(loaded, Tagger):
        found = report.evaluate_tagger(loaded, read_tagged(test), bootstrap=bootstrap)
    else:
        found = report.evaluate_classifier(loaded, read_labelled(test), bootstrap=bootstrap)
    if as_json:
        print(json.dumps(found.as_json(), indent=1))
    else:
        _print_scores(found)


@app.command()
def inspect(
    text: Annotated[str, typer.Argument(help="The sentence to look at.")],
    model: Annotated[str, typer.Option(help=MODEL_HELP)],
    output: Annotated[Path, typer.Option(help="Folder for the figures.")],
    device: DeviceOption = "cpu",
) -> None:
    """Draw what happens inside: what each word did to the label, the tags and their probabilities,
    or where a translation looked.
    """
    from rnnkit.files import replace_file
    from sequences import figures
    from sequences.load import load_model
    from sequences.tagger import Tagger
    from sequences.translator import Translator

    loaded = load_model(model, device=device)
    if len(text.split()) > MAX_INSPECTED:
        raise UserError(f"the text must have up to {MAX_INSPECTED} words, not {len(text.split())}")
    if isinstance(loaded, Translator):
        best = loaded.candidates([text], 1, with_attention=True)[0][0]
        drawn = {"attention": figures.draw_attention(best)}
    elif isinstance(loaded, Tagger):
        drawn = {"tags": figures.draw_tags(loaded.tag(text))}
    else:
        label = loaded.classify(text).label
        drawn = {
            "reading": figures.draw_reading(loaded.as_read(text)),
            "effects": figures.draw_effects(loaded.effects(text, label), label),
        }
    output.mkdir(parents=True, exist_ok=True)
    for name, figure in drawn.items():
        path = output / f"{name}.png"
        with replace_file(path) as temporary:
            figure.savefig(temporary, dpi=110, format="png")
        print(path)


@app.command()
def neighbours(
    word: Annotated[str, typer.Argument(help="A word that the model has seen often enough.")],
    model: Annotated[str, typer.Option(help=MODEL_HELP)],
    count: Annotated[int, typer.Option(min=1, help="How many words to print.")] = 10,
) -> None:
    """Print the words whose embeddings are most alike: word and cosine, a line a word."""
    from sequences.load import load_model

    for other, cosine in load_model(model).neighbours(word, count):
        print(f"{other}\t{cosine:.4f}")


@train.callback()
def train_help() -> None:
    """Train a network on your own examples."""


@train.command("classify")
@with_flags(ClassifyConfig)
def train_classify(
    train_file: Annotated[
        Path, typer.Argument(metavar="TRAIN", help="TSV with the columns label and text.")
    ],
    dev: Dev,
    output: Output,
    resume: Resume = False,
    config: Config = None,
    device: DeviceOption = "auto",
    **flags: Any,
) -> None:
    """Train a classifier: a text to a label."""
    from rnnkit.devices import resolve_device
    from sequences.training.start import train_classifier

    settings = _settings(ClassifyConfig, output, config, flags, resume)
    _leave_after(
        train_classifier(
            train_file,
            dev,
            output,
            settings,
            device=resolve_device(device),
            resume=resume,
            console=_console(),
        )
    )


@train.command("tag")
@with_flags(TagConfig)
def train_tag(
    train_file: Annotated[
        Path,
        typer.Argument(
            metavar="TRAIN",
            help="Lines of a word, a tab and its tag; a blank line after each sentence.",
        ),
    ],
    dev: Dev,
    output: Output,
    resume: Resume = False,
    config: Config = None,
    device: DeviceOption = "auto",
    **flags: Any,
) -> None:
    """Train a tagger: a tag for each word."""
    from rnnkit.devices import resolve_device
    from sequences.training.start import train_tagger

    settings = _settings(TagConfig, output, config, flags, resume)
    _leave_after(
        train_tagger(
            train_file,
            dev,
            output,
            settings,
            device=resolve_device(device),
            resume=resume,
            console=_console(),
        )
    )


@train.command("translate")
@with_flags(TranslateConfig)
def train_translate(
    train_file: Annotated[
        Path, typer.Argument(metavar="TRAIN", help="TSV without a header: a text, its translation.")
    ],
    dev: Dev,
    output: Output,
    source_column: SourceColumn = 1,
    target_column: TargetColumn = 2,
    resume: Resume = False,
    config: Config = None,
    device: DeviceOption = "auto",
    **flags: Any,
) -> None:
    """Train a translator: a sentence to a sentence."""
    from rnnkit.devices import resolve_device
    from sequences.training.start import train_translator

    settings = _settings(TranslateConfig, output, config, flags, resume)
    _leave_after(
        train_translator(
            train_file,
            dev,
            output,
            settings,
            columns=(source_column, target_column),
            device=resolve_device(device),
            resume=resume,
            console=_console(),
        )
    )


def check_format(format: str, known: tuple[str, ...] = ("tsv", "jsonl")) -> None:
    """Raises: UserError for a format that a command does not write."""
    if format not in known:
        raise UserError(f"--format must be {either(known)}, not '{format}'")


def one_line(text: str) -> str:
    """A text without tabs and line ends, for a row."""
    return " ".join(text.split())


def print_rows(
    chunks: Iterator[list[str]],
    rows: Callable[[list[str]], list[Row]],
    format: str,
    *,
    failed: str | None = None,
    doubt: Callable[[str], str] = lambda _: "",
) -> None:
    """Print a row for each text, and leave with 1 if some failed, each of which is named.

    Args:
        rows: of a chunk; if that fails, of its texts one by one.
        failed: what stands in the place of a text that failed; None is nothing.
        doubt: why the row of a text is not to be trusted, said on stderr; "" for no reason.
    """
    number, failures = 0, 0
    for chunk in chunks:
        for text, row in zip(chunk, _rows_or_errors(chunk, rows), strict=True):
            number += 1
            if isinstance(row, UserError):
                failures += 1
                print(f"text {number}: {row}", file=sys.stderr)
                if format == "jsonl":
                    print_json({"text": text, "status": "error", "error": row.message})
                elif failed is not None:
                    print(failed)
                continue
            if why := doubt(text):
                print(f"text {number}: {why}", file=sys.stderr)
            if format == "jsonl":
                print_json({"text": text, **row[1], "status": "ok"})
            else:
                print(row[0])
        sys.stdout.flush()
    if failures:
        sys.exit(SOME_FAILED)


def print_json(fields: dict[str, Any]) -> None:
    """One line of JSON, readable in any script."""
    print(json.dumps(fields, ensure_ascii=False))


def _rows_or_errors(
    chunk: list[str], rows: Callable[[list[str]], list[Row]]
) -> list[Row | UserError]:
    try:
        return list(rows(chunk))
    except UserError as error:
        if len(chunk) == 1:
            return [error]
        return [row for text in chunk for row in _rows_or_errors([text], rows)]


def _print_scores(found: Evaluation) -> None:
    print(f"{found.examples:,} {'example' if found.examples == 1 else 'examples'}")
    for name, value in found.values.items():
        ends = ""
        if name in found.intervals:
            low, high = found.intervals[name]
            ends = f"  [{100 * low:.2f}, {100 * high:.2f}]"
        print(f"{name:<18} {100 * value:6.2f}{ends}")
    for who, values in found.baselines.items():
        for name, value in values.items():
            print(f"{name:<18} {100 * value:6.2f}  {who}")


def _print_forecast(name: str, values: Sequence[float], format: str) -> None:
    if format == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["step", name])
        writer.writerows([step, f"{value:.6g}"] for step, value in enumerate(values, 1))
        return
    for step, value in enumerate(values, 1):
        print_json({"step": step, "value": value})


def _settings(
    kind: type[C], output: Path, config: Path | None, flags: dict[str, Any], resume: bool
) -> C:
    from rnnkit.runs import RunFolder, run_settings
    from sequences.model import KIND

    return run_settings(kind, RunFolder(output, KIND), config, flags, resume=resume)


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True)


def _leave_after(finished: bool) -> None:
    sys.exit(ALL_DONE if finished else INTERRUPTED)


def main() -> None:
    """The console command."""
    run_app("sequences", app)


if __name__ == "__main__":
    main()
