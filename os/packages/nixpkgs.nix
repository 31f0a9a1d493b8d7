# nixpkgs, as the contract wants it.
{ pkgs, source }:
let
  inherit (pkgs) lib;
  # The kernel's modules are an output of their own in later releases.
  kernel = pkgs.linuxPackages.kernel;
  modules = lib.getOutput "modules" kernel;
  noFirmware = pkgs.runCommand "no-firmware" { } "mkdir -p $out/lib/firmware";
in
pkgs
// {
  hierarchy = { };
  busybox-static = pkgs.pkgsStatic.busybox;
  linuxPackages = pkgs.linuxPackages // {
    zfs = pkgs.linuxPackages.${pkgs.zfs.kernelModuleAttribute};
    kernel = pkgs.symlinkJoin {
      name = "linux-${kernel.modDirVersion}";
      paths = lib.unique [ kernel modules ];
      passthru = { inherit (kernel) modDirVersion version; };
    };
  };
  makeModulesClosure =
    { kernel, rootModules, allowMissing ? false }:
    pkgs.makeModulesClosure {
      inherit rootModules allowMissing;
      # The index has to be there as files, not as links.
      kernel = modules;
      firmware = noFirmware;
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
    # The last is what `osctl.test-agent` runs.
    cargoBuildFlags = map (it: "--bin=${it}") [ "osctl" "osctld" "osctl-runtime" "osctl-vm-agent" ];
    doCheck = false;
  };
}
