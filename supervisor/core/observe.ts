/** Observed as a fold of events: `observe` for what happened, `begin` for what this supervisor has just started to do. */
import type { ExitReason, RestartReason } from '../../shared/api.ts'
import type { ServiceStatus } from '../../shared/protocol.ts'
import { withOrder } from './certificates.ts'
import { countWork } from './loads.ts'
import { noMemory, recordMemory } from './memory.ts'
import { backoffMs, noFailures, recordFailure } from './restart.ts'
import type { Action, Event, Observed, ObservedWorker, Orphan, Policy, ServiceRecord, ShardRecord } from './types.ts'
import { SAMPLE_WEIGHT } from './tuning.ts'

const newService: ServiceRecord = { failures: noFailures, retryAt: null, attempts: 0, restarts: {}, problem: null }
const newShard: ShardRecord = { failures: noFailures, respawnAt: 0, restarts: 0, lastExit: '' }

/** The state after the event. An event about a worker that is not known (any more) changes nothing. */
export function observe(observed: Observed, event: Event, now: number, policy: Policy): Observed {
  if (event.type === 'workerFound') return addWorker(observed, event, now, policy)
  if (event.type === 'usageSampled') return { ...observed, workers: withUsage(observed.workers, event, now) }
  if (event.type === 'orphansSeen') return withOrphans(observed, event.orphans)
  const known = observed.workers.get(event.workerId)
  if (!known) return observed
  const worker = { ...known, silentSince: silenceAfter(known, event, now) }
  switch (event.type) {
    case 'workerSilent':
    case 'workerAnswered':
    case 'metricsRead':
      return putWorker(observed, worker)
    case 'workerSpawned':
      return putWorker(observed, { ...worker, process: event.process })
    case 'workerState': {
      const { hello, revision } = event.state
      const services = event.state.services.map((service) => newer(worker.services.get(service.name), service))
      const later = [...worker.services.values()].filter((service) => service.revision > revision)
      const seen = services.reduce((state, service) => foldFailure(state, worker, service, now, policy), observed)
      return putWorker(
        { ...seen, works: countWork(observed.works, worker.id, services, now) },
        {
          ...worker,
          // A draining worker keeps its deadline: that it still answers does not make it stay.
          ...(worker.phase === 'draining' || worker.phase === 'ready'
            ? {}
            : { phase: 'ready', since: now, deadline: null, trouble: '' }),
          heard: true,
          process: { pid: hello.pid, startTicks: hello.startTicks, bootId: hello.bootId },
          version: hello.version,
          services: new Map([...later, ...services].map((service) => [service.name, service])),
        },
      )
    }
    case 'workerIsAlive':
      // It says no more because nothing was counted since it last did.
      return { ...putWorker(observed, worker), works: countWork(observed.works, worker.id, worker.services.values(), now) }
    case 'workerLost':
      if (worker.phase === 'unknown' || worker.phase === 'draining') return observed
      // Its first words were none of the protocol's. It was given nothing yet, and another may do better.
      if (worker.phase === 'spawning') return putWorker(observed, { ...worker, deadline: now, trouble: event.message })
      return putWorker(observed, {
        ...worker,
        phase: 'unknown',
        since: now,
        deadline: now + policy.lostTimeoutMs,
        trouble: event.message,
      })
    case 'workerExited':
      return removeWorker(observed, worker, event.message, now, policy)
    case 'workerLeft': {
      // It may still serve. Its shard gets another worker, which starts each service as soon as the orphan has released its node.
      const others = observed.orphans.filter(({ workerId }) => workerId !== worker.id)
      return { ...observed, workers: without(observed.workers, worker.id), orphans: [...others, event.orphan] }
    }
    case 'serviceChanged': {
      const service = newer(worker.services.get(event.service.name), event.service)
      return putWorker(foldFailure(observed, worker, service, now, policy), {
        ...worker,
        services: new Map(worker.services).set(service.name, service),
      })
    }
    case 'serviceRemoved':
      if ((worker.services.get(event.name)?.revision ?? 0) > event.revision) return observed
      return putWorker(observed, { ...worker, services: without(worker.services, event.name) })
    case 'callDone':
      return putWorker(observed, { ...worker, calls: without(worker.calls, event.name) })
    case 'callFailed': {
      const record = observed.services.get(event.name) ?? newService
      const problem = { reason: event.reason, message: event.message, since: record.problem?.since ?? now }
      const failed = putService(observed, event.name, { ...failedOnce(record, event.name, now, policy), problem })
      return putWorker(failed, { ...worker, calls: without(worker.calls, event.name) })
    }
  }
}

