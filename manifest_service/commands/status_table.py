"""Sections of rows for people: in colours on a terminal, as aligned text for a pipe or a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from manifest_service.commands.status_report import Section


def print_coloured(sections: Iterable[Section]) -> None:
    """Print tables on the terminal."""
    console = Console(highlight=False)
    for section in sections:
        if not section.rows and section.title != "healthy":
            continue
        console.print(Text(section.title, style="bold green" if section.title == "healthy" else "bold"))
        table = Table(*section.columns, box=None, header_style="dim", padding=(0, 2, 0, 0))
        for row, colour, step in _lines(section):
            table.add_row(*(Text(cell, style=colour) for cell in row))
            if step:
                table.add_row(*[""] * (len(row) - 1), Text(step, style="dim"))
        if section.rows:
            console.print(table)
        console.print()


def print_plain(sections: Iterable[Section]) -> None:
    """Print the same as text, two spaces between the columns."""
    for section in sections:
        if not section.rows and section.title != "healthy":
            continue
        click.echo(section.title)
        widths = [max(map(len, column)) for column in zip(*[section.columns, *section.rows], strict=True)]
        if section.rows:
            _echo(section.columns, widths)
        for row, _, step in _lines(section):
            _echo(row, widths)
            if step:
                _echo([*[""] * (len(row) - 1), step], widths)
        click.echo()


def _lines(section: Section) -> Iterable[tuple[Sequence[str], str, str]]:
    """Rows, each with its colour and its next step, empty where there is none."""
    return zip_longest(section.rows, section.colours, section.next_steps, fillvalue="")


def _echo(cells: Sequence[str], widths: Sequence[int]) -> None:
    click.echo("  " + "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
