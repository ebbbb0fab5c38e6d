"""METEOR and SPICE, which exist only as Java programs: run through pycocoevalcap where all they need is installed, never approximated."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# With another locale the Java side writes decimal commas, which its Python side cannot read.
_LOCALE = "-Duser.language=en -Duser.country=US"


def java_scores(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> tuple[dict[str, float], dict[str, str]]:
    """METEOR and SPICE of tokenised captions, as fractions.

    Returns: scores by name; and for each metric that could not run the reason.
    """
    missing = _missing()
    scores: dict[str, float] = {}
    for name, module, kind in (("meteor", "meteor.meteor", "Meteor"), ("spice", "spice.spice", "Spice")):
        if name in missing:
            continue
        groups = {index: [" ".join(tokens) for tokens in group] for index, group in enumerate(references)}
        results = {index: [" ".join(tokens)] for index, tokens in enumerate(predictions)}
        try:
            scorer: Any = getattr(importlib.import_module(f"pycocoevalcap.{module}"), kind)()
            scores[name] = float(scorer.compute_score(groups, results)[0])
        except Exception as error:  # a Java program that died, in any of its ways
            missing[name] = f"its Java program failed ({' '.join(str(error).split())[:100] or type(error).__name__})"
    return scores, missing


def _missing() -> dict[str, str]:
    found = importlib.util.find_spec("pycocoevalcap")
    if found is None or not found.submodule_search_locations:
        return dict.fromkeys(("meteor", "spice"), "needs the extra: pip install show-and-spell[metrics]")
    if shutil.which("java") is None:
        return dict.fromkeys(("meteor", "spice"), "needs Java, which is not installed")
    options = os.environ.get("JAVA_TOOL_OPTIONS", "")
    if _LOCALE not in options:
        os.environ["JAVA_TOOL_OPTIONS"] = f"{options} {_LOCALE}".strip()
    package = Path(next(iter(found.submodule_search_locations)))
    if not list((package / "spice" / "lib").glob("stanford-corenlp-*.jar")):
        # pycocoevalcap would fetch 385 MB at this point; this program downloads nothing by itself.
        return {"spice": "needs Stanford CoreNLP in pycocoevalcap/spice/lib (python -m pycocoevalcap.spice.get_stanford_models fetches it)"}
    return {}
