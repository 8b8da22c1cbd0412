/** What the pure core and the loop ask of the outside. Effects implement these; tests put fakes in their place. */
import type { EventView, Plan, PlanRequest, ReloadResult, Status } from '../../shared/api.ts'
import type { Answer, Given, Verb } from '../../shared/orders.ts'
import type { ServiceSpec, ServiceStatus } from '../../shared/protocol.ts'
import type { EndedOrphan, Orphan } from './types.ts'

/** An order that cannot be carried out, in words for whoever gave it. */
export class OrderError extends Error {
  override readonly name = 'OrderError'
}

/**
 * What an operator may tell a supervisor to do: the same in the process and over its socket. In the process an order rejects
 * with an OrderError, over the socket with a RefusedError of status 409, and then nothing has changed.
 */
export interface Orders {
  order<V extends Verb>(verb: V, given: Given<V>): Promise<Answer<V>>
}

/** The running supervisor as the admin API, the metrics endpoint and the signal handlers see it. */
export interface Operator extends Orders {
  /** A snapshot; cheap, never waits. */
  status(): Status
  /** What has happened lately: to all, to one service, or to one shard. The latest first. */
  events(of: { service?: string; shard?: number }): EventView[]
  /** Calls back after each change of the status (coalesced, never re-entrant). Returns how to stop listening. */
  onChange(listener: () => void): () => void
  /** Reads the config again and applies what changed. Rejects with a ConfigError, and changes nothing, when it is refused. */
  reload(): Promise<ReloadResult>
  /** What a reload of this text would do. Rejects as `reload` does, and never changes anything. */
  plan(request: PlanRequest): Promise<Plan>
  /** Begins to stop: drains and ends all workers, or leaves them serving for the next supervisor. Returns at once. */
  stop(options: { leaveWorkers: boolean }): void
  /** Prometheus text of all services and workers; of a worker that does not answer in time, as it was last read. */
  workerMetrics(): Promise<string[]>
  /** Ends the workers that no supervisor follows. Resolves with the result for each, which takes as long as they drain. */
  endOrphans(): Promise<EndedOrphan[]>
}

/** A worker of an earlier supervisor that ended while no supervisor ran. */
export interface EndedWorker {
  readonly workerId: string
  readonly shard: number
  /** Null when it is not known: a worker that ended in order has removed its record. */
  readonly pid: number | null
}

/** The workers, as far as they can be reached. Whatever happens to one is told as an Event, never returned. */
export interface Fleet {
  /** Begins to follow the workers of an earlier supervisor, after a `workerFound` for each. Resolves with those that have ended. */
  adopt(): Promise<EndedWorker[]>
  /** Forks a worker and begins to follow it. */
  spawn(workerId: string, shard: number): void
  /** Hands a service to a worker. Rejects with the reason, in words, when the worker refuses it or does not answer. */
  put(workerId: string, spec: ServiceSpec): Promise<ServiceStatus>
  /** Takes a service away. Resolves with whether the worker had it; if so, its removal is told as an event later. */
  delete(workerId: string, name: string, drainMs: number): Promise<boolean>
  shutdown(workerId: string, drainMs: number): Promise<void>
  /** Ends the process at once if it is certain which one it is. If not, the worker is left, and an event `workerLeft` follows. */
  kill(workerId: string): void
  /** Resolves with the workers that no supervisor follows. */
  findOrphans(): Promise<Orphan[]>
  /** Ends all orphans. Resolves with the result for each, which takes as long as they drain. */
  endOrphans(drainMs: number): Promise<EndedOrphan[]>
  /** Asks every worker whether it answers. One that takes too long is told as `workerSilent`, and later as `workerAnswered`. */
  ping(): void
  /**
   * Reads the Prometheus text of every worker, told as `metricsRead`. Resolves when all have answered that are not silent, and
   * soon in any case: what comes later is told when it comes.
   */
  metrics(): Promise<void>
  /** Lets go of all workers, which go on serving. */
  close(): void
}

/** Time, so that tests can own it. */
export interface Clock {
  /** Epoch ms. Somebody may set it at any time, forth and back. */
  now(): number
  /** Milliseconds of a clock that nobody sets and that stands still while the machine sleeps; of two readings the difference. */
  elapsed(): number
  /** Calls back once, not before the time given and never at once; returns how to cancel. */
  wakeAt(at: number, callback: () => void): () => void
}
