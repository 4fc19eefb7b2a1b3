"""Every command that the documentation shows is run, and does what the page says.

Each page is a session: its blocks run in order, in one shell. What no test can run says why, right on the page.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, ROOT, Block, agrees, blocks_of
from tests.docs.sandbox import Sandbox, World
from tests.docs.shell import Shell

_CLOUD = {"README.md", "docs/node.md", "docs/operating.md"}
"""Pages whose commands need a Glance, a broker and a database."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def to_run(page: Path) -> Sequence[Block]:
    return [block for block in blocks_of(page) if block.commands and block.not_run is None]


def parameters() -> list[object]:
    return [
        pytest.param(page, id=name_of(page), marks=pytest.mark.servers if name_of(page) in _CLOUD else ())
        for page in PAGES
        if to_run(page)
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)  # A page is many commands, and the first one of a cloud waits for its servers.
@pytest.mark.parametrize("page", parameters())
def test_the_commands_of_a_page_do_what_it_says(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    world: World = request.getfixturevalue("cloud_world" if name_of(page) in _CLOUD else "local_world")
    sandbox = Sandbox(tmp_path, world)
    sandbox.prepare(page)
    starts_service = any("serve" in command.text.split() for block in to_run(page) for command in block.commands)
    with Shell(tmp_path, sandbox.environment()) as shell:
        for block in to_run(page):
            run_block(block, shell, sandbox, starts_service=starts_service)


def run_block(block: Block, shell: Shell, sandbox: Sandbox, *, starts_service: bool) -> None:
    """Type the commands of a block. One may fail where the next one asks how."""
    for index, command in enumerate(block.commands):
        status, printed = shell.run(sandbox.in_this_place(command.text, starts_service=starts_service))
        following = block.commands[index + 1].text if index + 1 < len(block.commands) else ""
        assert status == 0 or following.startswith("echo $?"), f"{block}: {command.text}\n{printed}"
        if command.output:
            shown = [sandbox.in_this_place(line, starts_service=starts_service) for line in command.output]
            assert agrees(shown, printed), f"{block}: {command.text}\n{printed}"


def test_commands_are_written_so_that_they_are_found() -> None:
    """No block for a shell but `console`, and none without a `$ `: every block is run, or says why not."""
    blocks = [block for page in PAGES for block in blocks_of(page)]
    odd = [str(block) for block in blocks if block.is_typed and not block.commands]

    assert not odd
    indented = [name_of(page) for page in PAGES if re.search(r"^[ \t>]+```", page.read_text(), re.MULTILINE)]
    assert not indented  # They would not be found at all.


def test_what_is_not_run_says_why() -> None:
    left_out = [(str(block), block.not_run) for page in PAGES for block in blocks_of(page) if block.not_run is not None]
    print("\n".join(f"{block}: {reason}" for block, reason in left_out))

    assert all(reason.startswith(("needs ", "takes ", "it is ")) for _, reason in left_out if reason)
