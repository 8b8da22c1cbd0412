import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { beforeEach, expect, test } from 'vitest'
import * as z from 'zod'
import { vendorHash } from '../../scripts/vendorHash.ts'
import { evaluate, whyNoNix } from './evaluate.ts'

const root = join(import.meta.dirname, '../..')
const reason = await whyNoNix()
beforeEach((context) => {
  if (reason !== undefined) context.skip(reason)
})

/** Value of `expression` over `flake`, the outputs of flake.nix on a nixpkgs that builds nothing. */
function evaluateFlake(expression: string): Promise<unknown> {
  return evaluate(`let
    nixpkgs = import ./stubNixpkgs.nix { inherit lib; };
    flake = (import ../../flake.nix).outputs { inherit nixpkgs; self = flake; };
  in ${expression}`)
}

test('there is a package, a shell and checks for each system, and a module', async () => {
  const systems = ['aarch64-linux', 'x86_64-linux']
  expect(
    await evaluateFlake(`{
      packages = lib.mapAttrs (_: lib.attrNames) flake.packages;
      shells = lib.mapAttrs (_: lib.attrNames) flake.devShells;
      checks = lib.mapAttrs (_: lib.attrNames) flake.checks;
      modules = lib.attrNames flake.nixosModules;
    }`),
  ).toEqual({
    packages: Object.fromEntries(systems.map((system) => [system, ['default', 'tsnsrv-sup']])),
    shells: Object.fromEntries(systems.map((system) => [system, ['default']])),
    checks: Object.fromEntries(systems.map((system) => [system, ['machine', 'package']])),
    modules: ['default', 'tsnsrv-sup'],
  })
})

test('package and worker have the version of package.json, and the command is found', async () => {
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string }
  expect(
    await evaluateFlake(`let package = flake.packages.x86_64-linux.default; in {
      inherit (package) name installPhase;
      worker = { inherit (package.worker) name ldflags isBuiltWith; };
      executable = lib.getExe package;
    }`),
  ).toMatchObject({
    name: `tsnsrv-sup-${version}`,
    executable: '/nix/store/tsnsrv-sup/bin/tsnsrv-sup',
    worker: {
      name: `tsnsrv-worker-${version}`,
      ldflags: ['-s', '-w', expect.stringMatching(new RegExp(`^-X main\\.version=${version}\\+[0-9a-f]{8}$`)) as string],
      isBuiltWith: '1.26',
    },
    installPhase: expect.stringContaining('cp --recursive /nix/store/tsnsrv-worker/bin $out/lib/tsnsrv-sup/bin') as string,
  })
})

const NpmDeps = z.object({
  package: z.looseObject({ dependencies: z.record(z.string(), z.string()), devDependencies: z.record(z.string(), z.string()) }),
  packageLock: z.looseObject({ packages: z.record(z.string(), z.record(z.string(), z.unknown())) }),
  /** What stands for each dependency in the package; nixpkgs' importNpmLock cannot be evaluated when one has no address. */
  replaced: z.record(z.string(), z.string()),
})
const npmDeps = async () => NpmDeps.parse(await evaluateFlake('flake.packages.x86_64-linux.default.npmDeps'))

