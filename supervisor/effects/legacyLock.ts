/**
 * The lock of version 0.1: an abstract Unix socket. A supervisor of that version may still run, or be started, so this version takes
 * the socket too. But every local user can work out its name and take it first. So a taken socket keeps this version from starting
 * only if the process behind it belongs to the operator: to the same user, to the owner of the directory, or to root. The kernel
 * tells the user of a listener. Remove this file with the next version.
 */
import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { createServer } from 'node:net'

/**
 * Resolves with the uid of the process that listens on the abstract socket of this name; null when no process does, or when it takes
 * no connections. Rejects when the question cannot be asked.
 */
export type OwnerOf = (name: string) => Promise<number | null>

interface LegacyLock {
  /** A supervisor of an earlier version runs. */
  readonly isHeld: boolean
  /** What the operator should know; empty when there is nothing. */
  readonly note: string
  release(): Promise<void>
}

/** Takes the lock of version 0.1 if it is free. Rejects when `ownerOf` does. */
export async function takeLegacyLock(stateDir: string, ownerOf: OwnerOf): Promise<LegacyLock> {
  const { dev, ino, uid } = await stat(stateDir)
  const hash = createHash('sha256').update(`${String(dev)}:${String(ino)}`)
  const name = `tsnsrv-sup-${hash.digest('hex').slice(0, 32)}`
  const nothing = { isHeld: false, note: '', release: () => Promise.resolve() }
  let owner: number | null = null
  // The socket may become free between the two questions: then it can be taken after all.
  for (let attempt = 0; attempt < 2 && owner === null; attempt++) {
    const release = await listen(`\0${name}`)
    if (release) return { ...nothing, release }
    owner = await ownerOf(name)
  }
  if (owner !== null && [0, uid, process.geteuid?.()].includes(owner)) return { ...nothing, isHeld: true }
  const who = owner === null ? 'another process' : `a process of uid ${String(owner)}`
  return { ...nothing, note: `${who} has taken the abstract socket @${name}, the lock of version 0.1; it is ignored` }
}

/** Returns how to stop listening; null when another process has the name. */
async function listen(path: string): Promise<(() => Promise<void>) | null> {
  const server = createServer((socket) => socket.destroy())
  const isTaken = await new Promise<boolean>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(true)
      else reject(error)
    })
    server.listen(path, () => resolve(false))
  })
  if (isTaken) return null
  server.on('error', () => undefined).unref()
  return () => new Promise((resolve) => server.close(() => resolve()))
}
