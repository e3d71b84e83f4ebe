#!/bin/sh
# rootfs.sh ROOTFS APP: copy into ROOTFS what the application in the folder APP needs to run
# in APP/.venv: that Python with its library, all shared libraries that they ask for, the
# certificates and time zones of the system, and a user without privileges.
set -eu
to=$1 app=$2
python=$app/.venv/bin/python

# put PATH: copy a file or folder, and where it is a link, what that leads to, step by step.
put() {
	[ -e "$1" ] || return 0
	mkdir -p "$to$(dirname "$1")"
	cp -a "$1" "$to$(dirname "$1")/"
	[ -L "$1" ] || return 0
	case $(readlink "$1") in
	/*) put "$(readlink "$1")" ;;
	*) put "$(dirname "$1")/$(readlink "$1")" ;;
	esac
}

# On the way to all that is copied, what is a link in the system is one here: /lib, /bin.
for link in /bin /lib /lib64 /sbin; do
	if [ -L $link ]; then mkdir -p "$to" && cp -a $link "$to/"; fi
done
mkdir -p "$to/usr/bin" "$to/usr/lib" "$to/usr/sbin" "$to/usr/lib64" "$to/etc" "$to/proc" "$to/dev" "$to/sys"
mkdir -p -m 1777 "$to/tmp"
put "$app"
for link in "$app"/.venv/bin/python*; do put "$link"; done
"$python" - <<'TEXT' >"$to.python"
import os, sys, sysconfig
print(os.path.realpath(sys.executable))
print(sys._base_executable)
print(sysconfig.get_path("stdlib"))
print(sysconfig.get_path("platstdlib"))
for path in sys.path:
    if os.path.isdir(path):
        print(path)
TEXT
sort -u "$to.python" | while read -r path; do
	# Not twice what lies in a folder that is there already.
	[ -e "$to$path" ] || put "$path"
done
rm "$to.python"
# Libraries, and what they ask for in turn: ldd says all of it.
find "$to" -type f \( -name '*.so' -o -name '*.so.*' -o -name 'python3*' \) | while read -r file; do
	ldd "${file#"$to"}" 2>/dev/null || true
done | grep -o '/[^ ]*' | sort -u | while read -r library; do
	[ -e "$to$library" ] || put "$library"
done
# Those of the C library that nobody's file asks for: hostler's worker library, which is in
# its binary, and the C library itself, which looks names up with some.
libc=$(ldd "$(realpath "$python")" | grep -o '/[^ ]*/libc\.so\.6' || true)
for name in libpthread.so.0 libnss_dns.so.2 libnss_files.so.2 libresolv.so.2; do
	if [ -n "$libc" ]; then put "$(dirname "$libc")/$name"; fi
done
for path in /etc/ssl/certs /etc/ssl/openssl.cnf /usr/share/ca-certificates /usr/share/zoneinfo /etc/nsswitch.conf /etc/ld.so.cache /etc/mime.types; do
	put $path
done
echo 'nonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin' >"$to/etc/passwd"
echo 'nonroot:x:65532:' >"$to/etc/group"
