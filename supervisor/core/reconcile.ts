/**
 * Reconcile: compares Desired with Observed from scratch and says what to do now and when to look again. It remembers
 * nothing, so an event that was lost costs a delay and not a bug.
 *
 * What it guarantees: where another worker holds, or may hold, the identity of a service, it is only put to stand by: the
 * worker starts it when the other lets go, and needs nobody for that. So a service changes workers without anything for the
 * supervisor to do in the middle. While there is a worker about which nothing is known, nothing is started anywhere else.
 */
import type { ServiceStatus } from '../../shared/protocol.ts'
import { type Holders, admission, holdersOf, mayHold, mayLeaveFor } from './custody.ts'
import { certificateTurns, type CertificateTurns } from './certificates.ts'
import type { Action, Desired, DesiredService, Observed, ObservedWorker } from './types.ts'
import { JUDGEMENT_MS } from './tuning.ts'

export interface Reconciliation {
  readonly actions: readonly Action[]
  /** Earliest time at which the answer would be another without any event; null when none. */
  readonly wakeAt: number | null
}

/** The actions that bring Observed nearer to Desired at this moment. Empty, and wakeAt null, when there is nothing to do. */
export function reconcile(desired: Desired, observed: Observed, now: number): Reconciliation {
  if (desired.phase === 'leave') return { actions: [], wakeAt: null }
  const round = new Round(now)
  for (const worker of observed.workers.values()) endPatience(worker, round)
  if (desired.phase === 'adopt') return round
  if (desired.phase === 'stop') {
    // One that is still spawning is shut down as soon as it can be spoken to.
    for (const worker of observed.workers.values()) if (worker.phase === 'ready') shutdown(worker, round)
    return round
  }
  const workers = [...observed.workers.values()]
  const primaries = primaryWorkers(workers)
  const shards = new Set([...[...desired.services.values()].map((service) => service.shard), ...desired.opening])
  for (const shard of shards) if (!primaries.has(shard)) spawn(shard, observed, round)
  for (const worker of workers) {
    if (worker.phase !== 'ready') continue
    const own = primaries.get(worker.shard) === worker
    tidy(worker, own, desired, primaries, round)
    const needed = own && shards.has(worker.shard)
    if (!needed && worker.services.size === 0 && worker.calls.size === 0) shutdown(worker, round)
  }
  const holders = holdersOf(workers)
  for (const [name, service] of desired.services) {
    const worker = primaries.get(service.shard)
    if (worker?.phase === 'ready' && !worker.calls.has(name)) ensureService(name, service, worker, observed, holders, round)
  }
  orderCertificates(desired, observed, primaries, round)
  return round
}

/** Which certificates are missing, and whose turn it is to have one ordered. */
export function certificatesDue(desired: Desired, observed: Observed, now: number): CertificateTurns {
  const missing: string[] = []
  let ordering = 0
  // Looked at with each tick and each status, and hardly ever is one missing: so nothing is copied.
  for (const { services, calls } of observed.workers.values()) {
    for (const { certificate } of services.values()) {
      if (certificate?.phase === 'missing') missing.push(certificate.domain)
      else if (certificate?.phase === 'ordering') ordering++
    }
    for (const call of calls.values()) if (call === 'order') ordering++
  }
  if (missing.length === 0) return NONE_DUE
  return certificateTurns(missing, ordering, observed.certificateOrders, now, { perWeek: desired.certificatesPerWeek })
}

const NONE_DUE: CertificateTurns = { now: [], later: new Map() }

function orderCertificates(
  desired: Desired,
  observed: Observed,
  primaries: ReadonlyMap<number, ObservedWorker>,
  round: Round,
): void {
  const turns = certificatesDue(desired, observed, round.now)
  for (const { at } of turns.later.values()) if (at !== null) round.due(at)
  if (turns.now.length === 0) return
  const domains = new Set(turns.now)
  for (const [name, { shard, specHash }] of desired.services) {
    const worker = primaries.get(shard)
    const status = worker?.services.get(name)
    if (worker?.phase !== 'ready' || worker.calls.has(name) || status?.specHash !== specHash) continue
    const { certificate } = status
    if (certificate?.phase !== 'missing' || !domains.delete(certificate.domain)) continue
    round.act({ type: 'orderCertificate', workerId: worker.id, name, domain: certificate.domain })
  }
}

