# The cases of `os/lib` that are not as they should be: `[ ]`.
let
  lib = import ../lib;
  inherit (lib) mkOption types;
  evaluate = modules: (lib.evalModules { inherit modules; }).config;
  fails = value: !(builtins.tryEval (builtins.deepSeq value value)).success;
  option = type: { options.it = mkOption { inherit type; }; };
  # The value of an option of a type that modules set.
  merged = type: values: (evaluate ([ (option type) ] ++ map (it: { config = { inherit it; }; }) values)).it;
  named = { name, ... }: {
    options.name = mkOption { type = types.str; default = name; };
    options.size = mkOption { type = types.int; default = 1; };
  };

  cases = {
    default-gives-way = merged types.int [ (lib.mkDefault 1) 2 ] == 2;
    force-wins = merged types.int [ 1 (lib.mkForce 2) ] == 2;
    false-condition-is-nothing = merged types.int [ (lib.mkIf false 1) 2 ] == 2;
    conditions-below-sets = merged (types.attrsOf types.int) [ (lib.mkIf true { a = 1; }) (lib.mkIf false { b = 2; }) ] == { a = 1; };
    merge-of-many = merged (types.listOf types.int) [ (lib.mkMerge [ [ 1 ] [ 2 ] ]) ] == [ 1 2 ];
    order = merged types.lines [ (lib.mkAfter "c") "b" (lib.mkBefore "a") ] == "a\nb\nc";
    two-values-of-one = fails (merged types.int [ 1 2 ]);
    equal-values-are-one = merged types.int [ 1 1 ] == 1;
    wrong-type = fails (merged types.int [ "1" ]);
    wrong-element = fails (merged (types.listOf types.int) [ [ "1" ] ]);
    not-of-the-enumeration = fails (merged (types.enum [ "a" ]) [ "b" ]);
    out-of-range = fails (merged types.port [ 65536 ]);
    null-or-not = fails (merged (types.nullOr types.int) [ null 1 ]);
    either-of-two = merged (types.either types.int types.str) [ "a" ] == "a";
    without-a-value = fails (merged types.int [ ]);
    unknown-option = fails (evaluate [ { config.other = 1; } ]);
    declared-twice = fails (evaluate [ (option types.int) (option types.int) { it = 1; } ]).it;
    submodule-knows-its-name = merged (types.attrsOf (types.submodule named)) [ { a = { }; } { b.size = 2; } ] == {
      a = { name = "a"; size = 1; };
      b = { name = "b"; size = 2; };
    };
    unknown-in-a-submodule = fails (merged (types.attrsOf (types.submodule named)) [ { a.other = 1; } ]);
    imports-once = (evaluate [ (option (types.listOf types.int)) { imports = [ ./one.nix ./one.nix ]; } ./one.nix ]).it == [ 1 ];
    arguments = (evaluate [ (option types.int) { _module.args.number = 7; } ({ number, ... }: { it = number; }) ]).it == 7;
    configuration-of-others = (evaluate [ (option types.int) { options.other = mkOption { default = 3; }; } ({ config, ... }: { it = config.other; }) ]).it == 3;
    escapes = lib.escapeShellArgs [ "a" "b c" "d'e" ] == "a 'b c' 'd'\\''e'";
    prefixes = lib.hasPrefix "ab" "abc" && !(lib.hasPrefix "b" "abc") && lib.hasSuffix "c" "abc" && lib.removePrefix "a" "abc" == "bc";
    sets = lib.filterAttrs (_: it: it > 1) { a = 1; b = 2; } == { b = 2; } && lib.recursiveUpdate { a.b = 1; } { a.c = 2; } == { a = { b = 1; c = 2; }; };
    outputs = lib.getOutput "modules" { out = 1; modules = 2; } == 2 && lib.getOutput "modules" { out = 1; } == 1;
  };
in
lib.attrNames (lib.filterAttrs (_: holds: !holds) cases)
