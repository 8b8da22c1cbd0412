/** The run directory of a worker: its socket, and its record (worker.json), in which it says which process it is. */
import { readFile, readdir, stat } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { Hello } from '../../shared/protocol.ts'
import { type SocketSign, type Standing, judge } from '../core/standing.ts'
import type { ProcessIdentity } from '../core/types.ts'
import { look } from './processIdentity.ts'

export interface WorkerDirectory {
  readonly workerId: string
  readonly shard: number
  readonly path: string
  /** As the record says; null when there is no record (yet), or when it is damaged. */
  readonly process: ProcessIdentity | null
}

export const workerSocketPath = (directory: string): string => join(directory, 'worker.sock')

/** The run directories of workers in `runDir`. Rejects when that cannot be read. */
export async function findWorkerDirectories(runDir: string): Promise<WorkerDirectory[]> {
  const entries = await readdir(runDir, { withFileTypes: true })
  const found = entries.flatMap((entry) => {
    const shard = Number(/^shard-(\d+)-/.exec(entry.name)?.[1])
    return entry.isDirectory() && Number.isInteger(shard) ? [{ workerId: entry.name, shard, path: join(runDir, entry.name) }] : []
  })
  return Promise.all(found.map(async (directory) => ({ ...directory, process: await readRecord(directory.path) })))
}

/** Whether a worker lives that another supervisor has started. */
export async function standingOf({ path, process }: Pick<WorkerDirectory, 'path' | 'process'>): Promise<Standing> {
  const sign = process && look(process)
  return judge(sign, await probeSocket(workerSocketPath(path)))
}

/**
 * Whether a run directory has neither a record nor a socket that accepts, and has not changed for so many ms. Its worker never came
 * up, or ended in order: then it removes its record and its socket, and leaves the directory.
 */
export async function isDeserted({ path, process }: Pick<WorkerDirectory, 'path' | 'process'>, forMs: number): Promise<boolean> {
  if (process !== null) return false
  const socket = await probeSocket(workerSocketPath(path))
  if (socket === 'accepts' || socket === 'unknown') return false
  if (forMs === 0) return true
  const changedAt = await stat(path).catch(() => null)
  return changedAt === null || Date.now() - changedAt.mtimeMs > forMs
}

/** Whether a process listens on a Unix socket. Nothing is sent. */
export function probeSocket(path: string): Promise<SocketSign> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve('accepts')
    })
    socket.once('error', ({ code }: NodeJS.ErrnoException) => {
      // EAGAIN: a process listens, and more connections wait for it than the kernel queues.
      if (code === 'EAGAIN') resolve('accepts')
      else if (code === 'ECONNREFUSED') resolve('refuses')
      else resolve(code === 'ENOENT' ? 'absent' : 'unknown')
    })
  })
}

async function readRecord(directory: string): Promise<ProcessIdentity | null> {
  try {
    const { pid, startTicks, bootId } = Hello.parse(JSON.parse(await readFile(join(directory, 'worker.json'), 'utf8')))
    return { pid, startTicks, bootId }
  } catch {
    return null
  }
}
