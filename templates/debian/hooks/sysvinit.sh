#!/bin/sh
# Runs on the host, for the variants whose process 1 is sysvinit's.
set -eu
root=$1

# There are no virtual terminals: one login, on the console. SIGPWR, by which
# a container is asked to stop, means that at once.
sed -i \
    -e '/^[1-6]:.*getty/d' \
    -e '/^p[fno]:/d' \
    -e '/^ca:.*ctrlaltdel/d' \
    "$root"/etc/inittab
cat >> "$root"/etc/inittab <<'INITTAB'

co:12345:respawn:/sbin/agetty --noclear --keep-baud console 115200,38400,9600 linux
pf::powerwait:/sbin/shutdown -h -P now
ca::ctrlaltdel:/sbin/shutdown -r now
INITTAB
