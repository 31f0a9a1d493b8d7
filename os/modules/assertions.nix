# What modules find wrong with a configuration.
{ lib, ... }:
let
  inherit (lib) mkOption types;
in
{
  options = {
    assertions = mkOption {
      type = types.listOf types.unspecified;
      default = [ ];
      description = "Each `{ assertion, message }`; one that is false keeps the system from being built.";
    };
    warnings = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Printed when the system is evaluated.";
    };
  };
}
