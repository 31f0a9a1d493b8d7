# The kernel of the lock: its image, and its modules with their index.
{ lib, locked, packages, runCommand, kmod, xz }:
let
  isImage = name: builtins.match "linux-image-[0-9].*" name != null;
  image = lib.findFirst isImage (throw "the lock has no kernel") (lib.attrNames locked.packages);
in
rec {
  linuxPackages.kernel = linux;
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
}
