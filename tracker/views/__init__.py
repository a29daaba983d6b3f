"""The pages, one blueprint a noun."""

from flask import Blueprint

from tracker.views import (
    accounts,
    changes,
    digests,
    evidence,
    findings,
    follow,
    health,
    ledger,
    replies,
    reports,
    workspace,
)

BLUEPRINTS: tuple[Blueprint, ...] = (
    reports.blueprint,
    evidence.blueprint,
    changes.blueprint,
    ledger.blueprint,
    follow.blueprint,
    digests.blueprint,
    accounts.blueprint,
    workspace.blueprint,
    findings.blueprint,
    replies.blueprint,
    health.blueprint,
)
