/**
 * Who may hold an identity, and how it is handed over: one worker has it, and the next one stands by until that lets go. The
 * worker's own custody (flock, in worker/internal/custody) has the last word; this is what keeps two from being told. Pure.
 */
import type { ServiceStatus } from '../../shared/protocol.ts'
import type { ObservedWorker } from './types.ts'

/** The workers that have identities, or may. */
export interface Holders {
  readonly byName: ReadonlyMap<string, readonly ObservedWorker[]>
  /** Workers that may hold anything. */
  readonly unheard: readonly ObservedWorker[]
}

/** What is known of all workers, by the name of the service. */
export function holdersOf(workers: readonly ObservedWorker[]): Holders {
  const byName = new Map<string, ObservedWorker[]>()
  for (const worker of workers) {
    const held = [...worker.services.values()].filter(mayHold).map((status) => status.name)
    for (const name of new Set([...held, ...worker.calls.keys()])) {
      const list = byName.get(name)
      if (list) list.push(worker)
      else byName.set(name, [worker])
    }
  }
  return { byName, unheard: workers.filter((worker) => !worker.heard) }
}

/**
 * How a worker that does not have the identity of a service may be told to have it: to start it, to stand by for it as another
 * worker still has it, or not yet, as nobody can say where it is.
 */
export function admission(name: string, worker: ObservedWorker, { byName, unheard }: Holders): 'start' | 'standby' | 'wait' {
  const status = worker.services.get(name)
  const holds = status !== undefined && mayHold(status)
  if (!holds && unheard.length > 0) return 'wait'
  const others = (byName.get(name) ?? []).filter((holder) => holder !== worker)
  if (others.length === 0) return 'start'
  return others.some((other) => isTold(other, name)) ? 'wait' : 'standby'
}

/** Whether a service may leave the worker that has its identity: this other one stands by for it. */
export function mayLeaveFor(worker: ObservedWorker | undefined, name: string): boolean {
  return worker?.phase === 'ready' && hasTaken(worker, name)
}

/** Whether the worker has the node, or may get it any moment: the identity, and the lock of its directory. */
export function mayHold(status: ServiceStatus): boolean {
  return status.phase !== 'failed'
}

/** Whether the worker will have the service running without being told again. */
function hasTaken(worker: ObservedWorker | undefined, name: string): boolean {
  const phase = worker?.services.get(name)?.phase
  return phase !== undefined && phase !== 'failed' && phase !== 'draining'
}

/** Whether the worker is being told to have the service: nobody can say yet what comes of it. */
function isTold(worker: ObservedWorker, name: string): boolean {
  const call = worker.calls.get(name)
  return call === 'put' || call === 'order'
}
