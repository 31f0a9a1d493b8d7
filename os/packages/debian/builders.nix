# nixpkgs' trivial builders over the Debian set, as the contract names them.
{ lib, pkgs, system }:
let
  shell = "${pkgs.bash}/bin/bash";
  path = with pkgs; [ bash coreutils gnugrep gnused gawk findutils gnutar gzip xz cpio diffutils ];
  setup = builtins.toFile "setup.sh" "export HOME=/homeless-shelter SOURCE_DATE_EPOCH=1 TZ=UTC LC_ALL=C\n";
  programs = packages: lib.concatStringsSep ":" (map (it: "${it}/bin") packages);
in
rec {
  inherit shell;

  # Scripts end in a builtin: bash must not execute the last command in its
  # own place, since a program that closes stderr before it ends gets killed.
  runCommand =
    name: env: script:
    derivation (
      {
        inherit name system;
        builder = shell;
        args = [ "-euo" "pipefail" "-c" ". ${setup}\n${script}\n:\n" ];
        PATH = programs ((env.nativeBuildInputs or [ ]) ++ path);
      }
      // removeAttrs env [ "nativeBuildInputs" "passthru" ]
    );

  writeTextFile =
    { name, text, executable ? false, destination ? "" }:
    runCommand name { inherit text; passAsFile = [ "text" ]; } ''
      mkdir -p "$(dirname "$out${destination}")"
      cp "$textPath" "$out${destination}"
      ${lib.optionalString executable ''chmod +x "$out${destination}"''}
    '';
  writeText = name: text: writeTextFile { inherit name text; };
  writeScript = name: text: writeTextFile { inherit name text; executable = true; };
  writeShellScript = name: text: writeScript name "#!${shell}\n${text}";
  writeShellScriptBin =
    name: text:
    writeTextFile {
      inherit name;
      executable = true;
      destination = "/bin/${name}";
      text = "#!${shell}\n${text}";
    };

  buildEnv =
    { name, paths, pathsToLink ? [ "/" ], ... }:
    runCommand name { inherit paths pathsToLink; } ''
      mkdir -p $out
      for path in $paths; do for link in $pathsToLink; do
        [ -d $path$link ] || continue
        mkdir -p $out$link
        cp -rsf --no-preserve=mode $path$link/. $out$link/
      done; done
    '';
  symlinkJoin = { name, paths }: buildEnv { inherit name paths; };

  # Nix gives a builder its references only as JSON, and only with
  # structured attributes.
  closureInfo =
    { rootPaths }:
    derivation {
      name = "closure-info";
      inherit system;
      builder = shell;
      __structuredAttrs = true;
      exportReferencesGraph.closure = rootPaths;
      PATH = programs (with pkgs; [ coreutils jq ]);
      args = [
        "-euc"
        ''
          attributes=.attrs
          [ -e $attributes.sh ] || attributes=''${NIX_ATTRS_SH_FILE%.sh}
          . $attributes.sh
          out=''${outputs[out]}
          export PATH
          mkdir $out
          jq -r '.closure[].path' < $attributes.json | sort > $out/store-paths
          jq -r '.closure | map([.path, .narHash, .narSize, "", (.references | length)] + .references)
            | add | map("\(.)\n") | add' < $attributes.json | head -n -1 > $out/registration
          :
        ''
      ];
    };

  makeModulesClosure =
    { kernel, rootModules, allowMissing ? false, ... }:
    runCommand "modules-shrunk" { nativeBuildInputs = [ pkgs.kmod ]; inherit kernel rootModules; } ''
      version=$(ls $kernel/lib/modules)
      mkdir -p $out/lib/modules/$version
      for module in $rootModules; do
        if ! modprobe -C /dev/null -d $kernel -S $version --show-depends $module > deps 2> errors; then
          cat errors >&2
          ${if allowMissing then "continue" else "exit 1"}
        fi
        awk '$1 == "insmod" { print $2 }' deps
      done | sort -u | while read file; do
        inside=''${file#$kernel/}
        mkdir -p $out/$(dirname $inside)
        cp $file $out/$inside
      done
      cp $kernel/lib/modules/$version/modules.{builtin,builtin.modinfo,order} $out/lib/modules/$version/
      depmod -b $out -C /dev/null $version
    '';

  makeInitrd =
    { contents, name ? "initrd" }:
    runCommand name
      {
        closure = closureInfo { rootPaths = map (it: it.object) contents; };
        passAsFile = [ "entries" ];
        entries = lib.concatMapStrings (it: "${it.object} ${it.symlink}\n") contents;
      }
      ''
        mkdir -p root/nix/store
        cd root
        for path in $(cat $closure/store-paths); do cp -a $path nix/store/; done
        while read object link; do
          mkdir -p .$(dirname $link)
          ln -s $object .$link
        done < $entriesPath
        chmod -R u+w .
        mkdir $out
        find . -print0 | sort -z | xargs -0 touch -hd @1
        find . -print0 | sort -z | cpio --null -o -H newc -R 0:0 --reproducible --quiet | gzip -9n > $out/initrd
      '';

  makeSquashfs =
    { storeContents }:
    runCommand "root.squashfs"
      {
        nativeBuildInputs = [ pkgs.squashfsTools ];
        closure = closureInfo { rootPaths = storeContents; };
      }
      ''
        cp $closure/registration nix-path-registration
        unset SOURCE_DATE_EPOCH
        mksquashfs nix-path-registration $(cat $closure/store-paths) $out -no-progress -quiet \
          -keep-as-directory -all-root -no-xattrs -b 128K -comp zstd -Xcompression-level 6 \
          -mkfs-time 1 -all-time 1
      '';
}
