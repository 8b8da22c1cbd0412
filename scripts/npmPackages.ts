/**
 * `npm run packages`: the packages for npm, in dist.npm/. `tsnsrv-sup` is the bundled program, without dependencies. It names one
 * package per processor as optional, and npm installs the one that fits: `@tsnsrv-sup/linux-x64`, `@tsnsrv-sup/linux-arm64`. Each
 * holds a worker, so that an installation needs neither Go nor a script. All have the version in package.json.
 */
import { cp, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { execa } from 'execa'
import { buildGo, buildMissing } from './build.ts'

const root = join(import.meta.dirname, '..')

/** Go's name of each processor that npm calls by the key. */
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' }

/** What is taken over from package.json. Libraries are not among it: the bundle has them inside. */
const SHARED_FIELDS = ['version', 'license', 'os'] as const
const PROGRAM_FIELDS = ['name', 'description', 'type', 'engines', 'bin'] as const

interface Manifest extends Record<(typeof SHARED_FIELDS)[number] | (typeof PROGRAM_FIELDS)[number], unknown> {
  readonly version: string
  readonly files: readonly string[]
}

/**
 * Makes all packages and resolves with their paths, the program's last: it must be published after those it names. What was in
 * `directory` is replaced once all are made. Rejects with what failed.
 */
export async function makePackages(directory: string): Promise<string[]> {
  const manifest = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as Manifest
  const work = `${directory}.${process.pid.toString()}`
  const fresh = join(work, 'packed')
  try {
    await mkdir(fresh, { recursive: true })
    const packed: string[] = []
    for (const [cpu, architecture] of Object.entries(ARCHITECTURES)) {
      packed.push(await pack(await stageWorker(join(work, cpu), manifest, cpu, architecture), fresh))
    }
    packed.push(await pack(await stageProgram(join(work, 'program'), manifest), fresh))
    await rm(directory, { recursive: true, force: true })
    await rename(fresh, directory)
    return packed.map((name) => join(directory, name))
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

const workerPackage = (cpu: string): string => `@tsnsrv-sup/linux-${cpu}`

async function stageWorker(directory: string, manifest: Manifest, cpu: string, architecture: string): Promise<string> {
  await buildGo(directory, ['tsnsrv-worker'], { architecture })
  const description = `The worker of tsnsrv-sup for Linux on ${cpu}`
  await writeManifest(directory, {
    name: workerPackage(cpu),
    description,
    ...pick(manifest, SHARED_FIELDS),
    cpu: [cpu],
    // A program cannot be executed inside an archive, where Yarn leaves packages.
    preferUnplugged: true,
    publishConfig: { access: 'public' },
  })
  await writeFile(
    join(directory, 'README.md'),
    `# ${workerPackage(cpu)}\n\n${description}. Install \`tsnsrv-sup\`: it brings this package along.\n`,
  )
  await cp(join(root, 'LICENSE'), join(directory, 'LICENSE'))
  return directory
}

async function stageProgram(directory: string, manifest: Manifest): Promise<string> {
  const { version, files } = manifest
  for (const file of files) {
    // npm takes hidden files along; the stamp of the build is of no use to anybody else.
    await cp(join(root, file), join(directory, file), { recursive: true, filter: (path) => basename(path) !== '.stamp' })
  }
  const workers = Object.keys(ARCHITECTURES).map((cpu) => [workerPackage(cpu), version])
  await writeManifest(directory, {
    ...pick(manifest, PROGRAM_FIELDS),
    ...pick(manifest, SHARED_FIELDS),
    optionalDependencies: Object.fromEntries(workers) as Record<string, string>,
  })
  return directory
}

const pick = (manifest: Manifest, fields: readonly (keyof Manifest)[]): Record<string, unknown> =>
  Object.fromEntries(fields.map((field) => [field, manifest[field]]))

const writeManifest = (directory: string, manifest: Record<string, unknown>): Promise<void> =>
  writeFile(join(directory, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)

/** Resolves with the name of the archive. */
async function pack(source: string, destination: string): Promise<string> {
  const { stdout } = await execa('npm', ['pack', '--silent', '--pack-destination', destination], { cwd: source })
  return stdout.trim()
}

if (process.argv[1] === import.meta.filename) {
  await buildMissing({ report: console.log })
  for (const path of await makePackages(join(root, 'dist.npm'))) console.log(path)
}
