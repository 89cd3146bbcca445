"""The house: which package may import which, no circles, no loose files, no crowded packages, tests beside what they test.

To let a package import another one, add it to the package's line in `ALLOWED`, if the arrow does not run back up.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MOST_FILES = 12
"""Files of a package, `__init__.py` apart."""


def _of(package: str, names: str) -> set[str]:
    return {f"{package}.{name}" for name in names.split()}


_SHARED = _of("atlas", "clip recolour maps geometry storage options system errors")
_STAGES = _of("atlas", "preparation fitting nla rendering evaluation sample")
_ATLAS = _STAGES | _SHARED | _of("atlas", "painting video weights masks masks.depth model metrics quality")
_EDIT = _of("edit", "prompts request recipes models diffusion strategies deflicker tuning controls sampling all_frames") | _of(
    "edit", "editors record questions"
)
_AGGREGATE = _of("aggregate", "stack averages windows match network partials merging keyframes lighting repainted stage")
_ALL = _ATLAS | _EDIT | {"edit.stage"} | _AGGREGATE

ALLOWED: dict[str, set[str]] = {
    "atlas.errors": set(),
    "atlas.geometry": set(),
    "atlas.storage": _of("atlas", "errors"),
    "atlas.system": _of("atlas", "storage errors"),
    "atlas.options": _of("atlas", "system errors"),
    "atlas.video": _of("atlas", "storage errors"),
    "atlas.weights": _of("atlas", "storage errors"),
    "atlas.clip": _of("atlas", "video storage system errors"),
    "atlas.masks.depth": set(),
    "atlas.masks": _of("atlas", "masks.depth weights clip video geometry system storage errors"),
    "atlas.maps": _of("atlas", "clip geometry system storage errors"),
    "atlas.recolour": _of("atlas", "maps clip video geometry storage errors"),
    "atlas.model": _of("atlas", "masks.depth geometry storage errors"),
    "atlas.metrics": _of("atlas", "weights maps geometry system storage errors"),
    "atlas.quality": _of("atlas", "metrics maps clip video geometry system storage errors"),
    "atlas.preparation": _of("atlas", "masks clip video geometry system storage errors"),
    "atlas.sample": _of("atlas", "maps clip geometry system storage errors"),
    "atlas.rendering": _of("atlas", "options model recolour maps masks masks.depth clip video geometry system storage errors"),
    "atlas.painting": _of("atlas", "rendering recolour maps clip geometry storage errors"),
    "atlas.nla": _of("atlas", "quality model metrics maps masks masks.depth clip video geometry system storage errors"),
    "atlas.fitting": _of("atlas", "options nla quality model maps masks masks.depth clip video geometry system storage errors"),
    "atlas.evaluation": _of(
        "atlas", "options rendering recolour quality metrics weights maps clip video system storage errors"
    ),
    "atlas.api": _STAGES | _SHARED,
    "atlas": _of("atlas", "api clip errors"),  # its face: what others import from Python
    "edit.request": {"edit.prompts"} | _of("atlas", "clip maps system errors"),
    "edit.recipes": {"edit.tuning"} | _of("atlas", "errors"),
    "edit.controls": _of("edit", "request") | _of("atlas", "weights maps clip video geometry storage system errors"),
    "edit.models": _of("edit", "request") | _of("atlas", "weights storage system errors"),
    "edit.prompts": _of("atlas", "system errors"),
    "edit.diffusion": _of("edit", "models prompts request controls") | _of("atlas", "weights video storage system errors"),
    "edit.strategies": _of("edit", "diffusion") | _of("atlas", "maps geometry"),
    "edit.deflicker": _of("edit", "record request") | _of("atlas", "rendering maps clip geometry storage system errors"),
    "edit.tuning": _of("edit", "strategies diffusion models request")
    | _of("atlas", "weights maps clip geometry storage system errors"),
    "edit.sampling": _of("edit", "recipes tuning diffusion") | _of("atlas", "maps geometry storage system errors"),
    "edit.all_frames": _of("edit", "sampling recipes tuning deflicker strategies diffusion controls request")
    | _of("atlas", "maps clip video geometry storage system errors"),
    "edit.editors": _of("edit", "all_frames recipes strategies diffusion controls request")
    | _of("atlas", "clip maps geometry video storage system errors"),
    "edit.record": _of("edit", "request") | _of("atlas", "clip errors storage"),
    "edit.questions": _of("edit", "editors"),
    "edit.stage": _EDIT | _SHARED,
    "edit.api": _of("edit", "deflicker editors stage") | {"atlas.api"} | _SHARED,
    "edit": {"atlas", "edit.api"},
    "aggregate.stack": _SHARED,
    "aggregate.averages": _of("aggregate", "stack") | _SHARED,
    "aggregate.match": _of("aggregate", "stack") | _SHARED,
    "aggregate.lighting": _of("aggregate", "stack") | _SHARED,
    "aggregate.partials": _of("aggregate", "match stack") | _SHARED,
    "aggregate.windows": _of("aggregate", "averages stack") | _SHARED,
    "aggregate.repainted": _SHARED,
    "aggregate.change": _of("aggregate", "stack") | _SHARED,
    "aggregate.keyframes": _of("aggregate", "change repainted stack windows") | _SHARED,
    "aggregate.network": _of("aggregate", "averages windows stack") | _SHARED,
    "aggregate.merging": _of("aggregate", "match network averages windows partials") | _SHARED,
    "aggregate.stage": _of("aggregate", "change keyframes merging network lighting partials stack windows") | _SHARED,
    "aggregate.api": {"aggregate.stage", "atlas.api", "atlas.clip"},
    "aggregate": {"atlas", "aggregate.api"},
    "scripts.pipeline": _ALL,
    "scripts.jobs": _of("atlas", "storage system errors"),
    "scripts.plans": {"scripts.jobs"} | _ALL,
    "scripts.batches": _of("scripts", "plans jobs") | _ALL,
    "scripts.sweeps": _of("scripts", "batches plans jobs") | _ALL,
    "scripts.comfyui": {"atlas", "aggregate", "edit"} | _ALL,
    "scripts.benchmarks": _of("scripts", "batches plans jobs") | _ALL,
    "scripts.webapp": {"scripts.jobs"} | _ALL,
    "scripts": _of("scripts", "pipeline jobs plans batches sweeps comfyui benchmarks webapp") | _ALL,  # the commands
}
"""For each package (of edit and aggregate: each file too) what it may import. A package's own line covers those below it."""
ABOVE = ("edit", "aggregate", "scripts")
PACKAGES = ("atlas", *ABOVE)
LOOSE = {"__init__.py", "errors.py"}  # what may lie in atlas/ itself
_HOLD_STATEMENTS = (ast.stmt, ast.ExceptHandler, ast.match_case)


