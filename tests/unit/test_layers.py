"""Imports go down only, as DESIGN says; services and below know nothing of the web."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "tracker"

#: From the bottom up. A module may import its own layer and those before it.
LAYERS = [
    {"vocabulary", "errors", "verifier", "text", "names", "clock", "words_diff", "examiner", "sealed_file"},
    {"roll_up", "timeliness"},
    {"config", "logs"},
    {"models"},
    {"consent", "permissions", "queries"},
    {"security", "services"},
    {
        "storage",
        "uploads",
        "media",
        "capture",
        "timestamps",
        "wrapping_keys",
        "keyring",
        "calendars",
        "db",
        "mailer",
        "bounces",
        "bounce_mailbox",
        "openpgp",
        "journal",
        "emails",
        "feeds",
        "sessions",
        "forms",
        "pages",
        "packs",
    },
    {"dispatch", "jobs", "journal_rounds", "team_jobs", "fsck", "views"},
    {"", "scheduler", "wsgi"},
    {"cli", "__main__"},
]
WEB = {"flask", "flask_babel", "werkzeug", "jinja2", "wtforms", "click"}
MODULES = sorted(ROOT.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def layer_of(name: str) -> int:
    return next(place for place, names in enumerate(LAYERS) if name in names)


def imports(path: Path) -> set[str]:
    """What a module imports when it runs. What it names for the type checker only (an edge handed in) is free."""
    found: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= (
                {node.module}
                if node.module != "tracker"
                else {f"tracker.{alias.name}" for alias in node.names}
            )
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_downwards_only(path: Path) -> None:
    own = layer_of(name_of(path))
    for name in imports(path):
        if name == "tracker" or name.startswith("tracker."):
            target = [*name.split("."), ""][1]
            target = "" if target == "create_app" else target
            assert layer_of(target) <= own, f"{path.name} imports {name}, which lies above it"


LOW = [path for path in MODULES if layer_of(name_of(path)) <= layer_of("services")]


@pytest.mark.parametrize("path", LOW, ids=lambda path: str(path.relative_to(ROOT)))
def test_services_and_below_never_import_the_web(path: Path) -> None:
    assert {name.split(".")[0] for name in imports(path)} & WEB == set()


def test_services_and_queries_never_commit() -> None:
    for path in MODULES:
        if name_of(path) in ("services", "queries", "models", "permissions"):
            assert ".commit()" not in path.read_text(encoding="utf-8"), path.name