/** Since when a worker has not answered, once this has happened: any word of it ends the silence. */
function silenceAfter({ silentSince }: ObservedWorker, { type }: Event, now: number): number | null {
  if (type === 'workerSilent') return silentSince ?? now
  const speaks = ['workerState', 'workerIsAlive', 'workerAnswered', 'serviceChanged', 'serviceRemoved', 'metricsRead'].includes(
    type,
  )
  return speaks ? null : silentSince
}

/** The state once the action has begun. Called before the first await, or a second tick would begin it twice. */
export function begin(observed: Observed, action: Action, now: number, policy: Policy): Observed {
  if (action.type === 'spawnWorker') {
    const worker: ObservedWorker = {
      ...blankWorker(action.workerId, action.shard, now),
      phase: 'spawning',
      deadline: now + policy.spawnTimeoutMs,
      heard: true,
    }
    return putWorker(observed, worker)
  }
  const worker = observed.workers.get(action.workerId)
  if (!worker) return observed
  switch (action.type) {
    case 'putService': {
      const record = observed.services.get(action.name) ?? newService
      const restarts = countOne(record.restarts, restartReason(observed, worker, action.name))
      const tried = { ...record, retryAt: null, problem: null, attempts: record.attempts + 1, restarts }
      return putWorker(putService(observed, action.name, tried), {
        ...worker,
        calls: new Map(worker.calls).set(action.name, 'put'),
      })
    }
    case 'orderCertificate':
      return putWorker(
        { ...observed, certificateOrders: withOrder(observed.certificateOrders, action.domain, now) },
        { ...worker, calls: new Map(worker.calls).set(action.name, 'order') },
      )
    case 'deleteService':
      return putWorker(observed, { ...worker, calls: new Map(worker.calls).set(action.name, 'delete') })
    case 'shutdownWorker':
      // The drain, and as long again for the nodes to close.
      return putWorker(observed, { ...worker, phase: 'draining', since: now, deadline: now + 2 * policy.drainMs + 5000 })
    case 'killWorker':
      // Still there at the next deadline? Then the signal is sent again.
      return putWorker(observed, {
        ...worker,
        deadline: now + 2000,
        trouble: [action.why, worker.trouble].filter(Boolean).join(': '),
      })
  }
}

/** What leads to a start of a service in a worker; null when it is the first. */
function restartReason(observed: Observed, worker: ObservedWorker, name: string): RestartReason | null {
  const { attempts, problem } = observed.services.get(name) ?? newService
  const here = worker.services.get(name)
  if (here) return here.phase === 'failed' || here.phase === 'needsLogin' ? 'retry' : 'config'
  if ([...observed.workers.values()].some((other) => other !== worker && other.services.has(name))) return 'move'
  if (attempts === 0) return null
  return problem ? 'retry' : 'worker'
}

/** Why a worker has ended, as far as it can be told: one that was adopted is nobody's child. */
function exitReason({ phase, trouble }: ObservedWorker, message: string): ExitReason {
  if (phase === 'draining') return 'stop'
  if (trouble !== '') return 'unresponsive'
  if (/^killed by SIG(KILL|TERM|INT|HUP)$/.test(message)) return 'killed'
  return /^(killed by|exit code)/.test(message) ? 'crashed' : 'unknown'
}

function countOne<Reason extends string>(counts: Readonly<Partial<Record<Reason, number>>>, reason: Reason | null) {
  return reason === null ? counts : { ...counts, [reason]: (counts[reason] ?? 0) + 1 }
}

/** Ends the backoff of services whose configuration has changed: what made them fail may be mended. */
export function clearBackoff(observed: Observed, names: Iterable<string>): Observed {
  const services = new Map(observed.services)
  for (const name of names) {
    const record = services.get(name)
    if (record) services.set(name, { ...record, failures: noFailures, retryAt: null })
  }
  return { ...observed, services }
}

/** Forgets services and shards that nothing speaks of any more. */
export function forget(observed: Observed, wanted: { services: ReadonlySet<string>; shards: ReadonlySet<number> }): Observed {
  const services = new Map([...observed.services].filter(([name]) => wanted.services.has(name)))
  const shards = new Map([...observed.shards].filter(([shard]) => wanted.shards.has(shard)))
  const works = new Map([...observed.works].filter(([name]) => wanted.services.has(name)))
  return { ...observed, services, shards, works }
}

function addWorker(observed: Observed, event: Extract<Event, { type: 'workerFound' }>, now: number, policy: Policy): Observed {
  const worker: ObservedWorker = {
    ...blankWorker(event.workerId, event.shard, now),
    adopted: true,
    process: event.process,
    deadline: now + policy.foundTimeoutMs,
  }
  // A worker that was left answers again.
  const orphans = observed.orphans.filter(({ workerId }) => workerId !== worker.id)
  return putWorker({ ...observed, orphans }, worker)
}

