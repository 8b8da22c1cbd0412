# tsnsrv-sup: the supervisor (TypeScript, bundled) with the worker (Go) beside it, where the supervisor looks for it.
{
  lib,
  buildGoModule,
  # go.mod asks for this version, and a stable nixpkgs may have an older one as its default.
  buildGo126Module ? buildGoModule,
  go,
  go_1_26 ? go,
  buildNpmPackage,
  importNpmLock,
  versionCheckHook,
}:
let
  manifest = lib.importJSON ../package.json;
  inherit (manifest) version description;
  inherit (lib) fileset;

  # What the bundle is made of and with. Tests, checks and the workspaces of the project are not built here.
  buildTools = [ "esbuild" ];
  npmPackage = removeAttrs manifest [ "workspaces" "scripts" ] // { devDependencies = lib.getAttrs buildTools manifest.devDependencies; };
  npmLock =
    let
      lock = lib.importJSON ../package-lock.json;
      # esbuild's own programs: those of other systems would be fetched, too.
      isForeign = name: lib.hasPrefix "@esbuild/" name && !lib.elem name [ "@esbuild/linux-x64" "@esbuild/linux-arm64" ];
      nameOf = path: entry: entry.name or (lib.last (lib.splitString "node_modules/" path));
      isNeeded = path: entry:
        lib.hasPrefix "node_modules/" path && !(entry.link or false)
        && (!(entry.dev or false) || lib.elem (nameOf path entry) buildTools || lib.hasPrefix "node_modules/@esbuild/" path)
        && !isForeign (nameOf path entry);
      # The lock file leaves addresses out, for any registry to do. Nix wants one, and holds what comes from it to the hash.
      locate = path: entry:
        let name = nameOf path entry;
        in entry // lib.optionalAttrs (entry ? optionalDependencies) {
          optionalDependencies = lib.filterAttrs (optional: _: !isForeign optional) entry.optionalDependencies;
        } // { resolved = "https://registry.npmjs.org/${name}/-/${baseNameOf name}-${entry.version}.tgz"; };
    in
    lock // {
      packages = { "" = removeAttrs lock.packages."" [ "workspaces" ] // { inherit (npmPackage) devDependencies; }; }
        // lib.mapAttrs locate (lib.filterAttrs isNeeded lock.packages);
    };

  workerSource = fileset.toSource { root = ../worker; fileset = fileset.difference ../worker ../worker/tools; };
  # Hash of `go mod vendor`. `npm run vendor-hash` writes it; the tests fail when it is out of date.
  vendorHash = lib.fileContents ./vendor.sri;
  # Workers are replaced when their version is another than the installed one: it has to tell builds of one release apart.
  build = lib.substring 0 8 (builtins.hashString "sha256" (builtins.unsafeDiscardStringContext "${workerSource} ${vendorHash} ${go_1_26.version}"));
  worker = buildGo126Module {
    pname = "tsnsrv-worker";
    inherit version vendorHash;
    src = workerSource;
    subPackages = [ "cmd/tsnsrv-worker" ];
    env.CGO_ENABLED = 0;
    ldflags = [ "-s" "-w" "-X main.version=${version}+${build}" ];
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
      ../LICENSE
    ];
  };
  # Dependencies by the hashes in package-lock.json: there is no second hash to keep.
  npmDeps = importNpmLock { package = npmPackage; packageLock = npmLock; };
  inherit (importNpmLock) npmConfigHook;
  # Node takes the types off by itself, since 22.18.
  buildPhase = ''
    runHook preBuild
    node scripts/bundle.ts dist
    runHook postBuild
  '';
  # The bundle needs no node_modules.
  installPhase = ''
    runHook preInstall
    mkdir --parents $out/bin $out/lib/tsnsrv-sup/shared/generated $out/share/bash-completion/completions $out/share/fish/vendor_completions.d $out/share/zsh/site-functions
    cp --recursive dist package.json LICENSE $out/lib/tsnsrv-sup
    cp shared/generated/config.schema.json $out/lib/tsnsrv-sup/shared/generated
    cp --recursive ${worker}/bin $out/lib/tsnsrv-sup/bin
    ln --symbolic ../lib/tsnsrv-sup/dist/supervisor/cli/main.js $out/bin/tsnsrv-sup
    for shell in bash zsh fish; do node dist/supervisor/cli/main.js completion $shell > completion.$shell; done
    cp completion.bash $out/share/bash-completion/completions/tsnsrv-sup
    cp completion.zsh $out/share/zsh/site-functions/_tsnsrv-sup
    cp completion.fish $out/share/fish/vendor_completions.d/tsnsrv-sup.fish
    runHook postInstall
  '';
  doInstallCheck = true;
  nativeInstallCheckInputs = [ versionCheckHook ];
  passthru = {
    inherit worker;
    # A tailnet on loopback, for tests.
    lab = worker.overrideAttrs { pname = "tsnsrv-lab"; subPackages = [ "cmd/tsnsrv-lab" ]; };
  };
  meta = {
    inherit description;
    license = lib.licenses.mit;
    platforms = lib.platforms.linux;
    mainProgram = "tsnsrv-sup";
  };
}
