/**
 * The admin API: HTTP/1.1 + JSON on the supervisor's Unix socket (<run dir>/supervisor.sock, mode 0600).
 *
 * | request | answer |
 * |---|---|
 * | GET /v1/status | Status |
 * | GET /v1/watch | one Status a line (NDJSON): now, and after each change (at most 4 a second) |
 * | POST /v1/reload | ReloadResult; 422 with ErrorReply when the config was refused (what runs stays) |
 * | POST /v1/stop?leaveWorkers=true|false | 202; the process exits when done |
 */
import * as z from 'zod'
import { ServicePhase, ServiceProblem, ServiceReason } from './protocol.ts'

/** A service as the operator sees it: the worker's phases and, before a worker has it, `pending`. */
export const ServiceView = z.object({
  name: z.string(),
  shard: z.number().int().nullable().describe('null while it has no place'),
  workerPid: z.number().int().nullable(),
  phase: z.union([ServicePhase, z.literal('pending')]),
  ready: z.boolean(),
  reason: z.union([
    ServiceReason,
    z.enum(['WaitingForWorker', 'WaitingForRelease', 'CredentialUnavailable', 'Backoff', 'Removing']),
  ]),
  message: z.string(),
  since: z.number().describe('epoch ms of the last change of phase or reason'),
  retryAt: z.number().nullable().describe('epoch ms of the next attempt, when it failed'),
  restarts: z.number().int().describe('how often this supervisor has started it again'),
  dnsName: z.string(),
  addresses: z.array(z.string()),
  loginURL: z.string(),
  certificate: z
    .object({ domain: z.string(), notAfter: z.number().describe('epoch ms; 0 while there is none') })
    .nullable()
    .describe('null when no listener of it speaks TLS, or its name is not known yet'),
  problems: z.array(ServiceProblem).describe('what does not work while the rest of the service does'),
  url: z.string().describe('where a client of the tailnet finds it; empty until its name is known'),
  upstream: z.string(),
  group: z.string(),
  weight: z.number(),
  requests: z.number().int(),
  errors: z.number().int(),
})

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
  cpuPercent: z.number().nullable().describe('per cent of one core, moving average; null before two samples'),
  memoryBytes: z.number().nullable().describe('resident set'),
  version: z.string(),
})

export const Status = z.object({
  version: z.string(),
  pid: z.number().int(),
  startedAt: z.number(),
  phase: z.enum(['starting', 'running', 'stopping']),
  configFile: z.string(),
  configGeneration: z.number().int().describe('counts accepted configurations since start'),
  configError: z.string().describe('why the last reload was refused; empty when it was taken'),
  stateDir: z.string(),
  prometheusAddr: z.string().describe('where metrics are served; empty when off'),
  shardSize: z.number().int(),
  services: z.array(ServiceView),
  shards: z.array(ShardView),
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

export type ServiceView = z.infer<typeof ServiceView>
export type ShardView = z.infer<typeof ShardView>
export type WorkerPhase = z.infer<typeof WorkerPhase>
export type Status = z.infer<typeof Status>
export type ReloadResult = z.infer<typeof ReloadResult>
