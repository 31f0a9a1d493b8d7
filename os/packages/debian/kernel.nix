# The kernel of the lock: its image, its modules with their index, and those of
# ZFS, which are built for it.
{ lib, locked, packages, runCommand, inFHS, kmod, xz }:
let
  isImage = name: builtins.match "linux-image-[0-9].*" name != null;
  image = lib.findFirst isImage (throw "the lock has no kernel") (lib.attrNames locked.packages);
in
rec {
  linuxPackages = { kernel = linux; inherit zfs; };
  linux =
    runCommand "linux-${image}"
      {
        nativeBuildInputs = [ kmod xz ];
        raw = packages.${image};
      }
      ''
        mkdir -p $out/lib
        cp $raw/boot/vmlinuz-* $out/bzImage
        cp $raw/boot/config-* $out/config
        cp -r $raw/lib/modules $out/lib/
        chmod -R u+w $out
        version=$(ls $out/lib/modules)
        rm -rf $out/lib/modules/$version/{build,source}
        # The squashfs compresses them, and better.
        find $out/lib/modules -name '*.ko.xz' -print0 | xargs -0 -r -P2 -n50 xz -d
        depmod -b $out -C /dev/null $version
      ''
    // {
      modDirVersion = lib.removePrefix "linux-image-" image;
      inherit (locked.packages.${image}) version;
    };

  # Minutes of work, most of it questions about the kernel.
  zfs =
    inFHS "zfs-modules-${locked.packages.zfs-dkms.version}-${linux.modDirVersion}" { } ''
      cp -r /usr/src/zfs-* /build/zfs
      cd /build/zfs
      headers=$(echo /usr/src/linux-headers-*-cloud-amd64)
      common=$(echo /usr/src/linux-headers-*-common)
      set -o pipefail
      # What follows `progress: ` is shown while it is built.
      quietly() {
        what=$1
        shift
        "$@" 2>&1 | tee log | awk -v what="$what" 'NR % 200 == 0 { print "progress: " what ", " NR " steps" }' ||
          { tail -n 40 log; exit 1; }
      }
      quietly "asking the kernel" ./configure --with-config=kernel --with-linux=$common --with-linux-obj=$headers \
        --disable-dependency-tracking
      quietly "compiling" make -j$(nproc)
      modules=$out/lib/modules/''${headers#*linux-headers-}/extra
      mkdir -p $modules
      find . -name '*.ko' -exec strip --strip-debug {} + -exec cp -t $modules {} +
      ls $modules | grep -q zfs.ko
    ''
    // {
      inherit (locked.packages.zfs-dkms) version;
    };
}
