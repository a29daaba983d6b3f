"""Somebody who uses the keyboard only, and looks at every page with axe."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.base import AXE_SCRIPT

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
#: The rules that look at colours, and those that look at where things stand; all others only read the document, which
#: is the same in each scheme and direction.
COLOURS = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
PLACES = {"type": "rule", "values": [*COLOURS["values"], "html-lang-valid", "scrollable-region-focusable", "target-size", "valid-lang"]}  # fmt: skip


class Person:
    """One person at one browser window."""

    #: Whether to look with all rules at what is left to right, or at its colours only.
    rules: object = RULES
    #: Whether to look at all; what axe sees does not depend on the database.
    looks = True

    def __init__(self, page: Any) -> None:
        self.page = page

    def open(self, address: str) -> Person:
        self.page.goto(address)
        return self

    def check(self) -> None:
        """axe finds nothing, left to right and right to left; and nothing is cut off at 320 pixels."""
        if not self.looks:
            return
        for direction, language, rules in (("ltr", "en", self.rules), ("rtl", "ar", PLACES)):
            self.page.evaluate(
                "([dir, lang]) => { document.documentElement.dir = dir; document.documentElement.lang = lang }",
                [direction, language],
            )
            if not self.page.evaluate("typeof axe != 'undefined'"):
                self.page.evaluate(AXE_SCRIPT)
            # What did not fail is counted but not described, which would take as long as the look.
            options = {"runOnly": rules, "resultTypes": ["violations"]}
            found = self.page.evaluate("options => axe.run(options).then(told => told.violations)", options)
            assert not found, f"{self.page.url} {direction}: " + "; ".join(
                f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found
            )
        self.page.evaluate(
            "() => { document.documentElement.dir = 'ltr'; document.documentElement.lang = 'en' }"
        )
        before = self.page.viewport_size
        self.page.set_viewport_size({"width": 320, "height": 800})
        wide = self.page.evaluate("document.documentElement.scrollWidth")
        self.page.set_viewport_size(before)
        assert wide <= 320, f"{self.page.url} scrolls sideways at 320 pixels: {wide}"

    def go_to(self, selector: str) -> None:
        """Press Tab until the focus stands on it."""
        for _ in range(400):
            if self.page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"{self.page.url}: Tab never reaches {selector}")

    def type(self, selector: str, words: str) -> None:
        self.go_to(selector)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(words)

    def choose(self, selector: str) -> None:
        """Tick a box, or choose a radio button: Tab reaches the group, the arrows go through it."""
        name = self.page.get_attribute(selector, "name")
        kind = self.page.get_attribute(selector, "type")
        if kind == "checkbox":
            self.go_to(selector)
            self.page.keyboard.press("Space")
            return
        self.go_to(f"input[name='{name}']")
        for _ in range(12):
            if self.page.is_checked(selector):
                return
            if self.page.evaluate("selector => document.activeElement.matches(selector)", selector):
                self.page.keyboard.press("Space")
            else:
                self.page.keyboard.press("ArrowDown")
        assert self.page.is_checked(selector)

    def press(self, selector: str) -> None:
        """Reach a button or link and press Enter; waits for the page that follows."""
        self.go_to(selector)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")

    @property
    def text(self) -> str:
        return str(self.page.inner_text("body"))
