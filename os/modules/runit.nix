# Services under runit: each in a cgroup of its own, below /sys/fs/cgroup/system.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  inherit (config.runit) services;
  levels = [ "single" "rescue" "default" ];

  service = {
    options = {
      runlevels = mkOption {
        type = types.listOf (types.enum levels);
        default = [ "default" ];
        description = "In which runlevels it runs.";
      };
      run = mkOption { type = types.lines; description = "Script that becomes the service."; };
      finish = mkOption { type = types.lines; default = ""; description = "Script that runs after its end."; };
      check = mkOption {
        type = types.lines;
        default = "";
        description = "Script that succeeds once the service is ready; `sv start` waits for it.";
      };
      oneShot = mkOption {
        type = types.bool;
        default = false;
        description = "It is done when `run` has ended, and stays down.";
      };
      killMode = mkOption {
        type = types.enum [ "control-group" "process" ];
        default = "control-group";
        description = "Whether what it leaves behind is killed with it.";
      };
      onChange = mkOption {
        type = types.enum [ "restart" "reload" "ignore" ];
        default = "restart";
        description = "What is done when another system has another `run`.";
      };
      reloadMethod = mkOption {
        type = types.str;
        default = "reload";
        description = "Command of sv(8) that reloads it.";
      };
      control = mkOption {
        type = types.attrsOf types.lines;
        default = { };
        description = "Scripts by letter that runsv(8) runs in place of sending a signal.";
      };
      log.enable = mkOption {
        type = types.bool;
        default = true;
        description = "Whether its output goes to /var/log/NAME, else to the console.";
      };
    };
  };

  script = name: text: pkgs.writeScript "sv-${name}" "#!${pkgs.runtimeShell}\nexport PATH=/run/current-system/sw/bin\n${text}\n";
  enter = name: ''
    mkdir -p /sys/fs/cgroup/system/${name}
    echo $$ > /sys/fs/cgroup/system/${name}/cgroup.procs
    exec 2>&1
  '';
  done = name: ''

    mkdir -p /run/runit/done
    touch /run/runit/done/${name}
    exec sv once /run/runit/service/${name}
  '';
  leave = name: it: it.finish + lib.optionalString (it.killMode == "control-group") ''

    echo 1 > /sys/fs/cgroup/system/${name}/cgroup.kill
  '';
  directory = name: it: lib.mapAttrs' (file: text: lib.nameValuePair "runit/services/${name}/${file}" { source = script "${name}-${baseNameOf file}" text; }) (
    { run = enter name + (if it.oneShot then "(\nset -e\n${it.run}\n) || exit 1" else it.run) + lib.optionalString it.oneShot (done name); }
    // lib.optionalAttrs (leave name it != "") { finish = leave name it; }
    // lib.optionalAttrs (it.check != "" || it.oneShot) {
      check = if it.check != "" then it.check else "[ -e /run/runit/done/${name} ]";
    }
    // lib.mapAttrs' (letter: text: lib.nameValuePair "control/${letter}" text) it.control
    // lib.optionalAttrs it.log.enable { "log/run" = "mkdir -p /var/log/${name}\nexec svlogd -tt /var/log/${name}"; }
  );
  inLevel = level: lib.attrNames (lib.filterAttrs (_: it: lib.elem level it.runlevels) services);
in
{
  options.runit = {
    services = mkOption {
      type = types.attrsOf (types.submodule service);
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
            sync
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
        for service in ${toString (lib.attrNames services)}; do
          mkdir -p /run/runit/supervise/$service
          ln -sfn /run/runit/supervise/$service /etc/runit/services/$service/supervise
          if [ -d /etc/runit/services/$service/log ]; then
            mkdir -p /run/runit/supervise/$service.log
            ln -sfn /run/runit/supervise/$service.log /etc/runit/services/$service/log/supervise
          fi
        done
      '';
    };
    system.build.services = pkgs.writeText "services.json" (
      builtins.toJSON (lib.mapAttrs (_: it: { inherit (it) onChange reloadMethod; }) services)
    );
  };
}
