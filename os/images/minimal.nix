# An image archive of templates/minimal: one static busybox, and a process 1 that
# obeys at once. Small enough for a host to carry.
{ pkgs }:
pkgs.runCommand "minimal.tar"
  {
    files = ../../templates/minimal/rootfs;
    busybox = pkgs.busybox-static;
  }
  ''
    mkdir -p image/config image/rootfs root/{bin,dev,etc,home,mnt,proc,root,run,sys,tmp,var/{log,spool,tmp}}
    cp -r --no-preserve=mode $files/. root/
    cp $busybox/bin/busybox root/bin/
    for applet in $(root/bin/busybox --list-full); do
      [ ! -e root/$applet ] || continue
      mkdir -p $(dirname root/$applet)
      ln -s /bin/busybox root/$applet
    done
    chmod -R u=rwX,go=rX root
    chmod 0755 root/sbin/init root/bin/busybox
    chmod 0600 root/etc/shadow
    chmod 0700 root/root
    chmod 1777 root/tmp root/var/tmp
    pack() {
      tar -c --sort=name --owner=0 --group=0 --numeric-owner --mtime=@1 "$@"
    }
    pack -C root . | gzip -9n > image/rootfs/base.tar.gz
    printf -- '---\ntype: full\nformat: tar\nuser: null\ngroup: null\ncontainer: minimal\ndatasets: []\nexported_at: 1\n' \
      > image/metadata.yml
    printf -- "---\ndistribution: busybox\nversion: '1'\narch: %s\n" $(uname -m) > image/config/container.yml
    pack -C image -f $out metadata.yml config rootfs
  ''
