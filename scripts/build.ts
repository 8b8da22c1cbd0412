/**
 * Builds what is missing or older than its sources: dist/ (TypeScript, bundled) and bin/ (the Go worker and lab).
 * `npm run build` runs it; the demo and the tests call `buildMissing` first.
 */
import { createHash } from 'node:crypto'
import { readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import { bundle } from './bundle.ts'
import { type GoInstallation, goProblem, nodeProblem } from './toolchain.ts'

// By URL: import.meta.dirname is missing in the Node that is too old, which is to be told so.
const root = fileURLToPath(new URL('..', import.meta.url))

export interface BuildOptions {
  /** Takes one line of progress, without line end. */
  report: (line: string) => void
}

/** Absolute paths of what can be started. */
export interface Built {
  worker: string
  lab: string
  /** The supervisor's command line, executable by itself. */
  cli: string
}

/** One directory of build output; it is replaced as a whole, so that a failed build leaves the last good one in place. */
interface Output {
  directory: 'dist' | 'bin'
  what: string
  /** Files and directories below the root whose content decides whether the output is current. */
  sources: string[]
  build: (directory: string) => Promise<void>
}

const outputs: Output[] = [
  {
    directory: 'dist',
    what: 'the supervisor (TypeScript)',
    sources: ['supervisor', 'shared', 'package-lock.json', 'tsconfig.json', 'scripts/bundle.ts'],
    build: bundle,
  },
  {
    directory: 'bin',
    what: 'the worker and the lab (Go): about 3 minutes the first time, as tailscale is compiled too, then seconds',
    sources: ['worker'],
    build: (directory) => buildGo(directory, ['tsnsrv-worker', 'tsnsrv-lab']),
  },
]

/** Builds what is missing. Throws an Error whose message says what is wrong and what to do; then nothing was replaced. */
export async function buildMissing({ report }: BuildOptions): Promise<Built> {
  const problem = nodeProblem(process.versions.node) ?? goProblem(await installedGo())
  if (problem !== undefined) throw new Error(problem)
  for (const output of outputs) await bringUpToDate(output, report)
  return {
    worker: join(root, 'bin/tsnsrv-worker'),
    lab: join(root, 'bin/tsnsrv-lab'),
    cli: join(root, 'dist/supervisor/cli/main.js'),
  }
}

async function bringUpToDate(output: Output, report: BuildOptions['report']): Promise<void> {
  const directory = join(root, output.directory)
  const stamp = await digest(output.sources)
  if ((await readFile(join(directory, '.stamp'), 'utf8').catch(() => '')) === stamp) return

  report(`building ${output.what}`)
  const start = performance.now()
  const fresh = `${directory}.${process.pid.toString()}`
  try {
    await output.build(fresh)
    await writeFile(join(fresh, '.stamp'), stamp)
    await rm(directory, { recursive: true, force: true })
    await rename(fresh, directory)
  } finally {
    await rm(fresh, { recursive: true, force: true })
  }
  report(`built ${output.directory}/ in ${((performance.now() - start) / 1000).toFixed(1)} s`)
}

/** Hash over names and contents rather than dates: a checkout or a copy changes dates only. */
async function digest(sources: string[]): Promise<string> {
  const hash = createHash('sha256').update(`${await packageVersion()}\0`)
  for (const file of (await Promise.all(sources.map(filesOf))).flat()) {
    hash.update(`${file}\0`).update(await readFile(join(root, file)))
  }
  return hash.digest('hex')
}

async function packageVersion(): Promise<string> {
  return (JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string }).version
}

async function filesOf(source: string): Promise<string[]> {
  if ((await stat(join(root, source))).isFile()) return [source]
  const entries = await readdir(join(root, source), { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile() && !entry.name.endsWith('_test.go'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .sort()
}

async function installedGo(): Promise<GoInstallation> {
  // Away from go.mod and with "local", or an older Go would begin to fetch the toolchain just to answer.
  const version = await execa({ cwd: '/', env: { GOTOOLCHAIN: 'local' }, reject: false })`go version`
  const toolchain = await execa({ cwd: '/', reject: false })`go env GOTOOLCHAIN`
  return { version: version.failed ? undefined : version.stdout, toolchain: toolchain.failed ? '' : toolchain.stdout }
}

interface GoTarget {
  /** Go's name of the processor; this machine's when left out. */
  readonly architecture?: string
  /** What the programs say of themselves; the version in package.json when left out. */
  readonly version?: string
}

/** Compiles commands of worker/cmd into `directory`. Rejects with the compiler's output. */
export async function buildGo(directory: string, commands: readonly string[], target: GoTarget = {}): Promise<void> {
  const { architecture, version = await packageVersion() } = target
  const flags = ['-trimpath', '-buildvcs=false', '-ldflags', `-s -w -X main.version=${version}`]
  const args = ['build', ...flags, '-o', `${directory}/`, ...commands.map((command) => `./cmd/${command}`)]
  // Static binaries, and the same ones whether or not the machine has a C compiler.
  const env = { CGO_ENABLED: '0', ...(architecture === undefined ? {} : { GOOS: 'linux', GOARCH: architecture }) }
  const result = await execa('go', args, { cwd: join(root, 'worker'), all: true, reject: false, env })
  if (result.failed) throw new Error(`go ${args.join(' ')} failed:\n${result.all || result.shortMessage}`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    await buildMissing({ report: console.log })
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
  }
}
