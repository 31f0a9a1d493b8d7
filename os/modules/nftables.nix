# The host's own packet filter.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.networking.nftables;
in
{
  options.networking.nftables = {
    enable = mkOption { type = types.bool; default = false; description = "Whether `ruleset` is loaded."; };
    ruleset = mkOption { type = types.lines; default = ""; description = "What nft(8) reads."; };
  };
  config = lib.mkMerge [
    { environment.systemPackages = [ pkgs.nftables ]; }
    (lib.mkIf cfg.enable {
      runit.services.nftables = {
        runlevels = [ "rescue" "default" ];
        oneShot = true;
        run = "nft -f ${pkgs.writeText "ruleset.nft" cfg.ruleset}";
      };
    })
  ];
}
