/** A Python with what requirements.txt lists: installed from PyPI once, and kept in the user's cache. */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { execa } from 'execa'

const REQUIREMENTS = join(import.meta.dirname, 'requirements.txt')
const INSTALL_TIMEOUT_MS = 300_000

/** Path of the interpreter. Its directory holds the programs of the packages too; those in Python are started with `-m`. */
export async function installedPython(): Promise<string> {
  const hash = createHash('sha256')
    .update(await readFile(REQUIREMENTS))
    .digest('hex')
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache')
  const directory = join(cache, 'tsnsrv-sup-tests', `apps-${hash.slice(0, 12)}`)
  const python = join(directory, 'bin', 'python')
  if (existsSync(python)) return python // it is renamed to when all is there
  await mkdir(dirname(directory), { recursive: true })
  const fresh = await mkdtemp(`${directory}-`)
  await execa('python3', ['-m', 'venv', fresh])
  const args = ['-m', 'pip', 'install', '--quiet', '--no-deps', '--requirement', REQUIREMENTS]
  await execa(join(fresh, 'bin', 'python'), args, { timeout: INSTALL_TIMEOUT_MS })
  // Another run may have been first; then its directory stays.
  await rename(fresh, directory).catch(() => rm(fresh, { recursive: true }))
  return python
}
