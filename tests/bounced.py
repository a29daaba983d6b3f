"""Bounces as mail servers write them, about mails to Arvenia, and mails that only look like bounces."""

from __future__ import annotations

import datetime as dt
import itertools

from sqlalchemy.orm import Session

from tracker.keyring import Keyring
from tracker.models import Delivery, Subscriber, new_key
from tracker.services import bounces
from tracker.vocabulary import DeliveryKind, DeliveryState, Frequency, SubscriberState

BOUNCE_ADDRESS = "bounce@tracker.arvenia.example"
_numbers = itertools.count(1)


def someone(session: Session, now: dt.datetime, **values: object) -> Subscriber:
    """Somebody who confirmed ten days ago."""
    number = next(_numbers)
    given = {
        "key": new_key(),
        "address_hash": f"{number:064x}",
        "address_sealed": b"sealed",
        "state": SubscriberState.CONFIRMED,
        "frequency": Frequency.DAILY,
        "weekday": 0,
        "month_day": 1,
        "hour": 7,
        "timezone": "UTC",
        "created_at": now - dt.timedelta(days=10),
        "confirmed_at": now - dt.timedelta(days=10),
        "manage_token_hash": f"m{number:063x}",
        "leave_token_hash": f"l{number:063x}",
        "next_local_date": now.date(),
        "next_due_at": now + dt.timedelta(days=1),
        **values,
    }
    subscriber = Subscriber(**given)
    session.add(subscriber)
    session.commit()
    return subscriber


def sent(session: Session, subscriber: Subscriber | None, at: dt.datetime, **values: object) -> Delivery:
    """A digest that the relay took at that moment."""
    given = {
        "kind": DeliveryKind.DIGEST,
        "subscriber": subscriber,
        "message_id": f"<{next(_numbers):032x}@arvenia.example>",
        "state": DeliveryState.SENT,
        "attempts": 1,
        "created_at": at,
        "due_at": at,
        "done_at": at,
        **values,
    }
    delivery = Delivery(**given)
    session.add(delivery)
    session.commit()
    return delivery


def sender(delivery: Delivery, keys: Keyring) -> str:
    return bounces.sender(delivery.id, delivery.message_id, config_address=BOUNCE_ADDRESS, keys=keys)


def _crlf(text: str) -> bytes:
    return text.strip("\n").replace("\n", "\r\n").encode() + b"\r\n"


def postfix(to: str, status: str = "5.1.1", action: str = "failed", code: str = "550") -> bytes:
    return _crlf(f"""
Return-Path: <>
X-Original-To: {to}
Delivered-To: bounces@tracker.arvenia.example
Received: by mx.arvenia.example (Postfix)
	id 4F2C11E0C7B; Sun, 22 Nov 2026 12:31:07 +0000 (UTC)
Date: Sun, 22 Nov 2026 12:31:07 +0000 (UTC)
From: MAILER-DAEMON@mx.arvenia.example (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: {to}
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
	boundary="4F2C11E0C5A.1795350667/mx.arvenia.example"
Content-Transfer-Encoding: 8bit
Message-Id: <20261122123107.4F2C11E0C7B@mx.arvenia.example>

This is a MIME-encapsulated message.

--4F2C11E0C5A.1795350667/mx.arvenia.example
Content-Description: Notification
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

This is the mail system at host mx.arvenia.example.

<reader@arvenia.example>: host mail.arvenia.example[192.0.2.7] said: {code} {status}
    <reader@arvenia.example>: Recipient address rejected (in reply to RCPT TO command)

--4F2C11E0C5A.1795350667/mx.arvenia.example
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.arvenia.example
X-Postfix-Queue-ID: 4F2C11E0C5A
X-Postfix-Sender: rfc822; {to}
Arrival-Date: Sun, 22 Nov 2026 12:31:05 +0000 (UTC)

Final-Recipient: rfc822; reader@arvenia.example
Original-Recipient: rfc822;reader@arvenia.example
Action: {action}
Status: {status}
Remote-MTA: dns; mail.arvenia.example
Diagnostic-Code: smtp; {code} {status} <reader@arvenia.example>: Recipient address
    rejected

--4F2C11E0C5A.1795350667/mx.arvenia.example
Content-Description: Undelivered Message
Content-Type: message/rfc822
Content-Transfer-Encoding: 8bit

Return-Path: <{to}>
From: Tracker <digest@tracker.arvenia.example>
To: reader@arvenia.example
Subject: There is something new

A secret digest.

--4F2C11E0C5A.1795350667/mx.arvenia.example--
""")


