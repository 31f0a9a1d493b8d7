# ZFS: its modules and programs, and pools that are declared: imported at boot,
# created where there is nothing yet and that is allowed, scrubbed.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.boot.zfs;
  enabled = lib.elem "zfs" config.boot.supportedFilesystems;
  strings = mkOption { type = types.listOf types.str; default = [ ]; };
  words = lib.concatStringsSep " ";
  properties =
    description:
    mkOption {
      type = types.attrsOf (types.oneOf [ types.str types.int ]);
      default = { };
      inherit description;
    };

  vdev.options = {
    type = mkOption {
      type = types.enum [ "stripe" "mirror" "raidz" "raidz1" "raidz2" "raidz3" ];
      default = "stripe";
      description = "How its devices share the data.";
    };
    devices = strings // { description = "What it consists of."; };
  };
  log.options = {
    mirror = mkOption { type = types.bool; default = false; description = "Whether its devices hold the same."; };
    devices = strings // { description = "What it consists of."; };
  };
  partition.options.sizeGB = mkOption {
    type = types.nullOr types.ints.positive;
    default = null;
    description = "Size; the rest of the disk when null, which only the last partition may be.";
  };
  dataset.options = {
    type = mkOption {
      type = types.enum [ "filesystem" "volume" ];
      default = "filesystem";
      description = "What it is.";
    };
    properties = properties "What is set on it at each boot; the value `inherit` takes it back.";
  };

  pool =
    { name, ... }:
    {
      options = {
        layout = mkOption {
          type = types.listOf (types.submodule vdev);
          default = [ ];
          description = "What it consists of when it is created.";
        };
        log = mkOption {
          type = types.listOf (types.submodule log);
          default = [ ];
          description = "Devices for what has to be on the disk at once.";
        };
        cache = strings // { description = "Devices that keep what is read often."; };
        spare = strings // { description = "Devices that replace one that fails."; };
        partition = mkOption {
          type = types.attrsOf (types.attrsOf (types.submodule partition));
          default = { };
          description = "Partitions `p1`, `p2`, … of disks, made when the pool is created.";
        };
        doCreate = mkOption {
          type = types.bool;
          default = false;
          description = ''
            Whether it is created at boot when it was not found `importAttempts`
            times and all of its devices are blank. `do-create-pool-NAME` does it
            by hand.
          '';
        };
        importAttempts = mkOption {
          type = types.ints.positive;
          default = 60;
          description = "How many seconds its devices may take to appear.";
        };
        install = mkOption {
          type = types.bool;
          default = false;
          description = "Whether osctld keeps containers on it.";
        };
        properties = properties "Properties of the pool, set when it is created.";
        datasets = mkOption {
          type = types.attrsOf (types.submodule dataset);
          default = { };
          description = "Datasets below it (`/` is its own) that are made when there are none; none is ever destroyed.";
        };
        scrub = {
          enable = mkOption { type = types.bool; default = false; description = "Whether it is read through regularly."; };
          days = mkOption {
            type = types.ints.positive;
            default = 30;
            description = "From the end of one scrub to the next.";
          };
        };
      };
    };

  devicesOf = it: lib.concatMap (vdev: vdev.devices) (it.layout ++ it.log) ++ it.cache ++ it.spare;
  # As the kernel names them: after a `p` where the disk's own name ends in a digit.
  partitionsOf = disk: partitions: map (
    name: disk + lib.optionalString (builtins.match ".*[0-9]" disk != null) "p" + lib.removePrefix "p" name
  ) (lib.attrNames partitions);
  partitions = it: lib.concatLists (lib.mapAttrsToList partitionsOf it.partition);
  options = flag: set: words (lib.mapAttrsToList (key: value: "${flag} ${lib.escapeShellArg "${key}=${toString value}"}") set);
  group = kind: devices: lib.optionalString (devices != [ ]) "${kind} ${words devices}";
  vdevs =
    it:
    words (
      map (vdev: group (if vdev.type == "stripe" then "" else vdev.type) vdev.devices) it.layout
      ++ map (log: group (if log.mirror then "log mirror" else "log") log.devices) it.log
      ++ [ (group "cache" it.cache) (group "spare" it.spare) ]
    );
  sizes = partitions: lib.concatMapStrings (size: "${if size == null then "," else "size=${toString size}GiB"}\n") (
    lib.mapAttrsToList (_: it: it.sizeGB) partitions
  );

  create =
    name: it:
    let
      blank = lib.attrNames it.partition ++ lib.filter (device: !(lib.elem device (partitions it))) (devicesOf it);
    in
    pkgs.writeShellScriptBin "do-create-pool-${name}" ''
      # Creates pool ${name}. `-f`: without asking; `-b`: only on devices that are blank.
      set -eu
      how=''${1-ask}
      used=
      look_at() {
        for device; do
          [ -b $device ] || { echo "there is no device $device"; exit 1; }
          found=$(wipefs --noheadings --output TYPE $device) || { echo "$device can't be read"; exit 1; }
          [ -z "$found" ] || used="$used  $device has: ''${found//$'\n'/ }"$'\n'
        done
      }
      refuse_used() {
        if [ -n "$used" ]; then
          printf 'pool ${name} is not created on devices that are in use:\n%s' "$used"
          echo "do-create-pool-${name} overwrites them"
          exit 1
        fi
      }
      look_at ${words blank}
      case $how in
        -f) ;;
        -b) refuse_used ;;
        *)
          printf 'All data on ${words blank} are overwritten.\n%sType YES to go on: ' "$used"
          read -r answer
          [ "$answer" = YES ] || { echo "nothing was changed"; exit 1; } ;;
      esac
      ${lib.concatStrings (
        lib.mapAttrsToList (disk: partitions: ''
          wipefs --quiet --all ${disk}
          sfdisk --quiet --label gpt ${disk} <<'END'
          ${sizes partitions}
          END
        '') it.partition
      )}
      if [ $how = -b ]; then
        # What was in a partition that began at the same place.
        look_at ${words (partitions it)}
        refuse_used
      fi
      export ZFS_VDEV_DEVID_OPT_OUT=YES
      zpool create -f -o cachefile=none ${options "-o" it.properties} ${name} ${vdevs it}
      echo "pool ${name} is created"
    '';

  from = words (map (it: "-d ${it}") cfg.devNodes);
  path = name: dataset: if dataset == "/" then name else "${name}/${dataset}";
  ensure =
    name: dataset: it:
    let
      kept = lib.filterAttrs (_: value: value != "inherit") it.properties;
      dropped = lib.attrNames (lib.filterAttrs (_: value: value == "inherit") it.properties);
      size = lib.optionalString (it.type == "volume") "-V ${toString (it.properties.volsize or "1G")}";
    in
    ''
      if ! zfs list ${path name dataset} > /dev/null 2>&1; then
        zfs create -p ${size} ${options "-o" (removeAttrs kept [ "volsize" ])} ${path name dataset}
      fi
      ${lib.optionalString (kept != { }) "zfs set ${options "" kept} ${path name dataset}"}
      ${lib.concatMapStrings (key: "zfs inherit ${key} ${path name dataset}\n") dropped}
    '';

  # The daemon sees by itself what was imported before it started.
  tell = name: it: ''
    sv -w 300 start osctld > /dev/null
    if ! osctl pool show ${name} > /dev/null 2>&1; then
      if [ "$(zfs get -Ho value org.osctl:active ${name})" = yes ]; then
        osctl pool import ${name}
      ${lib.optionalString it.install ''
        else
          osctl pool install ${name}
      ''}
      fi
    fi
  '';

  import = name: it: {
    oneShot = true;
    run = ''
      export ZFS_VDEV_DEVID_OPT_OUT=YES
      attempt=1
      until zpool list ${name} > /dev/null 2>&1 || zpool import -N -o cachefile=none ${from} ${name}; do
        if [ $attempt -ge ${toString it.importAttempts} ]; then
          ${lib.optionalString it.doCreate ''
            # One that is somewhere and can't be imported is not replaced by an empty one.
            if ! zpool import ${from} 2> /dev/null | grep -qE '^ *pool: ${name}$'; then
              ! do-create-pool-${name} -b || break
            fi
          ''}
          for device in ${words (lib.attrNames it.partition ++ devicesOf it)}; do
            if [ -b $device ]; then
              echo "pool ${name} can't be imported; it is tried again in a minute"
              sleep 60
              exit 1
            fi
          done
          echo "pool ${name} can't be imported, and none of its devices is there"
          exit 0
        fi
        attempt=$((attempt + 1))
        sleep 1
      done
      ${lib.concatStrings (lib.mapAttrsToList (ensure name) it.datasets)}
      zfs mount -a
      ${lib.optionalString config.osctld.enable (tell name it)}
      echo "pool ${name} is imported"
    '';
    check = "zpool list ${name} > /dev/null 2>&1 && [ -e /run/runit/done/zpool-${name} ]";
  };

  scrub = name: it: {
    run = ''
      sv -w 86400 check zpool-${name} > /dev/null
      while :; do
        ended=$(zpool status --json --json-int ${name} |
          jq '.pools[].scan_stats | select(.function == "SCRUB") | .end_time' 2> /dev/null)
        pause=$((''${ended:-0} + ${toString it.scrub.days} * 86400 - $(date +%s)))
        if [ $pause -gt 0 ]; then
          sleep $pause
        else
          echo "scrub of ${name} begins"
          zpool scrub -w ${name} || sleep 3600
        fi
      done
    '';
  };
