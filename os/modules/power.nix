# poweroff, reboot and halt under runit.
{ pkgs, ... }:
{
  config.environment.systemPackages = [
    (pkgs.writeShellScriptBin "poweroff" "exec runit-init 0")
    (pkgs.writeShellScriptBin "halt" "exec runit-init 0")
    (pkgs.writeShellScriptBin "reboot" "exec runit-init 6")
  ];
}
