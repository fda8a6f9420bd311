#!/bin/sh
# Debian's packages that some tests need: a headless browser for the pages that people see.
# Installed where this may be done (root, apt); elsewhere those tests skip by name.
command -v chromium >/dev/null 2>&1 && exit 0
command -v apt-get >/dev/null 2>&1 || exit 0
[ "$(id -u)" = 0 ] || exit 0
(apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium) >/dev/null 2>&1 || true
