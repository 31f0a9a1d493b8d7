# The file tree that LXC runs in: Debian's programs, and the host's ZFS.
mount -t tmpfs lxc /lxc && tar -C /lxc -xf /tmp/lxc.tar || exit 1
mkdir -p /lxc/{old,dev,proc,sys,nix,run,tmp,containers/base,var/lib/lxc,var/cache/lxc}
for dir in dev proc sys nix run; do mount --rbind /$dir /lxc/$dir || exit 1; done
zfs create -o canmount=off -o mountpoint=none tank/lxc &&
zfs create -o canmount=noauto -o mountpoint=/containers/base/rootfs tank/lxc/base &&
mkdir -p /mnt/base && mount -t zfs -o zfsutil tank/lxc/base /mnt/base &&
tar -C /mnt/base -xf /tmp/minimal.tar && chown -hR 1000000:1000000 /mnt/base && umount /mnt/base || exit 1
mkdir -p /lxc/containers/base/rootfs /lxc/etc/lxc
echo 'lxc.bdev.zfs.root = tank/lxc' > /lxc/etc/lxc/lxc.conf
cat > /lxc/containers/base/config <<'END'
lxc.include = /usr/share/lxc/config/common.conf
lxc.include = /usr/share/lxc/config/userns.conf
lxc.uts.name = base
lxc.rootfs.path = zfs:tank/lxc/base
lxc.idmap = u 0 1000000 65536
lxc.idmap = g 0 1000000 65536
lxc.net.0.type = empty
lxc.apparmor.profile = unconfined
lxc.hook.clone =
END
