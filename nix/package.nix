# tsnsrv-sup: the supervisor (TypeScript, bundled) with the worker (Go) beside it, where the supervisor looks for it.
{ lib, buildGoModule, buildNpmPackage, importNpmLock }:
let
  inherit (lib.importJSON ../package.json) version description;
  inherit (lib) fileset;

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
  npmDeps = importNpmLock { npmRoot = ../.; };
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
