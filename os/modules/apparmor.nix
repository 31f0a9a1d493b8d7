# AppArmor: enabled in the kernel, with what compiles profiles. Those of containers are osctld's.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.security.apparmor.enable = mkOption {
    type = types.bool;
    default = true;
    description = "Whether the kernel has AppArmor; containers are confined by it then.";
  };
  config = {
    # `security=` would switch all other modules off.
    boot.kernelParams =
      if config.security.apparmor.enable then
        [ "apparmor=1" "lsm=landlock,lockdown,yama,integrity,apparmor" ]
      else
        [ "apparmor=0" ];
    environment.systemPackages = lib.optionals config.security.apparmor.enable [ pkgs.apparmor-parser ];
  };
}
