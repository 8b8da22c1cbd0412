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

      nixosModules.default = import ./nix/module.nix { inherit packageFor; };

      # All that `npm test` uses; nothing of it is skipped in here.
      devShells = forEachSystem (pkgs: {
        default = pkgs.mkShell {
          packages = [ pkgs.nodejs pkgs.go pkgs.gcc pkgs.nix pkgs.prometheus.cli ];
          env.NIXPKGS_LIB = "${nixpkgs}/lib";
        };
      });

      checks = forEachSystem (pkgs: {
        package = packageFor pkgs;
        # The unit as a whole NixOS makes it: the tests in test/nix evaluate the module against stubs of NixOS.
        unit =
          let
            system = nixpkgs.lib.nixosSystem {
              inherit (pkgs.stdenv.hostPlatform) system;
              modules = [
                self.nixosModules.default
                {
                  services.tsnsrv = {
                    enable = true;
                    supervisor.enable = true;
                    defaults.authKeyPath = "/run/secrets/tailscale";
                    services.web.toURL = "http://127.0.0.1:8080";
                  };
                }
              ];
            };
          in
          system.config.systemd.units."tsnsrv-sup.service".unit;
      });
    };
}
