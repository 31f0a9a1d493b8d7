# What the tests switch the host of `vm.nix` to: the services of the modules
# that it does not have, and one of each kind that runit may be asked for.
{ lib, pkgs, ... }:
let
  image.path = import ../images/minimal.nix { inherit pkgs; };
in
{
  imports = [ ./vm.nix ];
  services.getty.autologin = lib.mkForce [ ];
  services.openssh.port = 2222;
  users.users.ann = {
    uid = 1000;
    group = "ann";
    shell = "/run/current-system/sw/bin/bash";
    openssh.authorizedKeys.keys = [
      "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG1hZGUgdXAgZm9yIHRoaXMgdGVzdCBvbmx5ISEhISEh ann@example"
    ];
  };
  users.groups.ann.gid = 1000;
  users.groups.crew = { gid = 1001; members = [ "ann" ]; };
  boot.kernel.sysctl."vm.swappiness" = lib.mkForce 7;
  boot.kernelModules = [ "dummy" ];
  networking.interfaces.br1 = {
    ipv4.addresses = [ { address = "192.0.2.1"; prefixLength = 24; } ];
    ipv6.addresses = [ { address = "2001:db8::1"; prefixLength = 64; } ];
  };
  # One card is missing.
  networking.bridges.br1.interfaces = [ "eth9" "eth1" ];
  # Beside that of DHCP.
  networking.interfaces.eth0.ipv6.addresses = [ { address = "2001:db8:1::5"; prefixLength = 64; } ];
  networking.defaultGateway = "192.0.2.254";
  networking.nameservers = [ "192.0.2.1" ];
  networking.hosts."192.0.2.77" = [ "seven" ];
  networking.nftables = {
    enable = true;
    tables.host = {
      family = "inet";
      content = "chain input { type filter hook input priority 0; policy accept; tcp dport 9 counter drop; }";
    };
  };
  services.rsyslogd = {
    enable = true;
    forward = [ "127.0.0.1:6514" ];
    maxFileSize = 100000;
  };
  services.chrony = {
    enable = true;
    servers = [ "198.51.100.2" ];
  };
  services.dnsmasq = {
    enable = true;
    settings = {
      interface = "br1";
      local = "/test/";
      address = [ "/a.test/192.0.2.8" "/b.test/192.0.2.9" ];
      dhcp-range = "192.0.2.100,192.0.2.109,1h";
      dhcp-option = "option:domain-name,lab.test";
    };
  };
  services.bird2 = {
    enable = true;
    config = ''
      protocol device { }
      protocol kernel { ipv4 { export all; }; }
      protocol static { ipv4; route 203.0.113.0/24 blackhole; }
    '';
  };
  services.prometheus.exporters.node = {
    enable = true;
    listenAddress = "127.0.0.1";
    disabledCollectors = [ "zfs" ];
  };
  virtualisation.lxc.lxcfs.enable = true;
  fileSystems."/mnt/scratch" = {
    device = "scratch";
    fsType = "tmpfs";
    options = [ "size=1m" ];
  };
  # From a server that the test starts.
  fileSystems."/mnt/nfs" = {
    device = "127.0.0.1:/";
    fsType = "nfs4";
    options = [ "noauto" ];
  };
  # On devices that are made before the switch.
  boot.zfs.pools.wide = {
    partition."/dev/loop1" = { p1.sizeGB = 1; p2 = { }; };
    layout = [ { type = "mirror"; devices = [ "/dev/loop1p1" "/dev/loop2" ]; } ];
    log = [ { mirror = true; devices = [ "/dev/loop3" "/dev/loop4" ]; } ];
    cache = [ "/dev/loop1p2" ];
    # Its name begins as that of a disk with partitions.
    spare = [ "/dev/loop10" ];
    doCreate = true;
    importAttempts = 1;
    properties.ashift = 12;
    datasets."/".properties = { compression = "zstd"; atime = "off"; };
    datasets."kept/data".properties = { quota = "64m"; atime = "inherit"; };
    datasets.volume = { type = "volume"; properties.volsize = "16m"; };
  };
  nix = {
    enable = true;
    nrBuildUsers = 2;
    nixPath = [ "here=/tmp" ];
    settings.substituters = [ ];
    extraOptions = "connect-timeout = 7";
  };
  system.build.installBootLoader = pkgs.writeShellScript "boot-loader" "echo $1 > /run/boot-loader";
  osctl.pools.declared = {
    directory = "/var/lib/declared";
    users.shared.uidMap = [ "0:700000:65536" ];
    groups."/small".memoryLimit = "256m";
    containers.web8 = {
      inherit image;
      user = "shared";
      group = "/small";
      hostname = "web8.example.com";
      memoryLimit = "64m";
      cpuLimit = 50;
      resolvers = [ "192.0.2.53" ];
      interfaces = [
        {
          name = "eth0";
          type = "routed";
          ipv4.addresses = [ { address = "198.51.100.200"; prefixLength = 32; } ];
        }
      ];
      autostart.enable = true;
    };
    containers.web9 = {
      inherit image;
      nesting = true;
      interfaces = [
        {
          name = "eth0";
          type = "bridge";
          link = "br1";
          dhcp = false;
          hwaddr = "02:00:00:00:00:09";
          ipv6.addresses = [ { address = "2001:db8::9"; prefixLength = 64; } ];
        }
      ];
    };
  };
  runit.services = {
    # What it starts ends with it.
    leaves = {
      run = "sleep 4001 & exec sleep 4000";
      finish = "echo finished >> /run/leaves";
    };
    # And what this one starts does not.
    keeps = {
      killMode = "process";
      run = "sleep 4003 & exec sleep 4002";
    };
    once = {
      oneShot = true;
      run = ''
        echo begun >> /run/once
        [ ! -e /run/once.fails ]
        echo done >> /run/once
      '';
    };
    logs = {
      run = "echo out; echo err >&2; exec sleep 4004";
      log = { linePrefix = "prefixed "; maxFileSize = 5000; sendTo = "127.0.0.1:5514"; };
    };
    # More than is kept.
    talks = {
      run = "for n in {1..2000}; do echo line $n of a log; done; exec sleep 4007";
      log = { maxFileSize = 5000; logFiles = 5; minLogFiles = 2; };
    };
    ages = {
      run = "echo once; exec sleep 4008";
      log.timeout = 2;
    };
    tells = {
      run = "echo only there; exec sleep 4009";
      log = { sendTo = "127.0.0.1:5514"; sendOnly = true; };
    };
    # Takes another configuration by a signal.
    signalled = {
      onChange = "reload";
      reloadMethod = "1";
      control."1" = "echo signalled >> /run/signalled";
      run = "echo out; echo err >&2; exec sleep 4006";
      log = { run = "exec cat > /run/signalled.log"; logStandardError = false; };
    };
    single = {
      runlevels = [ "single" ];
      run = "exec sleep 4005";
    };
  };
}
