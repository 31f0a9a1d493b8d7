# The agent that tests drive a host with, on the virtio port `osctl.agent`.
# It runs only where the kernel's command line has `osctl.agent`.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.osctl.test-agent.enable = mkOption {
    type = types.bool;
    default = false;
    description = "Whether the image has it; whoever holds the port is root.";
  };
  config = lib.mkIf config.osctl.test-agent.enable {
    boot.kernelModules = [ "virtio_console" ];
    runit.services.test-agent = {
      runlevels = [ "single" "rescue" "default" ];
      killMode = "process";
      run = ''
        grep -qw osctl.agent /proc/cmdline || exec sv down .
        # Tests may speak to any service at once.
        for service in /run/runit/service/*; do
          until [ -p $service/supervise/ok ]; do sleep 0.1; done
        done
        cd /root
        export HOME=/root
        exec osctl-vm-agent
      '';
    };
  };
}
