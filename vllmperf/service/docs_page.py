"""The page at /docs: what /openapi.json says, without scripts and without anybody else's server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:820px;margin:24px auto;padding:0 16px}"
    "pre{overflow:auto;padding:10px;border:1px solid rgba(128,128,128,.4);border-radius:6px}"
    "h2{margin-top:2em;font-size:1.05em;font-family:ui-monospace,monospace}"
)


def docs_page(api: Mapping[str, Any]) -> str:
    """A page for an OpenAPI description."""
    body = "".join(_operations(api["paths"]))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>vllmperf serve: API</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<style>{STYLE}</style></head><body><h1>{escape(api['info']['title'])} {escape(api['info']['version'])}</h1>"
        f'<p>{escape(api["info"]["description"])} The same for programs: <a href="openapi.json">openapi.json</a>. '
        'Types, defaults and help of all settings: <a href="schema">schema</a>.</p>'
        f"{body}</body></html>\n"
    )


def _operations(paths: Mapping[str, Any]) -> Iterator[str]:
    for path, methods in paths.items():
        for method, what in methods.items():
            yield f"<h2>{method.upper()} {escape(path)}</h2><p>{escape(what.get('description', ''))}</p>"
            yield from _parameters(what.get("parameters", []))
            yield from _body(path, what.get("requestBody"))
            yield from _answers(what.get("responses", {}))


def _parameters(given: list[Mapping[str, Any]]) -> Iterator[str]:
    for one in given:
        if text := one.get("description"):
            yield f"<p><code>{escape(one['name'])}</code> ({one['in']}): {escape(text)}</p>"


def _body(path: str, body: Mapping[str, Any] | None) -> Iterator[str]:
    if body is None:
        return
    yield f"<p>{escape(body.get('description', ''))}</p>"
    for name, example in body["content"]["application/json"]["examples"].items():
        text = json.dumps(example["value"], indent=1)
        command = f"curl -X POST http://127.0.0.1:8081{path} -H 'Content-Type: application/json' -d '{text}'"
        yield f"<p>Example, {escape(name)}:</p><pre>{escape(command)}</pre>"


def _answers(responses: Mapping[str, Any]) -> Iterator[str]:
    told = {
        code: one["description"]
        for code, one in responses.items()
        if one["description"] != "Successful Response"
    }
    rows = "".join(
        f"<li>{escape(code)}: {escape(text)}</li>"
        for code, text in told.items()
        if text != "Validation Error"
    )
    if rows:
        yield f"<ul>{rows}</ul>"
