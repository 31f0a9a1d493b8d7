# The host's clock follows others.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.chrony;
  file = pkgs.writeText "chrony.conf" ''
    ${lib.concatMapStrings (it: "server ${it} iburst\n") cfg.servers}
    user chrony
    driftfile /var/lib/chrony/drift
    makestep 1 3
    rtcsync
    ${cfg.extraConfig}
  '';
in
{
  options = {
    networking.timeServers = mkOption {
      type = types.listOf types.str;
      default = map (n: "${toString n}.debian.pool.ntp.org") [ 0 1 2 3 ];
      description = "Servers of the network time protocol.";
    };
    services.chrony = {
      enable = mkOption { type = types.bool; default = false; description = "Whether chronyd runs."; };
      servers = mkOption {
        type = types.listOf types.str;
        default = config.networking.timeServers;
        description = "Whom it asks.";
      };
      extraConfig = mkOption { type = types.lines; default = ""; description = "Further lines of chrony.conf."; };
    };
  };
  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ pkgs.chrony ];
    users.users.chrony = { uid = 496; group = "chrony"; description = "chronyd"; };
    users.groups.chrony.gid = 496;
    runit.services.chronyd = {
      run = ''
        mkdir -p /var/lib/chrony
        chown chrony:chrony /var/lib/chrony
        exec ${pkgs.chrony}/bin/chronyd -d -f ${file}
      '';
      check = "chronyc -n tracking > /dev/null";
    };
  };
}
