"""Writes `docs/api.md` and `docs/settings.md` from the code: `python docs/build.py`.

A test compares the pages with what this would write, so they cannot fall behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lora_manager_core.api_v1 import build_api
from lora_manager_core.bootstrap import build_application
from lora_manager_core.settings import Settings
from lora_manager_core.web.access import StandAloneAccess
from lora_manager_core.web.keys import ApiKeys

_DOCS = Path(__file__).parent


def pages() -> dict[str, str]:
    """File name → text of every generated page."""
    return {"api.md": _api_page(), "settings.md": _settings_page()}


def _api_page() -> str:
    with TemporaryDirectory() as folder:
        application = build_application(Settings(data_dir=Path(folder)))
        services = application.services
        document = build_api(services, StandAloneAccess(services.get(ApiKeys))).openapi()
        application.database.close()
    lines = [
        "# The API",
        "",
        "Generated from the OpenAPI document by `python docs/build.py`; do not edit.",
        "",
        "Every path stands under `/v1` and under `/api/v1`. Errors are `application/problem+json`",
        "`{type, title, status, detail, code, errors?}`. `/v1/docs` shows the same with forms.",
    ]
    schemas = document["components"]["schemas"]
    for path, operations in sorted(document["paths"].items()):
        for method, operation in operations.items():
            lines += ["", f"## {method.upper()} {path}", "", operation.get("description", "")]
            lines += _parameters(operation)
            lines += _body(operation, schemas)
            lines += _answers(operation)
    lines += ["", "## Socket /ws/progress", "", "See the messages in `docs/feed.md`.", ""]
    return "\n".join(lines)


def _parameters(operation: Mapping[str, Any]) -> list[str]:
    found = [p for p in operation.get("parameters", ()) if p["in"] in ("query", "path")]
    if not found:
        return []
    rows = ["", "| parameter | type | default | |", "|---|---|---|---|"]
    for parameter in found:
        schema = parameter["schema"]
        default = schema.get("default", "required" if parameter.get("required") else "")
        text = parameter.get("description", schema.get("description", ""))
        rows.append(f"| `{parameter['name']}` | {_type(schema)} | {default} | {text} |")
    return rows


def _body(operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> list[str]:
    body = operation.get("requestBody")
    if body is None:
        return []
    media_type, content = next(iter(body["content"].items()))
    options = content["schema"].get("anyOf", [content["schema"]])
    name, shown = media_type, options[0]
    for option in options:
        if "$ref" in option:
            name = option["$ref"].rpartition("/")[2]
            shown = schemas[name]
    rows = ["", f"Body `{name}`:", "", "| field | type | default | |", "|---|---|---|---|"]
    required = shown.get("required", ())
    for field, shape in shown.get("properties", {}).items():
        default = "required" if field in required else shape.get("default", "")
        rows.append(f"| `{field}` | {_type(shape)} | {default} | {shape.get('description', '')} |")
    return rows


def _answers(operation: Mapping[str, Any]) -> list[str]:
    parts = []
    for status, answer in sorted(operation["responses"].items()):
        content = answer.get("content", {}).get("application/json", {}).get("schema", {})
        name = content.get("$ref", "").rpartition("/")[2]
        of = content.get("items", {}).get("$ref", "").rpartition("/")[2]
        parts.append(f"{status} list of `{of}`" if of else f"{status} `{name}`" if name else status)
    return ["", "Answers: " + ", ".join(parts) + "."]


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return f"`{schema['$ref'].rpartition('/')[2]}`"
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "any"))


def _settings_page() -> str:
    lines = [
        "# Settings",
        "",
        "Generated from `lora_manager_core/settings.py` by `python docs/build.py`; do not edit.",
        "",
        "A setting is an argument of the command line where it has one, an environment variable",
        "`LORA_MANAGER_` + its name in capitals, or a line of `config.toml` in the data folder, in",
        "lower case. The first of these that names it decides.",
        "",
        "| setting | |",
        "|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        lines.append(f"| `LORA_MANAGER_{name.upper()}` | {field.description} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for page, text in pages().items():
        (_DOCS / page).write_text(text, encoding="utf-8")
