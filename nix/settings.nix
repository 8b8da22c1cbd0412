# Keys of the configuration file as options, from the JSON Schema that is generated from shared/config.ts: types, meanings, examples
# and defaults are those of docs/configuration.md.
{ lib }:
let
  inherit (lib) types;
  schema = lib.importJSON ../shared/generated/config.schema.json;

  # Patterns stay with the program, which checks the file when it is built: Nix has regular expressions of another kind.
  typeOf = property:
    {
      boolean = types.bool;
      integer = types.ints.between property.minimum property.maximum;
      number = types.number;
      array = types.listOf (typeOf property.items);
      object = if property ? properties then submoduleOf property.properties else types.attrsOf types.str;
      string = types.str;
    }.${property.type};

  optionOf = name: property: lib.mkOption ({
    type = types.nullOr (typeOf property);
    default = null;
    description = property.description + lib.optionalString (property ? default) " The program's default: `${builtins.toJSON property.default}`.";
  } // lib.optionalAttrs (property ? examples) { example = lib.head property.examples; });

  # Free-form, for keys that begin with x- and those of another version of the program.
  submoduleOf = properties: types.submodule {
    freeformType = types.attrsOf types.anything;
    options = lib.mapAttrs optionOf properties;
  };

  # null is "not set" in the module and has no place in the file.
  withoutNulls = value:
    if lib.isAttrs value then lib.mapAttrs (_: withoutNulls) (lib.filterAttrs (_: one: one != null) value)
    else if lib.isList value then map withoutNulls value
    else value;
in
{
  inherit submoduleOf;
  # Every key that may be set there, with what the schema says of it.
  supervisor = schema.properties.supervisor.properties;
  service = removeAttrs schema.properties.services.items.properties [ "name" ];

  # Keys and values as they stand in the file. What is the program's default anyway is left out, but for the two keys of which it
  # says so when they are missing, as tsnsrv's documentation has other defaults for them.
  written = properties: settings:
    lib.filterAttrs
      (key: value: lib.elem key [ "recommendedProxyHeaders" "stripPrefix" ] || !(properties.${key} or { } ? default) || value != properties.${key}.default)
      (withoutNulls settings);
}
