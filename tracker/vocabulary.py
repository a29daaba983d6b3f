"""The words of the tracker: every enum with its labels, and which state may follow which.

Labels are English msgids marked with `N_` for gettext; templates translate them when they show them.
Grades A to E are those of the Human Rights Committee's follow-up procedure (CCPR/C/108/2); V is ours.
Reliability A-F and credibility 1-6 are the Admiralty code (NATO AJP-2.1).
"""

from __future__ import annotations

import enum


def N_(message: str) -> str:  # noqa: N802 - the name gettext tools look for.
    """Mark a string for translation without translating it here."""
    return message


class Word(enum.Enum):
    """An enum stored by its value, with a label to show."""

    label: str

    def __new__(cls, value: str, label: str) -> Word:
        word = object.__new__(cls)
        word._value_ = value
        word.label = label
        return word


class Role(Word):
    """What an account may do. A reviewer may do all that a monitor may; an admin runs the place."""

    MONITOR = "monitor", N_("Monitor")
    REVIEWER = "reviewer", N_("Reviewer")
    ADMIN = "admin", N_("Admin")


class AddresseeKind(Word):
    """Whom a recommendation addresses, by kind."""

    GOVERNMENT = "government", N_("Government")
    BUSINESS = "business", N_("Business")
    INTERNATIONAL = "international", N_("International community")
    OTHER = "other", N_("Others")


class Grade(Word):
    """What the monitors conclude. `mark` is the letter or sign in the square, `slug` its CSS class."""

    mark: str
    slug: str
    meaning: str

    def __new__(cls, value: str, label: str, mark: str, slug: str, meaning: str) -> Grade:
        grade = object.__new__(cls)
        grade._value_ = value
        grade.label, grade.mark, grade.slug, grade.meaning = label, mark, slug, meaning
        return grade

    A = (
        "A",
        N_("Implemented"),
        "A",
        "implemented",
        N_("The measures taken largely satisfy the recommendation."),
    )
    B = (
        "B",
        N_("Partially implemented"),
        "B",
        "partial",
        N_("Real steps have been taken; more is needed."),
    )
    C = (
        "C",
        N_("Not implemented"),
        "C",
        "not-implemented",
        N_("Any reply or step so far does not carry out the recommendation."),
    )
    D = (
        "D",
        N_("No cooperation"),
        "D",
        "no-cooperation",
        N_("No reply and no information, after reminders."),
    )
    E = (
        "E",
        N_("Contrary action"),
        "E",
        "contrary",
        N_("Measures have been taken that go against the recommendation."),
    )
    V = (
        "V",
        N_("Cannot be verified"),
        "?",
        "unverifiable",
        N_("We looked, and conditions do not let anyone tell. This is not a finding of failure."),
    )


class Access(Word):
    """What could be observed."""

    OPEN = "open", N_("Open access")
    GUIDED = "guided", N_("Guided visits only")
    REFUSED = "refused", N_("Access refused")
    REMOTE = "remote", N_("Remote sources only")


class Position(Word):
    """What the State itself says about a recommendation."""

    ACCEPTS = "accepts", N_("Accepts")
    PARTLY_ACCEPTS = "partly-accepts", N_("Partly accepts")
    NOTES = "notes", N_("Notes")
    DISPUTES = "disputes", N_("Disputes")
    REJECTS = "rejects", N_("Rejects")
    SILENT = "silent", N_("Silent")


class Direction(Word):
    """How evidence bears on a recommendation. `sign` is shown in a circle, `side` is its CSS class."""

    sign: str
    side: str

    def __new__(cls, value: str, label: str, sign: str, side: str) -> Direction:
        direction = object.__new__(cls)
        direction._value_ = value
        direction.label, direction.sign, direction.side = label, sign, side
        return direction

    PROGRESS = "progress", N_("Progress"), "+", "for"
    NO_CHANGE = "no-change", N_("No change"), "=", "context"
    REGRESS = "regress", N_("Regress"), "−", "against"
    REFUSAL = "refusal", N_("Refusal"), "×", "against"
    MIXED = "mixed", N_("Mixed"), "±", "context"
    CONTEXT = "context", N_("Context"), "·", "context"


class Precision(Word):
    """How exactly a date is known."""

    DAY = "day", N_("Exact day")
    MONTH = "month", N_("Month only")
    YEAR = "year", N_("Year only")
    ABOUT = "about", N_("About this day")


