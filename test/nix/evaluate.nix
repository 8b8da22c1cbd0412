# Evaluates nix/module.nix on one configuration and gives what a test looks at, as data that turns into JSON.
{ lib, settings }:
let
  package = { type = "derivation"; name = "tsnsrv-sup"; outPath = "/nix/store/tsnsrv-sup"; meta.mainProgram = "tsnsrv-sup"; };
  pkgs = {
    # The store is out of reach of a plain evaluation: keep the text where the path would be.
    writeText = name: text: { inherit name text; };
    runCommand = name: environment: script: environment // { inherit name script; };
    stdenv = { hostPlatform = { }; buildPlatform.canExecute = _: true; };
  };
  inherit (lib.evalModules {
    modules = [
      ./stubs.nix
      (import ../../nix/module.nix { packageFor = _: package; })
      { _module.args.pkgs = pkgs; }
      settings
    ];
  }) config;
  unit = config.systemd.services.tsnsrv-sup;
  present = config.systemd.services ? tsnsrv-sup;
  source = config.environment.etc."tsnsrv-sup/config.yaml".source;
in
{
  inherit (config) warnings;
  failedAssertions = map (failed: failed.message) (lib.filter (one: !one.assertion) config.assertions);
  units = lib.attrNames config.systemd.services;
  acmeReloads = lib.mapAttrs (_: cert: cert.reloadServices) config.security.acme.certs;
}
// lib.optionalAttrs present {
  unit = removeAttrs unit [ "reloadTriggers" ];
  configText = (source.unchecked or source).text;
  configCheck = source.script or "";
  reloadsOnConfigChange = unit.reloadTriggers == [ source ];
}
