{
  description = "The host image of osctl";

  inputs.nixpkgs.url = "nixpkgs";

  outputs =
    { self, nixpkgs }:
    let
      system = "x86_64-linux";
      image =
        configuration:
        import ./. {
          inherit (nixpkgs) lib;
          inherit configuration;
          pkgs = import ./packages/nixpkgs.nix {
            pkgs = nixpkgs.legacyPackages.${system};
            source = ./..;
          };
        };
    in
    {
      lib.image = image;
      packages.${system} = {
        inherit (image ./hosts/vm.nix) toplevel dist netboot runner;
        default = self.packages.${system}.dist;
      };
    };
}
