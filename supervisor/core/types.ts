/**
 * The data that the loop turns around: Desired (what the configuration and the placement ask for) and Observed (a fold of
 * events). Both are plain and never mutated; times are epoch milliseconds.
 */
import type { DecisionRecord, ExitReason, RestartReason, WorkerPhase } from '../../shared/api.ts'
import type { ServiceStatus, WorkerState } from '../../shared/protocol.ts'
import type { CertificateOrders } from './certificates.ts'
import { type Culprits, type Death, noCulprits } from './culpritRecord.ts'
import type { Works } from './loads.ts'
import type { MemoryHistory } from './memory.ts'
import type { BackoffPolicy, FailureCount } from './restart.ts'

/** Which shard each service belongs to. Shards are numbered from 1; a shard that holds nothing does not exist. */
export type Placement = ReadonlyMap<string, number>

/** One service as it ought to run. */
export interface DesiredService {
  readonly shard: number
  readonly specHash: string
  /** An auth key can be had without a person, so a node that needs login is worth another try. */
  readonly hasCredential: boolean
}

/**
 * What ought to be. `adopt`: nothing yet, only find out what there is; `run`: the services; `stop`: drain and end
 * everything; `leave`: only the supervisor ends.
 */
export interface Desired {
  readonly phase: 'adopt' | 'run' | 'stop' | 'leave'
  readonly services: ReadonlyMap<string, DesiredService>
  /** Shards that need a worker before the first service comes to them. */
  readonly opening: ReadonlySet<number>
  /** How many nodes of a tailnet may get a first certificate within a week. */
  readonly certificatesPerWeek: number
}

/** Names one process for good: a pid alone may have been given to somebody else since. */
export interface ProcessIdentity {
  readonly pid: number
  /** Field 22 of /proc/<pid>/stat, clock ticks since boot. */
  readonly startTicks: number
  readonly bootId: string
}

/** CPU and memory of a worker process. */
interface WorkerUsage {
  /** Per cent of one core, exponentially averaged. */
  readonly cpuPercent: number
  readonly memoryBytes: number
  readonly swapBytes: number
  /** CPU time since the process started. */
  readonly cpuSeconds: number
  /** Epoch ms of the newest sample. */
  readonly at: number
}

export interface ObservedWorker {
  readonly id: string
  readonly shard: number
  readonly phase: Exclude<WorkerPhase, 'gone'>
  readonly since: number
  /** When patience with this phase ends and the process is killed; null while it is ready. */
  readonly deadline: number | null
  readonly adopted: boolean
  /** Whether it has ever told this supervisor what it runs. Until then it may be running any service. */
  readonly heard: boolean
  readonly process: ProcessIdentity | null
  readonly version: string
  /** What is wrong with it, in words; empty when nothing is. */
  readonly trouble: string
  /** Epoch ms since when it has not answered; null while it does. */
  readonly silentSince: number | null
  readonly services: ReadonlyMap<string, ServiceStatus>
  /** Calls begun and not answered yet, by service. */
  readonly calls: ReadonlyMap<string, 'put' | 'delete' | 'order'>
  readonly usage: WorkerUsage | null
  /** The host hides its process, so that its CPU and memory cannot be measured. */
  readonly isHidden: boolean
  readonly memory: MemoryHistory
}

/**
 * A worker that no supervisor follows. It goes on serving, and holds the nodes of its services. Either its run directory was lost, and
 * it was found by the locks that it holds. Or it does not answer, and nothing shows that it has ended.
 */
export interface Orphan {
  /** Empty when it is not known. */
  readonly workerId: string
  /** Null when it is not known. */
  readonly pid: number | null
  /** Services whose directory it has locked. */
  readonly services: readonly string[]
  /** Its run directory; empty when that is gone. */
  readonly directory: string
  /** It is certain that the process is the worker, so a command can end it. */
  readonly isCertain: boolean
}

/** The result of ending an orphan. */
export interface EndedOrphan extends Orphan {
  /** Why it still runs; empty when it has ended. */
  readonly problem: string
}

/** What this supervisor remembers of a service beyond what its worker reports. */
export interface ServiceRecord {
  readonly failures: FailureCount
  /** Earliest next attempt; null when none is owed. */
  readonly retryAt: number | null
  readonly attempts: number
  /** Starts after the first, by what led to them. */
  readonly restarts: Readonly<Partial<Record<RestartReason, number>>>
  /** Why the last attempt could not even reach the worker; empty when it did. */
  readonly problem: {
    readonly reason: 'CredentialUnavailable' | 'WaitingForWorker'
    readonly message: string
    readonly since: number
  } | null
}

/** What this supervisor remembers of a shard between two of its workers. */
export interface ShardRecord {
  readonly failures: FailureCount
  readonly respawnAt: number
  readonly restarts: number
  readonly lastExit: string
}

export interface Observed {
  readonly workers: ReadonlyMap<string, ObservedWorker>
  readonly services: ReadonlyMap<string, ServiceRecord>
  readonly shards: ReadonlyMap<number, ShardRecord>
  readonly certificateOrders: CertificateOrders
  /** What the services do, as far as their counters tell. */
  readonly works: Works
  /** Ends of workers that have not been judged yet: their shards wait for that before they get another. */
  readonly deaths: readonly Death[]
  /** As of the latest search. */
  readonly orphans: readonly Orphan[]
  /** Workers that have ended, by why. */
  readonly exits: Readonly<Partial<Record<ExitReason, number>>>
}

/** A service on its way from one shard to another: a record of the journal. */
export interface Move {
  readonly from: number
  readonly to: number
  /** Why, for the operator. */
  readonly why: string
  /** Epoch ms. */
  readonly queuedAt: number
  /** Epoch ms since when it belongs to where it goes; null while it waits for its turn. */
  readonly begunAt: number | null
  /** What went wrong there: it is on its way back. Empty while nothing has. */
  readonly problem: string
}

