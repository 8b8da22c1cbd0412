/**
 * The admin API: HTTP/1.1 + JSON on the supervisor's Unix socket (<run dir>/supervisor.sock, mode 0600).
 *
 * | request | answer |
 * |---|---|
 * | GET /v1/status | Status |
 * | GET /v1/events | EventView[]: what has happened lately, the latest first |
 * | GET /v1/events/services/NAME, /v1/events/shards/NUMBER | the same of one service or shard; empty for one that is not known |
 * | GET /v1/watch | one Status a line (NDJSON): now, and after each change (at most 4 a second) |
 * | POST /v1/reload | ReloadResult; 422 with ErrorReply when the config was refused (what runs stays) |
 * | POST /v1/plan, body PlanRequest | Plan: what a reload of this text would do; 422 as for reload |
 * | POST /v1/stop?leaveWorkers=true|false | 202; the process exits when done |
 * | POST /v1/end-orphans | EndedOrphans: the workers that no supervisor follows are ended; answers once they have drained |
 *
 * The orders, POST /v1/move and so on, are in orders.ts.
 */
import * as z from 'zod'
import { ServicePhase, ServiceProblem, ServiceReason } from './protocol.ts'

/** What led to another start of a service: a move, the end of its worker, another try after a failure, a new configuration. */
export const RestartReason = z.enum(['move', 'worker', 'retry', 'config'])
/** Why a worker ended: told to, killed by a signal, by itself, by the supervisor as it did not answer, or nobody knows. */
export const ExitReason = z.enum(['stop', 'killed', 'crashed', 'unresponsive', 'unknown'])

/** A service as the operator sees it: the worker's phases, `pending` before a worker has it, `unknown` while that does not answer. */
export const ServiceView = z.object({
  name: z.string(),
  shard: z.number().int().nullable().describe('null while it has no place'),
  workerPid: z.number().int().nullable(),
  phase: z.union([ServicePhase, z.enum(['pending', 'unknown'])]),
  ready: z.boolean(),
  reason: z.union([
    ServiceReason,
    z.enum(['WaitingForWorker', 'WaitingForRelease', 'CredentialUnavailable', 'Backoff', 'Removing', 'Quarantined']),
  ]),
  message: z.string(),
  since: z.number().describe('epoch ms of the last change of phase or reason'),
  retryAt: z.number().nullable().describe('epoch ms of the next attempt, when it failed'),
  restarts: z.number().int().describe('how often this supervisor has started it again'),
  restartReasons: z.partialRecord(RestartReason, z.number().int()).prefault({}).describe('the same by what led to it'),
  dnsName: z.string(),
  addresses: z.array(z.string()),
  loginURL: z.string(),
  certificate: z
    .object({ domain: z.string(), notAfter: z.number().describe('epoch ms; 0 while there is none') })
    .nullable()
    .describe('null when no listener of it speaks TLS, or its name is not known yet'),
  nodeKeyExpiry: z
    .number()
    .nullable()
    .prefault(null)
    .describe('epoch ms of the end of the node key; null for never, and until it is known'),
  startSeconds: z.number().nullable().prefault(null).describe('how long its latest start took; null before one was seen'),
  problems: z.array(ServiceProblem).describe('what does not work while the rest of the service does'),
  url: z.string().describe('where a client of the tailnet finds it; empty until its name is known'),
  upstream: z.string(),
  group: z.string(),
  weight: z.number(),
  requests: z.number().int(),
  errors: z.number().int(),
})

/** How a service came to be started: for the first time, by a move, or for any other reason. */
export const StartKind = z.enum(['cold', 'move', 'restart'])

/** A histogram: how many starts took at most so many seconds, by the bounds of START_BOUNDS. */
const StartHistogram = z.object({ buckets: z.array(z.number().int()), sum: z.number(), count: z.number().int() })

export const WorkerPhase = z.enum(['unknown', 'spawning', 'ready', 'draining', 'gone'])

