/** What the operator is told about workers that no supervisor follows. Pure. */
import type { OrphanView } from '../../shared/api.ts'
import type { Orphan } from './types.ts'

/** The orphan with a message: what it holds, and what to do about it. */
export function viewOrphan(orphan: Orphan): OrphanView {
  return { ...orphan, services: [...orphan.services], message: describe(orphan) }
}

/** The orphan that holds the node of this service; undefined when none does. */
export function holderOf(name: string, orphans: readonly Orphan[]): Orphan | undefined {
  return orphans.find(({ services }) => services.includes(name))
}

/** For example "worker shard-1-abc (pid 258)"; what is not known is left out. */
export function nameOrphan({ workerId, pid }: Orphan): string {
  return `${workerId === '' ? 'a worker' : `worker ${workerId}`}${pid === null ? '' : ` (pid ${String(pid)})`}`
}

/** The number of its shard; 0 when it is not known. */
export function shardOf({ workerId }: Orphan): number {
  return Number(/^shard-(\d+)-/.exec(workerId)?.[1] ?? 0)
}

function describe(orphan: Orphan): string {
  const { pid, services, directory, isCertain } = orphan
  const holds = services.length === 0 ? 'runs' : `holds ${services.join(', ')}`
  if (isCertain) return `No supervisor follows ${nameOrphan(orphan)}, which ${holds}. End it with "tsnsrv-sup stop --workers".`
  const process = pid === null ? 'its process' : `process ${String(pid)}`
  const look = pid === null ? 'Look for it as root (ps -C tsnsrv-worker)' : `Look at it as root (ps -p ${String(pid)})`
  const kept = directory === '' ? '' : `, or remove ${directory} if it is none`
  return (
    `No supervisor follows ${nameOrphan(orphan)}, which may still run: it does not answer, and this host does not show whether ` +
    `${process} is a worker. ${look}: end it if it is a tsnsrv-worker${kept}.`
  )
}