in
{
  options.networking.hostId = mkOption {
    type = types.nullOr (types.strMatching "[0-9a-f]{8}");
    default = null;
    description = ''
      What a pool knows its host by: one that another host has not let go of is not
      imported. No two hosts may have the same, and it never changes.
      `head -c 4 /dev/urandom | od -An -tx4` makes one.
    '';
  };
  options.boot.zfs = {
    pools = mkOption {
      type = types.attrsOf (types.submodule pool);
      default = { };
      description = "Pools of this host.";
    };
    devNodes = mkOption {
      type = types.listOf types.str;
      default = [ "/dev" ];
      description = "Directories where devices of pools are looked for.";
    };
    moduleParams = lib.genAttrs [ "spl" "zfs" ] (
      module:
      mkOption {
        type = types.attrsOf (types.oneOf [ types.str types.int ]);
        default = { };
        description = "Parameters of the module ${module}.";
      }
    );
  };
  config = lib.mkMerge [
    (lib.mkIf (cfg.pools != { }) { boot.supportedFilesystems = [ "zfs" ]; })
    (lib.mkIf enabled {
      assertions = [
        {
          assertion = config.networking.hostId != null;
          message = "a host with ZFS needs networking.hostId, which no other host has: `head -c 4 /dev/urandom | od -An -tx4`";
        }
      ]
      ++ lib.mapAttrsToList (name: it: {
        assertion = it.doCreate -> it.layout != [ ];
        message = "boot.zfs.pools.${name} can't be created without a layout";
      }) cfg.pools;
      # Another host may have them then. One that is suspended keeps nobody waiting.
      runit.powerDown = ''
        (zpool list -Ho name | xargs -r -P 0 -n 1 zpool export) &
        for second in {1..30}; do
          kill -0 $! 2> /dev/null || break
          sleep 1
        done
      '';
      boot.extraModulePackages = [ config.boot.kernelPackages.zfs ];
      boot.kernelModules = [ "zfs" ];
      # Not by /etc/hostid: the kernel's own threads do not see stage 2's /etc.
      boot.zfs.moduleParams.spl.spl_hostid = lib.mkDefault "0x${config.networking.hostId}";
      environment.systemPackages = [ pkgs.zfs pkgs.jq ] ++ lib.mapAttrsToList create cfg.pools;
      environment.etc."modprobe.d/zfs.conf".text = lib.concatStrings (
        lib.mapAttrsToList (
          module: set: lib.concatStrings (lib.mapAttrsToList (key: value: "options ${module} ${key}=${toString value}\n") set)
        ) cfg.moduleParams
      );
      runit.services = lib.mkMerge [
        (lib.mapAttrs' (name: it: lib.nameValuePair "zpool-${name}" (import name it)) cfg.pools)
        (lib.mapAttrs' (name: it: lib.nameValuePair "scrub-${name}" (scrub name it)) (
          lib.filterAttrs (_: it: it.scrub.enable) cfg.pools
        ))
      ];
    })
  ];
}
