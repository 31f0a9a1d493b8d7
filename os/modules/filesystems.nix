# What is mounted beside the root, and NFS.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  fileSystem =
    { name, ... }:
    {
      options = {
        mountPoint = mkOption { type = types.path; default = name; description = "Where it is mounted."; };
        device = mkOption { type = types.str; description = "What is mounted, as `/dev/vdb`, `LABEL=…` or `SERVER:/PATH`."; };
        fsType = mkOption { type = types.str; default = "auto"; description = "Its type."; };
        options = mkOption {
          type = types.listOf types.str;
          default = [ "defaults" ];
          description = "How; with `noauto` it is mounted by hand.";
        };
      };
    };
  all = lib.attrValues config.fileSystems;
  # Words of fstab(5) have no blanks.
  word = builtins.replaceStrings [ " " "\t" ] [ "\\040" "\\011" ];
  isNfs = it: lib.elem it.fsType [ "nfs" "nfs4" ];
  nfs = lib.elem "nfs" config.boot.supportedFilesystems;
in
{
  options.fileSystems = mkOption {
    type = types.attrsOf (types.submodule fileSystem);
    default = { };
    description = "File systems by where they are mounted; what a switch takes out stays mounted until the next boot.";
  };
  config = lib.mkMerge [
    (lib.mkIf (all != [ ]) {
      assertions = [
        {
          assertion = !(builtins.any (it: it.mountPoint == "/") all);
          message = "fileSystems: the root is what `root=` names on the kernel's command line";
        }
      ];
      environment.etc.fstab.text = lib.concatMapStrings (
        it: "${word it.device} ${word it.mountPoint} ${it.fsType} ${lib.concatStringsSep "," it.options} 0 0\n"
      ) all;
      runit.services.filesystems = {
        runlevels = [ "rescue" "default" ];
        oneShot = true;
        run = ''
          ${lib.optionalString (builtins.any isNfs all) "sv -w 60 start /run/runit/service/networking > /dev/null"}
          mkdir -p ${lib.escapeShellArgs (map (it: it.mountPoint) all)}
          mount -a
        '';
        restartTriggers = [ config.environment.etc.fstab.source ];
      };
    })
    (lib.mkIf (builtins.any isNfs all) { boot.supportedFilesystems = [ "nfs" ]; })
    (lib.mkIf nfs {
      environment.systemPackages = [ pkgs.nfs-utils ];
      # mount(8) looks for them there.
      system.activationScripts.nfs.text = ''
        mkdir -p /sbin /var/lib/nfs
        for program in mount.nfs mount.nfs4 umount.nfs umount.nfs4; do
          ln -sfn ${pkgs.nfs-utils}/bin/$program /sbin/$program
        done
      '';
    })
  ];
}
