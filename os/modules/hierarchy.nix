# The few paths of the file system hierarchy that programs insist on.
{ lib, pkgs, ... }:
let
  links = {
    "/bin/sh" = pkgs.runtimeShell;
    "/usr/bin/env" = "${pkgs.coreutils}/bin/env";
  }
  // pkgs.hierarchy;
in
{
  config.system.activationScripts.hierarchy.text = lib.concatStrings (
    lib.mapAttrsToList (path: target: ''
      mkdir -p ${dirOf path}
      ln -sfn ${target} ${path}
    '') links
  );
}