export const ShardView = z.object({
  shard: z.number().int(),
  services: z.number().int(),
  ready: z.number().int(),
  workerId: z.string().nullable(),
  workerPid: z.number().int().nullable(),
  workerPhase: WorkerPhase.nullable(),
  adopted: z.boolean().describe('started by an earlier supervisor'),
  since: z.number(),
  restarts: z.number().int(),
  respawnAt: z.number().nullable(),
  cpuPercent: z.number().nullable().describe('percent of one core, moving average; null before two samples'),
  memoryBytes: z.number().nullable().describe('resident set'),
  swapBytes: z.number().nullable().prefault(null),
  cpuSeconds: z.number().nullable().prefault(null).describe('used by its worker since that was started'),
  version: z.string(),
  cordoned: z.boolean().describe('it gets nothing new'),
  suspected: z.boolean().describe('one of its services may be what ends its worker'),
  silentSince: z
    .number()
    .nullable()
    .prefault(null)
    .describe('epoch ms since when its worker has not answered; null while it does'),
  memoryGrowth: z
    .object({ bytesPerHour: z.number(), since: z.number().describe('epoch ms') })
    .nullable()
    .describe('beyond what its number of services explains; null when there is none'),
  problems: z.array(z.string()).describe('one sentence or two each, with the remedy'),
})

const Shard = z.number().int().min(1)
const Percent = z.number().describe('of one core')

export const PlannedMove = z.object({ name: z.string(), from: Shard, to: Shard })

/** What was decided, why, and what it is expected to do. */
export const Decision = z.object({
  verdict: z.enum(['replace', 'relieve', 'scale', 'level', 'merge', 'join', 'manual', 'corner', 'none']),
  reason: z.string().describe('for the operator, in a sentence; with "none", why not'),
  moves: z.array(PlannedMove),
  expected: z.array(z.object({ shard: Shard, beforePercent: Percent, afterPercent: Percent })),
})

/** A decision that moved something, and what became of it. */
export const DecisionRecord = Decision.extend({
  at: z.number().describe('epoch ms'),
  carriedOutAt: z.number().nullable().prefault(null).describe('epoch ms of the end of its latest move; null before the first'),
  measured: z
    .array(z.object({ shard: Shard, percent: Percent }))
    .nullable()
    .describe('what its shards had once they had come to rest; null until then'),
  measuredAt: z.number().nullable().prefault(null).describe('epoch ms'),
  problems: z.array(z.string()).describe('moves that came to nothing'),
})

export const MoveView = PlannedMove.extend({
  phase: z.enum(['queued', 'moving', 'returning']),
  why: z.string(),
  since: z.number().describe('epoch ms'),
  problem: z.string().describe('why it is on its way back; empty otherwise'),
})

export const RebalancingView = z.object({
  paused: z.boolean(),
  scaledTo: z.number().int().nullable().describe('how many shards there are to be; null for as many as the load wants'),
  pinned: z.array(z.string()).prefault([]).describe('services that stay where the operator has put them'),
  upgrade: z
    .object({
      waiting: z.array(Shard).readonly(),
      current: Shard.nullable(),
      halted: z.string().describe('why it does not go on; empty while it does'),
    })
    .nullable()
    .describe('workers that are being replaced'),
  verdict: Decision.shape.verdict.describe('of the latest look'),
  reason: z.string(),
  decisions: z.array(DecisionRecord).describe('the latest first'),
})

/** A worker process that serves on and that no supervisor follows. */
export const OrphanView = z.object({
  workerId: z.string().describe('empty when it is not known'),
  pid: z.number().int().nullable(),
  services: z.array(z.string()).describe('whose directories it has locked, so that no other worker can run them'),
  directory: z.string().describe('its run directory; empty when that is gone'),
  isCertain: z.boolean().describe('whether "tsnsrv-sup stop --workers" can end it: it is certain that the process is a worker'),
  message: z.string().describe('one sentence or two, with the remedy'),
})

