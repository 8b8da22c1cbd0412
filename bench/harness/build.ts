/** What the benchmark runs and the product does not ship: its own Go tools, Headscale, and peers that were given packed. */
import { chmod, mkdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { execa } from 'execa'
import { type Built, buildMissing } from '../../scripts/build.ts'

const root = join(import.meta.dirname, '..', '..')
const directory = join(import.meta.dirname, '..', 'bin')

/** Absolute paths of what a run starts that needs no Headscale. */
export interface Tools extends Built {
  /** Relay, upstreams, bare nodes and clients: worker/cmd/tsnsrv-bench. */
  bench: string
  certificate: Certificate
}

/** Absolute paths of what a run starts. */
export interface Binaries extends Tools {
  headscale: string
  /** Makes Headscale's auth keys cheap to check: bench/harness/headscale/cheapkeys. */
  cheapKeys: string
}

/** Paths of PEM files. */
export interface Certificate {
  certificateFile: string
  keyFile: string
}

/** Builds everything for which there is source here; what is current costs Go a second. Throws with the compiler's words. */
export async function buildAll(report: (line: string) => void): Promise<Binaries> {
  const tools = await buildTools(report)
  report('building Headscale: a few minutes the first time, then seconds')
  const headscale = join(directory, 'headscale')
  const cheapKeys = join(directory, 'cheapkeys')
  await go(join(import.meta.dirname, 'headscale'), headscale, 'github.com/juanfont/headscale/cmd/headscale')
  await go(join(import.meta.dirname, 'headscale'), cheapKeys, './cheapkeys')
  return { ...tools, headscale, cheapKeys }
}

/** The same without Headscale. */
export async function buildTools(report: (line: string) => void): Promise<Tools> {
  const built = await buildMissing({ report })
  await mkdir(directory, { recursive: true })
  report('building the tools of the benchmark: a few minutes the first time, then seconds')
  const bench = join(directory, 'tsnsrv-bench')
  await go(join(root, 'worker'), bench, './cmd/tsnsrv-bench')
  return { ...built, bench, certificate: await makeCertificate() }
}

/** Of the kind that Let's Encrypt gives to nodes: a P-256 key. Go's own tool writes it, for a day. */
async function makeCertificate(): Promise<Certificate> {
  const { stdout: goRoot } = await execa('go', ['env', 'GOROOT'])
  const tool = join(goRoot, 'src', 'crypto', 'tls', 'generate_cert.go')
  await execa('go', ['run', tool, '--host', 'bench', '--ecdsa-curve', 'P256', '--duration', '24h'], { cwd: directory })
  return { certificateFile: join(directory, 'cert.pem'), keyFile: join(directory, 'key.pem') }
}

async function go(cwd: string, output: string, target: string): Promise<void> {
  const args = ['build', '-trimpath', '-buildvcs=false', '-ldflags', '-s -w', '-o', output, target]
  const result = await execa('go', args, { cwd, all: true, reject: false, env: { CGO_ENABLED: '0' } })
  if (result.failed) throw new Error(`building ${target}:\n${result.all || result.shortMessage}`)
}

/** A peer's binary, ready to start; one that ends in .xz is unpacked into `into` first. */
export async function unpack(path: string, into: string): Promise<string> {
  if (!path.endsWith('.xz')) return path
  const target = join(into, basename(path, '.xz'))
  const result = await execa('xz', ['--decompress', '--stdout', path], { stdout: { file: target }, reject: false })
  if (result.failed) throw new Error(`unpacking ${path}: ${result.stderr || result.shortMessage} (apt install xz-utils)`)
  await chmod(target, 0o755)
  return target
}
