# The host as a virtual machine on another one: a script that boots it, with its
# console on the terminal.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.virtualisation;
  name = config.networking.hostName;
  dist = config.system.build.dist;
  script = pkgs.writeShellScriptBin "run-${name}-vm" ''
    # Boots ${name} under QEMU. As with NixOS, QEMU_OPTS has further options,
    # QEMU_NET_OPTS further ones of the network, such as
    # `hostfwd=tcp:127.0.0.1:2222-:22`, QEMU_KERNEL_PARAMS words for the kernel, and
    # NIX_DISK_IMAGE the file of the disk; without a name in it there is no disk.
    set -euo pipefail
    export PATH=${lib.makeBinPath [ pkgs.coreutils ]}:$PATH
    qemu=$(type -P ${if cfg.qemu.package == null then "" else "${cfg.qemu.package}/bin/"}qemu-system-x86_64) ||
      { echo "there is no qemu-system-x86_64 in PATH" >&2; exit 1; }
    disk=''${NIX_DISK_IMAGE-$PWD/${name}.raw}
    disk_size=$((${toString cfg.diskSize} << 20))
    params=$(< ${dist}/kernel-params)
    common=(-m ${toString cfg.memorySize} -no-reboot -nodefaults -kernel ${dist}/bzImage -initrd ${dist}/initrd)

    # /dev/kvm is often there and unable to boot a kernel: whoever gets to stage 1 is believed.
    kvm_boots() {
      [ -w /dev/kvm ] || return 1
      local line found=1
      exec 3< <(exec timeout --foreground 20 "$qemu" -accel kvm -cpu max "''${common[@]}" -display none -serial stdio \
        -append "$params root=none" < /dev/null 2>&1)
      local pid=$!
      while read -r line <&3; do
        case $line in *"stage 1, "*) found=0; break ;; esac
      done
      kill $pid 2> /dev/null || true
      exec 3<&-
      return $found
    }
    if kvm_boots; then
      accelerated=(-accel kvm -cpu max -smp ${toString cfg.cores})
    else
      echo "KVM boots no kernel here: the machine is emulated, and slower" >&2
      # All that QEMU can emulate but cmpxchg16b, whose flags QEMU 7.2 gets wrong:
      # the kernel's allocator, which uses it where it is there, brings it down.
      # One processor: emulated ones, each in a thread, do not always see in time how the
      # kernel changes code that another of them runs.
      accelerated=(-accel tcg -cpu max,-cx16 -smp 1)
    fi
    if [ -n "$disk" ] && [ $disk_size -gt 0 ]; then
      # A file of holes, which takes as much space as is written to it.
      [ -e "$disk" ] || truncate -s $disk_size "$disk"
      common+=(-drive "file=''${disk//,/,,},format=raw,if=none,id=disk,discard=unmap" -device nvme,drive=disk,serial=disk)
    fi
    net=''${QEMU_NET_OPTS-}
    exec "$qemu" "''${accelerated[@]}" "''${common[@]}" -nographic -serial mon:stdio \
      -nic "user,model=virtio-net-pci''${net:+,$net}" \
      -drive file=${dist}/root.squashfs,format=raw,if=virtio,readonly=on \
      -append "$params root=/dev/vda ''${QEMU_KERNEL_PARAMS-}" \
      ${lib.escapeShellArgs cfg.qemu.options} ''${QEMU_OPTS-}
  '';
in
{
  options.virtualisation = {
    memorySize = mkOption { type = types.ints.positive; default = 2048; description = "Memory in MiB."; };
    cores = mkOption { type = types.ints.positive; default = 2; description = "Processors with KVM; an emulated machine has one."; };
    diskSize = mkOption {
      type = types.ints.unsigned;
      default = 8192;
      description = "Size in MiB of the NVMe disk that is made where there is none; 0 leaves it out.";
    };
    qemu.options = mkOption { type = types.listOf types.str; default = [ ]; description = "Further options of QEMU."; };
    qemu.package = mkOption {
      type = types.nullOr types.package;
      default = null;
      description = "Where QEMU is; whatever PATH has, when null.";
    };
  };
  config.system.build.vm = script;
}
