# What guests can't have the kernel load: a mount or a socket of theirs is enough
# for a module that it finds by an alias. `modprobe` with the module's own name loads all.
{ config, pkgs, ... }:
let
  # Those that hosts have, and those that guests may mount.
  kept = [
    "9p" "autofs" "binfmt_misc" "btrfs" "ceph" "cifs" "configfs" "efivarfs" "exfat" "ext2" "ext3" "ext4" "fuse" "fuseblk"
    "iso9660" "msdos" "nfs" "nfs4" "nfsd" "overlay" "rpc_pipefs" "smb3" "squashfs" "udf" "vfat" "virtiofs" "xfs" "zfs"
  ];
in
{
  config.environment.etc."modprobe.d/guests.conf".source = pkgs.runCommand "guests.conf" { } ''
    cat ${config.system.build.modules}/lib/modules/*/modules.alias | while read -r _ alias module; do
      case $alias in
        ${builtins.concatStringsSep " | " (map (it: "fs-${it}") kept)}) ;;
        # File systems; protocols over IP, such as SCTP.
        fs-* | net-pf-2-proto-* | net-pf-10-proto-*) echo "blacklist $module" ;;
      esac
    done | sort -u > $out
    grep -q . $out
  '';
}