export type Moves = ReadonlyMap<string, Move>

/** A rolling upgrade: see upgrade.ts. */
export interface Upgrade {
  /** Shards whose worker is still to be replaced. */
  readonly waiting: readonly number[]
  /** The one whose services are on their way; null between two. */
  readonly current: number | null
  /** Why it does not go on; empty while it does. */
  readonly halted: string
}

/** What has to outlive the supervisor, beside placement and journal. */
export interface Rebalancing {
  /** Nothing moves unless the operator says so. */
  readonly paused: boolean
  /** Shards that get nothing new. */
  readonly cordoned: ReadonlySet<number>
  /** How many shards there are to be, by the operator's word; null for as many as the load wants. */
  readonly scaledTo: number | null
  /** Services that stay where the operator has put them, whatever load and groups ask for. */
  readonly pinned: ReadonlySet<string>
  /** Epoch ms of each service's last move. */
  readonly movedAt: ReadonlyMap<string, number>
  /** Workers that are being replaced; null when none are. */
  readonly upgrade: Upgrade | null
  /** Latest first. */
  readonly decisions: readonly DecisionRecord[]
}

const notRebalanced: Rebalancing = {
  paused: false,
  cordoned: new Set(),
  scaledTo: null,
  pinned: new Set(),
  movedAt: new Map(),
  upgrade: null,
  decisions: [],
}

/** What has to outlive the supervisor. */
export interface Remembered {
  readonly placement: Placement
  readonly certificateOrders: CertificateOrders
  readonly moves: Moves
  readonly rebalancing: Rebalancing
  /** Work of each service, in small requests a second, as last known. */
  readonly rates: ReadonlyMap<string, number>
  readonly culprits: Culprits
}

/** Something that happened, told by an effect. Each carries whole states, so a repeated one does no harm. */
export type Event =
  | { readonly type: 'workerFound'; readonly workerId: string; readonly shard: number; readonly process: ProcessIdentity | null }
  | { readonly type: 'workerSpawned'; readonly workerId: string; readonly process: ProcessIdentity }
  | { readonly type: 'workerState'; readonly workerId: string; readonly state: WorkerState }
  | { readonly type: 'workerIsAlive'; readonly workerId: string }
  /** It does not answer although its process lives, as one that is stopped; and now it does again. */
  | { readonly type: 'workerSilent' | 'workerAnswered'; readonly workerId: string }
  /** Its Prometheus text. */
  | { readonly type: 'metricsRead'; readonly workerId: string; readonly text: string }
  | { readonly type: 'workerLost'; readonly workerId: string; readonly message: string }
  | { readonly type: 'workerExited'; readonly workerId: string; readonly message: string }
  | { readonly type: 'workerLeft'; readonly workerId: string; readonly orphan: Orphan }
  | { readonly type: 'orphansSeen'; readonly orphans: readonly Orphan[] }
  | { readonly type: 'serviceChanged'; readonly workerId: string; readonly service: ServiceStatus }
  | { readonly type: 'serviceRemoved'; readonly workerId: string; readonly name: string; readonly revision: number }
  | { readonly type: 'callDone'; readonly workerId: string; readonly name: string }
  | {
      readonly type: 'callFailed'
      readonly workerId: string
      readonly name: string
      readonly reason: 'CredentialUnavailable' | 'WaitingForWorker'
      readonly message: string
    }
  | {
      readonly type: 'usageSampled'
      readonly usage: ReadonlyMap<string, Omit<WorkerUsage, 'at'>>
      /** Ids of the workers whose processes the host hides; all of them. */
      readonly hidden?: ReadonlySet<string>
    }

/** Something to do, decided by reconcile. `begin` marks it in Observed before the first await. */
export type Action =
  | { readonly type: 'spawnWorker'; readonly workerId: string; readonly shard: number }
  | {
      readonly type: 'putService'
      readonly workerId: string
      readonly name: string
      readonly retry: boolean
      readonly freshKey: boolean
      /** Another worker has it, or may have it: to be started only when that lets go. */
      readonly standby: boolean
    }
  | { readonly type: 'deleteService'; readonly workerId: string; readonly name: string }
  | { readonly type: 'orderCertificate'; readonly workerId: string; readonly name: string; readonly domain: string }
  | { readonly type: 'shutdownWorker'; readonly workerId: string }
  | { readonly type: 'killWorker'; readonly workerId: string; readonly why: string }

/** How long the supervisor waits for what, and how it spaces attempts. All durations in ms. */
export interface Patience {
  /** From fork to the first state. */
  readonly spawnTimeoutMs: number
  /** How long a worker found at start may stay silent before it counts as useless and is killed. */
  readonly foundTimeoutMs: number
  /** How long a worker that has answered before may stay silent. */
  readonly lostTimeoutMs: number
  readonly serviceBackoff: BackoffPolicy
  readonly workerBackoff: BackoffPolicy
}

/** Numbers that the core works with. */
export interface Policy extends Patience {
  /** How long open requests may take to end when a service stops. */
  readonly drainMs: number
}

export const nothingRemembered: Remembered = {
  placement: new Map(),
  certificateOrders: new Map(),
  moves: new Map(),
  rebalancing: notRebalanced,
  rates: new Map(),
  culprits: noCulprits,
}

export const nothingObserved: Observed = {
  workers: new Map(),
  services: new Map(),
  shards: new Map(),
  certificateOrders: new Map(),
  works: new Map(),
  deaths: [],
  orphans: [],
  exits: {},
}
