import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeEach, expect, test } from 'vitest'
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
    checks: Object.fromEntries(systems.map((system) => [system, ['package', 'unit']])),
    modules: ['default'],
  })
})

test('package and worker have the version of package.json, and the command is found', async () => {
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string }
  expect(
    await evaluateFlake(`let package = flake.packages.x86_64-linux.default; in {
      inherit (package) name buildPhase;
      worker = { inherit (package.worker) name ldflags; };
      executable = lib.getExe package;
    }`),
  ).toMatchObject({
    name: `tsnsrv-sup-${version}`,
    executable: '/nix/store/tsnsrv-sup/bin/tsnsrv-sup',
    worker: { name: `tsnsrv-worker-${version}`, ldflags: ['-s', '-w', `-X main.version=${version}`] },
    buildPhase: expect.stringContaining('cp --recursive /nix/store/tsnsrv-worker/bin bin') as string,
  })
})

test('its dependencies are those of the product: each with an address and a hash, and none of a workspace', async () => {
  const { package: root, packageLock } = (await evaluateFlake('flake.packages.x86_64-linux.default.npmDeps')) as {
    package: Record<string, Record<string, string> | undefined>
    packageLock: { packages: Record<string, Record<string, unknown>> }
  }
  const { '': project, ...installed } = packageLock.packages
  for (const manifest of [root, project]) expect(manifest).not.toHaveProperty('workspaces')
  for (const name of Object.keys({ ...root.dependencies, ...root.devDependencies })) {
    expect(installed).toHaveProperty([`node_modules/${name}`, 'resolved'])
  }
  expect(installed).toMatchObject({
    'node_modules/zod': { resolved: expect.stringMatching(/\/zod\/-\/zod-[\d.]+\.tgz$/) as string },
    'node_modules/@types/node': { resolved: expect.stringMatching(/\/@types\/node\/-\/node-[\d.]+\.tgz$/) as string },
  })
  for (const [path, entry] of Object.entries(installed)) {
    expect({ path, ...entry }).toMatchObject({
      path: expect.stringContaining('node_modules/') as string,
      integrity: expect.stringMatching(/^sha512-/) as string,
      resolved: expect.stringMatching(/^https:/) as string,
    })
    expect(entry).not.toHaveProperty('link')
  }
})

test('the shell has the tools and the library that the tests use', async () => {
  expect(await evaluateFlake('flake.devShells.x86_64-linux.default')).toEqual({
    packages: ['nodejs', 'go', 'gcc', 'nix', 'promtool'],
    env: { NIXPKGS_LIB: '/nix/store/nixpkgs/lib' },
  })
})

test("the hash of the worker's Go modules is that of go.mod (npm run vendor-hash)", { timeout: 120_000 }, async () => {
  expect((await readFile(join(root, 'nix/vendor.sri'), 'utf8')).trim()).toBe(await vendorHash())
})