function blankWorker(id: string, shard: number, now: number): ObservedWorker {
  return {
    id,
    shard,
    phase: 'unknown',
    since: now,
    deadline: null,
    adopted: false,
    heard: false,
    process: null,
    version: '',
    trouble: '',
    silentSince: null,
    services: new Map(),
    calls: new Map(),
    usage: null,
    isHidden: false,
    memory: noMemory,
  }
}

/** A worker that was told to go has not failed; any other end counts against its shard. */
function removeWorker(observed: Observed, worker: ObservedWorker, message: string, now: number, policy: Policy): Observed {
  const exits = countOne(observed.exits, exitReason(worker, message))
  const gone = { ...observed, workers: without(observed.workers, worker.id), exits }
  if (worker.phase === 'draining') return gone
  const why = [worker.trouble, message].filter(Boolean).join('; ')
  // A call that was not answered may be what ended it. One that had nothing in it ended by itself.
  const services = [...new Set([...worker.services.keys(), ...worker.calls.keys()])]
  const deaths = services.length === 0 ? [] : [{ shard: worker.shard, at: now, services, why }]
  const record = observed.shards.get(worker.shard) ?? newShard
  const failures = recordFailure(record.failures, now, policy.workerBackoff)
  const respawnAt = now + backoffMs(failures, policy.workerBackoff, worker.id)
  const shard = {
    failures,
    respawnAt,
    restarts: record.restarts + 1,
    lastExit: why,
  }
  return { ...gone, shards: new Map(observed.shards).set(worker.shard, shard), deaths: [...observed.deaths, ...deaths] }
}

/** The answer to a call and the event stream overtake each other: what is old must not replace what is new. */
function newer(known: ServiceStatus | undefined, told: ServiceStatus): ServiceStatus {
  return known && known.revision > told.revision ? known : told
}

/** Counts a failure when the service has just become failed (or asks for a login again), and not at each repetition. */
function foldFailure(observed: Observed, worker: ObservedWorker, next: ServiceStatus, now: number, policy: Policy): Observed {
  const before = worker.services.get(next.name)
  if (before?.phase === next.phase && before.since === next.since) return observed
  const record = observed.services.get(next.name) ?? newService
  switch (next.phase) {
    case 'failed':
    case 'needsLogin':
      return putService(observed, next.name, failedOnce(record, next.name, now, policy))
    case 'ready':
      return putService(observed, next.name, { ...record, retryAt: null, problem: null })
    case 'starting':
    case 'draining':
    case 'standby':
      return observed
  }
}

function failedOnce(record: ServiceRecord, name: string, now: number, policy: Policy): ServiceRecord {
  const failures = recordFailure(record.failures, now, policy.serviceBackoff)
  return { ...record, failures, retryAt: now + backoffMs(failures, policy.serviceBackoff, name) }
}

/** A service whose node an orphan has released is tried again at once. */
function withOrphans(observed: Observed, orphans: readonly Orphan[]): Observed {
  if (orphans.length === 0 && observed.orphans.length === 0) return observed
  const held = new Set(orphans.flatMap(({ services }) => services))
  const free = observed.orphans.flatMap(({ services }) => services).filter((name) => !held.has(name))
  return { ...clearBackoff(observed, free), orphans }
}

function withUsage(
  workers: Observed['workers'],
  { usage, hidden = new Set() }: Extract<Event, { type: 'usageSampled' }>,
  now: number,
): Observed['workers'] {
  const next = new Map(workers)
  for (const [id, worker] of workers) {
    if (worker.isHidden !== hidden.has(id)) next.set(id, { ...worker, isHidden: hidden.has(id) })
  }
  for (const [id, sample] of usage) {
    const worker = next.get(id)
    // What cannot be is left out: the last sample grows old, and what is old decides nothing.
    if (!worker || !Number.isFinite(sample.cpuPercent) || sample.cpuPercent < 0) continue
    const old = worker.usage?.cpuPercent ?? sample.cpuPercent
    const cpuPercent = old + SAMPLE_WEIGHT * (sample.cpuPercent - old)
    const memory = recordMemory(worker.memory, sample.memoryBytes, worker.services.size, now)
    next.set(id, { ...worker, usage: { ...sample, cpuPercent, at: now }, memory })
  }
  return next
}

const putWorker = (observed: Observed, worker: ObservedWorker): Observed => ({
  ...observed,
  workers: new Map(observed.workers).set(worker.id, worker),
})

const putService = (observed: Observed, name: string, record: ServiceRecord): Observed => ({
  ...observed,
  services: new Map(observed.services).set(name, record),
})

function without<K, V>(map: ReadonlyMap<K, V>, key: K): ReadonlyMap<K, V> {
  if (!map.has(key)) return map
  const copy = new Map(map)
  copy.delete(key)
  return copy
}
