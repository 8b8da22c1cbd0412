{
  description = "tsnsrv-sup: dozens of self-hosted services on a tailnet, in shards of worker processes";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      forEachSystem = f: nixpkgs.lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (system: f nixpkgs.legacyPackages.${system});
      packageFor = pkgs: pkgs.callPackage ./nix/package.nix { };
    in
    {
      packages = forEachSystem (pkgs: rec {
        tsnsrv-sup = packageFor pkgs;
        default = tsnsrv-sup;
      });

      overlays.default = final: _: { tsnsrv-sup = packageFor final; };

      nixosModules = rec {
        tsnsrv-sup = {
          # Errors name the file; and two hosts' files that both import the module import it once.
          _file = ./nix/module.nix;
          key = "tsnsrv-sup#nixosModules.default";
          imports = [ (import ./nix/module.nix { inherit packageFor; }) ];
        };
        default = tsnsrv-sup;
      };

      # All that `npm test` uses; nothing of it is skipped in here.
      devShells = forEachSystem (pkgs: {
        default = pkgs.mkShell {
          packages = [ pkgs.nodejs (pkgs.go_1_26 or pkgs.go) pkgs.gcc pkgs.nix pkgs.prometheus.cli ];
          env.NIXPKGS_LIB = "${nixpkgs}/lib";
        };
      });

      checks = forEachSystem (pkgs: {
        package = packageFor pkgs;
        # Boots a machine with the module and a tailnet of its own.
        machine = pkgs.testers.runNixOSTest (import ./nix/test.nix { module = self.nixosModules.default; });
      });
    };
}
