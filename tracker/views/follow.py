"""Pages: follow."""

from __future__ import annotations

from flask import Blueprint

blueprint = Blueprint("follow", __name__)
