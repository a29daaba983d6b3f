#!/bin/sh
# Installs Debian's Chromium for the browser tests and GnuPG for those of encrypted mails, where that is possible: as
# root on a Debian machine. Elsewhere the tests say by themselves that they are skipped, and why.
missing=""
command -v chromium >/dev/null 2>&1 || missing="chromium fonts-noto-core"
command -v gpg >/dev/null 2>&1 || missing="$missing gpg gpg-agent"
[ -n "$missing" ] || exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || exit 0
echo "Installing from Debian for the tests: $missing ..."
# shellcheck disable=SC2086 - several names.
{ apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } >/dev/null 2>&1 ||
  echo "Not all could be installed; the tests that need it will be skipped."