class SourceType(Word):
    """What kind of thing the evidence is."""

    OFFICIAL_RECORD = "official-record", N_("Official record")
    LAW = "law", N_("Law or order")
    UN_DOCUMENT = "un-document", N_("United Nations document or statement")
    STATE_STATEMENT = "state-statement", N_("Statement of a State")
    ORGANISATION_REPORT = "organisation-report", N_("Report by an organisation")
    COMPANY_STATEMENT = "company-statement", N_("Statement of a company")
    ACADEMIC = "academic", N_("Academic work")
    MEDIA = "media", N_("Media")
    TESTIMONY = "testimony", N_("Interview or testimony")
    IMAGE = "image", N_("Image or satellite image")
    DATA = "data", N_("Data or measurement")


class Reliability(Word):
    """How far the source can be trusted, whatever it says here (Admiralty code, letter)."""

    A = "A", N_("Reliable source")
    B = "B", N_("Usually reliable source")
    C = "C", N_("Fairly reliable source")
    D = "D", N_("Not usually reliable source")
    E = "E", N_("Unreliable source")
    F = "F", N_("Source cannot be judged")


class Credibility(Word):
    """How far this information can be believed, whoever says it (Admiralty code, number)."""

    ONE = "1", N_("confirmed by others")
    TWO = "2", N_("probably true")
    THREE = "3", N_("possibly true")
    FOUR = "4", N_("doubtful")
    FIVE = "5", N_("improbable")
    SIX = "6", N_("truth cannot be judged")


class Visibility(Word):
    """Who may see a piece of evidence."""

    PUBLIC = "public", N_("Public")
    TEAM = "team", N_("Team only")
    RESTRICTED = "restricted", N_("Restricted")


class State(Word):
    """Where a piece of evidence, a finding or a reply stands on its way to the public."""

    DRAFT = "draft", N_("Draft")
    SUBMITTED = "submitted", N_("Waiting for review")
    RETURNED = "returned", N_("Returned")
    ACCEPTED = "accepted", N_("Accepted")
    SUPERSEDED = "superseded", N_("Superseded")
    WITHDRAWN = "withdrawn", N_("Withdrawn")
    ERASED = "erased", N_("Erased")


TRANSITIONS: dict[State, frozenset[State]] = {
    State.DRAFT: frozenset({State.SUBMITTED, State.ERASED}),
    State.SUBMITTED: frozenset({State.ACCEPTED, State.RETURNED, State.ERASED}),
    State.RETURNED: frozenset({State.SUBMITTED, State.ERASED}),
    State.ACCEPTED: frozenset({State.SUPERSEDED, State.WITHDRAWN, State.ERASED}),
    State.SUPERSEDED: frozenset(),
    State.WITHDRAWN: frozenset({State.ERASED}),
    State.ERASED: frozenset(),
}

EDITABLE = (State.DRAFT, State.RETURNED)


class EntryKind(Word):
    """What a ledger entry records."""

    REPORT_LOADED = "report-loaded", N_("Report entered")
    REPORT_CORRECTED = "report-corrected", N_("Report corrected")
    EVIDENCE_PUBLISHED = "evidence-published", N_("New evidence")
    EVIDENCE_CORRECTED = "evidence-corrected", N_("Evidence corrected")
    EVIDENCE_WITHDRAWN = "evidence-withdrawn", N_("Evidence withdrawn")
    FINDING_PUBLISHED = "finding-published", N_("Finding")
    FINDING_CORRECTED = "finding-corrected", N_("Correction of a finding")
    FINDING_WITHDRAWN = "finding-withdrawn", N_("Finding withdrawn")
    REPLY_PUBLISHED = "reply-published", N_("Reply of the State")
    REPLY_CORRECTED = "reply-corrected", N_("Reply corrected")
    REPLY_WITHDRAWN = "reply-withdrawn", N_("Reply withdrawn")
    EXHIBIT_PUBLISHED = "exhibit-published", N_("New exhibit")
    DISSENT_PUBLISHED = "dissent-published", N_("Dissenting note")
    DISSENT_WITHDRAWN = "dissent-withdrawn", N_("Dissenting note withdrawn")
    EVIDENCE_ERASED = "evidence-erased", N_("Evidence erased")
    PRIVATE_ROOT = "private-root", N_("Sealed root of the day")


