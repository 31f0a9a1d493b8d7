# Root's shell on serial lines, for those who have the machine's console anyway.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.services.getty.autologin = mkOption {
    type = types.listOf types.str;
    default = [ ];
    description = "Lines with root's shell, such as `ttyS0`.";
  };
  config.runit.services = lib.listToAttrs (
    map (
      line:
      lib.nameValuePair "getty-${line}" {
        runlevels = [ "single" "rescue" "default" ];
        log.enable = false;
        # A shell on a terminal ignores what others end by.
        control.t = "echo 1 > /sys/fs/cgroup/system/getty-${line}/cgroup.kill";
        run = ''
          cd /root
          export HOME=/root TERM=''${TERM:-vt220}
          exec setsid -w agetty -n -l /run/current-system/sw/bin/bash -o -l --noissue --keep-baud 115200 ${line} vt220
        '';
      }
    ) config.services.getty.autologin
  );
}
