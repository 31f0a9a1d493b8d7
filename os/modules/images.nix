# Image archives that the host carries, in /usr/share/osctl/images.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  images = pkgs.runCommand "images" { } ''
    mkdir $out
    ${lib.concatStrings (lib.mapAttrsToList (name: it: "ln -s ${it} $out/${name}.tar\n") config.osctl.images)}
  '';
in
{
  options.osctl.images = mkOption {
    type = types.attrsOf types.path;
    default = { };
    description = "Archives that containers can be made from; each is at /usr/share/osctl/images/NAME.tar.";
  };
  config.system.activationScripts.images.text = ''
    mkdir -p /usr/share/osctl
    ln -sfn ${images} /usr/share/osctl/images
  '';
}
