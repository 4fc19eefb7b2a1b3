"""How commands are found on a page and typed: what is run, what is compared."""

from pathlib import Path

import pytest

from tests.docs.blocks import agrees, blocks_of, files_of
from tests.docs.shell import Shell, ShellFailedError

PAGE = """\
# A page

```console
$ first    # of two
one
…
$ second \\
  --option
```

<!-- not run: needs systemd -->
```console
$ systemctl start it
```

Write this as `check.py`:

```python
print("x")
```

```text
$ hidden
```
"""


def test_a_page_is_taken_apart(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)

    first, second, python, hidden = blocks_of(page)

    assert [command.text for command in first.commands] == ["first    # of two", "second \\\n  --option"]
    assert [command.output for command in first.commands] == [["one", "…"], []]
    assert (first.line, first.not_run) == (3, None)
    assert second.not_run == "needs systemd"
    assert not python.is_typed
    assert hidden.is_typed
    assert not hidden.commands
    assert files_of(page) == [("check.py", 'print("x")\n')]


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (["one"], "one\n", True),
        (["one"], "one  \n\n", True),
        (["one"], "two\n", False),
        (["one"], "one\ntwo\n", False),
        (["one", "…"], "one\n", True),
        (["one", "…"], "one\ntwo\nthree\n", True),
        (["a … c"], "a b c\n", True),
        (["a … c"], "a b\nc\n", False),
        (["[a.b]*"], "[a.b]*\n", True),
    ],
)
def test_what_is_printed_is_held_against_what_is_shown(shown: list[str], printed: str, same: bool) -> None:
    assert agrees(shown, printed) is same


def test_a_shell_remembers(tmp_path: Path) -> None:
    with Shell(tmp_path, {"PATH": "/usr/bin:/bin"}) as shell:
        assert shell.run("export NAME=value") == (0, "")
        assert shell.run("echo $NAME; echo more >&2") == (0, "value\nmore\n")
        assert shell.run("cat    # asks for nothing") == (0, "")
        assert shell.run("(exit 4)")[0] == 4
        assert shell.run("echo $?") == (0, "4\n")


def test_a_command_that_ends_the_shell_is_told(tmp_path: Path) -> None:
    with pytest.raises(ShellFailedError, match="ended at exit"), Shell(tmp_path, {"PATH": "/usr/bin:/bin"}) as shell:
        shell.run("exit 3")