test('its dependencies are those of the bundle: each with an address and a hash, and none of tests or a workspace', async () => {
  const { package: manifest, packageLock, replaced } = await npmDeps()
  const { '': project, ...installed } = packageLock.packages
  for (const each of [manifest, project]) expect(each).not.toHaveProperty('workspaces')
  expect(Object.keys(manifest.devDependencies)).toEqual(['esbuild'])
  expect(Object.keys(replaced).sort()).toEqual([...Object.keys(manifest.dependencies), 'esbuild'].sort())
  expect(installed).toMatchObject({
    'node_modules/zod': { resolved: expect.stringMatching(/\/zod\/-\/zod-[\d.]+\.tgz$/) as string },
    'node_modules/@esbuild/linux-arm64': {
      resolved: expect.stringMatching(/\/@esbuild\/linux-arm64\/-\/linux-arm64-/) as string,
    },
  })
  expect(installed).not.toHaveProperty(['node_modules/vitest'])
  for (const [path, entry] of Object.entries(installed)) {
    expect({ path, ...entry }).toMatchObject({
      path: expect.stringContaining('node_modules/') as string,
      integrity: expect.stringMatching(/^sha512-/) as string,
      resolved: expect.stringMatching(/^https:\/\/registry\.npmjs\.org\//) as string,
    })
    expect(entry).not.toHaveProperty('link')
  }
})

test('what it is built with is enough: npm installs that, and the bundle says its version', { timeout: 120_000 }, async () => {
  const { package: manifest, packageLock } = await npmDeps()
  const directory = await mkdtemp(join(tmpdir(), 'nix-package-'))
  try {
    for (const path of ['supervisor', 'shared', 'scripts/bundle.ts', 'tsconfig.json']) {
      await cp(join(root, path), join(directory, path), { recursive: true })
    }
    await writeFile(join(directory, 'package.json'), JSON.stringify(manifest))
    await writeFile(join(directory, 'package-lock.json'), JSON.stringify(packageLock))
    await execa('npm', ['ci', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund'], { cwd: directory })
    // Nixpkgs' Node takes the types off by itself; that of this machine may be older.
    await execa(process.execPath, ['--import', import.meta.resolve('tsx'), 'scripts/bundle.ts', 'dist'], { cwd: directory })
    await rm(join(directory, 'node_modules'), { recursive: true })
    const { stdout } = await execa('dist/supervisor/cli/main.js', ['--version'], { cwd: directory, preferLocal: false })
    expect(stdout).toBe(manifest.version)
  } finally {
    await rm(directory, { recursive: true })
  }
})

test('an overlay adds the package to a nixpkgs', async () => {
  expect(await evaluateFlake('(flake.overlays.default nixpkgs.legacyPackages.x86_64-linux { }).tsnsrv-sup.pname')).toBe(
    'tsnsrv-sup',
  )
})

test('the module may be imported twice, has the package of a nixpkgs with the overlay, and errors name its file', async () => {
  const host = (settings: string) => `(lib.evalModules { modules = [
    ./stubs.nix flake.nixosModules.default flake.nixosModules.default
    { _module.args.pkgs = nixpkgs.legacyPackages.x86_64-linux // { tsnsrv-sup = { type = "derivation"; name = "of the overlay"; }; }; }
    { services.tsnsrv = { ${settings} }; }
  ]; }).config.services.tsnsrv.supervisor`
  expect(await evaluateFlake(`${host('enable = false;')}.package.name`)).toBe('of the overlay')
  const conflict = evaluateFlake(`${host('supervisor.package = 1;')}.package`)
  await expect(conflict).rejects.toThrow(/services\.tsnsrv\.supervisor\.package' is not of type/)
})

test("the machine of the checks has the module's unit, and one for the lab", async () => {
  const units = await evaluateFlake(`
    let
      test = flake.checks.x86_64-linux.machine;
      package = flake.packages.x86_64-linux.default;
      inherit (lib.evalModules {
        modules = [
          ./stubs.nix
          test.nodes.machine
          {
            _module.args.pkgs = nixpkgs.legacyPackages.x86_64-linux // {
              tsnsrv-sup = package;
              writeText = name: text: { inherit name text; };
              runCommand = name: environment: script: environment // { inherit name script; };
            };
          }
        ];
      }) config;
    in lib.mapAttrs (_: unit: unit.serviceConfig.ExecStart) config.systemd.services
  `)
  expect(units).toEqual({
    lab: expect.stringMatching(/^\/nix\/store\/tsnsrv-lab\/bin\/tsnsrv-lab --control-addr/) as string,
    'tsnsrv-sup': '/nix/store/tsnsrv-sup/bin/tsnsrv-sup start --config /etc/tsnsrv-sup/config.yaml',
  })
})

test('the shell has the tools and the library that the tests use', async () => {
  expect(await evaluateFlake('flake.devShells.x86_64-linux.default')).toEqual({
    packages: ['nodejs', { version: '1.26.6' }, 'gcc', 'nix', 'promtool'],
    env: { NIXPKGS_LIB: '/nix/store/nixpkgs/lib' },
  })
})

test("the hash of the worker's Go modules is that of go.mod (npm run vendor-hash)", { timeout: 120_000 }, async () => {
  expect((await readFile(join(root, 'nix/vendor.sri'), 'utf8')).trim()).toBe(await vendorHash())
})
