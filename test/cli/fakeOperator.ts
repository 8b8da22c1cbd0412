/** An Operator in memory: what the admin API and the metrics endpoint are tested on. */
import type { EventView, Plan, PlanRequest, ReloadResult, ServiceView, ShardView, Status } from '../../shared/api.ts'
import type { Answer, Given, Verb } from '../../shared/orders.ts'
import { ConfigError } from '../../supervisor/config/diagnostic.ts'
import type { Operator } from '../../supervisor/core/ports.ts'
import type { EndedOrphan } from '../../supervisor/core/types.ts'

export function serviceView(name: string, fields: Partial<ServiceView> = {}): ServiceView {
  return {
    name,
    shard: 1,
    workerPid: 4001,
    phase: 'ready',
    ready: true,
    reason: 'Ready',
    message: '',
    since: 1_000_000,
    retryAt: null,
    restarts: 0,
    restartReasons: {},
    dnsName: `${name}.example.ts.net`,
    addresses: ['100.64.0.7', 'fd7a::7'],
    loginURL: '',
    certificate: null,
    nodeKeyExpiry: null,
    startSeconds: null,
    problems: [],
    url: `http://${name}.example.ts.net/`,
    upstream: `http://127.0.0.1:8080/${name}`,
    group: '',
    weight: 1,
    requests: 12,
    errors: 0,
    ...fields,
  }
}

export function shardView(shard: number, fields: Partial<ShardView> = {}): ShardView {
  return {
    shard,
    services: 1,
    ready: 1,
    workerId: `shard-${shard}-abc123`,
    workerPid: 4000 + shard,
    workerPhase: 'ready',
    adopted: false,
    since: 1_000_000,
    restarts: 0,
    respawnAt: null,
    cpuPercent: 1.25,
    memoryBytes: 104_000_000,
    swapBytes: null,
    cpuSeconds: null,
    version: '0.1.0',
    cordoned: false,
    suspected: false,
    silentSince: null,
    memoryGrowth: null,
    problems: [],
    ...fields,
  }
}

export function statusOf(services: ServiceView[], fields: Partial<Status> = {}): Status {
  return {
    version: '0.1.0',
    pid: 2_147_483_000,
    startedAt: 1_000_000,
    phase: 'running',
    configFile: '/etc/services.yaml',
    configGeneration: 1,
    configLoadedAt: 1_000_000,
    configError: '',
    stateDir: '/var/lib/tsnsrv-sup',
    prometheusAddr: '',
    metricsError: '',
    shardSize: 20,
    services,
    shards: [shardView(1)],
    workerExits: {},
    starts: {},
    moves: [],
    rebalancing: { paused: false, scaledTo: null, pinned: [], upgrade: null, verdict: 'none', reason: '', decisions: [] },
    journalError: '',
    orphans: [],
    ...fields,
  }
}

export class FakeOperator implements Operator {
  current: Status
  /** What the next reload answers or rejects with. */
  onReload: () => Promise<ReloadResult> = () => Promise.reject(new Error('no reload expected'))
  onStop: (options: { leaveWorkers: boolean }) => void = () => undefined
  expositions: string[] = []
  readonly listeners = new Set<() => void>()

  constructor(status: Status) {
    this.current = status
  }

  become(status: Status): void {
    this.current = status
    for (const listener of this.listeners) listener()
  }

  status(): Status {
    return this.current
  }

  happened: EventView[] = []

  events({ service, shard }: { service?: string; shard?: number }): EventView[] {
    return this.happened.filter(
      (event) => (service === undefined || event.service === service) && (shard === undefined || event.shard === shard),
    )
  }

  onChange(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  reload(): Promise<ReloadResult> {
    return this.onReload()
  }

  /** What a plan answers or rejects with. */
  onPlan: (request: PlanRequest) => Promise<Plan> = () => Promise.reject(new Error('no plan expected'))

  plan(request: PlanRequest): Promise<Plan> {
    return this.onPlan(request)
  }

  /** Orders in the order in which they came, as "<verb> <parameters>". */
  readonly orders: string[] = []
  /** What an order answers or rejects with. */
  onOrder: (verb: Verb) => Promise<unknown> = (verb) =>
    Promise.resolve(
      verb === 'upgrade-workers' ? { shards: [1] } : { verdict: 'manual', reason: 'asked for', moves: [], expected: [] },
    )

  order<V extends Verb>(verb: V, given: Given<V>): Promise<Answer<V>> {
    this.orders.push([verb, ...Object.values(given)].join(' '))
    return this.onOrder(verb) as Promise<Answer<V>>
  }

  stop(options: { leaveWorkers: boolean }): void {
    this.onStop(options)
  }

  /** What ending the orphans comes to. */
  ended: EndedOrphan[] = []
  endOrphans = () => Promise.resolve(this.ended)

  workerMetrics(): Promise<string[]> {
    return Promise.resolve(this.expositions)
  }
}

/** What a reload is refused with: something in line 3 of services.yaml. */
export function refusedConfig(): ConfigError {
  const place = { file: 'services.yaml', line: 3, column: 5, length: 1 }
  return new ConfigError([{ severity: 'error', ...place, message: 'no such key' }], '')
}
