#!/bin/sh
# Runs on the host, for the runit variant.
set -eu
root=$1

# There are no virtual terminals: one login, on the console.
rm -f "$root"/etc/runit/runsvdir/default/getty-*
install -d "$root"/etc/sv/getty-console
cat > "$root"/etc/sv/getty-console/run <<'RUN'
#!/bin/sh
exec chpst -P /sbin/agetty --noclear --keep-baud console 115200,38400,9600 linux
RUN
cat > "$root"/etc/sv/getty-console/finish <<'FINISH'
#!/bin/sh
exec utmpset -w console
FINISH
chmod 755 "$root"/etc/sv/getty-console/run "$root"/etc/sv/getty-console/finish
ln -s /run/runit/supervise/getty-console "$root"/etc/sv/getty-console/supervise
ln -s /etc/sv/getty-console "$root"/etc/runit/runsvdir/default/getty-console
