# The host image: evaluates the modules with a configuration.
#
# `pkgs` and `lib` come from either package set; no module names nixpkgs. The answer's `config.system.build` holds what can be built.
{
  lib ? import ./lib,
  # For `nix-build os -A dist`, where NIX_PATH has nixpkgs.
  pkgs ? import ./packages/nixpkgs.nix {
    pkgs = import <nixpkgs> { };
    source = ./..;
  },
  configuration ? ./hosts/vm.nix,
}:
let
  evaluated = lib.evalModules {
    modules = [
      { _module.args.pkgs = import ./packages/contract.nix { inherit lib pkgs; }; }
      configuration
    ]
    ++ import ./modules;
  };
in
{
  inherit (evaluated) config options;
  inherit (evaluated.config.system.build) toplevel dist netboot;
  # A script that boots it under QEMU.
  runner = evaluated.config.system.build.vm;
}
