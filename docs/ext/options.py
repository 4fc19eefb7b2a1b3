"""Options of oslo.config as Markdown: each with its default, its bounds and its meaning.

oslo.config's own extension for Sphinx breaks on the links of pages in Markdown (`resolve_xref` of its domain, 10.7).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from oslo_config import types

from docs.ext.markdown import prose


def render(sections: Iterable[tuple[str, Sequence[Any]]]) -> str:
    """All options by section. sections: as oslo-config-generator takes them; one may come in several parts."""
    by_name = groupby(sorted(sections, key=itemgetter(0)), itemgetter(0))
    return "\n".join(line for name, parts in by_name for line in _section(name, [o for _, part in parts for o in part]))


def option_anchor(group: str, option: Any) -> str:
    """Where an option is on the page, for links to it."""
    return f"option-{group}-{option.dest}".lower().replace("_", "-")


def _section(group: str, options: list[Any]) -> Iterator[str]:
    yield from (f"### [{group}]", "")
    for option in options:
        yield from (f"({option_anchor(group, option)})=", f"`{option.dest}`", f": {prose(option.help or '')}", "")
        yield from (f"  ({_facts_of(option)})", "")


def _facts_of(option: Any) -> str:
    """Type, default and bounds of an option, in a line."""
    kind = option.type
    facts = [_kind_of(kind), f"default {_default_of(option)}"]
    bounds = {"at least": getattr(kind, "min", None), "at most": getattr(kind, "max", None)}
    facts += [f"{word} `{bound}`" for word, bound in bounds.items() if bound is not None]
    of_items = getattr(kind, "item_type", kind)
    if choices := [f"`{value}`" for value in getattr(of_items, "choices", None) or ()]:
        facts.append(f"one of {', '.join(choices)}")
    return "; ".join(facts)


def _kind_of(kind: Any) -> str:
    item = getattr(kind, "item_type", None)
    if item is not None:
        return f"list of {_kind_of(item)}"
    if isinstance(kind, types.Dict):
        return "`name:value` pairs"
    return str(getattr(kind, "type_name", "string")).removesuffix(" value")


def _default_of(option: Any) -> str:
    default = option.default if option.sample_default is None else option.sample_default
    if isinstance(default, list):
        default = ",".join(map(str, default))
    if isinstance(option.type, types.Boolean):
        default = str(default).lower()
    return "none" if default in (None, "", {}) else f"`{default}`"
