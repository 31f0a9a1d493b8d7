# What Prometheus asks the host for.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.prometheus.exporters.node;
  names = description: mkOption { type = types.listOf types.str; default = [ ]; inherit description; };
  flags =
    map (it: "--collector.${it}") cfg.enabledCollectors
    ++ map (it: "--no-collector.${it}") cfg.disabledCollectors
    ++ cfg.extraFlags;
in
{
  options.services.prometheus.exporters.node = {
    enable = mkOption { type = types.bool; default = false; description = "Whether it runs."; };
    port = mkOption { type = types.port; default = 9100; description = "Where it listens."; };
    listenAddress = mkOption { type = types.str; default = "0.0.0.0"; description = "On which address."; };
    enabledCollectors = names "Collectors beside those that are on by default.";
    disabledCollectors = names "Collectors that are not wanted.";
    extraFlags = names "Further arguments.";
  };
  config = lib.mkIf cfg.enable {
    users.users.node-exporter = { uid = 495; group = "node-exporter"; description = "prometheus-node-exporter"; };
    users.groups.node-exporter.gid = 495;
    runit.services.prometheus-node-exporter.run = ''
      exec chpst -u node-exporter:node-exporter ${pkgs.prometheus-node-exporter}/bin/node_exporter ${lib.escapeShellArgs ([ "--web.listen-address=${cfg.listenAddress}:${toString cfg.port}" ] ++ flags)}
    '';
  };
}
