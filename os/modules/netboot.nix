# What a host boots from the network: iPXE fetches kernel and initrd from where
# it has its script, by TFTP or HTTP, and stage 1 the squashfs.
#
# `system.build.netboot` has `bin/netboot-install DIRECTORY`, which adds this
# generation of the host to a directory that is served:
#
#   boot.ipxe               what iPXE begins with: finds the host
#   mac-XX-XX-….ipxe        the host of a hardware address
#   HOST/GENERATION/        bzImage, initrd, root.squashfs, kernel-params, boot.ipxe
#   HOST/current            a link to one of them
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.netboot;
  host = config.networking.hostName;
  dist = config.system.build.dist;

  # Who has not been told otherwise by DHCP or a script before this one.
  find = pkgs.writeText "boot.ipxe" ''
    #!ipxe
    chain mac-''${mac:hexhyp}.ipxe || chain ''${hostname}/current/boot.ipxe || goto unknown
    :unknown
    echo No host has the address ''${mac} or the name "''${hostname}" here
    shell
  '';

  # Everything of one generation, whatever is the current one by then.
  boot = pkgs.writeText "host-boot.ipxe" ''
    #!ipxe
    isset ''${netboot-url} || set netboot-url ${if cfg.url == null then "" else cfg.url}
    set root netroot=''${next-server},${host}/@generation@/root.squashfs
    isset ''${netboot-url} && set root httproot=''${netboot-url}/${host}/@generation@/root.squashfs ||
    kernel ../@generation@/bzImage initrd=initrd @params@ ''${root} ''${netboot-words}
    initrd ../@generation@/initrd
    boot
  '';

  install = pkgs.writeScript "netboot-install" ''
    #!${pkgs.runtimeShell}
    # Adds @name@ of ${host} to the directory $1 and makes it the current one.
    set -euo pipefail
    export PATH=${lib.makeBinPath [ pkgs.coreutils pkgs.findutils ]}
    mkdir -p "$1/${host}"
    cd "$1"
    # Appears as a whole: a machine may be fetching it.
    put() {
      mv -T "$1.new.$$" "$1"
    }
    trap 'rm -rf -- *.new.$$ ${host}/*.new.$$' EXIT
    generation=${host}/@name@
    if [ -d $generation ]; then
      touch $generation
    else
      mkdir $generation.new.$$
      # Whoever serves it need not have a store.
      cp -lL @out@/generation/* $generation.new.$$/ 2> /dev/null ||
        cp -fL @out@/generation/* $generation.new.$$/
      put $generation
    fi
    ln -s @name@ ${host}/current.new.$$
    put ${host}/current
    cp ${find} boot.ipxe.new.$$
    put boot.ipxe
    for mac in ${toString (map (builtins.replaceStrings [ ":" ] [ "-" ]) cfg.macs)}; do
      printf '#!ipxe\nchain ${host}/current/boot.ipxe\n' > mac-$mac.ipxe.new.$$
      put mac-$mac.ipxe
    done
    # The newest are kept, and those that are being added.
    find ${host} -mindepth 1 -maxdepth 1 -type d ! -name '*.new.*' -printf '%T@ %p\n' | sort -rn |
      tail -n +${toString (cfg.generations + 1)} | while read -r _ old; do rm -rf "$old"; done
  '';
in
{
  options.netboot = {
    url = mkOption {
      type = types.nullOr (types.strMatching "https?://.*[^/]");
      default = null;
      description = ''
        Where the directory is served by HTTP. Without it, the squashfs is fetched
        by TFTP, too, which takes its time. A script may set `netboot-url`, and
        `netboot-words` to add to the command line, before it chains to this one.
      '';
    };
    macs = mkOption {
      type = types.listOf (types.strMatching "[0-9a-f]{2}(:[0-9a-f]{2}){5}");
      default = [ ];
      description = "Hardware addresses of the host; others have to get its name by DHCP.";
    };
    generations = mkOption {
      type = types.ints.positive;
      default = 5;
      description = "How many generations of the host are kept.";
    };
  };
  config.system.build.netboot = pkgs.runCommand "osctl-host-netboot" { inherit dist boot install; } ''
    name=$(basename $out | cut -c1-12)
    mkdir -p $out/generation $out/bin
    ln -s $dist/{bzImage,initrd,root.squashfs,kernel-params} $out/generation/
    awk -v name=$name -v params="$(cat $dist/kernel-params)" '
      { gsub("@generation@", name); at = index($0, "@params@")
        if (at) $0 = substr($0, 1, at - 1) params substr($0, at + 8)
        print }' $boot > $out/generation/boot.ipxe
    sed "s,@out@,$out,g; s,@name@,$name,g" $install > $out/bin/netboot-install
    chmod +x $out/bin/netboot-install
  '';
}
