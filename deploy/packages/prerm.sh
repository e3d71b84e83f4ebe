#!/bin/sh
# Before the removal, but not for an upgrade: the services end.
set -e
case $1 in
remove | 0) ;;
*) exit 0 ;;
esac
command -v systemctl >/dev/null || exit 0
if [ -d /run/systemd/system ]; then systemctl stop hostler.service 'hostler@*.service'; fi
systemctl --quiet disable hostler.service hostler@.service || true
