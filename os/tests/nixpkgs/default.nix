# Packages with nixpkgs' names and outputs, functions with the arguments of its
# functions, and nothing in any of them.
_:
let
  lib = import ../../lib;
  nothing = name: env: derivation ({ inherit name; system = "x86_64-linux"; builder = "/bin/sh"; } // env);
  named = name: nothing name { } // { pname = name; version = "1"; };
  text = name: content: nothing name { inherit content; };
  names = [
    "apparmor-parser" "bash" "bird2" "busybox" "cacert" "chrony" "coreutils" "cpio" "curl" "diffutils" "dnsmasq" "e2fsprogs" "findutils"
    "gawk" "gnugrep" "gnused" "gnutar" "gzip" "hostname-debian" "iana-etc" "iproute2" "iputils" "jq" "kmod" "less" "lxcfs" "nfs-utils" "nftables" "nix"
    "openssh" "procps" "prometheus-node-exporter" "psmisc" "rsyslog" "runit" "squashfsTools" "util-linux" "xz" "zstd"
  ];
in
lib.genAttrs names named // {
  inherit lib;
  runtimeShell = "${named "bash"}/bin/bash";
  runCommand = name: env: script: nothing name (removeAttrs env [ "passthru" ] // { inherit script; });
  writeText = text;
  writeScript = text;
  writeShellScript = text;
  writeShellScriptBin = text;
  buildEnv = { name, paths, pathsToLink ? [ "/" ] }: nothing name { inherit paths pathsToLink; };
  symlinkJoin = { name, paths, passthru ? { } }: nothing name { inherit paths; } // passthru;
  closureInfo = { rootPaths }: nothing "closure-info" { inherit rootPaths; };
  makeModulesClosure =
    { kernel, firmware, rootModules, allowMissing ? false }:
    nothing "modules-shrunk" { inherit kernel firmware rootModules allowMissing; };
  makeInitrd = { contents, name ? "initrd" }: nothing name { objects = map (it: it.object) contents; };
  pkgsStatic.busybox = named "busybox-static";
  zfs = named "zfs" // {
    kernelModuleAttribute = "zfs_2_3";
  };
  linuxPackages = {
    zfs_2_3 = named "zfs-kernel";
    kernel = nothing "linux" { outputs = [ "out" "modules" ]; } // {
      modDirVersion = "6.12";
      version = "6.12";
    };
  };
  rustPlatform.buildRustPackage =
    { pname, version, src, cargoLock, cargoBuildFlags, doCheck }:
    nothing pname { inherit version cargoBuildFlags; lock = cargoLock.lockFile; };
}
