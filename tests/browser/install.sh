#!/bin/sh
# Installs Debian's Chromium for the browser tests, where that is possible: as root on a Debian machine.
# Elsewhere the tests say by themselves that they are skipped, and why.
command -v chromium >/dev/null 2>&1 && exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || exit 0
echo "Installing Debian's Chromium for the browser tests ..."
{ apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium fonts-noto-core; } >/dev/null 2>&1 ||
  echo "Chromium could not be installed; the browser tests will be skipped."
