"""Every model, re-exported, so that one import registers every table."""

from tracker.models.account import Account, Attempt, Invitation, RecoveryCode, SignIn
from tracker.models.activity import Activity
from tracker.models.base import Base, UTCDateTime, new_key
from tracker.models.delivery import (
    Delivery,
    Digest,
    DigestEntry,
    Heartbeat,
    Issue,
    MailRate,
    Piece,
    Reminder,
    Sending,
)
from tracker.models.evidence import Bearing, Evidence, EvidenceDetail, EvidenceLink, EvidenceReader
from tracker.models.exhibit import Blob, Capture, CustodyLine, Exhibit, PublicCopy
from tracker.models.finding import Citation, Finding
from tracker.models.ledger import (
    Checkpoint,
    LedgerContent,
    LedgerEntry,
    LedgerHead,
    LedgerTopic,
    PrivateCommitment,
    Timestamp,
)
from tracker.models.recommendation import Clause, Recommendation, Theme, recommendation_theme
from tracker.models.reply import Quotation, Reply, ReplyTarget
from tracker.models.report import Addressee, Report
from tracker.models.review import Assignment, Comment, DissentingNote, Erasure, FieldChange, HarmCheck
from tracker.models.sealing import Canary, RecordKey, Sealable
from tracker.models.source import Consent, Custodian, Source, SourceRecord, SourceWord, evidence_source
from tracker.models.subscriber import Departure, Follow, SignUp, Subscriber

__all__ = [
    "Account",
    "Activity",
    "Addressee",
    "Assignment",
    "Attempt",
    "Base",
    "Bearing",
    "Blob",
    "Canary",
    "Capture",
    "Checkpoint",
    "Citation",
    "Clause",
    "Comment",
    "Consent",
    "Custodian",
    "CustodyLine",
    "Delivery",
    "Departure",
    "Digest",
    "DigestEntry",
    "DissentingNote",
    "Erasure",
    "Evidence",
    "EvidenceDetail",
    "EvidenceLink",
    "EvidenceReader",
    "Exhibit",
    "FieldChange",
    "Finding",
    "Follow",
    "HarmCheck",
    "Heartbeat",
    "Invitation",
    "Issue",
    "LedgerContent",
    "LedgerEntry",
    "LedgerHead",
    "LedgerTopic",
    "MailRate",
    "Piece",
    "PrivateCommitment",
    "PublicCopy",
    "Quotation",
    "Recommendation",
    "RecordKey",
    "RecoveryCode",
    "Reminder",
    "Reply",
    "ReplyTarget",
    "Report",
    "Sealable",
    "Sending",
    "SignIn",
    "SignUp",
    "Source",
    "SourceRecord",
    "SourceWord",
    "Subscriber",
    "Theme",
    "Timestamp",
    "UTCDateTime",
    "evidence_source",
    "new_key",
    "recommendation_theme",
]
