# Files of /proc that show a container its own limits.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.virtualisation.lxc.lxcfs;
in
{
  options.virtualisation.lxc.lxcfs.enable = mkOption {
    type = types.bool;
    default = false;
    description = "Whether lxcfs runs, at /var/lib/lxcfs.";
  };
  config = lib.mkIf cfg.enable {
    boot.kernelModules = [ "fuse" ];
    runit.services.lxcfs = {
      # Running containers have its files mounted.
      onChange = "ignore";
      run = ''
        mkdir -p /var/lib/lxcfs
        ! mountpoint -q /var/lib/lxcfs || umount -l /var/lib/lxcfs
        export LD_LIBRARY_PATH=${pkgs.lxcfs}/lib/lxcfs
        exec ${pkgs.lxcfs}/bin/lxcfs --enable-loadavg /var/lib/lxcfs
      '';
      check = "[ -e /var/lib/lxcfs/proc/uptime ]";
      finish = "umount -l /var/lib/lxcfs";
    };
  };
}
