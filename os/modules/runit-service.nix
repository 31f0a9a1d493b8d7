# What a service is: the options of `runit.services.<name>`.
{ lib, levels }:
let
  inherit (lib) mkOption types;
  number = default: description: mkOption { type = types.ints.unsigned; inherit default description; };
  flag = default: description: mkOption { type = types.bool; inherit default description; };
  script = description: mkOption { type = types.lines; default = ""; inherit description; };
in
{
  options = {
    runlevels = mkOption {
      type = types.listOf (types.enum levels);
      default = [ "default" ];
      description = "In which runlevels it runs.";
    };
    run = mkOption { type = types.lines; description = "Script that becomes the service."; };
    finish = script "Script that runs after its end.";
    check = script "Script that succeeds once the service is ready; `sv start` waits for it.";
    oneShot = flag false ''
      `run` ends and is not repeated unless it fails. The service is up from
      then on, and what `run` left behind stays until it is stopped.
    '';
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
    restartTriggers = mkOption {
      type = types.listOf types.unspecified;
      default = [ ];
      description = "Files and words; when they change, the service is restarted as by another `run`, whatever `onChange` says.";
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
    log = {
      enable = flag true "Whether its output goes to /var/log/NAME, else to the console.";
      logStandardError = flag true "Whether what it writes to stderr is logged with it.";
      run = script "Script that becomes the service's logger, in place of svlogd(8).";
      maxFileSize = number 1000000 "Size in bytes at which a file is closed and the next begun.";
      logFiles = number 10 "How many closed files are kept; 0 is all.";
      minLogFiles = number 0 "How many of them are kept when the disk is full.";
      timeout = number 0 "Age in seconds at which a file is closed; 0 is never.";
      sendTo = mkOption {
        type = types.str;
        default = "";
        example = "192.0.2.1:514";
        description = "Where lines are sent to by UDP as well.";
      };
      sendOnly = flag false "Whether they are sent there only.";
      linePrefix = mkOption { type = types.str; default = ""; description = "What each line begins with."; };
    };
  };
}
