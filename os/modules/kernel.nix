# The kernel, its command line and its modules.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  inherit (config.boot.kernelPackages) kernel;
  others = config.boot.extraModulePackages;
  # The kernel's modules and those built for it, with one index.
  tree = pkgs.runCommand "kernel-modules" { nativeBuildInputs = [ pkgs.kmod ]; packages = [ kernel ] ++ others; } ''
    version=${kernel.modDirVersion}
    mkdir -p $out/lib/modules/$version
    for package in $packages; do
      cp -rs --no-preserve=mode $package/lib/modules/$version/. $out/lib/modules/$version/
    done
    rm $out/lib/modules/$version/modules.{dep,alias,symbols,builtin.alias,softdep,devname}{,.bin} 2> /dev/null || true
    depmod -b $out -C /dev/null $version
  '';
  load = ''while read module; do modprobe "$module" || echo "no module $module"; done < /etc/modules-load'';
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
    extraModulePackages = mkOption {
      type = types.listOf types.package;
      default = [ ];
      description = "Modules that are not the kernel's own.";
    };
    supportedFilesystems = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "File systems whose modules and programs the host has.";
    };
  };
  config = {
    system.build.modules = if others == [ ] then kernel else tree;
    environment.etc."modules-load".text = lib.concatMapStrings (it: it + "\n") config.boot.kernelModules;
    system.activationScripts.modules.text = ''
      mkdir -p /lib
      ln -sfn ${config.system.build.modules}/lib/modules /lib/modules
      echo ${pkgs.kmod}/bin/modprobe > /proc/sys/kernel/modprobe
      [ ! -e /run/runit/level ] || { ${load}; }
    '';
    system.activationScripts.modules.deps = [ "etc" ];
    runit.stage1 = lib.mkBefore "${load}\n";
  };
}
