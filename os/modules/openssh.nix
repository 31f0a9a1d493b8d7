# Logins from elsewhere, by key.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.openssh;
in
{
  options.services.openssh = {
    enable = mkOption { type = types.bool; default = false; description = "Whether sshd runs."; };
    port = mkOption { type = types.port; default = 22; description = "Where it listens."; };
    extraConfig = mkOption { type = types.lines; default = ""; description = "Further lines of sshd_config."; };
  };
  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ pkgs.openssh ];
    users.users.sshd = { uid = 498; description = "sshd"; };
    environment.etc."ssh/sshd_config".text = ''
      Port ${toString cfg.port}
      HostKey /etc/ssh/ssh_host_ed25519_key
      AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u .ssh/authorized_keys
      PasswordAuthentication no
      KbdInteractiveAuthentication no
      PermitRootLogin prohibit-password
      Subsystem sftp internal-sftp
      SetEnv PATH=/run/current-system/sw/bin
      ${cfg.extraConfig}
    '';
    runit.services.sshd = {
      runlevels = [ "rescue" "default" ];
      killMode = "process";
      restartTriggers = [ config.environment.etc."ssh/sshd_config".source ];
      run = ''
        mkdir -p /run/sshd
        [ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key
        exec ${pkgs.openssh}/bin/sshd -D -e -f /etc/ssh/sshd_config
      '';
    };
  };
}
