# What the documentation says of each option of the module, in the order of their names. Keys of the configuration file are documented
# with that.
{ lib }:
let
  pkgs.tsnsrv-sup = { type = "derivation"; name = "tsnsrv-sup"; };
  inherit (lib.evalModules {
    modules = [ ./stubs.nix (import ../../nix/module.nix { packageFor = _: pkgs.tsnsrv-sup; }) { _module.args.pkgs = pkgs; } ];
  }) options;
  isShown = option: option.visible && !option.internal && !lib.hasInfix ".settings." option.name;
in
map
  (option: {
    inherit (option) type;
    name = lib.removePrefix "services.tsnsrv." option.name;
    default = option.default.text or "";
    description = option.description.text or option.description or "";
  })
  (lib.filter isShown (lib.optionAttrSetToDocList options.services.tsnsrv))
