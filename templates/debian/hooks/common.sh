#!/bin/sh
# Runs on the host, for every variant: makes the root file system in $1 one
# of no particular machine.
set -eu
root=$1

# What mmdebstrap told the image's dpkg and apt is for the build only.
rm -f "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$root"/etc/apt/apt.conf.d/99mmdebstrap

# The sources that the build was given, in the place of what mmdebstrap made
# of them.
if [ -n "${OSCTL_SOURCES-}" ]; then
    rm -f "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/*
    install -m 644 "$OSCTL_SOURCES" "$root"/etc/apt/sources.list.d/debian.sources
fi

# No name, resolver or identity of the build host.
install -m 644 /dev/null "$root"/etc/resolv.conf
echo debian > "$root"/etc/hostname
chmod 644 "$root"/etc/hostname
cat > "$root"/etc/hosts <<'HOSTS'
127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
ff02::1 ip6-allnodes
ff02::2 ip6-allrouters
HOSTS
chmod 644 "$root"/etc/hosts
: > "$root"/etc/machine-id
rm -f "$root"/var/lib/dbus/machine-id "$root"/var/lib/systemd/random-seed
rm -f "$root"/etc/ssh/ssh_host_*
rmdir "$root"/root/.ssh 2>/dev/null || true

if [ -d "$root"/etc/network ]; then
    cat > "$root"/etc/network/interfaces <<'INTERFACES'
source /etc/network/interfaces.d/*

auto lo
iface lo inet loopback
INTERFACES
    chmod 644 "$root"/etc/network/interfaces
fi

echo LANG=C.UTF-8 > "$root"/etc/default/locale

# A container maps fewer group ids than the default range of this names, which
# the kernel then refuses as a whole.
install -d "$root"/etc/sysctl.d
cat > "$root"/etc/sysctl.d/50-ping.conf <<'SYSCTL'
net.ipv4.ping_group_range = 0 65534
SYSCTL

# Nobody logs in with a password until one is set.
chroot "$root" usermod --password '*' root

# Backups of the package tools, and their logs of the build.
rm -f "$root"/etc/passwd- "$root"/etc/group- "$root"/etc/shadow- "$root"/etc/gshadow-
rm -f "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old
find "$root"/var/log -type f -exec truncate --size=0 {} +
rm -f "$root"/var/log/apt/* "$root"/var/log/dpkg.log "$root"/var/log/alternatives.log "$root"/var/log/bootstrap.log
