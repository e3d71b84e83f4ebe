#!/bin/sh
# After the installation: the user is there before a service is. Nothing is started. A
# service that runs goes over to the new binary, as by SIGUSR2: no request is lost.
set -e
# dpkg says what it does, rpm how many versions there are now.
case $1 in
configure | [1-9]*) ;;
*) exit 0 ;;
esac
if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers hostler.conf
elif ! getent passwd hostler >/dev/null; then
	useradd --system --user-group --no-create-home --home-dir / --shell /usr/sbin/nologin \
		--comment "hostler application server" hostler
fi
if command -v systemd-tmpfiles >/dev/null; then systemd-tmpfiles --create hostler.conf; fi
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
systemctl list-units --plain --no-legend --state=active hostler.service 'hostler@*.service' |
	while read -r unit rest; do
		name=${unit%.service}
		hostler ctl --socket "/run/hostler/${name#hostler@}/ctl.sock" upgrade ||
			echo "hostler: $unit goes on with the version it has, until: systemctl restart $unit" >&2
	done
