# syslog: what programs and the kernel say, to files and to other hosts.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.rsyslogd;
  # Each target has a queue of its own, on the disk once it is long: one that is
  # away keeps nobody waiting, and gets later what it has missed.
  forward = index: target:
    let
      parts = builtins.match "(.*):([0-9]+)" (builtins.replaceStrings [ "[" "]" ] [ "" "" ] target);
    in
    ''
      *.* action(type="omfwd" protocol="tcp" target="${lib.elemAt parts 0}" port="${lib.elemAt parts 1}"
        action.resumeRetryCount="-1" action.resumeInterval="5" template="RSYSLOG_SyslogProtocol23Format"
        queue.type="LinkedList" queue.filename="forward${toString index}" queue.maxDiskSpace="64m" queue.saveOnShutdown="on")
    '';
  file = pkgs.writeText "rsyslog.conf" ''
    global(workDirectory="/var/spool/rsyslog"${
      lib.optionalString (cfg.hostName != null) " localHostname=\"${cfg.hostName}\""
    })
    $FileCreateMode 0640
    module(load="imuxsock")
    module(load="imklog")
    ${lib.optionalString config.osctld.enable ''
      module(load="imfile")
      input(type="imfile" file="/var/log/osctld/current" tag="osctld:" facility="local2")
    ''}
    ${cfg.extraConfig}
    ${lib.concatStrings (lib.genList (i: forward i (lib.elemAt cfg.forward i)) (lib.length cfg.forward))}
    # On most hosts they are in memory.
    $outchannel messages,/var/log/messages,${toString cfg.maxFileSize},${rotate}
    ${cfg.defaultConfig}
  '';
  rotate = pkgs.writeScript "rotate-messages" ''
    #!${pkgs.runtimeShell}
    exec /run/current-system/sw/bin/mv -f /var/log/messages /var/log/messages.1
  '';
in
{
  options.services.rsyslogd = {
    enable = mkOption { type = types.bool; default = false; description = "Whether it runs."; };
    hostName = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = "What messages name as their host, unless it is the host's name.";
    };
    forward = mkOption {
      type = types.listOf (types.strMatching "(\\[[0-9a-fA-F:]+]|[^:]+):[0-9]+");
      default = [ ];
      example = [ "192.0.2.1:514" ];
      description = "Hosts and ports that get all messages by TCP.";
    };
    defaultConfig = mkOption {
      type = types.lines;
      default = "local2.* stop\n*.* :omfile:$messages";
      description = ''
        Rules for messages that nothing before took; osctld's are in /var/log/osctld anyway.
        `:omfile:$messages` is /var/log/messages.
      '';
    };
    maxFileSize = mkOption {
      type = types.ints.positive;
      default = 20000000;
      description = "Size in bytes at which /var/log/messages becomes messages.1, of which there is one.";
    };
    extraConfig = mkOption { type = types.lines; default = ""; description = "Rules that come first."; };
  };
  config = lib.mkIf cfg.enable {
    runit.services.rsyslog = {
      run = ''
        mkdir -p /var/spool/rsyslog
        exec ${pkgs.rsyslog}/bin/rsyslogd -n -i NONE -M ${pkgs.rsyslog}/lib/rsyslog -f ${file}
      '';
      check = "[ -S /dev/log ]";
    };
  };
}
