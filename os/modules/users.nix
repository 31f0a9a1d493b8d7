# Users and groups of the host.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  user =
    { name, ... }:
    {
      options = {
        uid = mkOption { type = types.ints.unsigned; description = "Its number."; };
        group = mkOption { type = types.str; default = "nogroup"; description = "Name of its group."; };
        description = mkOption { type = types.str; default = ""; description = "Who it is."; };
        home = mkOption { type = types.str; default = "/var/empty"; description = "Home directory."; };
        shell = mkOption {
          type = types.str;
          default = "/run/current-system/sw/bin/nologin";
          description = "Program that a login runs.";
        };
        hashedPassword = mkOption {
          type = types.str;
          default = "*";
          description = "As crypt(3) makes it; `*` is none. One that begins with `!` locks the user out, with keys as well.";
        };
        openssh.authorizedKeys.keys = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = "Public keys that may log in.";
        };
      };
    };
  group.options = {
    gid = mkOption { type = types.ints.unsigned; description = "Its number."; };
    members = mkOption { type = types.listOf types.str; default = [ ]; description = "Users that are in it."; };
  };
  inherit (config.users) users groups;
  each = set: line: lib.concatStrings (lib.mapAttrsToList line set);
in
{
  options.users = {
    users = mkOption { type = types.attrsOf (types.submodule user); default = { }; description = "Users."; };
    groups = mkOption { type = types.attrsOf (types.submodule { options = group.options; }); default = { }; description = "Groups."; };
  };
  config = {
    users.users = {
      root = {
        uid = 0;
        group = "root";
        home = "/root";
        shell = "/run/current-system/sw/bin/bash";
      };
      nobody = { uid = 65534; };
    };
    users.groups = {
      root.gid = 0;
      tty.gid = 5;
      nogroup.gid = 65534;
    };
    assertions = lib.mapAttrsToList (name: it: {
      assertion = groups ? ${it.group};
      message = "users.users.${name}: there is no group `${it.group}'";
    }) users;
    environment.etc = lib.mkMerge [
      {
        passwd = {
          mode = "0644";
          text = each users (
            name: it:
            "${name}:x:${toString it.uid}:${toString groups.${it.group}.gid}:${it.description}:${it.home}:${it.shell}\n"
          );
        };
        group = {
          mode = "0644";
          text = each groups (
            name: it: "${name}:x:${toString it.gid}:${lib.concatStringsSep "," it.members}\n"
          );
        };
        shadow = {
          mode = "0600";
          text = each users (name: it: "${name}:${it.hashedPassword}:1::::::\n");
        };
      }
      (lib.mapAttrs' (
        name: it:
        lib.nameValuePair "ssh/authorized_keys.d/${name}" {
          mode = "0644";
          text = lib.concatMapStrings (key: key + "\n") it.openssh.authorizedKeys.keys;
        }
      ) (lib.filterAttrs (_: it: it.openssh.authorizedKeys.keys != [ ]) users))
    ];
  };
}
