"""Imports run one way, as docs/architecture.md says, and never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import rnnkit

ROOT = Path(rnnkit.__file__).parents[1]
# What each folder may import of the others. A new package gets a line.
MAY_IMPORT = {
    "rnnkit": set[str](),
    "captioner": {"rnnkit"},
    "charlm": {"rnnkit"},
    "sequences": {"rnnkit"},
    "webui": {"captioner", "charlm", "sequences", "rnnkit"},
    "scripts": {"captioner", "charlm", "sequences", "rnnkit"},
    "tests": {"captioner", "charlm", "sequences", "rnnkit", "scripts", "webui"},
}
Graph = dict[str, set[str]]


def import_graph(root: Path) -> Graph:
    """The imports of every Python file below a folder: wherever they are in the file, including
    under TYPE_CHECKING and inside functions.

    Returns: module -> modules, all of them files below the folder, by their dotted path.
    """
    files = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for folder in MAY_IMPORT
        for path in sorted((root / folder).rglob("*.py"))
    }
    graph: Graph = {}
    for module, path in files.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = {name for node in ast.walk(tree) for name in imported_names(node, package)}
        if not (path.parent / "__init__.py").exists():  # a script also sees its own folder
            named |= {f"{package}.{name}" for name in named}
        graph[module] = {found for name in named if (found := _module(name, files)) is not None}
    return graph


def imported_names(node: ast.AST, package: str) -> Iterator[str]:
    """The dotted names that a statement imports, or a call of `import_module` with a constant.

    Args:
        package: the package of the file, to which relative imports refer.
    """
    match node:
        case ast.Import(names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(source, names, level):
            above = package.split(".")[: len(package.split(".")) + 1 - (level or 0)]
            parts = [*(above if level else []), *([source] if source else [])]
            yield from (".".join([*parts, alias.name]) for alias in names)
        case ast.Call(
            ast.Name("import_module") | ast.Attribute(attr="import_module"),
            [ast.Constant(str(name)), *_],
        ):
            yield name


def _module(name: str, files: dict[str, Path]) -> str | None:
    """The file meant by a name: itself, or the one that a class or function is imported from."""
    for candidate in (name, name.rpartition(".")[0]):
        if candidate in files:
            return candidate
    return None


def forbidden_imports(graph: Graph) -> list[str]:
    """Imports that run against `MAY_IMPORT`, as "module imports module"."""
    return sorted(
        f"{module} imports {other}"
        for module, others in graph.items()
        for other in others
        if (folder := _top(other)) != _top(module) and folder not in MAY_IMPORT[_top(module)]
    )


def _top(module: str) -> str:
    return module.partition(".")[0]


def circle(graph: Graph) -> list[str]:
    """A circle of imports, from a module back to itself; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


# --- this repository ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graph() -> Graph:
    return import_graph(ROOT)


def test_imports_run_from_the_page_and_the_scripts_over_the_networks_to_what_they_share(
    graph: Graph,
) -> None:
    assert forbidden_imports(graph) == []


def test_no_files_import_each_other_in_a_circle(graph: Graph) -> None:
    assert circle(graph) == []


def test_the_walk_finds_imports_that_are_known_to_be_there(graph: Graph) -> None:
    assert {"captioner.captioner", "captioner.types"} <= graph["captioner"]
    assert "captioner.cli" in graph and "tests.test_architecture" in graph
    assert "rnnkit" in graph["tests.test_architecture"]
    assert len(graph) > 150


# --- the walk itself, on small trees -------------------------------------------------------------


