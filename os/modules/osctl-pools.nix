# Users, groups and containers that the configuration declares. What is missing is
# made, and what is told here is set, at boot and when a switch changes it. What is
# not told is left as it is, and nothing is ever deleted.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.osctl.pools;
  escape = lib.escapeShellArg;
  maybe = type: description: mkOption { type = types.nullOr type; default = null; inherit description; };
  strings = description: mkOption { type = types.listOf types.str; default = [ ]; inherit description; };
  size = types.strMatching "[0-9]+[kmgt]?";
  each = f: set: lib.concatStrings (lib.mapAttrsToList f set);
  limits = {
    memoryLimit = maybe size "Bytes of memory, with suffix k, m, g or t.";
    cpuLimit = maybe types.ints.positive "Percent of one core.";
  };

  user.options = {
    uidMap = strings "Map of user ids, as NS_ID:HOST_ID:COUNT; a block of the default id range when empty.";
    gidMap = strings "Map of group ids; the same as that of user ids when empty.";
  };
  group.options = limits;
  addresses.options.addresses = mkOption {
    type = types.listOf (
      types.submodule {
        options.address = mkOption { type = types.str; description = "The address."; };
        options.prefixLength = mkOption { type = types.ints.between 0 128; description = "Length of its network's prefix."; };
      }
    );
    default = [ ];
    description = "Addresses.";
  };
  family = mkOption { type = types.submodule { inherit (addresses) options; }; default = { }; description = "Addresses of this family."; };
  interface.options = {
    name = mkOption { type = types.str; description = "Name in the container."; };
    type = mkOption { type = types.enum [ "bridge" "routed" ]; description = "How the host is connected to it."; };
    link = mkOption { type = types.str; default = ""; description = "Bridge of the host."; };
    dhcp = maybe types.bool "Whether its addresses come by DHCP; on a bridge they do, unless it is told otherwise.";
    hwaddr = mkOption { type = types.str; default = ""; description = "Hardware address; any when empty."; };
    ipv4 = family;
    ipv6 = family;
  };
  container.options = limits // {
    user = maybe types.str "Whose id map it is made with; one of its own when null.";
    group = mkOption { type = types.str; default = "/default"; description = "The group that it is made in."; };
    image.path = mkOption { type = types.path; description = "The archive or tarball that it is made from."; };
    hostname = maybe types.str "Its host name.";
    resolvers = strings "Its DNS resolvers; its own when empty.";
    nesting = maybe types.bool "Whether it may have containers.";
    interfaces = mkOption {
      type = types.listOf (types.submodule { inherit (interface) options; });
      default = [ ];
      description = "Network interfaces; those that it has are given addresses, and otherwise left alone.";
    };
    autostart = mkOption {
      type = types.nullOr (
        types.submodule {
          options = {
            enable = mkOption { type = types.bool; default = false; description = "Whether it starts with the host, and once it is made."; };
            priority = mkOption { type = types.ints.positive; default = 1000; description = "Smaller starts earlier."; };
            delay = mkOption { type = types.ints.unsigned; default = 5; description = "Seconds until the next one starts."; };
          };
        }
      );
      default = null;
      description = "Whether it starts by itself; what is set by hand stays when null.";
    };
  };
  pool.options = {
    directory = maybe types.path "Where the pool is made when there is none; a pool of ZFS is one of `boot.zfs.pools`.";
    users = mkOption { type = types.attrsOf (types.submodule { inherit (user) options; }); default = { }; description = "Users."; };
    groups = mkOption { type = types.attrsOf (types.submodule { inherit (group) options; }); default = { }; description = "Groups by path."; };
    containers = mkOption { type = types.attrsOf (types.submodule { inherit (container) options; }); default = { }; description = "Containers."; };
  };

  there = what: "osctl ${what} > /dev/null 2>&1";
  set = kind: id: option: value: lib.optionalString (value != null) "osctl ${kind} set ${option} ${id} ${escape value}\n";
  bound = kind: id: it: set kind id "memory-limit" it.memoryLimit + set kind id "cpu-limit" it.cpuLimit;
  onOff = command: value: if value then "osctl ct set ${command}" else "osctl ct unset ${command}";

  makeUser = pool: name: it: ''
    ${there "--pool ${pool} user show ${name}"} || osctl --pool ${pool} user new ${
      lib.concatMapStringsSep " " (map: "--map-uid ${map}") it.uidMap
    } ${lib.concatMapStringsSep " " (map: "--map-gid ${map}") (if it.gidMap == [ ] then it.uidMap else it.gidMap)} ${name}
  '';
  makeGroup = pool: path: it: ''
    ${there "--pool ${pool} group show ${path}"} || osctl --pool ${pool} group new --parents ${path}
    ${bound "--pool ${pool} group" path it}'';
  common = pool: it: {
    oneShot = true;
    run = ''
      sv -w 300 start /run/runit/service/osctld > /dev/null
      ${lib.optionalString (config.boot.zfs.pools ? ${pool}) "sv -w 300 start /run/runit/service/zpool-${pool} > /dev/null"}
      ${lib.optionalString (it.directory != null) ''
        ${there "pool show ${pool}"} || osctl pool install ${pool} --dir ${escape it.directory}
      ''}
      [ "$(osctl pool show -H -o state ${pool})" = active ]
      ${each (makeUser pool) it.users}
      ${each (makeGroup pool) it.groups}
    '';
  };

  makeInterface = id: it: ''
    if ! osctl ct netif ls -H -o name ${id} | grep -qx ${it.name}; then
      osctl ct netif new ${it.type} ${id} ${it.name} ${lib.optionalString (it.link != "") "--link ${it.link}"} ${
        lib.optionalString (it.type == "bridge" && it.dhcp == false) "--no-dhcp"
      } ${lib.optionalString (it.hwaddr != "") "--hwaddr ${it.hwaddr}"}
    fi
    ${lib.concatMapStrings (a: ''
      osctl ct netif ip ls -H -o addr ${id} ${it.name} | grep -qxF ${a.address}/${toString a.prefixLength} ||
        osctl ct netif ip add ${id} ${it.name} ${a.address}/${toString a.prefixLength}
    '') (it.ipv4.addresses ++ it.ipv6.addresses)}
  '';
  makeContainer =
    pool: name: it:
    let
      id = "${pool}:${name}";
      starts = it.autostart != null && it.autostart.enable;
    in
    {
      oneShot = true;
      run = ''
        sv -w 300 start /run/runit/service/pool-${pool} > /dev/null
        ${there "ct show ${id}"} || osctl -q ct new ${id} --from-archive ${it.image.path} --group ${it.group} ${
          lib.optionalString (it.user != null) "--user ${it.user}"
        }
        ${set "ct" id "hostname" it.hostname}${bound "ct" id it}
        ${lib.optionalString (it.resolvers != [ ]) "osctl ct set dns-resolver ${id} ${lib.escapeShellArgs it.resolvers}"}
        ${lib.optionalString (it.nesting != null) "${onOff "nesting" it.nesting} ${id}"}
        ${lib.optionalString (it.autostart != null) (
          if starts then
            "osctl ct set autostart -p ${toString it.autostart.priority} -d ${toString it.autostart.delay} ${id}"
          else
            "osctl ct unset autostart ${id}"
        )}
        ${lib.concatMapStrings (makeInterface id) it.interfaces}
        # From then on, its pool starts it; who stopped it meant it.
        if [ "$(osctl ct show -H -o org.osctl:declared ${id})" != done ]; then
          ${lib.optionalString starts "osctl ct start ${id}"}
          osctl ct set attr ${id} org.osctl:declared done
        fi
      '';
    };
in
{
  options.osctl.pools = mkOption {
    type = types.attrsOf (types.submodule { inherit (pool) options; });
    default = { };
    description = "Pools of osctld and what is on them.";
  };
  config.runit.services = lib.mkMerge (
    lib.mapAttrsToList (
      pool: it:
      { "pool-${pool}" = common pool it; }
      // lib.mapAttrs' (name: ct: lib.nameValuePair "ct-${pool}-${name}" (makeContainer pool name ct)) it.containers
    ) cfg
  );
}
