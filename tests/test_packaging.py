"""What a user of the installed packages and a reader of the documents rely on."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import pytest

import captioner
import charlm
import rnnkit
import sequences

ROOT = Path(rnnkit.__file__).parents[1]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name / "pretrained" / "README.md" for name in ("captioner", "charlm", "sequences")),
]
# A path in backticks, such as `captioner/cli.py`.
PATHS = re.compile(r"`((?:captioner|charlm|docs|rnnkit|scripts|sequences|tests|webui)/[\w./-]*)`")
LINKS = re.compile(r"\]\((?!https?://|#)([^)#]+)")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCE = PROJECT["urls"]["Source"].removeprefix("https://github.com/")
# A link to a file of this repository, as a page outside of it needs it.
OWN_LINKS = re.compile(
    rf"https://(?:github\.com/{SOURCE}/(?:blob|tree)|raw\.githubusercontent\.com/{SOURCE})"
    r"/main/([^)#\s]+)"
)

USER = """
from collections.abc import Iterator
from typing import assert_type

from captioner import Caption, Captioner
from charlm import CharLM
from sequences import Classification, Classifier, TaggedWord, Tagger, Translation, Translator
from torch import Tensor

captioner = Captioner.load()
assert_type(captioner.caption("dog.jpg"), Caption)
assert_type(captioner.caption("dog.jpg").text, str)
assert_type(captioner.caption(["a.jpg", "b.jpg"]), list[Caption])
assert_type(captioner.caption_batch(["a.jpg", "b.jpg"]), list[Caption])
assert_type(captioner.candidates("dog.jpg", 3), list[Caption])
lm = CharLM.load()
assert_type(lm.sample("ROMEO:"), Iterator[str])
assert_type(lm.log_probs("to be"), Tensor)
assert_type(Classifier.load("sentiment").classify("fine"), Classification)
assert_type(Tagger.load("pos").tag("fine"), list[TaggedWord])
assert_type(Translator.load("runs/mine").translate_batch(["fine"]), list[Translation])
"""


@pytest.mark.slow
def test_mypy_strict_knows_what_the_public_functions_return(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy, of the test extra, is not installed")
    (tmp_path / "user.py").write_text(USER, encoding="utf-8")
    # Follows imports silently, as it does those of installed packages: only the user's own lines
    # are reported. The empty configuration keeps out one of the machine's.
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nmypy_path = {ROOT}\n", encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports", "silent", "user.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", ["captioner", "charlm", "rnnkit", "sequences", "webui"])
def test_type_checkers_are_invited_to_read_the_package(package: str) -> None:
    assert (files(package) / "py.typed").is_file()


def test_the_version_is_the_same_everywhere() -> None:
    installed = version(PROJECT["name"])
    assert captioner.__version__ == charlm.__version__ == sequences.__version__ == installed
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {PROJECT['version']}\n" in citation
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## [{PROJECT['version']}] - " in changelog


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_a_document_names_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    named = [ROOT / path for path in PATHS.findall(text)]
    linked = [document.parent / path for path in LINKS.findall(text)]
    linked += [ROOT / path for path in OWN_LINKS.findall(text)]
    assert [str(path) for path in (*named, *linked) if not path.exists()] == []


def test_the_readmes_links_and_images_work_on_a_package_index() -> None:
    text = (ROOT / PROJECT["readme"]).read_text(encoding="utf-8")
    targets = dict(re.findall(r"^\[([^]]+)\]: (\S+)$", text, re.MULTILINE))
    assert LINKS.findall(text) == [] and len(targets) > 10
    assert all(target.startswith("https://") for target in targets.values())
    used = re.findall(r"\]\[([^]]+)\]|\[([\w/]+\.\w+)\](?![\[(:])", text)
    assert {long or short for long, short in used} | {"NOTICE"} == targets.keys()
    images = re.findall(r"!\[[^]]*\]\[(\S+?)\]", text)
    assert images and all(targets[image].startswith("https://raw.") for image in images)
