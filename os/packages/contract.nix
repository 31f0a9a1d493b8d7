# What the modules may ask of a package set, checked by evaluation: a set that
# lacks any of it is refused with the names of what is missing, and the modules
# see nothing else of it.
{ lib, pkgs }:
let
  builders = [
    "buildEnv"
    "closureInfo"
    "makeInitrd"
    "makeModulesClosure"
    "makeSquashfs"
    "runCommand"
    "writeScript"
    "writeShellScript"
    "writeShellScriptBin"
    "writeText"
  ];
  packages = [
    "apparmor-parser"
    "bash"
    "bird2"
    "busybox"
    # The same without libraries, for guests.
    "busybox-static"
    # With etc/ssl/certs/ca-bundle.crt.
    "cacert"
    "chrony"
    "coreutils"
    "cpio"
    "curl"
    "diffutils"
    "dnsmasq"
    "e2fsprogs"
    "findutils"
    "gawk"
    "gnugrep"
    "gnused"
    "gnutar"
    "gzip"
    "hostname-debian"
    "iana-etc"
    "iproute2"
    "iputils"
    "jq"
    "kmod"
    "less"
    "lxcfs"
    # With programs of NFS, at least mount.nfs.
    "nfs-utils"
    "nftables"
    "nix"
    "openssh"
    # The workspace's programs: osctl, osctld, osctl-runtime.
    "osctl"
    "procps"
    "prometheus-node-exporter"
    "psmisc"
    "rsyslog"
    "runit"
    "squashfsTools"
    "util-linux"
    "xz"
    "zfs"
    "zstd"
  ];
  others = [
    # Of derivations: `kernel` with `bzImage`, `lib/modules` and `modDirVersion`, and `zfs` with the
    # modules that are built for it.
    "linuxPackages"
    # Path of a shell that scripts can begin with.
    "runtimeShell"
    # Where programs look for files at places of the file system hierarchy:
    # an attribute set from such a path to what a link there points to.
    "hierarchy"
  ];
  wanted = builders ++ packages ++ others;
  missing = lib.filter (name: !(pkgs ? ${name})) wanted;
  notBuilders = lib.filter (name: !(lib.isFunction pkgs.${name})) builders;
  notPackages = lib.filter (name: (pkgs.${name}.type or "") != "derivation") packages;
  complain = what: names: throw "the package set ${what}: ${lib.concatStringsSep ", " names}";
in
if missing != [ ] then
  complain "lacks" missing
else if notBuilders != [ ] then
  complain "has no functions of these" notBuilders
else if notPackages != [ ] then
  complain "has no packages of these" notPackages
else
  lib.genAttrs wanted (name: pkgs.${name})