#: After one of these the subject's words are given to nobody any more.
WITHDRAWALS = (
    EntryKind.EVIDENCE_WITHDRAWN,
    EntryKind.FINDING_WITHDRAWN,
    EntryKind.REPLY_WITHDRAWN,
    EntryKind.DISSENT_WITHDRAWN,
    EntryKind.EVIDENCE_ERASED,
)
#: Proof for later, and no news: feeds, pages of changes and digests leave these out.
SILENT = (EntryKind.PRIVATE_ROOT,)


class FileKind(Word):
    """A kind of file that an exhibit may be. `endings` are the file names' endings, `media_type` is for the record
    only: originals are never served under it.
    """

    endings: tuple[str, ...]
    media_type: str

    def __new__(cls, value: str, label: str, endings: tuple[str, ...], media_type: str) -> FileKind:
        kind = object.__new__(cls)
        kind._value_ = value
        kind.label, kind.endings, kind.media_type = label, endings, media_type
        return kind

    PDF = "pdf", N_("PDF"), ("pdf",), "application/pdf"
    JPEG = "jpeg", N_("JPEG image"), ("jpg", "jpeg"), "image/jpeg"
    PNG = "png", N_("PNG image"), ("png",), "image/png"
    WEBP = "webp", N_("WebP image"), ("webp",), "image/webp"
    MP4 = "mp4", N_("MP4 video"), ("mp4", "m4v"), "video/mp4"
    WEBM = "webm", N_("WebM video"), ("webm",), "video/webm"
    MP3 = "mp3", N_("MP3 sound"), ("mp3",), "audio/mpeg"
    OGG = "ogg", N_("Ogg sound"), ("ogg", "oga", "opus"), "audio/ogg"
    TXT = "txt", N_("Plain text"), ("txt",), "text/plain"
    CSV = "csv", N_("CSV table"), ("csv",), "text/csv"
    DOCX = (
        "docx",
        N_("Word document"),
        ("docx",),
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    )
    ODT = "odt", N_("OpenDocument text"), ("odt",), "application/vnd.oasis.opendocument.text"
    ZIP = "zip", N_("ZIP archive"), ("zip",), "application/zip"
    EML = "eml", N_("E-mail message"), ("eml",), "message/rfc822"
    WARC = "warc", N_("Web archive (WARC)"), ("warc", "warc.gz"), "application/warc"
    WACZ = "wacz", N_("Web archive (WACZ)"), ("wacz",), "application/wacz+zip"


IMAGES = (FileKind.JPEG, FileKind.PNG, FileKind.WEBP)


class CopyMethod(Word):
    """How a public copy was made from an original."""

    PIXELS = "pixels", N_("rebuilt from its pixels")
    RASTERISED = "rasterised", N_("pages turned into pictures")
    CLEANED = "cleaned", N_("cleaned by the team and uploaded")


class CustodyAction(Word):
    """What was done with an exhibit: a line of its custody log."""

    UPLOADED = "uploaded", N_("Uploaded")
    CAPTURED = "captured", N_("Captured from the web")
    VIEWED = "viewed", N_("Viewed")
    DOWNLOADED = "downloaded", N_("Downloaded")
    COPIED = "copied", N_("Public copy made")
    RELEASED = "released", N_("Public copy released")
    REDACTED = "redacted", N_("Cleaned copy uploaded")
    EXPORTED = "exported", N_("Exported in a pack")
    CHECKED = "checked", N_("Integrity checked: whole")
    DAMAGED = "damaged", N_("Integrity checked: damaged or missing")
    WITHDRAWN = "withdrawn", N_("Public copy withdrawn")
    ERASED = "erased", N_("Erased")


class ConsentScope(Word):
    """What a person agreed to when they gave information."""

    INTERNAL = "internal", N_("For the team only")
    UN = "un", N_("May be shared with the United Nations")
    ANONYMOUS = "anonymous", N_("May be published without a name")
    PUBLISH = "publish", N_("May be published")


PUBLISHING = (ConsentScope.ANONYMOUS, ConsentScope.PUBLISH)


class Detail(Word):
    """A sensitive part of evidence, for which pages show a blurred value instead."""

    EXACT_DATE = "exact-date", N_("Exact date")
    EXACT_PLACE = "exact-place", N_("Exact place")
    NAMES = "names", N_("Names")


