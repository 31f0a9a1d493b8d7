# nixpkgs, as the contract wants it.
{ pkgs, source }:
pkgs
// {
  hierarchy = { };
  linuxPackages = pkgs.linuxPackages // {
    zfs = pkgs.linuxPackages.${pkgs.zfs.kernelModuleAttribute};
  };
  makeInitrd =
    { contents, name ? "initrd" }:
    pkgs.makeInitrd { inherit contents name; };
  makeSquashfs =
    { storeContents }:
    pkgs.runCommand "root.squashfs" { nativeBuildInputs = [ pkgs.squashfsTools ]; } ''
      cp ${pkgs.closureInfo { rootPaths = storeContents; }}/registration nix-path-registration
      mksquashfs nix-path-registration \
        $(cat ${pkgs.closureInfo { rootPaths = storeContents; }}/store-paths) $out \
        -no-progress -quiet -keep-as-directory -all-root -b 128K -comp zstd -Xcompression-level 6
    '';
  osctl = pkgs.rustPlatform.buildRustPackage {
    pname = "osctl";
    version = "0.1.0";
    src = source;
    cargoLock.lockFile = source + "/Cargo.lock";
    cargoBuildFlags = [
      "--package=osctl"
      "--package=osctld"
      "--package=osctl-runtime"
    ];
    doCheck = false;
  };
}
