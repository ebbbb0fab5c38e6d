"""Records what this version answers, to the bit, so that two versions can be compared.

    python scripts/record_answers.py record PHOTOS TEXT --output before.json    # with one version
    python scripts/record_answers.py record PHOTOS TEXT --output after.json     # with the other
    python scripts/record_answers.py compare before.json after.json

For each photo in the folder PHOTOS: captions, scores and attention at beam 1, 3 and 5, with three
candidates, and sampled with a seed, by each backend. Also 20 sampled texts, and the language
model's scores of the file TEXT.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from captioner import Caption, Captioner
from captioner.data.images import ImageError
from captioner.jobs.find_photos import find_photos
from charlm import CharLM
from charlm.data import read_text
from charlm.evaluation import evaluate
from rnnkit.command_line import run_app
from rnnkit.errors import SOME_FAILED

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def record(
    photos: Annotated[Path, typer.Argument(help="Folder of photos.")],
    text: Annotated[Path, typer.Argument(help="UTF-8 text for the language model to score.")],
    output: Annotated[Path, typer.Option(help="JSON file to write.")],
    most: Annotated[int, typer.Option(help="Photos to caption at most.")] = 300,
) -> None:
    """Write down the answers of this version."""
    paths = list(find_photos([str(photos)]))[:most]
    answers: dict[str, Any] = {}
    for backend in ("openvino", "torch"):
        captioner = Captioner.load(device="cpu", backend=backend)
        for path in paths:
            answers[f"{backend} {path.name}"] = _captions(captioner, path)
    lm = CharLM.load()
    for seed in range(5):
        for prompt in ("ROMEO:", ""):
            for precision in ("int8", "float32"):
                pieces = lm.sample(
                    prompt, length=400, temperature=0.8, top_p=0.95, seed=seed, precision=precision
                )
                answers[f"text {prompt!r} {seed} {precision}"] = "".join(pieces)
    scores = evaluate(lm.network, lm.vocabulary.encode(read_text(text), unknown="skip"))
    answers["scores"] = {name: score.as_json() for name, score in scores.items()}
    output.write_text(json.dumps(answers, indent=1), encoding="utf-8")
    print(f"{len(answers)} answers")


@app.command()
def compare(before: Path, after: Path) -> None:
    """Name the answers that differ; exit with 1 if any do."""
    first, second = (json.loads(file.read_text(encoding="utf-8")) for file in (before, after))
    keys = sorted(first.keys() | second.keys())
    differing = [key for key in keys if first.get(key) != second.get(key)]
    for key in differing[:20]:
        print(f"{key}\n  {first.get(key)}\n  {second.get(key)}")
    print(f"{len(differing)} of {len(keys)} answers differ")
    if differing:
        raise typer.Exit(SOME_FAILED)


def _captions(captioner: Captioner, photo: Path) -> dict[str, Any]:
    try:
        return {
            "beam 1": _exactly(captioner.caption(photo, beam_size=1)),
            "beam 3": _exactly(captioner.caption(photo, attention=True)),
            "beam 5": _exactly(captioner.caption(photo, beam_size=5)),
            "candidates": [_exactly(caption) for caption in captioner.candidates(photo, 3)],
            "sampled": _exactly(captioner.caption(photo, sample=True, temperature=0.8, seed=7)),
        }
    except ImageError as error:
        return {"error": error.reason}


def _exactly(caption: Caption) -> list[Any]:
    """A caption with its numbers to the last bit."""
    attention = caption.attention
    digest = None if attention is None else hashlib.sha256(attention.tobytes()).hexdigest()
    return [caption.text, caption.score.hex(), caption.log_prob.hex(), *caption.words, digest]


if __name__ == "__main__":
    run_app("record_answers", app)
