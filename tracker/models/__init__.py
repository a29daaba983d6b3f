"""Every model, re-exported, so that one import registers every table."""

from tracker.models.account import Account, Attempt, Invitation, RecoveryCode, SignIn
from tracker.models.activity import Activity
from tracker.models.base import Base, UTCDateTime, new_key
from tracker.models.delivery import Delivery, Digest, Heartbeat
from tracker.models.evidence import Bearing, Evidence, EvidenceLink, EvidenceReader
from tracker.models.finding import Citation, Finding
from tracker.models.ledger import Checkpoint, LedgerContent, LedgerEntry, LedgerHead, LedgerTopic
from tracker.models.recommendation import Clause, Recommendation
from tracker.models.reply import Quotation, Reply, ReplyTarget
from tracker.models.report import Addressee, Report
from tracker.models.subscriber import Follow, Subscriber

__all__ = [
    "Account",
    "Activity",
    "Addressee",
    "Attempt",
    "Base",
    "Bearing",
    "Checkpoint",
    "Citation",
    "Clause",
    "Delivery",
    "Digest",
    "Evidence",
    "EvidenceLink",
    "EvidenceReader",
    "Finding",
    "Follow",
    "Heartbeat",
    "Invitation",
    "LedgerContent",
    "LedgerEntry",
    "LedgerHead",
    "LedgerTopic",
    "Quotation",
    "Recommendation",
    "RecoveryCode",
    "Reply",
    "ReplyTarget",
    "Report",
    "SignIn",
    "Subscriber",
    "UTCDateTime",
    "new_key",
]
