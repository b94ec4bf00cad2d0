"""The rules of the house, read from its source: who may import whom, what is imported when, what is not written."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import tinygrad_lstm

HOUSE = Path(tinygrad_lstm.__file__).parent
ROOT = HOUSE.parent

# A room imports from lower floors only. docs/design.md says what lives in each.
FLOORS = [
    {"errors"},
    {"graph", "threads", "vectormath", "gemm", "atomics", "files"},
    {"ops", "notation", "trace", "kernels"},
    {"autodiff", "team"},
    {"codegen", "plan"},
    {"tensor", "loops", "interpret"},
    {"functions", "fuse", "gradients", "program"},
    {"cell"},
    {"cells", "execute"},
    {"scan", "init", "optim"},
    {"nn"},
    {"checkpoint", "data", "drawing", "inspection", "onnx", "interop", "parallel"},
    {"train", "plot"},
    {"demo"},
    {"cli"},
    {"__init__", "__main__"},
]
FLOOR = {room: k for k, rooms in enumerate(FLOORS) for room in rooms}
NUMBA = {"kernels", "vectormath", "gemm", "atomics"}  # may import numba
LATE = {"vectormath", "gemm", "atomics"}  # import numba as they are imported, hence may be imported within a function


def modules():
    """Dotted name within the house -> (path, syntax tree)."""
    found = {}
    for path in sorted(HOUSE.rglob("*.py")):
        parts = path.relative_to(HOUSE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        found[name] = (path, ast.parse(path.read_text(encoding="utf-8")))
    return found


MODULES = modules()


def imports(name):
    """(module of the house or None, module outside or None, names, within a function, line) of every import."""
    path, tree = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" and name != "__init__" else name.split(".")[:-1]

    def visit(node, inside):
        for child in ast.iter_child_nodes(node):
            deeper = inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield None, alias.name, [], inside, child.lineno
            elif isinstance(child, ast.ImportFrom):
                names = [alias.name for alias in child.names]
                if not child.level:
                    yield None, child.module, names, inside, child.lineno
                    continue
                base = package[: len(package) - child.level + 1]
                target = [*base, *(child.module or "").split(".")] if child.module else base
                for each in names:
                    full = ".".join([*target, each])
                    yield (
                        (full if full in MODULES else ".".join(target) or "__init__"),
                        None,
                        [each],
                        inside,
                        child.lineno,
                    )
            yield from visit(child, deeper)

    return list(visit(tree, False))


def room(module):
    return module.split(".")[0]


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_downward(name):
    assert room(name) in FLOOR, f"give the room {room(name)!r} a floor here, and a line in docs/design.md"
    for target, outside, _, _, line in imports(name):
        assert outside is None or outside.split(".")[0] != "tinygrad_lstm", (
            f"{name}:{line} imports the house by its full name"
        )
        if target is not None and room(target) != room(name):
            assert FLOOR[room(target)] < FLOOR[room(name)], f"{name}:{line} imports {target}, which is not below it"


def test_the_floors_are_those_of_the_design():
    """docs/design.md shows the rooms that exist, on the floors they are on here."""
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", (ROOT / "docs" / "design.md").read_text(encoding="utf-8"), re.M)
    shown = {room: int(floor) for floor, rooms in rows for room in re.findall(r"`(\w+)`", rooms)}
    rooms = {room(name) for name in MODULES} - {"__init__", "__main__"}
    assert shown == {name: FLOOR[name] for name in rooms}


def test_no_circles_within_a_room():
    needs = {name: {t for t, *_ in imports(name) if t and t != name} for name in MODULES}
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise AssertionError(f"imports in a circle: {error.args[1]}") from None
    assert set(order) >= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_own_imports_stand_at_the_top(name):
    for target, _, _, inside, line in imports(name):
        if inside and target is not None:
            assert room(target) in LATE, f"{name}:{line} imports {target} within a function"


@pytest.mark.parametrize("name", MODULES)
def test_numba_stays_in_its_rooms(name):
    for _, outside, _, inside, line in imports(name):
        if outside and outside.split(".")[0] in ("numba", "llvmlite"):
            assert room(name) in NUMBA, f"{name}:{line} imports {outside}"
            assert inside or room(name) in LATE, f"{name}:{line} imports {outside} before it is needed"


@pytest.mark.parametrize("name", [n for n in MODULES if room(n) == "drawing"])
def test_pictures_know_graphs_not_layers(name):
    for target, *_ in imports(name):
        assert target is None or room(target) == "drawing" or FLOOR[room(target)] <= FLOOR["ops"], target


def sources():
    return sorted(p for folder in ("tinygrad_lstm", "tests", "examples") for p in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_star_imports_and_nothing_left_to_do(path):
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            assert all(alias.name != "*" for alias in node.names), f"line {node.lineno}: star import"
        if isinstance(node, ast.Name):
            assert node.id != "NotImplemented" + "Error", f"line {node.lineno}"
        if isinstance(node, ast.ExceptHandler) and isinstance(node.type, ast.Name) and node.type.id == "ImportError":
            assert not all(isinstance(step, ast.Pass) for step in node.body), (
                f"line {node.lineno}: a silent optional import"
            )
    left = re.search("TO" + "DO|FIX" + "ME|XX" + "X", text)
    assert left is None, left


def written():
    """Every text that is handed out."""
    kinds = {".py", ".md", ".toml", ".svg", ".html", ".txt", ".yml", ".ipynb", ".cfg", ""}
    for folder in ("tinygrad_lstm", "tests", "examples", "docs", ".ci"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in kinds and "__pycache__" not in path.parts:
                yield path
    yield from (p for p in (ROOT / "README.md", ROOT / "pyproject.toml", ROOT / "LICENSE") if p.exists())


def test_no_paths_of_somebodys_machine():
    folders = "|".join(["work", "root", "opt", "home", "tmp", "mnt", "Users", "srv"])
    place = re.compile(rf"(?<![\w.<*\\])/(?:{folders})/\w|[A-Z]:\\\\?Users|localhost[:/]")
    for path in written():
        found = place.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path.relative_to(ROOT)}: {found}"


def test_importing_is_cheap():
    """Numba, Graphviz and the like are imported when they are first needed."""
    heavy = ["numba", "llvmlite", "graphviz", "matplotlib", "torch", "onnx", "scipy", "IPython", "hypothesis", "pytest", "h5py"]
    code = f"import sys, tinygrad_lstm; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_documented():
    undocumented = []
    for name in tinygrad_lstm.__all__:
        thing = getattr(tinygrad_lstm, name)
        if callable(thing) and not (thing.__doc__ or "").strip():
            undocumented.append(name)
    assert undocumented == []


def test_the_version_is_said_once():
    text = (ROOT / "pyproject.toml").read_text()
    assert re.search(r'^version = "(.*)"$', text, re.M)[1] == tinygrad_lstm.__version__