export const EndedOrphans = z.array(
  OrphanView.omit({ message: true }).extend({ problem: z.string().describe('why it still runs; empty when it has ended') }),
)

export const Status = z.object({
  version: z.string(),
  pid: z.number().int(),
  startedAt: z.number(),
  phase: z.enum(['starting', 'running', 'stopping']),
  configFile: z.string(),
  configGeneration: z.number().int().describe('counts accepted configurations since start'),
  configLoadedAt: z.number().prefault(0).describe('epoch ms of the last configuration that was accepted'),
  configError: z.string().describe('why the last reload was refused; empty when it was taken'),
  stateDir: z.string(),
  prometheusAddr: z.string().describe('where metrics are served; empty when off'),
  metricsError: z.string().prefault('').describe('why they are not served there; empty when they are, or when off'),
  shardSize: z.number().int(),
  services: z.array(ServiceView),
  shards: z.array(ShardView),
  workerExits: z.partialRecord(ExitReason, z.number().int()).prefault({}).describe('workers that have ended since it started'),
  starts: z.partialRecord(StartKind, StartHistogram).prefault({}).describe('of services, since it started'),
  moves: z.array(MoveView).describe('on their way or waiting for their turn'),
  rebalancing: RebalancingView,
  journalError: z.string().describe('why the state file cannot be written, and nothing moves; empty otherwise'),
  orphans: z.array(OrphanView).prefault([]).describe('workers that no supervisor follows'),
})

/** Something that has happened to a service, or to the worker of a shard. The same event again is counted. */
export const EventView = z.object({
  at: z.number().describe('epoch ms, of the latest time'),
  firstAt: z.number().describe('epoch ms, of the first time'),
  count: z.number().int(),
  severity: z.enum(['normal', 'warning']),
  service: z.string().nullable().describe('null when it concerns a worker'),
  shard: z.number().int().nullable(),
  what: z.string().describe('the phase that it has now; or moved, problem, mended, certified'),
  reason: z.string().describe('a word: why, or which part'),
  message: z.string(),
})

/**
 * GET /api/summary beside the metrics: flat, for dashboards that show a few numbers. These three hold no login URL, as whoever opens
 * one has the node.
 */
export const Summary = z.object({
  version: z.string(),
  phase: z.enum(['starting', 'running', 'stopping']),
  uptimeSeconds: z.number(),
  total: z.number().int(),
  ready: z.number().int(),
  unready: z.number().int(),
  needsLogin: z.number().int(),
  problems: z.number().int().describe('of services that are ready'),
  shards: z.number().int(),
  cpuPercent: z.number().describe('of one core, all workers'),
  memoryBytes: z.number(),
  requests: z.number().int(),
  errors: z.number().int(),
})

/** GET /api/services: a list of these, by name. */
export const ServiceEntry = z.object({
  name: z.string(),
  url: z.string().describe('empty until it is known'),
  state: z.enum(['ready', 'problem', 'unready']),
  message: z.string().describe('empty when all is well'),
  group: z.string(),
  shard: z.number().int().nullable(),
  since: z.number().describe('epoch ms'),
  requests: z.number().int(),
  errors: z.number().int(),
})

/** GET /api/sd: as Prometheus' http_sd_configs reads it, for a blackbox exporter that asks each service. */
export const ServiceDiscovery = z.array(z.object({ targets: z.array(z.string()), labels: z.record(z.string(), z.string()) }))

/** What "status --json" prints where no supervisor runs: the workers that serve, by their own words. */
export const Unsupervised = z.object({
  supervisor: z.null(),
  workers: z.array(
    z.object({
      workerId: z.string(),
      shard: z.number().int(),
      pid: z.number().int(),
      version: z.string(),
      services: z.array(
        z.object({
          name: z.string(),
          phase: ServicePhase,
          message: z.string(),
          dnsName: z.string(),
          addresses: z.array(z.string()),
        }),
      ),
    }),
  ),
  orphans: z.array(OrphanView).describe('workers that do not answer, or whose socket is gone'),
})

