/** The packages for npm, as a person meets them who has Node and nothing else: no compiler, no Go, no network but a registry. */
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { type Lab, askService, startLab } from '../../demo/lab.ts'
import { makePackages } from '../../scripts/npmPackages.ts'
import { type Manifest, type Registry, readManifest, startRegistry } from './registry.ts'

const root = join(import.meta.dirname, '../..')
const NOBODY = 65_534

let directory: string
let archives: string[]
let registry: Registry
/** Where each test's person lives; nothing is there before. */
let home: string
let tests = 0

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'npm-'))
  // The person is another one than who runs the tests.
  for (const path of [tmpdir(), directory]) await chmod(path, 0o755)
  archives = await makePackages(join(directory, 'packages'))
  registry = await startRegistry(archives)
  await mkdir(join(directory, 'path'))
  const npm = dirname(await execa`sh -c ${'readlink -f "$(command -v npm)"'}`.then(({ stdout }) => stdout))
  await symlink(process.execPath, join(directory, 'path/node'))
  for (const name of ['npm', 'npx']) await symlink(resolve(npm, `${name}-cli.js`), join(directory, 'path', name))
  await symlink('/bin/sh', join(directory, 'path/sh'))
}, 900_000)

afterAll(async () => {
  await registry.close()
  await rm(directory, { recursive: true })
})

beforeEach(async () => {
  home = join(directory, `home${String(tests++)}`)
  await mkdir(home)
  if (isRoot) await execa`chown ${NOBODY} ${home}`
})

const isRoot = process.getuid?.() === 0

/** How the person runs programs. */
const asUser = () => ({
  cwd: home,
  ...(isRoot ? { uid: NOBODY, gid: NOBODY } : {}),
  extendEnv: false,
  env: {
    HOME: home,
    PATH: `${join(directory, 'path')}:${join(home, 'prefix/bin')}`,
    TSNSRV_TEST_RUN: process.env.TSNSRV_TEST_RUN,
    npm_config_registry: registry.url,
    npm_config_prefix: join(home, 'prefix'),
    npm_config_update_notifier: 'false',
  },
})

/** Runs a command of that person; rejects when it fails. */
const run = async (...command: string[]): Promise<string> => {
  const [program = '', ...args] = command
  return (await execa(program, args, asUser())).stdout
}

