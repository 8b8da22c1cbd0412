/**
 * One supervisor for each state directory.
 *
 * The lock is a Unix socket in the supervisor's own directory. No other user can enter that directory. The process that listens on
 * the socket has the lock. When the process dies, for whatever reason, the kernel ends the listening and the lock is free.
 *
 * The sockets are named lock.1, lock.2 and so on. Only the highest number counts. A new holder never replaces the socket of a dead
 * one: it adds the next number, and removes the lower ones later. The new name is made by link(2), which fails if the name exists,
 * from a socket that listens already. So two processes that start together cannot both get the lock, and a lock that is being
 * taken never looks like a dead one.
 */
import { randomBytes } from 'node:crypto'
import { link, open, readdir, rm } from 'node:fs/promises'
import { type Server, createServer } from 'node:net'
import { join } from 'node:path'
import { inWords } from '../../shared/systemErrors.ts'
import { type OwnerOf, takeLegacyLock } from './legacyLock.ts'
import { ownDirectory } from './stateFile.ts'
import { probeSocket } from './workerDirectory.ts'

/** Another supervisor has the state directory. */
export class LockedError extends Error {
  override readonly name = 'LockedError'

  constructor(stateDir: string) {
    super(
      `another tsnsrv-sup runs on ${stateDir}: see "tsnsrv-sup status", end it with "tsnsrv-sup stop", or choose another --state-dir`,
    )
  }
}

export interface StateDirLock {
  /** What the operator should know about it; empty when there is nothing. */
  readonly note: string
  release(): Promise<void>
}

/**
 * Takes the state directory until `release` is called or this process ends. The supervisor's own directory in it must exist. Throws
 * LockedError when another process has it. `ownerOf` is for the lock of version 0.1: see legacyLock.ts.
 */
export async function lockStateDir(stateDir: string, ownerOf: OwnerOf): Promise<StateDirLock> {
  const legacy = await takeLegacyLock(stateDir, ownerOf)
  if (legacy.isHeld) throw new LockedError(stateDir)
  const lock = await takeLock(ownDirectory(stateDir)).catch(async (error: unknown) => {
    await legacy.release()
    throw new Error(
      `cannot lock ${stateDir}: ${inWords(error)}; choose a --state-dir on a file system with Unix sockets and hard links`,
      { cause: error },
    )
  })
  if (lock) {
    const release = async () => {
      await Promise.all([closed(lock), legacy.release()])
    }
    return { note: legacy.note, release }
  }
  await legacy.release()
  throw new LockedError(stateDir)
}

/** A process that starts at the same moment changes the directory once or twice, so a few attempts are enough. */
const MOST_ATTEMPTS = 100

/** Returns the listening server; null when another process has the lock. */
async function takeLock(directory: string): Promise<Server | null> {
  const handle = await open(directory)
  // The path of a socket may have 107 bytes only. The path by way of the descriptor is short, whatever the directory is called.
  const inside = (name: string) => `/proc/self/fd/${String(handle.fd)}/${name}`
  const temporary = `lock.${randomBytes(8).toString('hex')}`
  const server = await listen(inside(temporary))
  try {
    for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt++) {
      const latest = await latestLock(directory)
      const sign = latest === 0 ? 'refuses' : await probeSocket(inside(lockName(latest)))
      if (sign === 'accepts') {
        await closed(server)
        return null
      }
      if (sign === 'unknown') throw new Error(`${lockName(latest)} in it cannot be connected to`)
      // Another process has removed it since: there is a higher one now.
      if (sign === 'absent') continue
      if (!(await tryLink(join(directory, temporary), join(directory, lockName(latest + 1))))) continue
      // If this process was slow, others may have used and removed this number before. Then the highest number counts, not this one.
      if ((await latestLock(directory)) > latest + 1) {
        await rm(join(directory, lockName(latest + 1)), { force: true })
        continue
      }
      for (const number of await locks(directory)) {
        if (number <= latest) await rm(join(directory, lockName(number)), { force: true })
      }
      return server
    }
    throw new Error('the locks in it change all the time')
  } catch (error) {
    await closed(server)
    throw error
  } finally {
    await rm(join(directory, temporary), { force: true })
    await handle.close()
  }
}

const lockName = (number: number) => `lock.${String(number)}`

async function locks(directory: string): Promise<number[]> {
  return (await readdir(directory)).flatMap((name) => (/^lock\.[1-9]\d{0,14}$/.test(name) ? [Number(name.slice(5))] : []))
}

const latestLock = async (directory: string) => Math.max(0, ...(await locks(directory)))

/** False when the name is taken. */
async function tryLink(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

async function listen(path: string): Promise<Server> {
  const server = createServer((socket) => socket.destroy())
  await new Promise<void>((resolve, reject) => {
    server.once('listening', resolve)
    server.once('error', reject)
    // The directory keeps other users away. Within it, a user must be able to connect to a socket that root has made.
    server.listen({ path, readableAll: true, writableAll: true })
  })
  // A later error (no descriptor left to accept with) does not end the listening. The lock alone must not keep the process alive.
  server.on('error', () => undefined).unref()
  return server
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()))
}