/**
 * The worker that runs each shard: of several, the one that holds most, so that the fewest services have to move. One whose
 * fate is unknown fills the place too: its services are still its own. One that drains does not.
 */
export function primaryWorkers(workers: Iterable<ObservedWorker>): ReadonlyMap<number, ObservedWorker> {
  const primaries = new Map<number, ObservedWorker>()
  for (const worker of workers) {
    if (worker.phase === 'draining') continue
    const best = primaries.get(worker.shard)
    if (!best || worker.services.size > best.services.size) primaries.set(worker.shard, worker)
  }
  return primaries
}

/** Whether the worker does what it is told, and what is known of it is of now. */
export function isAnswering(worker: ObservedWorker | undefined): worker is ObservedWorker {
  return worker?.phase === 'ready' && worker.silentSince === null
}

class Round implements Reconciliation {
  readonly actions: Action[] = []
  readonly now: number
  wakeAt: number | null = null

  constructor(now: number) {
    this.now = now
  }

  act(action: Action): void {
    this.actions.push(action)
  }

  /** Whether the time has come; if not, the loop is woken then. */
  due(at: number): boolean {
    if (at <= this.now) return true
    this.wakeAt = this.wakeAt === null ? at : Math.min(this.wakeAt, at)
    return false
  }
}

/** A worker that has kept silent, or has not gone, for too long is killed. */
function endPatience(worker: ObservedWorker, round: Round): void {
  if (worker.deadline === null || !round.due(worker.deadline)) return
  const why = { unknown: 'does not answer', spawning: 'did not come up', draining: 'did not end', ready: 'is not wanted' }[
    worker.phase
  ]
  round.act({ type: 'killWorker', workerId: worker.id, why })
}

function shutdown(worker: ObservedWorker, round: Round): void {
  round.act({ type: 'shutdownWorker', workerId: worker.id })
}

function spawn(shard: number, observed: Observed, round: Round): void {
  // What it held may be about to be split: see culprit.ts.
  if (observed.deaths.some((death) => death.shard === shard && !round.due(death.at + JUDGEMENT_MS))) return
  const record = observed.shards.get(shard)
  if (!round.due(record?.respawnAt ?? 0)) return
  // Time tells it from the workers of earlier supervisors, the count from those of this one.
  const workerId = `shard-${String(shard)}-${round.now.toString(36)}-${String(record?.restarts ?? 0)}`
  round.act({ type: 'spawnWorker', workerId, shard })
}

/** Takes from the worker what is not, or no longer, its own. */
function tidy(
  worker: ObservedWorker,
  own: boolean,
  desired: Desired,
  primaries: ReadonlyMap<number, ObservedWorker>,
  round: Round,
): void {
  for (const [name, status] of worker.services) {
    if (worker.calls.has(name) || status.phase === 'draining') continue
    const wanted = desired.services.get(name)
    if (own && wanted?.shard === worker.shard) continue
    if (wanted && mayHold(status) && !mayLeaveFor(primaries.get(wanted.shard), name)) continue
    round.act({ type: 'deleteService', workerId: worker.id, name })
  }
}

function ensureService(
  name: string,
  wanted: DesiredService,
  worker: ObservedWorker,
  observed: Observed,
  holders: Holders,
  round: Round,
): void {
  const status = worker.services.get(name)
  const held = status !== undefined && mayHold(status)
  if (held && !needsPut(status, wanted)) return
  const admitted = admission(name, worker, holders)
  if (admitted === 'wait') return
  if (!round.due(observed.services.get(name)?.retryAt ?? 0)) return
  const freshKey = status?.phase === 'needsLogin' || status?.reason === 'AuthKeyRefused'
  round.act({
    type: 'putService',
    workerId: worker.id,
    name,
    retry: status !== undefined,
    freshKey,
    standby: admitted === 'standby',
  })
}

/** Whether a service that has its node must be told something: a new spec, or that a key can be had for its login. */
function needsPut(status: ServiceStatus, wanted: DesiredService): boolean {
  if (status.phase === 'draining') return false
  return status.specHash !== wanted.specHash || (status.reason === 'NeedsLogin' && wanted.hasCredential)
}
