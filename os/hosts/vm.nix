# The host that `cargo xtask os run` and the tests boot under QEMU.
{ ... }:
{
  networking.hostName = "lab";
  networking.interfaces.eth0.useDHCP = true;
  boot.initrd.kernelModules = [ "virtio_pci" "virtio_blk" "virtio_net" ];
  boot.kernelParams = [ "console=ttyS0" "panic=-1" "loglevel=4" "net.ifnames=0" "stage1.fail=reboot" ];
  services.getty.autologin = [ "ttyS0" ];
  services.openssh.enable = true;
  osctl.test-agent.enable = true;
}
