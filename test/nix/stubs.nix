# The part of NixOS that nix/module.nix writes to, as plain data: enough to evaluate the module without nixpkgs.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  anything = mkOption { type = types.attrsOf types.anything; default = { }; };
in
{
  options = {
    assertions = mkOption { type = types.listOf types.anything; default = [ ]; };
    warnings = mkOption { type = types.listOf types.str; default = [ ]; };
    environment.etc = anything;
    environment.systemPackages = mkOption { type = types.listOf types.anything; default = [ ]; };
    users.groups = anything;
    systemd.services = anything;
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
