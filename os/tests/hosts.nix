# Hosts, evaluated with the empty packages of `./nixpkgs`: the cases that are not
# as they should be, `[ ]`. A bad set and bad configurations are refused.
let
  lib = import ../lib;
  set = import ../packages/nixpkgs.nix {
    pkgs = import ./nixpkgs { };
    source = ../..;
  };
  host = pkgs: configuration: (import ../. { inherit lib pkgs configuration; }).dist.drvPath;
  isThere = value: (builtins.tryEval value).success;
  vm = ../hosts/vm.nix;
  cases = {
    vm = isThere (host set vm);
    vm-next = isThere (host set ../hosts/vm-next.nix);
    lacks-a-package = !isThere (host (removeAttrs set [ "runit" ]) vm);
    no-package = !isThere (host (set // { runit = 1; }) vm);
    no-function = !isThere (host (set // { runCommand = 1; }) vm);
    unknown-option = !isThere (host set { imports = [ vm ]; networking.hostname = "a"; });
    bad-name = !isThere (host set { imports = [ vm ]; networking.hostName = "a b"; });
    root-is-no-mount = !isThere (host set { imports = [ vm ]; fileSystems."/".device = "/dev/vda"; });
    no-host-id = !isThere (host set { imports = [ vm ]; networking.hostId = lib.mkForce null; });
    failed-assertion = !isThere (host set { imports = [ vm ]; users.users.root.group = "none"; });
  };
in
lib.attrNames (lib.filterAttrs (_: holds: !holds) cases)
