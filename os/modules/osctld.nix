# The container daemon.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.osctld;
  # TOML has JSON's strings, numbers, Booleans and lists.
  value = it: if lib.isAttrs it then throw "osctld.settings has tables in tables" else builtins.toJSON it;
  plain = lib.filterAttrs (_: it: !(lib.isAttrs it)) cfg.settings;
  tables = lib.filterAttrs (_: it: lib.isAttrs it) cfg.settings;
  lines = set: lib.concatStrings (lib.mapAttrsToList (name: it: "${name} = ${value it}\n") set);
in
{
  options.osctld = {
    enable = mkOption { type = types.bool; default = true; description = "Whether it runs."; };
    package = mkOption { type = types.package; default = pkgs.osctl; description = "Where its programs are."; };
    settings = mkOption {
      type = types.attrsOf types.unspecified;
      default = { };
      description = "What osctld.toml says.";
    };
  };
  config = lib.mkIf cfg.enable {
    # The default bridge gives addresses with dnsmasq.
    environment.systemPackages = [ cfg.package pkgs.dnsmasq pkgs.nftables ];
    users.users.dnsmasq = {
      uid = 497;
      description = "dnsmasq";
    };
    environment.etc."osctl/osctld.toml".text =
      lines plain + lib.concatStrings (lib.mapAttrsToList (name: set: "[${name}]\n${lines set}") tables);
    boot.kernelModules = [ "veth" "bridge" "tun" "fuse" "nf_tables" ];
    # Containers have 300 s to shut down, and are killed then; the pools are exported after that.
    # A container has 300 s to stop, and is asked after at most 10 s for each of those before it.
    runit.stage3 = "timeout 1200 osctl shutdown --force || echo 'containers are killed'";
    runit.services.osctld = {
      # Containers outlive it.
      killMode = "process";
      run = "exec ${cfg.package}/bin/osctld";
      restartTriggers = [ config.environment.etc."osctl/osctld.toml".source ];
      # It is ready once it knows its containers.
      check = "${cfg.package}/bin/osctl --json ping 2> /dev/null | grep -q '\"initialized\": *true'";
    };
  };
}