const listing = async (archive: string): Promise<string[]> =>
  (await execa('tar', ['--list', '--file', archive])).stdout.split('\n').map((path) => path.replace(/^package\//, ''))

const version = async () => (JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as Manifest).version

test('hold what is needed and nothing else, in one version', async () => {
  const manifests = await Promise.all(archives.map(readManifest))
  const [x64, arm64, program] = manifests
  expect(manifests.map((manifest) => manifest.version)).toEqual(Array(3).fill(await version()))
  expect(x64).toMatchObject({ name: '@tsnsrv-sup/linux-x64', os: ['linux'], cpu: ['x64'] })
  expect(arm64).toMatchObject({ name: '@tsnsrv-sup/linux-arm64', os: ['linux'], cpu: ['arm64'] })
  expect(program).toMatchObject({
    name: 'tsnsrv-sup',
    bin: { 'tsnsrv-sup': 'dist/supervisor/cli/main.js' },
    optionalDependencies: { [x64!.name]: await version(), [arm64!.name]: await version() },
  })
  for (const key of ['dependencies', 'devDependencies', 'scripts', 'workspaces', 'private'])
    expect(program).not.toHaveProperty(key)

  const [ofX64 = [], ofArm64, ofProgram = []] = await Promise.all(archives.map(listing))
  expect(ofX64.sort()).toEqual(['LICENSE', 'README.md', 'package.json', 'tsnsrv-worker'])
  expect(ofArm64?.sort()).toEqual(ofX64)
  const outside = ofProgram.filter((path) => !path.startsWith('dist/supervisor/cli/')).sort()
  expect(outside).toEqual(['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json', 'shared/generated/config.schema.json'])
  expect(ofProgram).toContain('dist/supervisor/cli/main.js')
})

test.each([
  [0, 'x64', 62],
  [1, 'arm64', 183],
])('worker %i is a static program for %s', async (index, _, machine) => {
  const { stdout } = await execa('tar', ['--extract', '--to-stdout', '--file', archives[index]!, 'package/tsnsrv-worker'], {
    encoding: 'buffer',
  })
  const elf = Buffer.from(stdout)
  expect(elf.subarray(0, 4).toString('latin1')).toBe('\x7fELF')
  expect(elf.readUInt16LE(18)).toBe(machine)
  const segments = Array.from({ length: elf.readUInt16LE(56) }, (_each, i) =>
    elf.readUInt32LE(Number(elf.readBigUInt64LE(32)) + 56 * i),
  )
  const PT_INTERP = 3
  expect(segments).not.toContain(PT_INTERP)
})

test('npm install --global tsnsrv-sup: the program finds the worker that npm brought along, and serves', async () => {
  const lab = await startLab({ binary: join(root, 'bin/tsnsrv-lab'), upstreams: 1 })
  try {
    await run('npm', 'install', '--global', 'tsnsrv-sup')
    expect(registry.missing).toEqual([])
    expect(JSON.parse(await run('tsnsrv-sup', 'version', '--json'))).toMatchObject({
      version: await version(),
      worker: {
        version: await version(),
        path: join(home, `prefix/lib/node_modules/tsnsrv-sup/node_modules/@tsnsrv-sup/linux-${process.arch}/tsnsrv-worker`),
      },
    })
    await writeFile(join(home, 'services.yaml'), configuration(lab))
    expect(await run('tsnsrv-sup', 'validate', 'services.yaml')).toContain('ok: 1 service in 1 shard')
    expect(await run('tsnsrv-sup', 'plan', '-c', 'services.yaml')).toContain('web')
    await serves(lab)
  } finally {
    await lab.stop()
  }
})

const configuration = ({ controlURL, upstreams }: Lab): string =>
  stringify({
    prometheusAddr: 'off',
    supervisor: { controlURL, stateDir: join(home, 'state') },
    services: [{ name: 'web', upstream: upstreams[0], plaintext: true, listenAddr: ':80' }],
  })

/** Starts the installed program, asks its service over the tailnet, and stops it. */
async function serves(lab: Lab): Promise<void> {
  const supervisor = execa('tsnsrv-sup', ['start', '-c', 'services.yaml'], { ...asUser(), reject: false })
  try {
    await expect.poll(() => askService(lab, 'web', '/').catch(String), { timeout: 60_000 }).toMatchObject({ status: 200 })
  } finally {
    supervisor.kill('SIGTERM')
    expect(await supervisor).toMatchObject({ exitCode: 0 })
  }
}

test('npx tsnsrv-sup: the same without installing', async () => {
  expect(JSON.parse(await run('npx', '--yes', 'tsnsrv-sup', 'version', '--json'))).toMatchObject({
    worker: { version: await version() },
  })
})

test('without any network: from the files', async () => {
  const fitting = archives.filter((path) => !path.includes(process.arch === 'x64' ? 'arm64' : 'x64'))
  await run('npm', 'install', '--global', '--offline', ...fitting)
  expect(JSON.parse(await run('tsnsrv-sup', 'version', '--json'))).toMatchObject({ worker: { version: await version() } })
})

test('an installation without the worker says how to get one', async () => {
  await run('npm', 'install', 'tsnsrv-sup', '--omit=optional')
  expect(await run('node_modules/.bin/tsnsrv-sup', 'version')).toMatch(
    `no npm package @tsnsrv-sup/linux-${process.arch}: install tsnsrv-sup again without --omit=optional`,
  )
})

test('npm pack of the checkout says where the packages come from', async () => {
  const packing = await execa('npm', ['pack', '--pack-destination', directory], { cwd: root, reject: false })
  expect(packing.exitCode).not.toBe(0)
  expect(packing.stderr).toContain('npm packages are made by: npm run packages')
})
