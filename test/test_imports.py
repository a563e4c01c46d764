"""The import law of docs/architecture.md, enforced by reading every import statement of uop3d_core."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

CORE = Path(__file__).resolve().parent.parent / "uop3d_core"

# Parts are the modules and packages directly under uop3d_core; "" is uop3d_core/__init__.py.
ALONE = {"types", "geometry", "config"}
LEAVES = ALONE | {"cameras", "images", "raycast", "volume"}
STAGES = {"capture", "backbones", "surface", "alignment", "correspondence", "pose", "evaluation", "report"}
TOP = {"pipeline", "deploy", "bags", "sharing", "demo", "cli"}  # all other parts, such as runs, serve the stages
STAGE_EXCEPTIONS = {  # importing stage: what of other stages it may import
    "surface": {"backbones"},
    "correspondence": {"backbones"},
    "pose": set(),
}
ROS = re.compile(r"rclpy|uop3d_ros|cv_bridge|tf2_.*|.*_msgs(_py)?|.*_interfaces|rosidl_.*|ament_.*|launch(_.*)?")


def module_name(path: Path) -> str:
    """Dotted name inside uop3d_core: "" for its __init__.py, "pose.refine" for pose/refine.py."""
    parts = path.relative_to(CORE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(CORE.rglob("*.py"))}


def imports(name: str) -> set[str]:
    """Absolute dotted names that a module imports, anywhere in its text; a name imported from a package is appended."""
    package = ["uop3d_core", *name.split(".")] if name else ["uop3d_core"]
    if MODULES[name].name != "__init__.py":
        package.pop()
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def own_imports(name: str) -> set[str]:
    """Modules of uop3d_core that a module imports, as keys of MODULES."""
    found = set()
    for target in imports(name):
        parts = target.split(".")
        if parts[0] != "uop3d_core" or parts[1:] == ["__version__"]:
            continue
        while ".".join(parts[1:]) not in MODULES:  # a function or class: the module it stands in
            parts.pop()
        found.add(".".join(parts[1:]))
    return found


def part(name: str) -> str:
    return name.split(".")[0]


def is_allowed(source: str, target: str) -> bool:
    source_part, target_part = part(source), part(target)
    if source_part == target_part:
        return True
    if target_part in TOP:
        lazily = source_part == "" and target_part not in {"cli", "demo"}
        return lazily or (target_part != "cli" and source_part in {"cli", "demo"})
    if source_part in {"", *TOP}:
        return True
    if target_part == "":
        return False  # inside, a name is imported from the module it stands in
    if source_part in LEAVES:
        return source_part not in ALONE and target_part in LEAVES
    if target_part in STAGES:
        exceptions = STAGE_EXCEPTIONS.get(source_part, set())
        return target_part in exceptions or target in exceptions
    return True


def test_modules_found():
    assert {"", "types", "geometry"} <= MODULES.keys()


@pytest.mark.parametrize("name", MODULES)
def test_import_law(name):
    assert [target for target in sorted(own_imports(name)) if not is_allowed(name, target)] == []


@pytest.mark.parametrize("name", MODULES)
def test_no_ros(name):
    assert [target for target in sorted(imports(name)) if ROS.fullmatch(target.split(".")[0])] == []


TORCHLESS = [name for name in MODULES if part(name) in {"types", "geometry", "pose", "exported", "learned", "models"}]


@pytest.mark.parametrize("name", TORCHLESS)
def test_no_torch(name):
    assert [target for target in sorted(imports(name)) if target.split(".")[0] in {"torch", "transformers"}] == []


def test_no_import_cycles():
    graph = TopologicalSorter({name: own_imports(name) - {name} for name in MODULES})
    try:
        graph.prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' <- '.join(name or 'uop3d_core' for name in error.args[1])}")


@pytest.mark.parametrize(
    ("source", "target", "allowed"),
    [
        ("types", "geometry", False),
        ("geometry", "types", False),
        ("raycast", "types", True),
        ("raycast", "runs", False),
        ("runs", "types", True),
        ("runs", "pose.estimator", False),
        ("surface.features", "backbones", True),
        ("surface.features", "capture.video", False),
        ("pose.estimator", "correspondence.model", False),
        ("correspondence.running", "backbones", True),
        ("pose.estimator", "correspondence.train", False),
        ("pose.estimator", "", False),
        ("correspondence.train", "pose.refine", False),
        ("evaluation.metrics", "pipeline", False),
        ("demo", "pipeline", True),
        ("bags.replay", "pose.stream", True),
        ("messages.building", "bags", False),
        ("bags.replay", "pipeline", False),
        ("deploy.parity", "pose.estimator", True),
        ("pose.estimator", "deploy.parity", False),
        ("exported.content", "pose.estimator", False),
        ("demo", "cli", False),
        ("", "pose.estimator", True),
        ("", "pipeline", True),
        ("", "cli", False),
        ("", "demo", False),
    ],
)
def test_law_itself(source, target, allowed):
    assert is_allowed(source, target) is allowed


def test_import_is_light():
    code = "import sys, uop3d_core; print(*sorted({'torch', 'transformers', 'rclpy', 'numpy'} & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
