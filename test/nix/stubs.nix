# The part of NixOS that nix/module.nix writes to, as plain data: enough to evaluate the module without nixpkgs.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  anything = mkOption { type = types.attrsOf types.anything; default = { }; };
  list = mkOption { type = types.listOf types.str; default = [ ]; };
  units = mkOption {
    default = { };
    type = types.attrsOf (types.submodule {
      freeformType = types.attrsOf types.anything;
      options = { wants = list; wantedBy = list; requires = list; after = list; };
    });
  };
in
{
  options = {
    assertions = mkOption { type = types.listOf types.anything; default = [ ]; };
    warnings = mkOption { type = types.listOf types.str; default = [ ]; };
    environment.etc = anything;
    environment.systemPackages = mkOption { type = types.listOf types.anything; default = [ ]; };
    users.groups = anything;
    services.nginx = anything;
    specialisation = anything;
    systemd.services = units;
    systemd.targets = units;
    security.acme.certs = mkOption {
      default = { };
      type = types.attrsOf (types.submodule ({ name, ... }: {
        options = {
          directory = mkOption { type = types.str; default = "/var/lib/acme/${name}"; };
          group = mkOption { type = types.str; default = "acme"; };
          reloadServices = mkOption { type = types.listOf types.str; default = [ ]; };
        };
      }));
    };
  };
}
