# The host's own packet filter. osctld has tables of its own beside these.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.networking.nftables;
  table =
    { name, ... }:
    {
      options = {
        enable = mkOption { type = types.bool; default = true; description = "Whether it is there."; };
        name = mkOption { type = types.str; default = name; description = "Its name."; };
        family = mkOption {
          type = types.enum [ "ip" "ip6" "inet" "arp" "bridge" "netdev" ];
          description = "Its address family.";
        };
        content = mkOption { type = types.lines; description = "Chains, sets and so on, as nft(8) reads them."; };
      };
    };
  enabled = lib.filter (it: it.enable) (lib.attrValues cfg.tables);
  declared = pkgs.writeText "tables" (lib.concatMapStrings (it: "${it.family} ${it.name}\n") enabled);
  ruleset = pkgs.writeText "ruleset.nft" (
    lib.concatMapStrings (it: "table ${it.family} ${it.name} {\n${it.content}\n}\n") enabled
  );
  # One transaction replaces what another system had by what this one has:
  # there is no moment without rules, and on an error nothing changes.
  load = ''
    touch /run/nftables.tables
    sort -u /run/nftables.tables ${declared} | while read -r table; do
      echo "table $table"
      echo "delete table $table"
    done > /run/nftables.new
    cat ${ruleset} >> /run/nftables.new
    nft -f /run/nftables.new
    cp ${declared} /run/nftables.tables
  '';
in
{
  options.networking.nftables = {
    enable = mkOption { type = types.bool; default = false; description = "Whether `tables` are loaded."; };
    tables = mkOption {
      type = types.attrsOf (types.submodule table);
      default = { };
      description = "Tables by name.";
    };
  };
  config = lib.mkIf cfg.enable {
    boot.kernelModules = [ "nf_tables" ];
    environment.systemPackages = [ pkgs.nftables ];
    runit.services.nftables = {
      runlevels = [ "rescue" "default" ];
      oneShot = true;
      run = load;
      onChange = "reload";
      control.h = "(\nset -e\n${load})\n[ $? = 0 ] || echo 'the tables are as they were'";
      finish = ''
        sed 's/^/delete table /' /run/nftables.tables | nft -f -
        rm /run/nftables.tables
      '';
    };
  };
}
