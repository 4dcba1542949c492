"""The house: each room imports only from the rooms below it, and no module is too long."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "laperm_jax"
ROOMS = (  # from the ground up: each may import from those before it
    *("sync", "core", "initializers", "analysis", "codec"),
    *("lab/config", "lab/data", "lab/models", "lab/training", "lab/runs", "lab/inspection", "lab/experiments"),
    *("lab/benchmark", "lab/cli"),
)
MODULES = sorted(PACKAGE.rglob("*.py"))


def room(module):
    """The room of a dotted name below ``laperm_jax``."""
    parts = module.split(".")
    for name in ("/".join(parts[:2]), parts[0]):
        if name in ROOMS:
            return name
    return "core" if parts[0] != "lab" else None


def imports(path):
    """Names of this package that a module imports when it runs, wherever the import stands."""
    found = set()
    tree = ast.parse(path.read_text())
    for_types = {inner for node in ast.walk(tree) if _is_type_checking(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            # `from package import module` names a module, `from module import function` does not.
            is_module = lambda name, package=node.module: _file(f"{package}.{name}").exists()
            found |= {f"{node.module}.{alias.name}" if is_module(alias.name) else node.module for alias in node.names}
    return {name.removeprefix("laperm_jax.") for name in found if name.startswith("laperm_jax.")}


def _is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _file(name):
    path = PACKAGE.parent / name.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _dotted(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def test_rooms_import_only_from_the_rooms_below():
    upward = [
        f"{_dotted(path)} imports {name}"
        for path in MODULES
        for name in imports(path)
        if path != PACKAGE / "__init__.py"
        and (here := room(_dotted(path)))
        and (there := room(name))
        and ROOMS.index(there) > ROOMS.index(here)
    ]
    assert not upward, "\n".join(upward)


def test_no_import_cycles():
    edges = {_dotted(path): imports(path) - {_dotted(path)} for path in MODULES if path.name != "__init__.py"}
    finished, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in finished:
            path.append(name)
            for imported in edges.get(name, ()):
                visit(imported)
            finished.add(path.pop())

    for name in edges:
        visit(name)


def test_modules_are_short():
    lengths = {_dotted(path): len(path.read_text().splitlines()) for path in MODULES}
    assert not {name: length for name, length in lengths.items() if length > 330}


def test_folders_are_small():
    for folder in {path.parent for path in MODULES}:
        assert len(list(folder.glob("*.py"))) - (folder / "__init__.py").exists() <= 12, folder
