/** One supervisor for each state directory. */
import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { createServer } from 'node:net'

/** Another supervisor has the state directory. */
class LockedError extends Error {
  override readonly name = 'LockedError'
}

/**
 * Takes the state directory until the returned function is called or this process ends. Throws LockedError when another
 * process has it. The lock is an abstract Unix socket named for the directory's device and inode: the kernel makes it
 * exclusive and takes it back when its owner dies, however that happens, so there is no stale lock file to judge.
 */
export async function lockStateDir(stateDir: string): Promise<() => Promise<void>> {
  const { dev, ino } = await stat(stateDir)
  const name = createHash('sha256')
    .update(`${String(dev)}:${String(ino)}`)
    .digest('hex')
    .slice(0, 32)
  const server = createServer((socket) => socket.destroy())
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(
        error.code === 'EADDRINUSE'
          ? new LockedError(
              `another tsnsrv-sup runs on ${stateDir}: see "tsnsrv-sup status", end it with "tsnsrv-sup stop", or choose another --state-dir`,
            )
          : error,
      )
    })
    server.listen(`\0tsnsrv-sup-${name}`, resolve)
  })
  // The lock alone is no reason to stay alive.
  server.unref()
  return () =>
    new Promise((resolve) =>
      server.close(() => {
        resolve()
      }),
    )
}
