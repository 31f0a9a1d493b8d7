# Host name, interfaces, bridges, addresses.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.networking;
  address.options = {
    address = mkOption { type = types.str; description = "The address."; };
    prefixLength = mkOption { type = types.ints.between 0 128; description = "Length of its network's prefix."; };
  };
  addresses = mkOption {
    type = types.listOf (types.submodule address);
    default = [ ];
    description = "Addresses.";
  };
  interface.options = {
    useDHCP = mkOption { type = types.bool; default = false; description = "Whether its address comes by DHCP."; };
    ipv4.addresses = addresses;
    ipv6.addresses = addresses;
  };
  each = set: line: lib.concatStrings (lib.mapAttrsToList line set);
  lease = pkgs.writeScript "udhcpc-lease" ''
    #!${pkgs.runtimeShell}
    export PATH=/run/current-system/sw/bin
    # What it added, and no more, it takes away.
    leased=/run/udhcpc.$interface
    forget() {
      [ ! -e $leased ] || ip addr del $(cat $leased) dev $interface
      rm -f $leased
    }
    case $1 in
      bound | renew)
        [ "$(cat $leased 2> /dev/null)" = $ip/$mask ] || forget
        ip addr replace $ip/$mask dev $interface
        echo $ip/$mask > $leased
        [ -z "$router" ] || ip route replace default via ''${router%% *} dev $interface
        [ -z "$dns" ] || for server in $dns; do echo "nameserver $server"; done > /etc/resolv.conf ;;
      deconfig) forget ;;
    esac
  '';
in
{
  options.networking = {
    hostName = mkOption {
      type = types.strMatching "[[:alnum:]]([[:alnum:]_-]{0,61}[[:alnum:]])?";
      default = "osctl";
      description = "Name of the host.";
    };
    interfaces = mkOption {
      type = types.attrsOf (types.submodule { options = interface.options; });
      default = { };
      description = "Interfaces by name.";
    };
    bridges = mkOption {
      type = types.attrsOf (
        types.submodule {
          options.interfaces = mkOption { type = types.listOf types.str; default = [ ]; description = "Its members."; };
        }
      );
      default = { };
      description = "Bridges by name.";
    };
    defaultGateway = mkOption { type = types.nullOr types.str; default = null; description = "Where packets go that have no other route."; };
    nameservers = mkOption { type = types.listOf types.str; default = [ ]; description = "Addresses of resolvers."; };
    hosts = mkOption { type = types.attrsOf (types.listOf types.str); default = { }; description = "Names by address."; };
  };
  config = {
    environment.etc = {
      hostname.text = cfg.hostName + "\n";
      hosts.text =
        "127.0.0.1 localhost ${cfg.hostName}\n::1 localhost\n"
        + each cfg.hosts (ip: names: "${ip} ${toString names}\n");
      "nsswitch.conf".text = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n";
      services.source = "${pkgs.iana-etc}/etc/services";
      protocols.source = "${pkgs.iana-etc}/etc/protocols";
      "resolv.conf" = lib.mkIf (cfg.nameservers != [ ]) {
        mode = "0644";
        text = lib.concatMapStrings (it: "nameserver ${it}\n") cfg.nameservers;
      };
    };
    system.activationScripts.hostname.text = "echo ${cfg.hostName} > /proc/sys/kernel/hostname";
    runit.stage1 = "ip link set lo up";
    runit.services = lib.mkMerge [
      {
        networking = {
          runlevels = [ "rescue" "default" ];
          oneShot = true;
          # Where one thing fails, such as a card that is missing, all others are done,
          # and the host goes on without it if it does not appear.
          run =
            ''
              try() { "$@" || failed=1; }
              for attempt in {1..5}; do
              failed=0
            ''
            + each cfg.bridges (
              name: it:
              ''
                [ -d /sys/class/net/${name} ] || try ip link add ${name} type bridge
                try ip link set ${name} up
              ''
              + lib.concatMapStrings (member: "try ip link set ${member} master ${name} up\n") it.interfaces
            )
            + each cfg.interfaces (
              name: it:
              "try ip link set ${name} up\n"
              + lib.concatMapStrings (
                a: "try ip addr replace ${a.address}/${toString a.prefixLength} dev ${name}\n"
              ) (it.ipv4.addresses ++ it.ipv6.addresses)
            )
            + lib.optionalString (cfg.defaultGateway != null) "try ip route replace default via ${cfg.defaultGateway}\n"
            + ''
              [ $failed = 1 ] || break
              sleep 1
              done
              [ $failed = 0 ] || echo "not all of the network is set up; sv restart networking tries again"
            '';
        };
      }
      (lib.mapAttrs' (
        name: _:
        lib.nameValuePair "dhcp-${name}" {
          runlevels = [ "rescue" "default" ];
          run = ''
            sv -w 60 start /run/runit/service/networking > /dev/null || exit 1
            exec ${pkgs.busybox}/bin/busybox udhcpc -f -i ${name} -s ${lease}
          '';
          check = "ip -4 addr show dev ${name} scope global | grep -q inet";
        }
      ) (lib.filterAttrs (_: it: it.useDHCP) cfg.interfaces))
    ];
  };
}
