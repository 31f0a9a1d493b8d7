# Nix on the host: what is copied to its store is known there, and it builds.
# The store of a live system is written to in memory.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.nix;
  word =
    it:
    if lib.isList it then
      lib.concatMapStringsSep " " word it
    else if lib.isBool it then
      (if it then "true" else "false")
    else
      toString it;
  builders = map (n: "nixbld${toString n}") (lib.range 1 cfg.nrBuildUsers);
in
{
  options.nix = {
    enable = mkOption { type = types.bool; default = false; description = "Whether the host has Nix, and its daemon runs."; };
    package = mkOption { type = types.package; default = pkgs.nix; description = "Which Nix."; };
    nrBuildUsers = mkOption {
      type = types.ints.between 1 1000;
      default = 32;
      description = "How many users there are to build as, and so builds at a time.";
    };
    nixPath = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "nixpkgs=/srv/nixpkgs" ];
      description = "Where files that are named as `<nixpkgs>` are looked for.";
    };
    settings = mkOption {
      type = types.attrsOf types.unspecified;
      default = { };
      description = "Lines of nix.conf.";
    };
    extraOptions = mkOption { type = types.lines; default = ""; description = "Further lines of nix.conf."; };
  };
  config = lib.mkIf cfg.enable {
    nix.settings = lib.mapAttrs (_: lib.mkDefault) {
      build-users-group = "nixbld";
      experimental-features = [ "nix-command" "flakes" ];
      nix-path = cfg.nixPath;
      sandbox = true;
      # The shell of builders that call system(3).
      sandbox-paths = [ "/bin/sh=${pkgs.busybox-static}/bin/busybox" ];
      ssl-cert-file = "/etc/ssl/certs/ca-certificates.crt";
    };
    environment.systemPackages = [ cfg.package ];
    environment.etc = {
      "nix/nix.conf".text =
        lib.concatStrings (lib.mapAttrsToList (name: it: "${name} = ${word it}\n") cfg.settings) + cfg.extraOptions;
      "ssl/certs/ca-certificates.crt".source = "${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt";
      profile.text = lib.mkAfter "export PATH=$HOME/.nix-profile/bin:/nix/var/nix/profiles/default/bin:$PATH";
    };
    users.groups.nixbld = { gid = 30000; members = builders; };
    users.users = lib.genAttrs builders (name: {
      uid = 30000 + lib.toInt (lib.removePrefix "nixbld" name);
      group = "nixbld";
      description = "builds of Nix";
    });
    system.activationScripts.nix = {
      deps = [ "current-system" ];
      # What runs is never garbage.
      text = ''
        mkdir -p /nix/var/nix/gcroots
        ln -sfn /run/current-system /nix/var/nix/gcroots/current-system
        ln -sfn /run/booted-system /nix/var/nix/gcroots/booted-system
      '';
    };
    runit.services.nix-daemon = {
      runlevels = [ "rescue" "default" ];
      # Builds go on.
      killMode = "process";
      restartTriggers = [ config.environment.etc."nix/nix.conf".source ];
      run = ''
        rm -f /nix/var/nix/daemon-socket/socket
        # What a live host has booted with.
        if [ -e /nix/store/nix-path-registration ]; then
          ${cfg.package}/bin/nix-store --load-db < /nix/store/nix-path-registration
        fi
        exec ${cfg.package}/bin/nix-daemon --daemon
      '';
      check = "[ -S /nix/var/nix/daemon-socket/socket ]";
    };
  };
}
