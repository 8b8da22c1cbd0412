# A nixpkgs that builds nothing: its builders give back what they were asked for.
{ lib }:
let
  built = attrs: attrs // {
    type = "derivation";
    name = "${attrs.pname}-${attrs.version}";
    outPath = "/nix/store/${attrs.pname}";
    overrideAttrs = others: built (attrs // others);
  };
  pkgs = {
    # Selecting files is left out: it needs a newer Nix than Debian has, and the store.
    lib = lib // { fileset = lib.fileset // { toSource = _: "/nix/store/source"; }; };
    buildGoModule = attrs: built (attrs // { isBuiltWith = "the default"; });
    buildGo126Module = attrs: built (attrs // { isBuiltWith = "1.26"; });
    buildNpmPackage = attrs: built (attrs // attrs.passthru);
    # Every module is fetched from its address by its hash, and every dependency of the package is replaced by what was fetched.
    importNpmLock = {
      npmConfigHook = "npmConfigHook";
      __functor = _: { package, packageLock }:
        let
          fetched = lib.mapAttrs (_: { resolved, integrity, ... }: "file:${resolved}#${integrity}") (removeAttrs packageLock.packages [ "" ]);
          fromStore = lib.mapAttrs (name: _: fetched.${"node_modules/${name}"});
        in
        { inherit package packageLock; replaced = fromStore (package.dependencies // package.devDependencies); };
    };
    versionCheckHook = "versionCheckHook";
    stdenv = { hostPlatform = { }; buildPlatform.canExecute = _: true; };
    mkShell = attrs: attrs;
    testers.runNixOSTest = test: test;
    nodejs = "nodejs";
    # A stable nixpkgs has an older one as its default.
    go.version = "1.25.0";
    go_1_26.version = "1.26.6";
    gcc = "gcc";
    nix = "nix";
    prometheus.cli = "promtool";
    callPackage = file: extra:
      let make = import file;
      in make (builtins.intersectAttrs (builtins.functionArgs make) pkgs // extra);
  };
in
{
  inherit lib;
  outPath = "/nix/store/nixpkgs";
  legacyPackages = { x86_64-linux = pkgs; aarch64-linux = pkgs; };
}
