# The host that `cargo xtask os run` and the tests boot under QEMU.
{ pkgs, ... }:
{
  networking.hostName = "lab";
  networking.hostId = "a51146d3";
  networking.interfaces.eth0.useDHCP = true;
  boot.initrd.kernelModules = [ "virtio_pci" "virtio_blk" "virtio_net" ];
  boot.kernelParams = [ "console=ttyS0" "panic=-1" "loglevel=4" "net.ifnames=0" "stage1.fail=reboot" ];
  # What QEMU gives the first interface.
  netboot.macs = [ "52:54:00:12:34:56" ];
  services.getty.autologin = [ "ttyS0" ];
  services.openssh.enable = true;
  # `cargo xtask os run` has a disk for it; where there is none there is no pool.
  boot.zfs.pools.tank = {
    partition."/dev/nvme0n1".p1 = { };
    layout = [ { devices = [ "/dev/nvme0n1p1" ]; } ];
    doCreate = true;
    install = true;
    importAttempts = 1;
    scrub.enable = true;
  };
  boot.zfs.moduleParams.zfs.zfs_arc_max = 512 * 1024 * 1024;
  osctld.settings.socket_group = "operators";
  users.groups.operators.gid = 500;
  osctl.images.minimal = import ../images/minimal.nix { inherit pkgs; };
  osctl.test-agent.enable = true;
}
