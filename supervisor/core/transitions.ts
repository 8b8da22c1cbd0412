/** What has changed between two states, one line each: for logs and progress. */
import type { ServiceStatus } from '../../shared/protocol.ts'
import { shardOf, viewOrphan } from './orphans.ts'
import type { Observed, ObservedWorker, Orphan } from './types.ts'

export interface Transition {
  readonly subject: 'worker' | 'service'
  /** Service name or worker id. */
  readonly name: string
  readonly shard: number
  readonly from: string
  readonly to: string
  readonly reason: string
  readonly message: string
  readonly pid: number | null
}

/** Changes of phase of workers and services, and attempts that could not be made. Unchanged parts cost one comparison each. */
export function transitions(before: Observed, after: Observed): Transition[] {
  const found: Transition[] = []
  for (const [id, worker] of after.workers) {
    const old = before.workers.get(id)
    if (old === worker) continue
    if (old?.phase !== worker.phase) found.push(ofWorker(worker, old?.phase ?? 'gone', worker.phase, worker.trouble))
    else if ((old.silentSince === null) !== (worker.silentSince === null)) found.push(ofSilence(worker))
    if (old?.services !== worker.services) found.push(...ofServices(worker, old?.services ?? new Map<string, ServiceStatus>()))
  }
  for (const [id, worker] of before.workers) {
    if (after.workers.has(id)) continue
    if (after.orphans.some(({ workerId }) => workerId === id)) continue
    const message = worker.phase === 'draining' ? '' : (after.shards.get(worker.shard)?.lastExit ?? '')
    found.push(ofWorker(worker, worker.phase, 'gone', message))
  }
  if (after.orphans !== before.orphans) found.push(...ofOrphans(before, after))
  if (after.services === before.services) return found
  for (const [name, record] of after.services) {
    const { problem } = record
    if (!problem || before.services.get(name)?.problem?.message === problem.message) continue
    found.push({
      subject: 'service',
      name,
      shard: 0,
      from: 'pending',
      to: 'pending',
      reason: problem.reason,
      message: problem.message,
      pid: null,
    })
  }
  return found
}

function ofOrphans(before: Observed, after: Observed): Transition[] {
  const same = (one: Orphan) => (other: Orphan) => one.workerId === other.workerId && one.pid === other.pid
  const about = (orphan: Orphan) => ({
    subject: 'worker' as const,
    name: orphan.workerId,
    shard: shardOf(orphan),
    pid: orphan.pid,
    reason: '',
  })
  const come = after.orphans.filter((orphan) => !before.orphans.some(same(orphan)))
  // An orphan that is followed again has transitions of its own.
  const gone = before.orphans.filter((orphan) => !after.orphans.some(same(orphan)) && !after.workers.has(orphan.workerId))
  return [
    ...come.map((orphan) => ({ ...about(orphan), from: 'unknown', to: 'orphaned', message: viewOrphan(orphan).message })),
    ...gone.map((orphan) => ({ ...about(orphan), from: 'orphaned', to: 'gone', message: '' })),
  ]
}

function ofSilence(worker: ObservedWorker): Transition {
  const { phase, silentSince } = worker
  return silentSince === null
    ? ofWorker(worker, 'silent', phase, 'it answers again')
    : ofWorker(worker, phase, 'silent', 'it does not answer; its process may be stopped')
}

function ofWorker(worker: ObservedWorker, from: string, to: string, message: string): Transition {
  return {
    subject: 'worker',
    name: worker.id,
    shard: worker.shard,
    from,
    to,
    reason: '',
    message,
    pid: worker.process?.pid ?? null,
  }
}

function ofServices(worker: ObservedWorker, before: ReadonlyMap<string, ServiceStatus>): Transition[] {
  const found: Transition[] = []
  const about = (name: string) => ({ subject: 'service' as const, name, shard: worker.shard, pid: worker.process?.pid ?? null })
  for (const [name, status] of worker.services) {
    const old = before.get(name)
    if (
      old === status ||
      (old?.phase === status.phase && old.reason === status.reason && old.identity.loginURL === status.identity.loginURL)
    )
      continue
    const { phase, reason } = status
    const { loginURL } = status.identity
    // Where nobody looks at the status, the log is the place to find it.
    const message = loginURL === '' ? status.message : `Log the node in at ${loginURL} or give it an auth key.`
    found.push({ ...about(name), from: old?.phase ?? 'pending', to: phase, reason, message })
  }
  for (const [name, status] of before) {
    if (!worker.services.has(name)) found.push({ ...about(name), from: status.phase, to: 'removed', reason: '', message: '' })
  }
  return found
}
