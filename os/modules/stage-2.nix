# Stage 2: mounts, activates, and becomes runit.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.boot.init = mkOption {
    type = types.lines;
    description = "The script that stage 1 executes; `@out@` is the system.";
  };
  config.boot.init = ''
    #!${pkgs.runtimeShell}
    export PATH=${config.system.path}/bin
    mkdir -p /proc /sys /dev /tmp /var/log /var/lib /var/empty /etc /root /run
    chmod 0700 /root
    mount -t proc proc /proc
    mount -t sysfs sys /sys
    mount -t securityfs securityfs /sys/kernel/security
    mount -t devtmpfs dev /dev
    mkdir -p /dev/pts /dev/shm /dev/mqueue
    mount -t devpts -o mode=0620,gid=5,ptmxmode=0666 devpts /dev/pts
    mount -t tmpfs -o mode=1777,nosuid,nodev shm /dev/shm
    mount -t mqueue mqueue /dev/mqueue
    mount -t tmpfs -o mode=755,nosuid,nodev run /run
    mount -t tmpfs -o mode=1777,nosuid,nodev tmp /tmp
    ln -sfn /proc/self/fd /dev/fd
    ln -sfn /proc/self/mounts /etc/mtab
    read up _ < /proc/uptime
    echo "stage 2, $up s"
    @out@/activate || echo "not all of the system could be set up"
    ln -sfn @out@ /run/booted-system
    cd /
    exec runit
  '';
}