def exim(to: str, said: str = "550 5.1.1 User unknown") -> bytes:
    return _crlf(f"""
Return-path: <>
Envelope-to: {to}
Delivery-date: Sun, 22 Nov 2026 12:31:07 +0000
Received: from Debian-exim by mx.arvenia.example with local (Exim 4.96)
	id 1qkOeP-0002Bx-1a
	for {to}; Sun, 22 Nov 2026 12:31:07 +0000
X-Failed-Recipients: reader@arvenia.example
Auto-Submitted: auto-replied
From: Mail Delivery System <Mailer-Daemon@mx.arvenia.example>
To: undisclosed
References: <E1qkOeO-0002Bv-0Q@mx.arvenia.example>
Content-Type: multipart/report; report-type=delivery-status; boundary=1795350667-eximdsn-1903742711
MIME-Version: 1.0
Subject: Mail delivery failed: returning message to sender
Message-Id: <E1qkOeP-0002Bx-1a@mx.arvenia.example>
Date: Sun, 22 Nov 2026 12:31:07 +0000

--1795350667-eximdsn-1903742711
Content-type: text/plain; charset=us-ascii

This message was created automatically by mail delivery software.

--1795350667-eximdsn-1903742711
Content-type: message/delivery-status

Reporting-MTA: dns; mx.arvenia.example

Action: failed
Final-Recipient: rfc822;reader@arvenia.example
Status: 5.0.0
Remote-MTA: dns; mail.arvenia.example
Diagnostic-Code: smtp; {said}

--1795350667-eximdsn-1903742711
Content-type: message/rfc822

Return-path: <{to}>
Subject: There is something new

A secret digest.

--1795350667-eximdsn-1903742711--
""")


def sendmail(to: str) -> bytes:
    return _crlf(f"""
Return-Path: <MAILER-DAEMON>
Received: from localhost (localhost)
	by mx.arvenia.example (8.17.1/8.17.1) id 3AMCV7xQ012345;
	Sun, 22 Nov 2026 12:31:07 GMT
Date: Sun, 22 Nov 2026 12:31:07 GMT
From: Mail Delivery Subsystem <MAILER-DAEMON>
Message-Id: <202611221231.3AMCV7xQ012345@mx.arvenia.example>
To: <{to}>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
	boundary="3AMCV7xQ012345.1795350667/mx.arvenia.example"
Subject: Returned mail: see transcript for details
Auto-Submitted: auto-generated (failure)

This is a MIME-encapsulated message

--3AMCV7xQ012345.1795350667/mx.arvenia.example

The original message was received at Sun, 22 Nov 2026 12:31:05 GMT

   ----- The following addresses had permanent fatal errors -----
<reader@arvenia.example>
    (reason: 550 5.1.1 <reader@arvenia.example>... User unknown)

--3AMCV7xQ012345.1795350667/mx.arvenia.example
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.arvenia.example
Received-From-MTA: DNS; tracker.arvenia.example
Arrival-Date: Sun, 22 Nov 2026 12:31:05 GMT

Final-Recipient: RFC822; reader@arvenia.example
Action: failed
Status: 5.1.1
Remote-MTA: DNS; mail.arvenia.example
Diagnostic-Code: SMTP; 550 5.1.1 <reader@arvenia.example>... User unknown
Last-Attempt-Date: Sun, 22 Nov 2026 12:31:07 GMT

--3AMCV7xQ012345.1795350667/mx.arvenia.example
Content-Type: text/rfc822-headers

Return-Path: <{to}>
Subject: There is something new

--3AMCV7xQ012345.1795350667/mx.arvenia.example--
""")


