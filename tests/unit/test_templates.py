"""Every template compiles, and every word that a person reads goes through gettext."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from jinja2 import Environment

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted(
    path
    for path in (ROOT / "templates").rglob("*")
    if path.suffix in (".html", ".txt") and path.name != "style.html"
)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT / "templates")))
def test_a_template_holds_no_word_of_its_own(path: Path) -> None:
    words = path.read_text(encoding="utf-8")
    words = re.sub(
        r"\{%-? trans .*?endtrans -?%\}|\{% trans %\}.*?\{% endtrans %\}", " ", words, flags=re.DOTALL
    )
    words = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", " ", words, flags=re.DOTALL)
    words = re.sub(r"<style>.*?</style>|<!--.*?-->|&\w+;", " ", words, flags=re.DOTALL)
    # Commands, addresses and names of files are not translated.
    words = re.sub(r"<code.*?</code>", " ", words, flags=re.DOTALL)
    words = re.sub(r"<[^>]*>", " ", words, flags=re.DOTALL)
    words = re.sub(r"SHA-256|/\w+|\.eml|aria-[\w-]+=\"[^\"]*\"", " ", words)

    assert re.findall(r"[^\W\d_]{2,}", words) == []


def test_attributes_that_are_read_aloud_go_through_gettext_too() -> None:
    for path in TEMPLATES:
        for value in re.findall(
            r'(?:aria-label|title|alt|placeholder)="([^"]*)"', path.read_text(encoding="utf-8")
        ):
            assert not re.search(r"[^\W\d_]{2,}", re.sub(r"\{\{.*?\}\}", "", value)), f"{path.name}: {value}"


def test_gettext_finds_the_strings_of_templates_and_code() -> None:
    options = {"extensions": "jinja2.ext.i18n", "silent": "false"}
    found = {
        message[2] if isinstance(message[2], str) else message[2][0]
        for folder, method, pattern in (
            ("templates", "jinja2", "**.html"),
            ("templates", "jinja2", "**.txt"),
            ("tracker", "python", "**.py"),
        )
        for message in extract_from_dir(
            str(ROOT / folder),
            method_map=[(pattern, method)],
            options_map={pattern: options if method == "jinja2" else {}},
            keywords={
                "_": None, "gettext": None, "lazy_gettext": None, "N_": None, "ngettext": (1, 2), "trans": None,
            },
        )
    }  # fmt: skip

    assert {
        "Not yet assessed",
        "Partially implemented",
        "Choose a grade.",
        "Send for review",
        "Public",
    } <= found


def test_no_template_loads_anything_from_elsewhere_or_carries_a_script_or_style() -> None:
    for path in TEMPLATES:
        words = path.read_text(encoding="utf-8")
        assert "<script" not in words, path.name
        assert not re.search(r"\son\w+=", words), path.name
        if "emails" not in path.parts:
            assert "style=" not in words, path.name
            assert not re.search(r'(?:src|href)="(?:https?:)?//', words), path.name


def test_every_template_compiles() -> None:
    environment = Environment(extensions=["jinja2.ext.i18n"], autoescape=True)
    for path in TEMPLATES:
        environment.parse(path.read_text(encoding="utf-8"))
