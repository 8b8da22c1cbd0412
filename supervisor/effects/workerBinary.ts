import { accessSync, constants } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { execa } from 'execa'
import * as z from 'zod'

/** Where tsnsrv-worker is, seen from the source tree and from dist/. */
const BESIDE_THIS_PROGRAM = ['../../bin/tsnsrv-worker', '../../../bin/tsnsrv-worker']

/** The npm package that holds the worker for this machine: scripts/npmPackages.ts makes one for each processor. */
const PLATFORM_PACKAGE = `@tsnsrv-sup/${process.platform}-${process.arch}`

/**
 * The worker binary to fork: the configured one, else the one beside this program, else the one that npm has installed for this
 * machine. Throws when none can be executed.
 */
export function findWorkerBinary(configured: string): string {
  const candidates = configured === '' ? [...besideThisProgram(), ...fromNpm()] : [configured]
  const found = candidates.find(isExecutable)
  if (found !== undefined) return found
  if (configured !== '') throw new Error(`no worker binary at ${configured}: check --worker-binary`)
  throw new Error(
    `no worker binary at ${besideThisProgram().join(' or ')}, and no npm package ${PLATFORM_PACKAGE}: install tsnsrv-sup again without ` +
      '--omit=optional; in a checkout, or on another processor than x64 and arm64, build it with "npm run build"; or name it with ' +
      '--worker-binary',
  )
}

const besideThisProgram = (): string[] => BESIDE_THIS_PROGRAM.map((path) => join(import.meta.dirname, path))

function fromNpm(): string[] {
  try {
    return [createRequire(import.meta.url).resolve(`${PLATFORM_PACKAGE}/tsnsrv-worker`)]
  } catch {
    return []
  }
}

/** The version that the binary says it is. Rejects when it cannot be run. */
export async function readWorkerVersion(binary: string): Promise<string> {
  const { stdout } = await execa(binary, ['--version'], { timeout: 10_000, extendEnv: false, stdin: 'ignore' })
  return stdout.trim()
}

/** `missing`: what of tailscale's insides the worker reaches for and does not find, with what is lost; see internal/graft. */
const BuildFacts = z.object({
  version: z.string(),
  go: z.string(),
  tailscale: z.string(),
  missing: z.array(z.string()).prefault([]),
})

/** What the binary is made of. Rejects when it cannot be run, or is too old to tell. */
export async function readWorkerBuild(binary: string): Promise<z.infer<typeof BuildFacts>> {
  const { stdout } = await execa(binary, ['--build'], { timeout: 10_000, extendEnv: false, stdin: 'ignore' })
  return BuildFacts.parse(JSON.parse(stdout))
}

/** Asks the worker binary what Node cannot: see OwnerOf. */
export async function readSocketOwner(binary: string, name: string): Promise<number | null> {
  const { stdout } = await execa(binary, ['--socket-owner', name], { timeout: 10_000, extendEnv: false, stdin: 'ignore' })
  return stdout === '' ? null : Number(stdout)
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