class CaptureState(Word):
    """Where the capture of a link stands."""

    QUEUED = "queued", N_("Waiting")
    RUNNING = "running", N_("Running")
    DONE = "done", N_("Captured")
    FAILED = "failed", N_("Failed")


class Need(Word):
    """What a reviewer finds wanting when they return something."""

    SOURCE = "source", N_("The source is unclear, or its grade is not explained")
    DATE = "date", N_("The date is missing or not proven")
    BEARING = "bearing", N_("What it bears on is wrong or incomplete")
    WORDING = "wording", N_("The wording says more than the source does")
    HARM = "harm", N_("Somebody could be recognised")
    EVIDENCE = "evidence", N_("More or other evidence is needed")
    OTHER = "other", N_("Something else")


class Channel(Word):
    """How somebody gets to know: by mail, or without giving an address."""

    EMAIL = "email", N_("E-mail")
    FEED = "feed", N_("A private feed")
    MAILBOX = "mailbox", N_("A mailbox on this site")


class Disclosure(Word):
    """How much a mail may say to whoever sees it: the provider, the network, somebody who takes the telephone."""

    FULL = "full", N_("Everything: what changed and why")
    TITLES = "titles", N_("Titles only: what it is about, not what was found")
    NOTICE = "notice", N_("Nothing: only that there is something new, with a link")


class Frequency(Word):
    """How often a subscriber wants a digest."""

    IMMEDIATE = "immediate", N_("As it happens, at most once an hour")
    DAILY = "daily", N_("Daily")
    WEEKLY = "weekly", N_("Weekly")
    MONTHLY = "monthly", N_("Monthly")


class Scope(Word):
    """What a subscriber follows: one of these for each follow, and one digest for all of them."""

    EVERYTHING = "everything", N_("Everything on this site")
    REPORT = "report", N_("A whole report")
    RECOMMENDATION = "recommendation", N_("Single recommendations")
    THEME = "theme", N_("A theme")
    COUNTRY = "country", N_("A country")
    SEARCH = "search", N_("Whatever holds these words")


class SubscriberState(Word):
    """Where a subscriber stands."""

    PENDING = "pending", N_("Not yet confirmed")
    CONFIRMED = "confirmed", N_("Confirmed")
    LEFT = "left", N_("Left")
    FAILED = "failed", N_("Refused by the mail server")


class IssueState(Word):
    """Whether the digests of one hour may go out."""

    OPEN = "open", N_("Going out")
    HELD = "held", N_("Held until people release it")
    DISCARDED = "discarded", N_("Discarded: nothing more of it goes out")


class HoldReason(Word):
    """Why mails are held."""

    CONFIGURED = "configured", N_("Every issue waits for its release here")
    CLOCK = "clock", N_("The clock jumped forward by more than a day")
    RESTORED = (
        "restored",
        N_("The database is older than the journal of what was sent: a backup was restored"),
    )
    REFUSED = "refused", N_("The mail server refused five mails in a row for a reason that is ours")
    BY_HAND = "by-hand", N_("An admin held it")


class ReleaseWay(Word):
    """What becomes of the mails that waited while all sending was held."""

    SEND = "send", N_("Send what is due")
    CONSIDER_SENT = "consider-sent", N_("Consider it sent")


class DeliveryState(Word):
    """Where one mail stands on its way to the relay."""

    PENDING = "pending", N_("Waiting")
    CLAIMED = "claimed", N_("Being sent")
    DATA_SENT = "data-sent", N_("Sent, answer awaited")
    SENT = "sent", N_("Accepted by the mail server")
    COLLECTED = "collected", N_("Laid into a mailbox on this site")
    FAILED = "failed", N_("Refused for good")
    EXPIRED = "expired", N_("Given up after 72 hours")
    CANCELLED = "cancelled", N_("Not sent: the person left, or nothing was left to tell")
    UNCERTAIN = "uncertain", N_("Perhaps sent twice: a person must look")


class DeliveryKind(Word):
    """What a mail is."""

    CONFIRMATION = "confirmation", N_("Confirmation")
    DIGEST = "digest", N_("Digest")
    RENEWAL = "renewal", N_("The yearly question")
    KEY_PROBLEM = "key-problem", N_("Your key needs renewal")
    REMINDER = "reminder", N_("Reminder to the team")
