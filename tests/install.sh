#!/bin/sh
# Installs Debian's Postfix for the tests that hand mails to a real mail server, where that is possible: as root on a
# Debian machine. Its daemon is neither configured nor started; the tests run an instance of their own on loopback.
# Elsewhere the tests say by themselves that they are skipped, and why.
[ -x /usr/sbin/postfix ] && exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || exit 0
echo "Installing Debian's Postfix for the tests ..."
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  # Debian starts what it installs, unless this file forbids it.
  printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi
{
  echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
  apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postfix
} >/dev/null 2>&1 || echo "Postfix could not be installed; its test will be skipped."
