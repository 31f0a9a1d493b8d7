# What makes a system the current one: small scripts in the order of their
# dependencies. They may run again at any time, also while services run.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  scripts = config.system.activationScripts;
  # Depth first: what a script needs comes before it.
  ordered =
    let
      visit =
        done: name: if lib.elem name done then done else lib.foldl' visit done scripts.${name}.deps ++ [ name ];
    in
    lib.foldl' visit [ ] (lib.attrNames scripts);
in
{
  options.system = {
    activationScripts = mkOption {
      type = types.attrsOf (
        types.submodule {
          options = {
            deps = mkOption {
              type = types.listOf types.str;
              default = [ ];
              description = "Names of scripts that run before.";
            };
            text = mkOption {
              type = types.lines;
              default = "";
              description = "The script; `@out@` is the system. Where a command fails all others run, and the whole fails.";
            };
          };
        }
      );
      default = { };
      description = "Parts of `activate`.";
    };
    activate = mkOption {
      type = types.lines;
      description = "All parts in order.";
    };
  };
  config.system = {
    activate = lib.concatMapStrings (name: "# ${name}\n${scripts.${name}.text}\n") ordered;
    activationScripts.current-system = {
      deps = [ "etc" ];
      text = "ln -sfn @out@ /run/current-system";
    };
  };
}