export const ReloadResult = z.object({
  configGeneration: z.number().int(),
  added: z.array(z.string()),
  removed: z.array(z.string()),
  changed: z.array(z.string()),
  moved: z.array(z.string()).describe('services that change shard because a limit forces it'),
  unchanged: z.number().int(),
  notes: z.array(z.string()).describe('e.g. settings that take effect only at a restart'),
})

export const UpgradeResult = z.object({ shards: z.array(Shard) })

/** A configuration to look at. It is read as the supervisor reads its own, but for the flags that are given here. */
export const PlanRequest = z.object({
  file: z.string().describe('what messages call it'),
  text: z.string(),
  flags: z.record(z.string(), z.union([z.string(), z.boolean()])).describe('as commander names them'),
})

/**
 * How much a change of a service disturbs, from least to most: `proxy` is swapped in place and touches no connection;
 * a `listener` is replaced and its connections end; the `node` restarts and keeps name and addresses; `identity`: a new node.
 */
export const Disturbance = z.enum(['proxy', 'listener', 'node', 'identity'])

const Fields = z.array(z.string()).describe('names of what changes in the spec; values may be secret')

export const PlannedChange = z.discriminatedUnion('type', [
  z.object({ type: z.enum(['added', 'removed', 'unchanged']) }),
  z.object({ type: z.literal('changed'), disturbs: Disturbance, fields: Fields }),
  z.object({ type: z.literal('moved'), from: Shard, disturbs: Disturbance, fields: Fields }),
  z.object({ type: z.literal('quarantined'), reason: z.string().describe('why it stays off, in a sentence') }),
  z.object({ type: z.literal('released'), fields: Fields }).describe('from quarantine, as it has changed'),
])

/** What a configuration would make of what is there. */
export const Plan = z.object({
  comparedWith: z.enum(['supervisor', 'stateFile', 'nothing']),
  shardSize: z.number().int(),
  services: z
    .array(
      z.object({
        name: z.string(),
        shard: Shard.nullable().describe('null for one in quarantine, which has no place'),
        weight: z.number(),
        group: z.string(),
        upstream: z.string(),
        change: PlannedChange,
      }),
    )
    .describe('by shard and name, those without a place last; removed services stand where they are'),
  notes: z.array(z.string()).describe('e.g. settings that take effect only at a restart'),
})

export type RestartReason = z.infer<typeof RestartReason>
export type ExitReason = z.infer<typeof ExitReason>
export type PlanRequest = z.infer<typeof PlanRequest>
export type Disturbance = z.infer<typeof Disturbance>
export type PlannedChange = z.infer<typeof PlannedChange>
export type Plan = z.infer<typeof Plan>
export type PlannedMove = z.infer<typeof PlannedMove>
export type Decision = z.infer<typeof Decision>
export type DecisionRecord = z.infer<typeof DecisionRecord>
export type MoveView = z.infer<typeof MoveView>
export type RebalancingView = z.infer<typeof RebalancingView>
export type ServiceView = z.infer<typeof ServiceView>
export type ShardView = z.infer<typeof ShardView>
export type OrphanView = z.infer<typeof OrphanView>
export type EndedOrphans = z.infer<typeof EndedOrphans>
export type Unsupervised = z.infer<typeof Unsupervised>
export type StartKind = z.infer<typeof StartKind>
export type StartHistogram = z.infer<typeof StartHistogram>
export type Summary = z.infer<typeof Summary>
export type ServiceEntry = z.infer<typeof ServiceEntry>
export type ServiceDiscovery = z.infer<typeof ServiceDiscovery>
export type EventView = z.infer<typeof EventView>
export type WorkerPhase = z.infer<typeof WorkerPhase>
export type Status = z.infer<typeof Status>
export type ReloadResult = z.infer<typeof ReloadResult>
