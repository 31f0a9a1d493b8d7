# The programs of the host: /run/current-system/sw.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
in
{
  options = {
    environment.systemPackages = mkOption {
      type = types.listOf types.package;
      default = [ ];
      description = "Packages whose programs are in everybody's PATH.";
    };
    environment.pathsToLink = mkOption {
      type = types.listOf types.str;
      default = [ "/bin" ];
      description = "Directories of the packages that are linked together.";
    };
    system.path = mkOption {
      type = types.package;
      description = "The packages, linked together.";
    };
  };
  config = {
    environment.systemPackages = with pkgs; [
      bash coreutils curl diffutils e2fsprogs findutils gawk gnugrep gnused gnutar gzip
      hostname-debian iproute2 iputils kmod less procps psmisc runit util-linux xz zstd
    ];
    system.path = pkgs.buildEnv {
      name = "system-path";
      paths = config.environment.systemPackages;
      inherit (config.environment) pathsToLink;
    };
    environment.etc.profile.text = ''
      export PATH=/run/current-system/sw/bin
      export PAGER=less
      PS1='[\u@\h:\w]\$ '
    '';
  };
}
