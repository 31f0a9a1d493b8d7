#!/bin/sh
# Runs on the host, for the variant with systemd-networkd, whose DNS servers
# are systemd-resolved's.
set -eu
root=$1
sh "${0%/*}"/systemd.sh "$root"
chroot "$root" systemctl enable systemd-networkd.service systemd-resolved.service
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root"/etc/resolv.conf