def tree(root: Path, files: dict[str, str]) -> Graph:
    """The imports of some files, path -> text; every folder but scripts becomes a package."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if not name.startswith("scripts"):
            for folder in list(path.relative_to(root).parents)[:-1]:
                (root / folder / "__init__.py").touch()
    return import_graph(root)


@pytest.mark.parametrize(
    "text",
    [
        "import captioner.b",
        "import captioner.b as other",
        "from captioner import b",
        "from captioner.b import B",
        "from . import b",
        "from .b import B",
        "def f():\n    from captioner.b import B",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from captioner.b import B",
        "try:\n    import captioner.b\nexcept ImportError:\n    pass",
        "import importlib\nimportlib.import_module('captioner.b')",
    ],
)
def test_an_import_is_found_however_it_is_written(text: str, tmp_path: Path) -> None:
    graph = tree(tmp_path, {"captioner/a.py": text, "captioner/b.py": ""})
    assert graph["captioner.a"] == {"captioner.b"}


def test_relative_imports_reach_the_folders_above(tmp_path: Path) -> None:
    graph = tree(tmp_path, {"captioner/jobs/a.py": "from ..b import B", "captioner/b.py": ""})
    assert graph["captioner.jobs.a"] == {"captioner.b"}


def test_a_script_sees_the_files_of_its_own_folder(tmp_path: Path) -> None:
    graph = tree(tmp_path, {"scripts/speed/a.py": "from b import B", "scripts/speed/b.py": ""})
    assert graph["scripts.speed.a"] == {"scripts.speed.b"}


def test_what_is_not_of_the_repository_is_left_out(tmp_path: Path) -> None:
    graph = tree(tmp_path, {"captioner/a.py": "import os, torch.nn\nfrom PIL import Image"})
    assert graph == {"captioner": set(), "captioner.a": set()}


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("captioner", "charlm"),
        ("captioner", "sequences"),
        ("charlm", "captioner"),
        ("charlm", "sequences"),
        ("sequences", "captioner"),
        ("sequences", "charlm"),
        ("rnnkit", "captioner"),
        ("rnnkit", "charlm"),
        ("rnnkit", "sequences"),
        ("rnnkit", "webui"),
        ("captioner", "webui"),
        ("charlm", "webui"),
        ("captioner", "tests"),
        ("rnnkit", "tests"),
        ("webui", "tests"),
        ("scripts", "tests"),
        ("captioner", "scripts"),
        ("webui", "scripts"),
        ("scripts", "webui"),
    ],
)
def test_an_import_against_the_rule_is_reported(
    importer: str, imported: str, tmp_path: Path
) -> None:
    files = {f"{importer}/a.py": f"from {imported}.b import B", f"{imported}/b.py": ""}
    assert forbidden_imports(tree(tmp_path, files)) == [f"{importer}.a imports {imported}.b"]


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("captioner", "captioner"),
        ("captioner", "rnnkit"),
        ("charlm", "rnnkit"),
        ("webui", "captioner"),
        ("webui", "charlm"),
        ("scripts", "captioner"),
        ("tests", "webui"),
        ("tests", "tests"),
    ],
)
def test_an_import_with_the_rule_is_not_reported(
    importer: str, imported: str, tmp_path: Path
) -> None:
    files = {f"{importer}/a.py": f"from {imported}.b import B", f"{imported}/b.py": ""}
    graph = tree(tmp_path, files)
    assert graph[f"{importer}.a"] == {f"{imported}.b"} and forbidden_imports(graph) == []


@pytest.mark.parametrize(
    "files",
    [
        {"captioner/a.py": "import captioner.b", "captioner/b.py": "import captioner.a"},
        {"charlm/a.py": "from .b import B", "charlm/b.py": "def f():\n    from .a import A"},
        {
            "webui/a.py": "import webui.b",
            "webui/b.py": "import webui.c",
            "webui/c.py": "if TYPE_CHECKING:\n    from webui.a import A",
        },
        {"rnnkit/__init__.py": "from rnnkit.a import A", "rnnkit/a.py": "from rnnkit import A"},
        {"rnnkit/a.py": "import rnnkit.a"},
    ],
)
def test_a_circle_is_found(files: dict[str, str], tmp_path: Path) -> None:
    assert len(circle(tree(tmp_path, files))) > 1


def test_files_that_share_an_import_are_not_a_circle(tmp_path: Path) -> None:
    files = {
        "captioner/a.py": "import captioner.b, captioner.c",
        "captioner/b.py": "import captioner.c",
        "captioner/c.py": "",
    }
    assert circle(tree(tmp_path, files)) == []


# --- names ----------------------------------------------------------------------------------------


def repeated_classes(root: Path) -> list[str]:
    """Names of classes, without private ones, that stand in several files of the packages."""
    names = [
        node.name
        for folder in ("rnnkit", "captioner", "charlm", "sequences", "webui")
        for path in sorted((root / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    return sorted({name for name in names if names.count(name) > 1})


def test_no_two_classes_have_one_name() -> None:
    # Each package calls the settings of its training by the same name.
    assert repeated_classes(ROOT) == ["TrainingConfig"]


def test_a_repeated_class_is_reported(tmp_path: Path) -> None:
    tree(tmp_path, {"charlm/a.py": "class A: ...", "webui/b.py": "def f():\n    class A: ..."})
    assert repeated_classes(tmp_path) == ["A"]
