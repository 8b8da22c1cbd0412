/**
 * Which worker runs the node of a service: the one that holds the lock of the node's directory (worker/internal/statedir). The
 * kernel lists all locks in /proc/locks. Neither hidepid nor another user namespace hides an entry there, and its pids are those of
 * this process's own pid namespace.
 */
import { readFile, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** Paths of the directories of nodes, and the service that each belongs to. */
export type NodeDirectories = ReadonlyMap<string, string>

/** A node and the worker that runs it. */
interface NodeHolder {
  readonly service: string
  readonly workerId: string
  readonly pid: number
  /** The kernel names the pid as the holder. If not, only the lock file does, and a worker that was killed leaves it behind. */
  readonly isCertain: boolean
}

/** The default places of nodes: all directories in the state directory but the supervisor's own, which begins with a dot. */
export async function nodeDirectories(stateDir: string): Promise<NodeDirectories> {
  const entries = await readdir(stateDir, { withFileTypes: true }).catch(() => [])
  const found = entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
  return new Map(found.map(({ name }) => [join(stateDir, name), name]))
}

/** The holders of the locks. Where /proc/locks cannot be read, a lock counts as held if its file names a holder. */
export async function nodeHolders(directories: NodeDirectories): Promise<NodeHolder[]> {
  const locks = await flocks()
  const found = await Promise.all([...directories].map(([path, service]) => holderOf(path, service, locks)))
  return found.flatMap((holder) => holder ?? [])
}

/** Whether the kernel names this process as the holder of one of the locks. */
export async function holdsNode(pid: number, directories: NodeDirectories): Promise<boolean> {
  return (await nodeHolders(directories)).some((holder) => holder.pid === pid && holder.isCertain)
}

async function holderOf(directory: string, service: string, locks: ReadonlySet<string> | null): Promise<NodeHolder | null> {
  const path = join(directory, 'lock')
  try {
    const [text, { ino }] = await Promise.all([readFile(path, 'utf8'), stat(path)])
    // The holder has written "<worker id> <pid>". It empties the file when it releases the lock, unless it is killed.
    const [, workerId, pid] = /^(\S+) (\d+)\n$/.exec(text) ?? []
    if (workerId === undefined) return null
    const isCertain = locks?.has(`${pid ?? ''}:${String(ino)}`) ?? false
    if (locks !== null && !isCertain) return null
    return { service, workerId, pid: Number(pid), isCertain }
  } catch {
    // There is no lock yet, or this user may not read it.
    return null
  }
}

/**
 * All locks that were taken by flock(2), each as "pid:inode"; null where /proc/locks cannot be read. The device is left out: on
 * btrfs and overlay file systems it differs from that of stat(2). The lock file names a pid; if this pid holds a lock on a file with
 * the inode number of the lock file, it is the worker.
 */
async function flocks(): Promise<ReadonlySet<string> | null> {
  // "1: FLOCK  ADVISORY  WRITE 18050 fe:00:9978713 0 EOF". A lock that is waited for has "->" before FLOCK. See proc_locks(5).
  const line = /^\d+: FLOCK +\S+ +\S+ (\d+) [0-9a-f]+:[0-9a-f]+:(\d+) /gm
  const text = await readFile('/proc/locks', 'utf8').catch(() => null)
  return text === null ? null : new Set([...text.matchAll(line)].map(([, pid = '', inode = '']) => `${pid}:${inode}`))
}
