"""The pages that come from the code hold all of it: options, calls, schemas, commands."""

from typing import Any

import click
import pytest

from docs.ext import from_code, markdown, openapi
from manifest_service import config
from manifest_service.commands.main import COMMANDS, group


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return from_code.describe_api()


def all_options() -> list[tuple[str, Any]]:
    return [(section, option) for section, found in config.list_options() for option in found]


@pytest.mark.parametrize(("section", "option"), all_options(), ids=lambda value: getattr(value, "dest", value))
def test_an_option_is_documented(section: str, option: Any) -> None:
    part = from_code.configuration().partition(f"### [{section}]\n")[2].partition("\n### [")[0]

    assert option.help
    assert f"\n`{option.dest}`\n: " in part


def test_an_options_bounds_and_default_are_told() -> None:
    page = from_code.configuration()

    assert "(integer; default `8`; at least `1`; at most `256`)" in page  # [api] threads
    assert "(list of string; default `convention,locations,direct_url,download`; one of `convention`," in page
    assert "default `/var/lib/manifest-service`)" in page  # and not the folder of whoever builds the site


def test_every_call_is_on_its_page(document: dict[str, Any]) -> None:
    page = openapi.render(document)

    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            part = page.partition(f"### `{method.upper()} {path}`\n")[2].partition("\n### ")[0]
            assert operation["summary"] in part
            assert all(f"| `{parameter['name']}`" in part for parameter in operation.get("parameters", []))
            assert all(f"`{status}`" in part for status in operation["responses"])


def test_every_member_of_a_schema_is_on_the_page(document: dict[str, Any]) -> None:
    page = openapi.render(document)

    for name, schema in document["components"]["schemas"].items():
        part = page.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
        assert part
        assert all(f"| `{member}`" in part for member in schema.get("properties", {}))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_of_a_command_says_what_it_does(name: str) -> None:
    """sphinx-click writes all commands; what it writes is what is here."""
    command = group.get_command(click.Context(group), name)
    assert command is not None

    for each in [command, *getattr(command, "commands", {}).values()]:
        assert each.help, each.name
        for option in each.params:
            assert not isinstance(option, click.Option) or option.help, (each.name, option.name)


def test_a_text_of_the_code_is_no_markup() -> None:
    assert markdown.prose("a <b> *c* `<d> *e*`\n  f") == r"a &lt;b> \*c\* `<d> *e*` f"
    assert markdown.cell("a | b") == r"a \| b"
