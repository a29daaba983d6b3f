"""Pages: replies."""

from __future__ import annotations

from flask import Blueprint

blueprint = Blueprint("replies", __name__)
