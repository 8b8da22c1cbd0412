import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import * as z from 'zod'

/** Where tsnsrv-worker is, seen from the source tree and from dist/. */
const BESIDE_THIS_PROGRAM = ['../../bin/tsnsrv-worker', '../../../bin/tsnsrv-worker']

/** The worker binary to fork: the configured one, else the one beside this program. Throws when it cannot be executed. */
export function findWorkerBinary(configured: string): string {
  const candidates = configured === '' ? BESIDE_THIS_PROGRAM.map((path) => join(import.meta.dirname, path)) : [configured]
  const found = candidates.find(isExecutable)
  if (found !== undefined) return found
  throw new Error(
    `no worker binary at ${candidates.join(' or ')}: build it with "npm run build", or name it with --worker-binary`,
  )
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
