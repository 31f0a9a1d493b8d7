# Names and addresses for others, by dnsmasq. The one of osctld's default bridge
# is osctld's own.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.dnsmasq;
  line =
    name: value:
    if lib.isList value then
      lib.concatMapStrings (line name) value
    else if value == true then
      "${name}\n"
    else if value == false || value == null then
      ""
    else
      "${name}=${toString value}\n";
  file = pkgs.writeText "dnsmasq.conf" (lib.concatStrings (lib.mapAttrsToList line cfg.settings));
in
{
  options.services.dnsmasq = {
    enable = mkOption { type = types.bool; default = false; description = "Whether it runs."; };
    settings = mkOption {
      type = types.attrsOf types.unspecified;
      default = { };
      example = { interface = "br0"; dhcp-range = [ "192.0.2.100,192.0.2.200" ]; };
      description = "Lines of dnsmasq.conf; a list is a line each, and `true` a name alone.";
    };
  };
  config = lib.mkIf cfg.enable {
    # Others listen on other interfaces.
    services.dnsmasq.settings.bind-interfaces = lib.mkDefault true;
    users.users.dnsmasq = { uid = 497; description = "dnsmasq"; };
    runit.services.dnsmasq = {
      run = ''
        mkdir -p /var/lib/misc
        sv -w 60 start /run/runit/service/networking > /dev/null || exit 1
        exec ${pkgs.dnsmasq}/bin/dnsmasq --keep-in-foreground --log-facility=- --pid-file= --conf-file=${file}
      '';
    };
  };
}
