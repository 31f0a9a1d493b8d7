# Stage 1: finds the root, and gives it to stage 2.
#
# On the command line: `root=`, a device with the squashfs, as `/dev/…`, `LABEL=…`
# or `UUID=…`; with `nolive`, one with a file system that has the store and is
# kept; `httproot=URL`, where to download the squashfs from; `netroot=SERVER,FILE`,
# the same by TFTP; `init=`, the system's stage 2; `stage1.fail=shell|reboot`, what
# to do on a failure.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  busybox = "${pkgs.busybox}/bin/busybox";
  modules = pkgs.makeModulesClosure {
    rootModules = config.boot.initrd.kernelModules;
    kernel = config.boot.kernelPackages.kernel;
  };
  lease = pkgs.writeScript "udhcpc-lease" ''
    #!${busybox} ash
    [ "$1" = bound ] || exit 0
    ip addr add $ip/$mask dev $interface
    [ -z "$router" ] || ip route add default via ''${router%% *}
    for server in $dns; do echo "nameserver $server"; done > /etc/resolv.conf
  '';
  init = pkgs.writeScript "stage-1" ''
    #!${busybox} ash
    export PATH=/bin
    ${busybox} mkdir -p /bin /etc /proc /sys /dev /mnt /run
    ${busybox} --install -s /bin
    mount -t proc proc /proc
    mount -t sysfs sys /sys
    mount -t devtmpfs dev /dev
    echo "stage 1, $(cut -d' ' -f1 /proc/uptime) s"
    mkdir -p /lib
    ln -s ${modules}/lib/modules /lib/modules

    root= httproot= netroot= init= live=1 on_failure=ask
    for word in $(cat /proc/cmdline); do
      case $word in
        root=*) root=''${word#root=} ;;
        httproot=*) httproot=''${word#httproot=} ;;
        netroot=*) netroot=''${word#netroot=} ;;
        init=*) init=''${word#init=} ;;
        nolive) live= ;;
        stage1.fail=*) on_failure=''${word#stage1.fail=} ;;
      esac
    done

    failed() {
      echo "stage 1: $1"
      while :; do
        case $on_failure in
          reboot) reboot -f ;;
          shell) setsid cttyhack sh; on_failure=ask ;;
          *)
            echo -n "s: shell, r: reboot? "
            read answer || sleep 5
            case $answer in s) on_failure=shell ;; r) on_failure=reboot ;; esac ;;
        esac
      done
    }

    for module in ${toString config.boot.initrd.kernelModules}; do
      modprobe $module || failed "no module $module"
    done

    download() {
      if [ -n "$httproot" ]; then
        wget -O /root.squashfs "$httproot"
      else
        echo "fetching $netroot"
        tftp -g -b 1428 -l /root.squashfs -r "''${netroot#*,}" "''${netroot%%,*}"
      fi
    }
    if [ -n "$httproot$netroot" ]; then
      # A switch may take its time with a port, and the server is perhaps behind another one.
      fetch() {
        for interface in $(ls /sys/class/net); do
          [ $interface != lo ] || continue
          ip link set $interface up
          if udhcpc -n -q -i $interface -s ${lease}; then
            ! download || return 0
            ip addr flush dev $interface
          fi
        done
        return 1
      }
      tries=0
      until fetch; do
        tries=$((tries + 1))
        [ $tries -lt 10 ] || failed "cannot download $httproot$netroot"
        sleep 3
      done
      # The host's own configuration begins with nothing.
      ip addr flush dev $interface
      root=/root.squashfs
    fi

    # Devices appear on their own time and nothing here tells when.
    present() {
      case $root in
        LABEL=* | UUID=*) device=$(findfs "$root" 2> /dev/null) ;;
        *) device=$root; [ -e "$root" ] ;;
      esac
    }
    tries=0
    until present; do
      tries=$((tries + 1))
      [ $tries -lt 300 ] || failed "there is no root $root"
      sleep 0.1
    done

    if [ -z "$live" ]; then
      mount -o rw "$device" /mnt || failed "cannot mount $root"
      mkdir -p /mnt/nix /mnt/proc /mnt/sys /mnt/dev
      rm -rf /mnt/nix/.osctl
    else
      mount -t tmpfs -o mode=755,size=75% root /mnt
      mkdir -p /mnt/nix/store /mnt/nix/.ro /mnt/nix/.rw
      if [ -b "$device" ]; then
        mount -t squashfs -o ro "$device" /mnt/nix/.ro || failed "cannot mount $root"
      else
        mv "$device" /mnt/nix/.root.squashfs
        mount -o loop,ro -t squashfs /mnt/nix/.root.squashfs /mnt/nix/.ro || failed "cannot mount $root"
      fi
      mount -t tmpfs -o mode=755,size=${config.boot.initrd.storeOverlaySize} rw /mnt/nix/.rw
      mkdir /mnt/nix/.rw/upper /mnt/nix/.rw/work
      mount -t overlay overlay -o lowerdir=/mnt/nix/.ro,upperdir=/mnt/nix/.rw/upper,workdir=/mnt/nix/.rw/work \
        /mnt/nix/store || failed "cannot mount the store"
    fi
    [ ! -d /osctl ] || mv /osctl /mnt/nix/.osctl
    [ -x "/mnt$init" ] || failed "there is no $init in $root"
    umount /sys /dev
    umount /proc
    exec switch_root /mnt $init
  '';
in
{
  options.boot.initrd = {
    kernelModules = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Modules that stage 1 loads.";
    };
    storeOverlaySize = mkOption {
      type = types.str;
      default = "50%";
      description = "Most that can be added to the store of a live system.";
    };
  };
  config = {
    boot.initrd.kernelModules = [ "loop" "squashfs" "overlay" ];
    system.build.initialRamdisk = pkgs.makeInitrd {
      contents = [ { object = init; symlink = "/init"; } ];
    };
  };
}
