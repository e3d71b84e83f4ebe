#!/bin/sh
# After the removal. The user stays: files may be his. A purge takes all that is in
# /etc/hostler.
set -e
case $1 in
remove | purge | 0) ;;
*) exit 0 ;;
esac
rm -rf /run/hostler
if [ "$1" = purge ]; then rm -rf /etc/hostler; fi
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
