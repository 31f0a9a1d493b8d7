# Builds that need a file system like Debian's: the archives are unpacked into
# one tree, and the build has it as its root, in a user namespace of its own
# within Nix' sandbox.
{ runCommand, archives, busybox, util-linux }:
let
  tree = runCommand "fhs-tree" { inherit archives busybox; } ''
    mkdir -p $out/usr/{bin,sbin,lib,lib64} $out/{proc,dev,tmp,build,nix,sys}
    cd $out
    for directory in bin sbin lib lib64; do ln -s usr/$directory $directory; done
    for archive in $archives; do
      mkdir x
      (cd x && $busybox/bin/busybox ar x $archive)
      case $(echo x/data.tar.*) in
        *.xz) xz -dc x/data.tar.xz ;;
        *.gz) gzip -dc x/data.tar.gz ;;
        *) cat x/data.tar ;;
      esac | tar -x --no-same-owner --keep-directory-symlink \
        --exclude=./usr/share/{doc,man,locale} --exclude='./usr/*/vmlinux' --exclude=./boot --exclude=./usr/lib/modules
      rm -rf x
    done
    # Which alternative is meant, Debian decides when a package is installed.
    ln -sf gawk usr/bin/awk
    ln -sf bash usr/bin/sh
  '';
in
name: environment: script:
runCommand name
  (
    environment
    // {
      nativeBuildInputs = [ util-linux ];
      inherit tree script;
      passAsFile = [ "script" ];
    }
  )
  ''
    cat > enter <<'END'
    set -e
    root=$PWD/root
    mkdir -p $root work
    cp $scriptPath work/script
    for path in $tree/*; do
      name=''${path##*/}
      if [ -L $path ]; then cp -a $path $root/$name; continue; fi
      mkdir -p $root/$name
      case $name in usr | etc | var) mount --bind $path $root/$name ;; esac
    done
    mount --rbind /dev $root/dev
    mount --rbind /proc $root/proc
    mount --rbind /nix $root/nix
    mount -t tmpfs tmp $root/tmp
    mount --bind work $root/build
    exec chroot $root /usr/bin/env PATH=/usr/bin:/usr/sbin HOME=/tmp bash -eu /build/script
    END
    export scriptPath
    unshare --user --map-root-user --mount bash enter
  ''
