/** The last broom of the demo: what a supervisor that did not end as it should has left running. */
import { readdir, readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'

const GRACE_MS = 3000

/** Ends every process that names `directory` on its command line: first with SIGTERM, after a grace with SIGKILL. */
export async function endLeftovers(directory: string): Promise<void> {
  for (const pid of await processesOf(directory)) tryKill(pid, 'SIGTERM')
  const deadline = Date.now() + GRACE_MS
  for (let left = await processesOf(directory); left.length > 0; left = await processesOf(directory)) {
    if (Date.now() > deadline) for (const pid of left) tryKill(pid, 'SIGKILL')
    await delay(50)
  }
}

/** Pids of all processes that name `directory` on their command line. Its name is random, so they are nobody else's. */
export async function processesOf(directory: string): Promise<number[]> {
  const pids = (await readdir('/proc')).map(Number).filter((pid) => pid > 0 && pid !== process.pid)
  const found = await Promise.all(
    pids.map(async (pid) => {
      const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
      return command.includes(directory) ? [pid] : []
    }),
  )
  return found.flat()
}

/** Sends a signal to a process that may have ended meanwhile. */
export function tryKill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
