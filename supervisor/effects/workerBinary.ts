import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'

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

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
