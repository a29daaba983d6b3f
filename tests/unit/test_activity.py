"""What the team did is told in words that can be translated, whatever it was."""

from __future__ import annotations

import ast
from pathlib import Path

from tracker.services import activity

SERVICES = Path(activity.__file__).parent
#: Acts on people, custodians, reports and packs stand on no page.
UNSEEN = ("account-", "password-", "recovery-", "role-", "custodian-", "report-", "pack-")


def recorded() -> set[str]:
    """The literal names of acts that the services record."""
    calls = (
        node
        for path in SERVICES.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "activity.record"
    )
    return {
        call.args[2].value
        for call in calls
        if isinstance(call.args[2], ast.Constant) and isinstance(call.args[2].value, str)
    }


def test_every_act_that_a_page_lists_has_its_words() -> None:
    acts = {name for name in recorded() if not name.startswith(UNSEEN)}

    assert len(acts) > 30
    assert acts <= set(activity.WORDS)
    assert {f"{noun}-assigned" for noun in ("evidence", "finding", "reply")} <= set(activity.WORDS)
