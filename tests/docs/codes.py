"""The stable codes, as the source has them: those of enumerations, and those that stand where an error is raised."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from api import connections, problems
from manifest_service import errors
from manifest_service.processing import reconcile

ROOT = Path(__file__).parents[2]
PACKAGES = ("manifest_service", "notifications", "api")
_ANSWERS = ("super().__init__", "problem", "problems.problem", "outside_application", "ProblemError")
"""What an error gives its base, and what is answered."""
CODE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def enumerated_codes() -> set[str]:
    """Codes that belong to an enumeration of `manifest_service.errors`, or to reconciling."""
    families = [value for name, value in vars(errors).items() if name.endswith("Code")]
    return {str(code) for family in families for code in family} | {reconcile.NOT_ADMIN, reconcile.TOO_MANY_GONE}


def raised_codes() -> set[str]:
    """Codes that stand as a word in the source: the first argument of an error, or the second, behind a status."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    found = {code for path in paths for call in _errors_of(path) for code in _codes_of(call)}
    return found | set(problems._CODES.values()) | {code for code, _ in connections._ERRORS.values()}


def _errors_of(path: Path) -> Iterator[ast.Call]:
    """What is raised, what an error gives its base, and what is answered as a problem."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Raise(exc=ast.Call() as error) if ast.unparse(error.func).rpartition(".")[2][0].isupper():
                yield error
            case ast.Call(func=called) if ast.unparse(called) in _ANSWERS:
                yield node


def _codes_of(call: ast.Call) -> Iterator[str]:
    for argument in call.args[:2]:
        for word in (argument.body, argument.orelse) if isinstance(argument, ast.IfExp) else (argument,):
            if isinstance(word, ast.Constant) and isinstance(word.value, str) and CODE.fullmatch(word.value):
                yield word.value
