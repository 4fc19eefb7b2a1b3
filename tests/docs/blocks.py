"""The commands that the documentation shows: fenced blocks of `console`, whose lines begin with `$ `.

Lines that follow a command are what it prints; `…` in one stands for any text, and alone for any lines. A block that
no test can run says so, and why, in a comment right before it: `<!-- not run: needs systemd -->`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").glob("[!_]*.md"),
        *(ROOT / "docs" / "decisions").glob("*.md"),
    ]
)

_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+?) -->\n\n?)?(?P<fence>```+)(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
_SHELLS = ("console", "sh", "bash", "shell", "shell-session")


@dataclass
class Command:
    """One command, of one line or more, and the lines that it should print; none where nothing is shown."""

    text: str
    output: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    line: of the page, where it begins. not_run: why no test runs it. is_typed: whether somebody is to type it, in
    whatever language it is said to be.
    """

    page: Path
    line: int
    commands: Sequence[Command]
    not_run: str | None
    is_typed: bool

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page."""
    text = page.read_text()
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("fence")) + 1
        commands = _commands_of(found["text"]) if found["language"] == "console" else []
        is_typed = found["language"] in _SHELLS or re.search(r"^\$ ", found["text"], re.MULTILINE) is not None
        yield Block(page, line, commands, found["reason"], is_typed)


def files_of(page: Path) -> list[tuple[str, str]]:
    """Files that a page has the reader write: name and text. They stand below "as `NAME`:"."""
    return re.findall(r"`([\w.-]+)`:\n\n```(?:python|ini)\n(.*?)```", page.read_text(), re.DOTALL)


def _commands_of(text: str) -> list[Command]:
    commands: list[Command] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            commands.append(Command(line.removeprefix("$ ")))
        elif commands and commands[-1].text.endswith("\\"):
            commands[-1].text += f"\n{line}"
        elif commands:
            commands[-1].output.append(line)
    return commands


def agrees(shown: Sequence[str], printed: str) -> bool:
    """Whether a command has printed what the page shows; colours and spaces at the end of a line do not count."""
    pattern = "".join(r"(?:.*\n)*" if line.strip() == "…" else f"{_pattern_of(line)}[ ]*\n" for line in shown)
    return re.fullmatch(pattern, printed.rstrip() + "\n") is not None


def _pattern_of(line: str) -> str:
    return ".*".join(map(re.escape, line.rstrip().split("…")))
