# A package set made from Debian's archives, with nixpkgs' names.
#
# Each archive is a fixed-output derivation; each package is unpacked and made
# to refer to its dependencies by store path, so that closures are true.
{
  lib ? import ../../lib,
  # Written by `cargo xtask os`: names, versions, hashes and dependencies.
  lock,
  # Where the lock's archives are fetched from.
  mirror,
  # A directory with a static `bin/busybox`, which unpacks the first packages.
  bootstrap,
}:
let
  system = "x86_64-linux";
  locked = lib.importJSON lock;
  tools = builtins.path {
    name = "bootstrap";
    path = bootstrap;
  };
  # Characters that versions have and store paths cannot.
  storeName = builtins.replaceStrings [ "~" "+" ":" "%" ] [ "-" "-" "-" "-" ];

  fetch =
    archive:
    import <nix/fetchurl.nix> {
      inherit (archive) sha256;
      url = mirror + archive.path;
      name = storeName (baseNameOf archive.path);
    };

  ash =
    name: env: script:
    derivation (
      {
        inherit name system;
        # Its shell finds the applets in itself.
        builder = "${tools}/bin/busybox";
        args = [ "ash" "-eu" "-c" script ];
      }
      // env
    );
  archivesOf = name: map fetch locked.packages.${name}.debs;
  unpack = builtins.readFile ./unpack.sh;
  patch = builtins.readFile ./patch.sh;
  raw = name: ash "deb-raw-${storeName name}" { debs = archivesOf name; } unpack;

  # The C library is used as it comes; patchelf runs through its loader.
  libc = ash "deb-libc6-${storeName locked.packages.libc6.version}" { debs = archivesOf "libc6"; } unpack;
  patchelf = "${libc}/lib/ld-linux-x86-64.so.2 --library-path ${libc}/lib:${raw "libstdc++6"}/lib ${raw "patchelf"}/bin/patchelf";

  package =
    name:
    let
      it = locked.packages.${name};
      needsNoBash = name == "bash" || lib.elem name locked.packages.bash.deps;
    in
    if name == "libc6" then
      libc
    else
      ash "deb-${storeName name}-${storeName it.version}" {
        debs = archivesOf name;
        deps = map (dep: packages.${dep}) (lib.remove "libc6" it.deps);
        inherit libc patchelf;
        bashDir = if needsNoBash then "" else packages.bash;
      } (unpack + patch)
      // {
        pname = name;
        inherit (it) version;
        meta = { };
      };
  packages = lib.mapAttrs (name: _: package name) locked.packages;
  deb = name: packages.${locked.alias.${name} or name};
  # Named by their versions.
  zfsLibraries = lib.filter (name: builtins.match "lib(zfs|nvpair)[0-9]+linux" name != null) (lib.attrNames locked.packages);

  set = builders // kernel // {
    inherit lib;
    runtimeShell = builders.shell;
    apparmor-parser = deb "apparmor";
    bash = deb "bash";
    bird2 = deb "bird2";
    busybox = deb "busybox-static";
    busybox-static = deb "busybox-static";
    # Debian joins them when the package is installed.
    cacert = builders.runCommand "cacert" { } ''
      mkdir -p $out/etc/ssl/certs
      cat ${deb "ca-certificates"}/share/ca-certificates/mozilla/*.crt > $out/etc/ssl/certs/ca-bundle.crt
    '';
    chrony = deb "chrony";
    coreutils = deb "coreutils";
    cpio = deb "cpio";
    curl = deb "curl";
    diffutils = deb "diffutils";
    dnsmasq = deb "dnsmasq-base";
    e2fsprogs = deb "e2fsprogs";
    findutils = deb "findutils";
    gawk = deb "gawk";
    gnugrep = deb "grep";
    gnused = deb "sed";
    gnutar = deb "tar";
    gzip = deb "gzip";
    hostname-debian = deb "hostname";
    iana-etc = deb "netbase";
    iproute2 = deb "iproute2";
    iputils = deb "iputils-ping";
    jq = deb "jq";
    kmod = deb "kmod";
    less = deb "less";
    lxcfs = deb "lxcfs";
    nfs-utils = builders.symlinkJoin {
      name = "nfs-utils";
      paths = map deb [ "nfs-common" "nfs-kernel-server" ];
    };
    nftables = deb "nftables";
    nix = deb "nix-bin";
    openssh = builders.symlinkJoin {
      name = "openssh";
      paths = map deb [ "openssh-server" "openssh-client" ];
    };
    procps = deb "procps";
    prometheus-node-exporter = builders.runCommand "node-exporter" { } ''
      mkdir -p $out/bin
      ln -s ${deb "prometheus-node-exporter"}/bin/prometheus-node-exporter $out/bin/node_exporter
    '';
    psmisc = deb "psmisc";
    rsyslog = deb "rsyslog";
    runit = deb "runit";
    squashfsTools = deb "squashfs-tools";
    util-linux = builders.symlinkJoin {
      name = "util-linux";
      paths = map deb [ "util-linux" "mount" "fdisk" "login" ];
    };
    xz = deb "xz-utils";
    zfs = deb "zfsutils-linux";
    zstd = deb "zstd";

    # Links to what stage 1 takes out of the initrd: a change of our programs
    # changes neither the system nor the squashfs.
    osctl = builders.runCommand "osctl-links" { } ''
      mkdir -p $out/bin
      for program in osctl osctld osctl-runtime osctl-vm-agent; do
        ln -s /nix/.osctl/bin/$program $out/bin/$program
      done
    '';

    # What osctld loads when there is ZFS.
    zfsLibraries = builders.runCommand "zfs-libraries" { libraries = map deb zfsLibraries; } ''
      mkdir -p $out/lib
      for library in $libraries; do ln -s $library/lib/*.so.* $out/lib/; done
    '';

    # Our programs are built on Debian, and Debian's name files by FHS paths.
    hierarchy = {
      # libfuse executes these.
      "/bin/mount" = "${deb "mount"}/bin/mount";
      "/bin/umount" = "${deb "mount"}/bin/umount";
      "/lib64/ld-linux-x86-64.so.2" = "${libc}/lib/ld-linux-x86-64.so.2";
      "/lib/x86_64-linux-gnu" = "${libc}/lib";
      "/usr/lib/x86_64-linux-gnu" = "${set.zfsLibraries}/lib";
      "/usr/lib/openssh" = "${deb "openssh-server"}/lib/openssh";
      "/usr/share/iproute2" = "${deb "iproute2"}/share/iproute2";
    };
  };
  builders = import ./builders.nix { inherit lib system; pkgs = set; };
  inFHS = import ./fhs.nix {
    inherit (set) runCommand busybox util-linux;
    archives = lib.concatMap archivesOf locked.build;
  };
  kernel = import ./kernel.nix { inherit lib locked packages inFHS; inherit (set) runCommand kmod xz; };
in
set