def exchange(to: str) -> bytes:
    return _crlf(f"""
Received: from mail.arvenia.example (2001:db8::7) by mail2.arvenia.example
 (2001:db8::8) with Microsoft SMTP Server id 15.20.1; Sun, 22 Nov 2026 12:31:07 +0000
MIME-Version: 1.0
From: <postmaster@ministry.arvenia.example>
To: <{to}>
Date: Sun, 22 Nov 2026 12:31:07 +0000
Content-Type: multipart/report; report-type=delivery-status;
	boundary="7b6c1f70-5a2e-4a2d-9d40-1c4f0f5c7a55"
X-MS-Exchange-Message-Is-Ndr:
Content-Language: en-US
Message-ID: <7b6c1f70@mail.arvenia.example>
In-Reply-To: <0123456789abcdef0123456789abcdef@arvenia.example>
Subject: Undeliverable: There is something new
Auto-Submitted: auto-replied

--7b6c1f70-5a2e-4a2d-9d40-1c4f0f5c7a55
Content-Type: multipart/alternative; differences=Content-Type;
	boundary="1f0c5a77-0b4e-4b06-a6ae-2b6d1f7c9a10"

--1f0c5a77-0b4e-4b06-a6ae-2b6d1f7c9a10
Content-Type: text/plain; charset="us-ascii"
Content-Transfer-Encoding: quoted-printable

Your message to reader@ministry.arvenia.example couldn't be delivered.

--1f0c5a77-0b4e-4b06-a6ae-2b6d1f7c9a10
Content-Type: text/html; charset="us-ascii"
Content-Transfer-Encoding: quoted-printable

<p>Your message couldn't be delivered.</p>

--1f0c5a77-0b4e-4b06-a6ae-2b6d1f7c9a10--

--7b6c1f70-5a2e-4a2d-9d40-1c4f0f5c7a55
Content-Type: message/delivery-status

Reporting-MTA: dns;mail.arvenia.example
Received-From-MTA: dns;mx.arvenia.example
Arrival-Date: Sun, 22 Nov 2026 12:31:06 +0000

Final-Recipient: rfc822;reader@ministry.arvenia.example
Action: failed
Status: 5.1.10
Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient reader@ministry.arvenia.example not found by SMTP address lookup
X-Display-Name: Reader

--7b6c1f70-5a2e-4a2d-9d40-1c4f0f5c7a55
Content-Type: message/rfc822

Subject: There is something new

A secret digest.

--7b6c1f70-5a2e-4a2d-9d40-1c4f0f5c7a55--
""")


def gmail(to: str) -> bytes:
    return _crlf(f"""
Delivered-To: {to}
Received: by 2002:a05:6a10:db8:b0:1:2:3 with SMTP id x8csp1;
        Sun, 22 Nov 2026 04:31:07 -0800 (PST)
From: Mail Delivery Subsystem <mailer-daemon@post.arvenia.example>
To: {to}
Auto-Submitted: auto-replied
Subject: Delivery Status Notification (Failure)
References: <0123456789abcdef0123456789abcdef@arvenia.example>
In-Reply-To: <0123456789abcdef0123456789abcdef@arvenia.example>
X-Failed-Recipients: reader@post.arvenia.example
Message-ID: <655e1c0b.050a0220.1.GMR@mx.post.arvenia.example>
Date: Sun, 22 Nov 2026 04:31:07 -0800 (PST)
Content-Type: multipart/report; boundary="00000000000012ab34060abc"; report-type=delivery-status

--00000000000012ab34060abc
Content-Type: multipart/related; boundary="00000000000012bc45060abd"

--00000000000012bc45060abd
Content-Type: text/plain; charset="UTF-8"

** Address not found **

--00000000000012bc45060abd--
--00000000000012ab34060abc
Content-Type: message/delivery-status

Reporting-MTA: dns; post.arvenia.example
Received-From-MTA: dns; digest@tracker.arvenia.example
Arrival-Date: Sun, 22 Nov 2026 04:31:06 -0800 (PST)
X-Original-Message-ID: <0123456789abcdef0123456789abcdef@arvenia.example>

Final-Recipient: rfc822; reader@post.arvenia.example
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550-5.1.1 The email account that you tried to reach does not exist. Please try
 550-5.1.1 double-checking the recipient's email address for typos or
 550 5.1.1 unnecessary spaces.
Last-Attempt-Date: Sun, 22 Nov 2026 04:31:07 -0800 (PST)

--00000000000012ab34060abc
Content-Type: message/rfc822

Subject: There is something new

----- Message truncated -----

--00000000000012ab34060abc--
""")


def holiday(to: str) -> bytes:
    return _crlf(f"""
From: reader@arvenia.example
To: {to}
Subject: Out of office: There is something new
Auto-Submitted: auto-replied (vacation)
Precedence: bulk
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8

I am away. Action: failed
Status: 5.1.1
""")


def opened(to: str) -> bytes:
    """A report that somebody has read a mail (RFC 8098)."""
    return _crlf(f"""
From: reader@arvenia.example
To: {to}
Subject: Read: There is something new
MIME-Version: 1.0
Content-Type: multipart/report; report-type=disposition-notification; boundary=x

--x
Content-Type: message/disposition-notification

Final-Recipient: rfc822; reader@arvenia.example
Action: failed
Status: 5.1.1
Disposition: automatic-action/MDN-sent-automatically; displayed

--x--
""")
