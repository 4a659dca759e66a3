"""Who may import whom: read from the syntax tree, so lazy imports count as well."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("ganpipe", "pipeline", "serving")

# Rooms of ganpipe and the rooms each may import. Root modules (errors, config) are listed apart.
ALLOWED = {
    "ops": set(),
    "layers": {"ops"},
    "models": {"layers", "ops", "export"},  # GANSystem.export hands itself to the exporter
    "train": {"models", "layers", "ops", "data", "metrics"},
    "data": {"ops"},
    "metrics": {"ops"},
    "export": {"models", "ops"},
    "latent": {"models", "ops", "metrics"},
    "importers": {"models", "layers", "ops", "train"},  # it writes a run folder
    "configs": set(),
    "defence": set(),  # attacks and classifiers work on any function of images
    "study": {"models", "layers", "ops"},
    "cli": {
        "models",
        "layers",
        "ops",
        "data",
        "metrics",
        "train",
        "export",
        "latent",
        "importers",
        "configs",
        "defence",
        "study",
    },
}
ROOT_MODULES = {"errors", "config", "__init__"}
FREE = {"errors"}  # every room may raise UserError
MAY_IMPORT_CONFIG = {"train", "cli", "configs"}
BEAM_FILES = {
    "pipeline/prepare.py",
    "pipeline/beam_options.py",
    "pipeline/components/example_gen.py",
    "pipeline/components/statistics_gen.py",
}
DAGSTER_FILES = {"pipeline/run.py", "pipeline/definitions.py"}


def files() -> list[Path]:
    return [p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    """Dotted names of the modules that a file imports, `from a import b` as a and a.b."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(path: Path) -> str:
    return path.relative_to(ROOT / "ganpipe").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path):
    name, names = path.relative_to(ROOT).as_posix(), imports(path)
    top = {n.partition(".")[0] for n in names}
    package = name.partition("/")[0]
    if package == "ganpipe":
        assert not top & {"pipeline", "serving", "dagster", "apache_beam"}
        if room(path) in ALLOWED:
            used = {n.split(".")[1] for n in names if n.startswith("ganpipe.")}
            allowed = ALLOWED[room(path)] | FREE | {room(path)} | {"__version__"}
            allowed |= {"config"} if room(path) in MAY_IMPORT_CONFIG else set()
            assert used <= allowed, f"{name} imports ganpipe.{sorted(used - allowed)}"
    if package == "serving":
        assert not top & {"ganpipe", "pipeline", "dagster", "apache_beam"}
        if name.startswith("serving/client/"):
            assert not top & {"tensorflow", "tensorflow_serving", "keras"}
    if "apache_beam" in top:
        assert name in BEAM_FILES
    if "dagster" in top:
        assert name in DAGSTER_FILES


def test_no_model_imports_another_model():
    # What the base class is made of.
    parts = {"game", "inference", "requests", "stages", "styles"}
    shared = {"base.py", "registry.py", "__init__.py", *(f"{part}.py" for part in parts)}
    for path in sorted((ROOT / "ganpipe" / "models").glob("*.py")):
        others = {n.split(".")[2] for n in imports(path) if n.startswith("ganpipe.models.")}
        if path.name not in shared:
            assert others <= {"base"}, f"{path.name} imports {others}"


def test_the_rule_sees_a_lazy_import(tmp_path):
    file = tmp_path / "lazy.py"
    file.write_text("def f():\n    from ganpipe.models import dcgan\n")
    assert "ganpipe.models.dcgan" in imports(file)
