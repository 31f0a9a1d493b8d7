#!/bin/sh
# Runs on the host, for the systemd variant. systemd knows by itself that it
# is in a container and starts a login on the console.
set -eu
root=$1

# Two files hold the locale; systemd's is a link to the other one or back.
[ -e "$root"/etc/locale.conf ] || ln -s default/locale "$root"/etc/locale.conf

# What systemd does after every change of /usr is done: the first start need
# not do it again. Debian 12 has no such program and never does it.
if [ -x "$root"/usr/lib/systemd/systemd-update-done ]; then
    chroot "$root" /usr/lib/systemd/systemd-update-done
fi
