"""Commands that stand in a sentence, and so are not run: they exist, and so do their options."""

import re
from pathlib import Path

import click
import pytest

from manifest_service.commands.main import group
from tests.docs.blocks import PAGES, ROOT

_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_CALL = re.compile(r"`(?:\.venv/bin/)?manifest-service ([^`]+)`")
_TARGET = re.compile(r"`make ([a-z-]+)")


def sentences(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCED.sub("", page.read_text())


def calls() -> list[str]:
    found = {" ".join(call.split()) for page in PAGES for call in _CALL.findall(sentences(page))}
    return sorted(call for call in found if re.match(r"[a-z]", call) and not re.match(r"\d", call))


def test_calls_are_found() -> None:
    assert "reconcile --any-loss" in calls()


@pytest.mark.parametrize("call", calls())
def test_a_command_in_a_sentence_exists(call: str) -> None:
    context = click.Context(group)
    words = call.split()
    command: click.Command | None = group.get_command(context, words.pop(0))
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        command = command.get_command(context, words.pop(0))

    assert command is not None
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= {*known, "--help"}


def test_make_targets_in_sentences_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    for page in PAGES:
        assert set(_TARGET.findall(sentences(page))) <= targets, page
