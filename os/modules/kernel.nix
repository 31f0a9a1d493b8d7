# The kernel, its command line and its modules.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.boot = {
    kernelPackages = mkOption {
      type = types.unspecified;
      default = pkgs.linuxPackages;
      description = "The kernel and what is built for it.";
    };
    kernelParams = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Words of the kernel's command line.";
    };
    kernelModules = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Modules loaded before services start.";
    };
  };
  config = {
    environment.etc."modules-load".text = lib.concatMapStrings (it: it + "\n") config.boot.kernelModules;
    system.activationScripts.modules.text = ''
      mkdir -p /lib
      ln -sfn ${config.boot.kernelPackages.kernel}/lib/modules /lib/modules
      echo ${pkgs.kmod}/bin/modprobe > /proc/sys/kernel/modprobe
    '';
    runit.stage1 = lib.mkBefore ''
      while read module; do modprobe "$module" || echo "no module $module"; done < /etc/modules-load
    '';
  };
}
