# What boots: kernel, initrd, squashfs and the words of the command line.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  build = config.system.build;
  programs = builtins.path {
    name = "osctl-programs";
    path = config.osctl.programs;
  };
in
{
  options.osctl.programs = mkOption {
    type = types.nullOr types.path;
    default = null;
    description = ''
      Directory of programs that are appended to the initrd, for a package set
      whose `osctl` is links to them: another one costs a second.
    '';
  };
  config.system.build = {
    squashfs = pkgs.makeSquashfs { storeContents = [ build.toplevel ]; };
    dist = pkgs.runCommand "osctl-host-dist" { nativeBuildInputs = [ pkgs.cpio ]; } ''
      mkdir $out
      ln -s ${build.squashfs} $out/root.squashfs
      ln -s ${config.boot.kernelPackages.kernel}/bzImage $out/bzImage
      cat ${build.initialRamdisk}/initrd > $out/initrd
      ${lib.optionalString (config.osctl.programs != null) ''
        mkdir -p add/osctl/bin
        cp ${programs}/* add/osctl/bin/
        chmod -R u=rwX,go=rX add
        (cd add && find . -print0 | sort -z | cpio --null -o -H newc -R 0:0 --reproducible --quiet) | gzip -1n >> $out/initrd
      ''}
      printf ${lib.escapeShellArg (lib.concatMapStrings (it: "${it}\\n") config.boot.extraModulePackages)} > $out/slow
      echo "init=${build.toplevel}/init ${toString config.boot.kernelParams}" > $out/kernel-params
    '';
  };
}
