"""An OpenAPI 3.1 document as Markdown: each call, then each schema that it takes or answers.

Only what pydantic and flask-openapi3 write is understood: schemas under `components`, referred to by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from itertools import groupby
from typing import Any

from docs.ext.markdown import cell, prose

Json = Mapping[str, Any]
_NAMED = "#/components/schemas/"
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "minLength": "{} characters or more",
    "maxLength": "{} characters at most",
    "minItems": "{} or more of them",
    "maxItems": "{} of them at most",
    "pattern": "matches `{}`",
    "default": "`{}` unless given",
}


def render(document: Json) -> str:
    """All calls by resource, all schemas by name."""
    return "\n".join([*_calls(document), "## Schemas", "", *_schemas(document)])


def call_anchor(method: str, path: str) -> str:
    """Where a call is on the page, for links to it."""
    words = "".join(letter if letter.isalnum() else " " for letter in f"{method} {path}").split()
    return "-".join(["call", *words]).lower().replace("_", "-")


def schema_anchor(name: str) -> str:
    """Where a schema is on the page, for links to it."""
    return f"schema-{name.lower()}"


def _calls(document: Json) -> Iterator[str]:
    for resource, paths in groupby(sorted(document["paths"]), _resource_of):
        yield from (f"## {resource}", "")
        for path in paths:
            for method, operation in document["paths"][path].items():
                yield from _call(method, path, operation)


def _resource_of(path: str) -> str:
    parts = [part for part in path.split("/") if part and part != "v1"]
    return f"`{parts[0]}`" if parts else "The service"


def _call(method: str, path: str, operation: Json) -> Iterator[str]:
    yield from (f"({call_anchor(method, path)})=", f"### `{method.upper()} {path}`", "")
    yield from (f"{operation.get('summary', '').rstrip('.')}.", "")
    if description := operation.get("description"):
        yield from (prose(description), "")
    if parameters := operation.get("parameters"):
        yield from ("| parameter | in | type | meaning |", "|---|---|---|---|")
        yield from map(_parameter, parameters)
        yield ""
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        need = "Body" if operation["requestBody"].get("required") else "Body, where there is one"
        yield from (f"{need}: {_type(content['schema'])}, `{media_type}`.", "")
    yield from ("| answer | content |", "|---|---|")
    answers: dict[str, list[str]] = {}
    for status, response in sorted(operation["responses"].items()):
        answers.setdefault(_contents(response), []).append(_status(status))
    yield from (f"| {', '.join(statuses)} | {contents} |" for contents, statuses in answers.items())
    yield ""


def _parameter(parameter: Json) -> str:
    schema = parameter.get("schema", {})
    name = f"`{parameter['name']}`" + (", required" if parameter.get("required") and parameter["in"] != "path" else "")
    meaning = _meaning({**schema, "description": parameter.get("description") or schema.get("description", "")})
    return f"| {name} | {parameter['in']} | {_type(schema)} | {meaning} |"


def _status(status: str) -> str:
    return f"`{status}` {HTTPStatus(int(status)).phrase}" if status.isdecimal() else f"`{status}`"


def _contents(response: Json) -> str:
    contents = [
        f"{_type(content['schema'])}, `{media_type}`" if content.get("schema") else f"`{media_type}`"
        for media_type, content in response.get("content", {}).items()
    ]
    return "; ".join(contents) or cell(response.get("description", ""))


def _schemas(document: Json) -> Iterator[str]:
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield from (f"({schema_anchor(name)})=", f"### {name}", "")
        if description := schema.get("description"):
            yield from (prose(description), "")
        if "enum" in schema:
            yield from (", ".join(f"`{value}`" for value in schema["enum"]), "")
        if "properties" in schema:
            yield from _members(schema)


def _members(schema: Json) -> Iterator[str]:
    yield from ("| member | type | meaning |", "|---|---|---|")
    required = schema.get("required", [])
    for name, member in schema["properties"].items():
        need = ", required" if name in required else ""
        yield f"| `{name}`{need} | {_type(member)} | {_meaning(member)} |"
    yield ""


def _type(schema: Json) -> str:
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_NAMED)
        return f"[{name}](#{schema_anchor(name)})"
    if several := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        return " or ".join(dict.fromkeys(map(_type, several)))
    if values := schema.get("enum") or ([schema["const"]] if "const" in schema else []):
        return ", ".join(f"`{value}`" for value in values)
    return _plain_type(schema)


def _plain_type(schema: Json) -> str:
    kind = schema.get("type", "any JSON")
    if kind == "array":
        fixed = schema.get("prefixItems")
        return f"[{', '.join(map(_type, fixed))}]" if fixed else f"array of {_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {_type(schema['additionalProperties'])}"
    return f"{kind} ({schema['format']})" if "format" in schema else str(kind)


def _meaning(schema: Json) -> str:
    """What a value means, and its bounds, those of a value that may also be null among them."""
    parts = [schema.get("description", "").rstrip(".")]
    for form in (schema, *schema.get("anyOf", [])):
        parts += [text.format(_value(form[name])) for name, text in _BOUNDS.items() if form.get(name) is not None]
    return cell(". ".join(part[0].upper() + part[1:] for part in parts if part))


def _value(value: object) -> str:
    """A bound as JSON writes it; pydantic has some whole numbers as floats."""
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value).strip('"')