@cache
def modules(root: Path) -> dict[str, tuple[str, ast.Module]]:
    """The packages' modules by name, as text and parsed; a package is the module of its `__init__.py`."""
    paths = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    names = [".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    texts = [path.read_text(encoding="utf-8") for path in paths]
    return {name: (text, ast.parse(text)) for name, text in zip(names, texts, strict=True)}


@cache
def imports(root: Path, module: str, *, when_loaded: bool = False) -> set[str]:
    """The project's modules that a module imports anywhere, or (`when_loaded`) only while it is being loaded."""
    known, names = modules(root), set[str]()
    for node in _statements(known[module][1], into_functions=not when_loaded):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports from {'.' * node.level}: write the package's whole name"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} & known.keys() or {str(node.module)}
    return {name for name in names if name.split(".")[0] in PACKAGES} - {module}


def _statements(tree: ast.AST, *, into_functions: bool) -> Iterator[ast.AST]:
    """All statements below a node; without what functions do when they are called and what type checkers alone read."""
    left = [tree]
    while left:
        node = left.pop()
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        later = later or (isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"))
        if into_functions or not later:
            yield node
            left += [child for child in ast.iter_child_nodes(node) if isinstance(child, _HOLD_STATEMENTS)]


def unit(module: str) -> str:
    """The line of the table that a module comes under: the longest name that it begins with."""
    while module and module not in ALLOWED:
        module = module.rpartition(".")[0]
    return module


def forbidden_imports(root: Path) -> list[str]:
    """Imports that are not in the table."""
    edges = [(module, target) for module in modules(root) for target in sorted(imports(root, module))]
    return [
        f"{module} imports {target}, which is not on the line of {unit(module)} in ALLOWED: move what is needed down to both"
        for module, target in edges
        if unit(module) != unit(target) and unit(target) not in ALLOWED[unit(module)]
    ]


def circles(root: Path) -> list[str]:
    """A circle of packages by whatever they import, and one of modules by what they import while being loaded."""
    by_module = {module: imports(root, module, when_loaded=True) for module in modules(root)}
    by_package: dict[str, set[str]] = {}
    for module in modules(root):
        by_package.setdefault(unit(module), set()).update(unit(name) for name in imports(root, module))
    found = [circle({unit: targets - {unit} for unit, targets in by_package.items()}), circle(by_module)]
    return [
        f"{' -> '.join(names)}: they import each other in a circle; move what both need to a third" for names in found if names
    ]


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Names along a circle of a graph, the first again at the end; empty where there is none."""
    done: set[str] = set()

    def search(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        done.add(name)
        return next((names for target in sorted(edges.get(name, ())) if (names := search(target, [*path, name]))), [])

    return next((names for name in sorted(edges) if (names := search(name, []))), [])


def loose_files(root: Path) -> list[str]:
    """Files that lie in atlas/ itself."""
    return [
        f"{path.relative_to(root)} lies loose in atlas/: put it into the package of its stage or its thing"
        for path in sorted((root / "atlas").glob("*.py"))
        if path.name not in LOOSE
    ]


def unlisted_packages(root: Path) -> list[str]:
    """Packages that would come under the line of a whole top-level package, which is that of its face."""
    return [
        f"{name} has no line in ALLOWED: say what the new package may import, and who may import it"
        for name in modules(root)
        if unit(name) in PACKAGES and name not in PACKAGES and (root.joinpath(*name.split(".")) / "__init__.py").is_file()
    ]


def unexplained_packages(root: Path) -> list[str]:
    """Folders of modules that do not say what lives there, or hold too many files. The commands in scripts/ are no package."""
    problems = []
    for folder in sorted({path.parent for name in PACKAGES for path in (root / name).rglob("*.py")} - {root / "scripts"}):
        name, count = ".".join(folder.relative_to(root).parts), len([*folder.glob("*.py")]) - 1
        if name not in modules(root) or not ast.get_docstring(modules(root)[name][1]):
            problems.append(
                f"{name} does not say what lives there: give it an __init__.py with a docstring of two or three lines"
            )
        if count > MOST_FILES:
            problems.append(
                f"{name} holds {count} files, at most {MOST_FILES} are easy to know: divide it by what belongs together"
            )
    return problems


def modules_named_by_string(root: Path) -> list[str]:
    """Strings in atlas/ that are the name of a module above it."""
    return [
        f"{module} names {node.value!r} in a string: atlas/ knows nothing of what stands above it; let the caller hand it over"
        for module, (text, tree) in modules(root).items()
        if module.startswith("atlas") and re.search(r"[\"'](edit|aggregate|scripts)(\.\w+)+[\"']", text)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and str(node.value).partition(".")[0] in ABOVE and node.value in modules(root)
        if "." in str(node.value)  # "edit" alone is a word
    ]


def homeless_tests(root: Path) -> list[str]:
    """Tests in a folder that is no package's."""
    folders = {path.parent.relative_to(root / "tests") for path in (root / "tests").rglob("test_*.py")}
    return [
        f"tests/{folder.as_posix()} tests a package that is not there: tests/ mirrors the packages, move its files"
        for folder in sorted(folders)
        if folder.parts and not any((root / folder).glob("*.py"))
    ]


CHECKS = (
    forbidden_imports,
    circles,
    loose_files,
    unlisted_packages,
    unexplained_packages,
    modules_named_by_string,
    homeless_tests,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_house(check: Callable[[Path], list[str]]) -> None:
    assert not (problems := check(ROOT)), "\n" + "\n".join(problems)


def test_the_table() -> None:
    assert not circle(ALLOWED), "ALLOWED itself runs in a circle"
    assert set().union(*ALLOWED.values()) <= ALLOWED.keys(), "each package that may be imported has a line of its own"


GOOD = {
    "atlas/__init__.py": '"""Face."""\ndef __getattr__(name):\n    import atlas.clip.clip\n',
    "atlas/errors.py": "",
    "atlas/clip/__init__.py": '"""Clip."""',
    "atlas/clip/clip.py": "from atlas.errors import UserError",
    "edit/__init__.py": '"""Edit."""\nimport atlas',
    "edit/stage.py": "from atlas.clip import clip",
    "scripts/edit.py": "from edit.stage import edit",
    "tests/atlas/clip/test_clip.py": "",
}
"""A small tree in which nothing is wrong."""


def _make(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_a_tree_in_which_nothing_is_wrong(tmp_path: Path) -> None:
    assert [problem for check in CHECKS for problem in check(_make(tmp_path, GOOD))] == []


@pytest.mark.parametrize(
    ("check", "files", "expected"),
    [
        (forbidden_imports, {"atlas/clip/a.py": "import edit.stage"}, "atlas.clip.a imports edit.stage, which is not on"),
        (forbidden_imports, {"atlas/clip/a.py": "def f():\n  from atlas.maps.maps import Maps"}, "imports atlas.maps.maps"),
        (forbidden_imports, {"edit/stage.py": "from scripts.pipeline import run"}, "edit.stage imports scripts.pipeline"),
        (
            forbidden_imports,
            {"edit/new.py": "import aggregate.stage"},
            "edit.new imports aggregate.stage, which is not on the line of edit",
        ),
        (
            circles,
            {"atlas/clip/a.py": "from atlas.clip import b", "atlas/clip/b.py": "import atlas.clip.a"},
            "atlas.clip.a -> ",
        ),
        (
            circles,
            {"atlas/clip/a.py": "def f():\n  import atlas.maps.b", "atlas/maps/b.py": "import atlas.clip.a"},
            "atlas.clip -> atlas.maps -> atlas.clip: they import each other",
        ),
        (loose_files, {"atlas/files.py": ""}, "atlas/files.py lies loose in atlas/: put it"),
        (unlisted_packages, {"atlas/new/__init__.py": '"""New."""'}, "atlas.new has no line in ALLOWED: say what"),
        (unexplained_packages, {"edit/new/a.py": ""}, "edit.new does not say what lives there: give it"),
        (unexplained_packages, {"edit/new/__init__.py": "import atlas"}, "edit.new does not say"),
        (unexplained_packages, {f"atlas/clip/a{number}.py": "" for number in range(12)}, "atlas.clip holds 13 files"),
        (modules_named_by_string, {"atlas/clip/a.py": "X = ('edit.stage',)"}, "atlas.clip.a names 'edit.stage' in a string: "),
        (homeless_tests, {"tests/atlas/none/test_a.py": ""}, "tests/atlas/none tests a package that is not there"),
    ],
)
def test_what_is_wrong_is_found(
    check: Callable[[Path], list[str]], files: dict[str, str], expected: str, tmp_path: Path
) -> None:
    problems = check(_make(tmp_path, GOOD | files))
    assert len(problems) == 1 and expected in problems[0]


def test_what_is_imported_later_makes_no_circle_of_modules(tmp_path: Path) -> None:
    late = {"atlas/clip/a.py": "from atlas.clip import b", "atlas/clip/b.py": "def f():\n  import atlas.clip.a"}
    assert circles(_make(tmp_path, GOOD | late)) == []
