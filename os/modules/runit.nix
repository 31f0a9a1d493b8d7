# Services under runit: each in a cgroup of its own, below /sys/fs/cgroup/system.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  inherit (config.runit) services;
  levels = [ "single" "rescue" "default" ];

  script = name: text: pkgs.writeScript "sv-${name}" "#!${pkgs.runtimeShell}\nexport PATH=/run/current-system/sw/bin\n${text}\n";
  group = name: "/sys/fs/cgroup/system/${name}";
  run = name: it: ''
    mkdir -p ${group name}
    echo $$ > ${group name}/cgroup.procs
    ${lib.optionalString (it.log.enable && it.log.logStandardError) "exec 2>&1"}
    ${if it.oneShot then once name it.run else it.run}
  '';
  # What is done stays up, so that it can be waited for, stopped and run anew
  # as any other service.
  once = name: text: ''
    rm -f /run/runit/done/${name}
    # Not `( … ) || exit`, in which -e does nothing.
    (
    set -e
    ${text}
    )
    [ $? = 0 ] || exit 1
    mkdir -p /run/runit/done
    touch /run/runit/done/${name}
    exec sleep infinity
  '';
  finish = name: it: lib.concatStringsSep "\n" (
    lib.optional it.oneShot "rm -f /run/runit/done/${name}"
    ++ lib.optional (it.finish != "") it.finish
    ++ lib.optional (it.killMode == "control-group") "echo 1 > ${group name}/cgroup.kill"
  );
  check = name: it: if it.oneShot && it.check == "" then "[ -e /run/runit/done/${name} ]" else it.check;
  # Scripts with a text, by their places in the service's directory.
  scripts =
    name: it:
    lib.filterAttrs (_: text: text != "") (
      {
        run = run name it;
        finish = finish name it;
        check = check name it;
        "log/run" = lib.optionalString it.log.enable (logger name it.log);
      }
      // lib.mapAttrs' (letter: text: lib.nameValuePair "control/${letter}" text) it.control
    );
  logger = name: log: if log.run != "" then log.run else ''
    mkdir -p /var/log/${name}
    ln -sfn ${pkgs.writeText "log-${name}" (logConfig log)} /var/log/${name}/config
    exec svlogd -tt /var/log/${name}
  '';
  logConfig = log: lib.concatMapStrings (line: line + "\n") (
    [ "s${toString log.maxFileSize}" "n${toString log.logFiles}" ]
    ++ lib.optional (log.minLogFiles != 0) "N${toString log.minLogFiles}"
    ++ lib.optional (log.timeout != 0) "t${toString log.timeout}"
    ++ lib.optional (log.sendTo != "") "${if log.sendOnly then "U" else "u"}${log.sendTo}"
    ++ lib.optional (log.linePrefix != "") "p${log.linePrefix}"
  );
  directory = name: it: lib.mapAttrs' (
    file: text: lib.nameValuePair "runit/services/${name}/${file}" { source = script "${name}-${baseNameOf file}" text; }
  ) (scripts name it);
  inLevel = level: lib.attrNames (lib.filterAttrs (_: it: lib.elem level it.runlevels) services);
  # One line for each: its name, `onChange`, `reloadMethod`, and what makes it
  # another service when it changes.
  table = lib.concatStrings (lib.mapAttrsToList (
    name: it: "${name} ${it.onChange} ${it.reloadMethod} ${builtins.hashString "sha256" (toString it.restartTriggers)}\n"
  ) services);
in
{
  options.runit = {
    services = mkOption {
      type = types.attrsOf (types.submodule (import ./runit-service.nix { inherit lib levels; }));
      default = { };
      description = "Services.";
    };
    stage1 = mkOption {
      type = types.lines;
      default = "";
      description = "Script that runs once before services start.";
    };
    stage3 = mkOption {
      type = types.lines;
      default = "";
      description = "Script that runs before services are stopped for the host to go down.";
    };
    powerDown = mkOption {
      type = types.lines;
      default = "";
      description = "Script that runs when no process is left, before the host goes down.";
    };
    defaultRunlevel = mkOption {
      type = types.enum levels;
      default = "default";
      description = "Unless the kernel's command line has `single`, `1` or `runlevel=NAME`.";
    };
  };
  config = {
    environment.etc = lib.mkMerge (
      [
        {
          "runit/1".source = script "stage-1" ''
            ${config.runit.stage1}
            level=${config.runit.defaultRunlevel}
            for word in $(cat /proc/cmdline); do
              case $word in 1 | single) level=single ;; runlevel=*) level=''${word#runlevel=} ;; esac
            done
            [ -e /etc/runit/levels/$level ] || level=rescue
            echo $level > /run/runit/level
            while read service; do ln -sfn /etc/runit/services/$service /run/runit/service/; done < /etc/runit/levels/$level
            touch /run/runit/stopit /run/runit/reboot
            chmod 0 /run/runit/stopit /run/runit/reboot
            ln -sfn /run/runit/stopit /etc/runit/stopit
            ln -sfn /run/runit/reboot /etc/runit/reboot
            read up _ < /proc/uptime
            echo "runlevel $level, $up s"
          '';
          "runit/2".source = script "stage-2" "exec runsvdir -P /run/runit/service";
          "runit/3".source = script "stage-3" ''
            ${config.runit.stage3}
            sv -w 30 force-stop /run/runit/service/* > /dev/null
            # Nothing may write to a root that is kept: logs, shells.
            kill -KILL -1
            ${config.runit.powerDown}
            sync
            mount -o remount,ro / || echo "the root is not unmounted in order"
            echo "the host goes down"
          '';
        }
      ]
      ++ map (level: {
        "runit/levels/${level}".text = lib.concatMapStrings (it: it + "\n") (inLevel level);
      }) levels
      ++ lib.mapAttrsToList directory services
    );
    # runsv writes beside its scripts; those are in the store.
    system.activationScripts.runit = {
      deps = [ "etc" ];
      text = ''
        mkdir -p /run/runit/service
        ln -sfn /run/runit/service /etc/service
        # Services that there are no longer leave only what was linked here.
        for service in /etc/runit/services/*; do
          [ -e $service/run ] || [ -L /run/runit/service/''${service##*/} ] || rm -rf $service
        done
        mkdir -p ${toString (map (name: "/run/runit/supervise/${name} /run/runit/supervise/${name}.log") (lib.attrNames services))}
        for service in ${toString (lib.attrNames services)}; do
          directory=/etc/runit/services/$service
          [ -L $directory/supervise ] || ln -sfn /run/runit/supervise/$service $directory/supervise
          [ ! -d $directory/log ] || [ -L $directory/log/supervise ] ||
            ln -sfn /run/runit/supervise/$service.log $directory/log/supervise
        done
      '';
    };
    system.build.services = pkgs.writeText "services" table;
  };
}
