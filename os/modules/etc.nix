# The files of /etc: a tree in the store, linked or copied at activation.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  entry =
    { name, config, ... }:
    {
      options = {
        enable = mkOption {
          type = types.bool;
          default = true;
          description = "Whether the file is there.";
        };
        text = mkOption {
          type = types.nullOr types.lines;
          default = null;
          description = "Its content.";
        };
        source = mkOption {
          type = types.either types.path types.str;
          description = "What it is a link to, instead of `text`.";
        };
        mode = mkOption {
          type = types.strMatching "symlink|[0-7]{3,4}";
          default = "symlink";
          description = "Anything but `symlink` makes it a copy with this mode.";
        };
        target = mkOption {
          type = types.str;
          default = name;
          description = "Path below /etc.";
        };
      };
      config.source = lib.mkIf (config.text != null) (
        lib.mkDefault (pkgs.writeText "etc-${baseNameOf name}" config.text)
      );
    };
  enabled = lib.filter (it: it.enable) (lib.attrValues config.environment.etc);
in
{
  options.environment.etc = mkOption {
    type = types.attrsOf (types.submodule entry);
    default = { };
    description = "Files of /etc.";
  };
  config = {
    system.build.etc =
      pkgs.runCommand "etc"
        {
          passAsFile = [ "entries" ];
          entries = lib.concatMapStrings (it: "${it.source} ${it.target} ${it.mode}\n") enabled;
        }
        ''
          mkdir -p $out/etc $out/links
          while read source target mode; do
            mkdir -p "$out/etc/$(dirname "$target")"
            ln -s "$source" "$out/etc/$target"
            if [ "$mode" = symlink ]; then
              mkdir -p "$out/links/$(dirname "$target")"
              ln -s "/etc/static/$target" "$out/links/$target"
            else
              echo "$mode" > "$out/etc/$target.mode"
            fi
          done < $entriesPath
        '';
    system.activationScripts.etc.text = ''
      new=@out@/etc
      # All that are missing or others at once: there are many, and each switch comes by here.
      links() { find "$1" -type l -lname '/etc/static/*' -printf '%P %l\n' | sort; }
      (
        cd ${config.system.build.etc}/links
        find . -type d -printf '/etc/%P\n' | xargs mkdir -p
        comm -13 <(links /etc) <(links .) | cut -d' ' -f1 | xargs -r cp -d --parents --remove-destination -t /etc
      )
      # Who reads them meanwhile finds the old or the new one.
      while read -r file; do
        file=''${file%.mode}
        install -D -T -m "$(< "$new/$file.mode")" "$new/$file" "/etc/$file.new" && mv -T "/etc/$file.new" "/etc/$file" || {
          rm -f "/etc/$file.new"
          false
        }
      done < <(find $new/ -name '*.mode' -printf '%P\n')
      ln -sfn $new /etc/static
      # What the system before this one linked and this one does not.
      find /etc -type l -lname '/etc/static/*' | while read link; do
        [ -L "/etc/static/''${link#/etc/}" ] || rm "$link"
      done
    '';
  };
}
