/** Whether the system lets the workers open as many files as they will need. */
import { readFile } from 'node:fs/promises'

/** Of a worker without services: log, control socket, event loop. */
const FILES_OF_WORKER = 32
/** A node has 9 (UDP for IPv4 and IPv6, control, relay, lock, logs), and a few more while it looks for its best relay. */
const FILES_OF_NODE = 16
/** Clients have no file, as their connections end inside the process; each request that is open has one to its upstream. */
const FILES_OF_REQUESTS = 64

/**
 * The most files that this process and each of its workers may have open; Infinity for no limit. The hard limit: Node and Go
 * raise the soft one to it by themselves.
 */
export async function openFileLimit(): Promise<number> {
  return parseLimit(await readFile('/proc/self/limits', 'utf8'))
}

/** The hard limit in the text of /proc/<pid>/limits. */
export function parseLimit(limits: string): number {
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(limits)?.[1]
  return hard === undefined || hard === 'unlimited' ? Number.POSITIVE_INFINITY : Number(hard)
}

/** What to tell the operator when the limit is too low for a full shard; empty when it is not. */
export function openFilesProblem(limit: number, services: number, { shardSize }: { readonly shardSize: number }): string {
  const members = Math.min(services, shardSize)
  const needed = FILES_OF_WORKER + members * (FILES_OF_NODE + FILES_OF_REQUESTS)
  if (limit >= needed) return ''
  return (
    `a worker may open ${String(limit)} files only, and one with ${String(members)} services may need ${String(needed)}: ` +
    `${String(FILES_OF_NODE)} for each node, and 1 for each open request; without them, nodes do not start and requests fail. ` +
    `Raise the hard limit: LimitNOFILE=${String(Math.max(65_536, needed))} in the systemd unit, or "ulimit -Hn" as root`
  )
}
