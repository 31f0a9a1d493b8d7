# Routes, by BIRD.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.bird2;
  text = pkgs.writeText "bird.conf" cfg.config;
  file =
    if cfg.checkConfig then
      pkgs.runCommand "bird-checked.conf" { nativeBuildInputs = [ pkgs.bird2 ]; } ''
        bird -p -c ${text}
        cp ${text} $out
      ''
    else
      text;
in
{
  options.services.bird2 = {
    enable = mkOption { type = types.bool; default = false; description = "Whether it runs."; };
    config = mkOption { type = types.lines; description = "Its configuration."; };
    checkConfig = mkOption {
      type = types.bool;
      default = true;
      description = "Whether a mistake in it keeps the system from being built; not for one that includes files of the host.";
    };
  };
  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ pkgs.bird2 ];
    environment.etc."bird/bird2.conf".source = file;
    runit.services.bird2 = {
      onChange = "reload";
      run = ''
        # ${file}
        mkdir -p /run/bird
        exec ${pkgs.bird2}/bin/bird -f -c /etc/bird/bird2.conf -s /run/bird/bird.ctl
      '';
      check = "birdc -s /run/bird/bird.ctl show status > /dev/null";
    };
  };
}
