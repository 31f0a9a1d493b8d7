# The system: everything that one generation of the host is.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  failed = map (it: it.message) (lib.filter (it: !it.assertion) config.assertions);
  checked =
    system:
    if failed != [ ] then
      throw "Failed assertions:\n${lib.concatMapStrings (it: "- ${it}\n") failed}"
    else
      lib.foldl' (rest: it: builtins.trace "warning: ${it}" rest) system config.warnings;
in
{
  options.system.build = mkOption {
    type = types.lazyAttrsOf types.unspecified;
    default = { };
    description = "What can be built.";
  };
  config.system.build.toplevel = checked (
    pkgs.runCommand "osctl-host-${config.networking.hostName}"
      {
        activate = ''
          #!${pkgs.runtimeShell}
          export PATH=${config.system.path}/bin
          failed=0
          trap 'failed=1' ERR
          ${config.system.activate}
          exit $failed
        '';
        inherit (config.boot) init;
        switch = "#!${pkgs.runtimeShell}\n" + builtins.readFile ./switch-to-configuration.sh;
        passAsFile = [ "activate" "init" "switch" ];
        installBootLoader = config.system.build.installBootLoader or "";
        inherit (config.system.build) etc services modules;
        sw = config.system.path;
      }
      ''
        mkdir -p $out/bin
        sed "s,@out@,$out,g" "$activatePath" > $out/activate
        sed "s,@out@,$out,g" "$initPath" > $out/init
        sed "s,@out@,$out,g; s,@installBootLoader@,$installBootLoader,g" "$switchPath" > $out/bin/switch-to-configuration
        chmod +x $out/activate $out/init $out/bin/switch-to-configuration
        ln -s $etc/etc $out/etc
        ln -s $sw $out/sw
        ln -s $services $out/services
        ln -s $modules/lib/modules $out/kernel-modules
      ''
  );
}
