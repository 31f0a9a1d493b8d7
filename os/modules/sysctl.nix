# Kernel parameters; those of a host with many containers by default.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  apply = "sysctl -q -e -p /etc/sysctl.conf || echo 'not all kernel parameters are set'";
in
{
  options.boot.kernel.sysctl = mkOption {
    type = types.attrsOf (types.nullOr (types.either types.int types.str));
    default = { };
    description = "Parameters by name; `null` leaves one alone.";
  };
  config = {
    boot.kernel.sysctl = lib.mapAttrs (_: lib.mkDefault) {
      # Every container has terminals, watches, keys and sockets of its own,
      # out of pools that are the host's.
      "kernel.pty.max" = 16384;
      "kernel.pty.reserve" = 1024;
      "kernel.pid_max" = 4194304;
      "kernel.threads-max" = 4194304;
      "kernel.keys.maxkeys" = 100000;
      "kernel.keys.maxbytes" = 2500000;
      "fs.inotify.max_user_instances" = 2147483647;
      "fs.inotify.max_user_watches" = 2147483647;
      "fs.inotify.max_queued_events" = 1048576;
      "fs.aio-max-nr" = 3221225471;
      "fs.nr_open" = 4194304;
      "net.ipv4.neigh.default.gc_thresh1" = 2048;
      "net.ipv4.neigh.default.gc_thresh2" = 4096;
      "net.ipv4.neigh.default.gc_thresh3" = 8192;
      "net.ipv6.neigh.default.gc_thresh1" = 2048;
      "net.ipv6.neigh.default.gc_thresh2" = 4096;
      "net.ipv6.neigh.default.gc_thresh3" = 8192;
      "net.ipv4.ip_forward" = 1;
      "net.ipv6.conf.all.forwarding" = 1;
      "kernel.dmesg_restrict" = 1;
      # Of containers, too.
      "dev.tty.legacy_tiocsti" = 0;
      "fs.protected_symlinks" = 1;
      "fs.protected_hardlinks" = 1;
      "fs.protected_fifos" = 1;
      "fs.protected_regular" = 1;
      # A guest that runs out of memory again and again fills the log.
      "vm.oom_dump_tasks" = 0;
      "vm.swappiness" = 0;
    };
    environment.etc."sysctl.conf".text = lib.concatStrings (
      lib.mapAttrsToList (name: value: lib.optionalString (value != null) "${name} = ${toString value}\n") config.boot.kernel.sysctl
    );
    runit.stage1 = apply;
    # At boot they are set once all modules are there.
    system.activationScripts.sysctl = {
      deps = [ "modules" ];
      text = "[ ! -e /run/runit/level ] || {\n${apply}\n}";
    };
  };
}
