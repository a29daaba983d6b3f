"""Why a file is refused: one sentence each, that says what to do.

The child names a refusal by its value and the edge looks the sentence up here, so that a child that was taken over
cannot put words of its own on a page.
"""

from __future__ import annotations

from tracker.vocabulary import N_, Word


class Refusal(Word):
    """A reason to refuse a file; the label is a msgid, with places where it has any."""

    EMPTY = "empty", N_("The file is empty. Choose it again: perhaps it was not yet written completely.")
    NO_ENDING = "no-ending", N_("The file's name has no ending. Name it after what it is, such as notes.pdf.")
    ENDING = (
        "ending",
        N_("Files that end in “.%(ending)s” are not taken. Save it as one of these: %(endings)s."),
    )
    CONTENT = (
        "content",
        N_(
            "The name ends in “.%(ending)s”, but the file is something else. Give it its right ending, or save it "
            "again in that format."
        ),
    )
    LOOKS_LIKE = (
        "looks-like",
        N_(
            "The name ends in “.%(ending)s”, but the file looks like “%(found)s”. Give it its right ending, or save "
            "it again in that format."
        ),
    )
    DAMAGED = (
        "damaged",
        N_("The file is damaged or not complete. Open it, save it again, and upload what you saved."),
    )
    UNREADABLE = (
        "unreadable",
        N_(
            "The file could not be read: it may be damaged, or made to do harm. Open it on a machine that you can "
            "spare, save it again, and upload what you saved."
        ),
    )
    TOO_LONG = (
        "too-long",
        N_("The file takes too long to read. Split it, or save it again in a simpler form."),
    )
    TWO_FILES = (
        "two-files",
        N_(
            "This is two files in one: a second one (%(found)s) hides behind or before the first. Save the file again "
            "without it, or upload the two apart."
        ),
    )
    PIXELS = (
        "pixels",
        N_("The picture has more than %(millions)d million pixels. Make it smaller, or cut it into parts."),
    )
    PASSWORD = (
        "password",
        N_("The file is locked with a password. Save it without one, and upload that."),
    )
    PAGES = (
        "pages",
        N_("The PDF has %(pages)d pages; up to %(limit)d are taken here. Split it."),
    )
    PAGE_SIZE = (
        "page-size",
        N_(
            "Page %(page)d of the PDF is too large to be turned into a picture. Print it to a smaller page size."
        ),
    )
    NOT_TEXT = (
        "not-text",
        N_("The file is not plain text in UTF-8 or UTF-16. Open it in an editor and save it as UTF-8."),
    )
    MARKUP = (
        "markup",
        N_(
            "This is a page with markup or a program, not text. Save it as PDF, or capture it as a web archive."
        ),
    )
    TABLE = ("table", N_("Line %(line)d of the table cannot be read. Save it again as CSV in UTF-8."))
    MAIL = (
        "mail",
        N_(
            "The e-mail has no %(header)s line at its top. Save the message again as a file from the mail program."
        ),
    )
    TOO_BIG = ("too-big", N_("The file is too big for its kind: up to %(megabytes)d MB can be read."))
    ENTRIES = (
        "entries",
        N_("The archive holds more than %(limit)d files. Split it, or leave out what does not matter."),
    )
    BOMB = (
        "bomb",
        N_("The archive would unpack to far more than it should. Unpack it and upload what matters."),
    )
    NESTED = (
        "nested",
        N_("The archive holds another archive (%(name)s). Unpack that one first, and upload the two apart."),
    )
    LINK = ("link", N_("The archive holds a link (%(name)s). Make it again with the files themselves."))
    NAME = (
        "name",
        N_(
            "The archive holds a name that leads out of its folder or is there twice (%(name)s). Make it again."
        ),
    )
    PART = (
        "part",
        N_("A part that every file of this kind has is missing (%(name)s). Save the document again."),
    )
    CODEC = ("codec", N_("The file holds no sound that is known here. Save it as Ogg Vorbis or Opus."))
    DOCTYPE = (
        "doctype",
        N_("This is Matroska, but not WebM. Convert it to WebM or MP4, and keep the first file too."),
    )
    WEB_ARCHIVE = (
        "web-archive",
        N_("The web archive cannot be read from record %(record)d on. Make it again with another tool."),
    )
    LISTED = (
        "listed",
        N_(
            "The web archive does not agree with its own list of hashes (%(name)s): it was damaged or changed."
        ),
    )
    NO_COPY = (
        "no-copy",
        N_(
            "No public copy can be made of a file of this kind by itself. Clean it, and upload a cleaned copy."
        ),
    )
    NO_PREVIEW = ("no-preview", N_("There is no preview of files of this kind. Download the original."))
    BUSY = ("busy", N_("Other files are being read at the moment. Try again in a minute."))


class Refused(Exception):
    """Raised in the child: the file is refused. `values` fill the sentence's places (numbers and short texts)."""

    def __init__(self, refusal: Refusal, **values: str | int) -> None:
        self.refusal = refusal
        self.values = values
        super().__init__(refusal.value)
