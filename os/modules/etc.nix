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
          while read source target mode; do
            mkdir -p "$out/etc/$(dirname "$target")"
            ln -s "$source" "$out/etc/$target"
            [ "$mode" = symlink ] || echo "$mode" > "$out/etc/$target.mode"
          done < $entriesPath
        '';
    system.activationScripts.etc.text = ''
      new=@out@/etc
      mkdir -p /etc
      (cd $new && find . -mindepth 1 \( -type l -o -type f \) ! -name '*.mode' -printf '%P\n') | while read file; do
        mkdir -p "/etc/$(dirname "$file")"
        if [ -e "$new/$file.mode" ]; then
          cp -L --remove-destination "$new/$file" "/etc/$file"
          chmod "$(cat "$new/$file.mode")" "/etc/$file"
        else
          ln -sfn "/etc/static/$file" "/etc/$file"
        fi
      done
      ln -sfn $new /etc/static
      # What the system before this one linked and this one does not.
      find /etc -type l -lname '/etc/static/*' | while read link; do
        [ -L "/etc/static/''${link#/etc/}" ] || rm "$link"
      done
    '';
  };
}
