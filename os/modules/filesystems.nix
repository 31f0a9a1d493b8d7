# What is mounted beside the root.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  fileSystem =
    { name, ... }:
    {
      options = {
        mountPoint = mkOption { type = types.path; default = name; description = "Where it is mounted."; };
        device = mkOption { type = types.str; description = "What is mounted, as `/dev/vdb` or `LABEL=…`."; };
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
in
{
  options.fileSystems = mkOption {
    type = types.attrsOf (types.submodule fileSystem);
    default = { };
    description = "File systems by where they are mounted; what a switch takes out stays mounted until the next boot.";
  };
  config = lib.mkIf (all != [ ]) {
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
        mkdir -p ${lib.escapeShellArgs (map (it: it.mountPoint) all)}
        mount -a
      '';
      restartTriggers = [ config.environment.etc.fstab.source ];
    };
  };
}
