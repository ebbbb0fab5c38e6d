"""What a user of the installed packages and a reader of the documents rely on."""

from __future__ import annotations

import re
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
