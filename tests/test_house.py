"""The rules of the house: who may import whom, and how long a module may be."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("disks", "digests", "images", "manifests", "processing", "attestations", "node", "options")
LONGEST_MODULE = 320

# What a room may import of ours, beside itself, `errors` and `config`. `commands` wires everything and is not listed.
MAY_IMPORT = {
    "manifest_service.disks": set(),
    "manifest_service.digests": {"manifest_service.disks"},
    "manifest_service.images": {"manifest_service.disks"},
    "manifest_service.attestations": set(),
    "manifest_service.options": set(),
    "manifest_service.node": {
        "manifest_service.disks",
        "manifest_service.digests",
        "manifest_service.attestations",
    },
    "manifest_service.manifests": {"manifest_service.attestations"},
    "manifest_service.processing": {
        "manifest_service.disks",
        "manifest_service.digests",
        "manifest_service.images",
        "manifest_service.manifests",
        "manifest_service.attestations",
    },
    "notifications": {"manifest_service.manifests"},
    "api": {"manifest_service.manifests", "manifest_service.processing", "manifest_service.attestations"},
}
LIGHT = {
    "manifest_service.disks": {"blake3", "zlib_ng", "zstandard"},
    "manifest_service.digests": {"blake3", "zlib_ng", "zstandard"},
    "manifest_service.attestations": {"cryptography"},
    "manifest_service.node": {"requests", "urllib3"},
}
"""Rooms that a compute node needs, and what they may import beside the standard library."""


def modules(package: str) -> Iterator[Path]:
    yield from sorted((ROOT / package.replace(".", "/")).rglob("*.py"))


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(module: str) -> str | None:
    """The room that an imported module of ours lives in; None for what is not ours, or belongs to all."""
    parts = module.split(".")
    if parts[0] in ("api", "notifications"):
        return parts[0]
    if parts[0] == "manifest_service" and len(parts) > 1 and parts[1] in (*ROOMS, "commands"):
        return ".".join(parts[:2])
    return None


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_go_one_way(room: str) -> None:
    strangers = {
        (path.name, imported)
        for path in modules(room)
        for imported in map(room_of, imports_of(path))
        if imported is not None and imported != room and imported not in MAY_IMPORT[room]
    }

    assert not strangers


def test_every_room_is_among_those_that_are_held_to_this() -> None:
    folders = {path.parent.name for path in (ROOT / "manifest_service").glob("*/__init__.py")}

    assert folders == {*ROOMS, "commands"}


@pytest.mark.parametrize("room", sorted(LIGHT))
def test_a_compute_node_needs_only_light_libraries(room: str) -> None:
    libraries = {imported.split(".")[0] for path in modules(room) for imported in imports_of(path)}

    assert libraries - set(sys.stdlib_module_names) - {"manifest_service"} <= LIGHT[room]


def test_no_eventlet_and_no_monkey_patching() -> None:
    for package in ("manifest_service", "notifications", "api"):
        for path in modules(package):
            assert not {name for name in imports_of(path) if name.startswith(("eventlet", "gevent"))}, path


def test_modules_stay_small() -> None:
    long = {
        str(path.relative_to(ROOT)): length
        for package in ("manifest_service", "notifications", "api")
        for path in modules(package)
        if (length := len(path.read_text().splitlines())) > LONGEST_MODULE
    }

    assert not long


def test_every_room_says_what_it_is_for() -> None:
    for package in ("manifest_service", "notifications", "api"):
        for init in (ROOT / package).rglob("__init__.py"):
            assert ast.get_docstring(ast.parse(init.read_text())), init
