# tsnsrv-sup: the supervisor (TypeScript, bundled) with the worker (Go) beside it, where the supervisor looks for it.
{ lib, buildGoModule, buildNpmPackage, importNpmLock }:
let
  inherit (lib.importJSON ../package.json) version description;
  inherit (lib) fileset;

  # The dependencies of the product, without its workspaces.
  npmPackage = removeAttrs (lib.importJSON ../package.json) [ "workspaces" ];
  npmLock =
    let
      lock = lib.importJSON ../package-lock.json;
      isInstalled = path: entry: lib.hasInfix "node_modules/" path && !(entry.link or false);
      # The lock file leaves addresses out, for any registry to do. Nix wants one, and holds what comes from it to the hash.
      locate = path: entry:
        let name = entry.name or (lib.last (lib.splitString "node_modules/" path));
        in entry // { resolved = "https://registry.npmjs.org/${name}/-/${baseNameOf name}-${entry.version}.tgz"; };
    in
    lock // {
      packages = { "" = removeAttrs lock.packages."" [ "workspaces" ]; }
        // lib.mapAttrs locate (lib.filterAttrs isInstalled lock.packages);
    };

  worker = buildGoModule {
    pname = "tsnsrv-worker";
    inherit version;
    src = fileset.toSource { root = ../worker; fileset = fileset.difference ../worker ../worker/tools; };
    # Hash of `go mod vendor`. `npm run vendor-hash` writes it; the tests fail when it is out of date.
    vendorHash = lib.fileContents ./vendor.sri;
    subPackages = [ "cmd/tsnsrv-worker" ];
    env.CGO_ENABLED = 0;
    ldflags = [ "-s" "-w" "-X main.version=${version}" ];
    # `npm test` runs them, with the race detector.
    doCheck = false;
  };
in
buildNpmPackage {
  pname = "tsnsrv-sup";
  inherit version;
  src = fileset.toSource {
    root = ../.;
    fileset = fileset.unions [
      ../package.json
      ../package-lock.json
      ../tsconfig.json
      ../scripts/bundle.ts
      ../supervisor
      ../shared
      (fileset.maybeMissing ../README.md)
      ../LICENSE
    ];
  };
  # Dependencies by the hashes in package-lock.json: there is no second hash to keep.
  npmDeps = importNpmLock { package = npmPackage; packageLock = npmLock; };
  inherit (importNpmLock) npmConfigHook;
  buildPhase = ''
    runHook preBuild
    node_modules/.bin/tsx scripts/bundle.ts dist
    cp --recursive ${worker}/bin bin
    runHook postBuild
  '';
  passthru = { inherit worker; };
  meta = {
    inherit description;
    license = lib.licenses.mit;
    platforms = lib.platforms.linux;
    mainProgram = "tsnsrv-sup";
  };
}
