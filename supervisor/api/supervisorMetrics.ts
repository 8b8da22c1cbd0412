/** What the supervisor says of itself and its shards in Prometheus' terms. */
import { readdirSync } from 'node:fs'
import { Counter, Gauge, Registry } from 'prom-client'
import { ExitReason, RestartReason, StartKind, type Status } from '../../shared/api.ts'
import { START_BOUNDS } from '../core/starts.ts'

/** Every phase is always there, with 0, so that an alert on a phase never meets a missing series. */
const PHASES: Status['services'][number]['phase'][] = [
  'pending',
  'starting',
  'needsLogin',
  'ready',
  'draining',
  'standby',
  'failed',
  'unknown',
]

const RESTART_REASONS = RestartReason.options
const EXIT_REASONS = ExitReason.options

const START_KINDS = StartKind.options

const answers = ({ workerPhase, silentSince }: Status['shards'][number]): boolean =>
  (workerPhase === 'ready' || workerPhase === 'draining') && silentSince === null

const MOVE_PHASES: Status['moves'][number]['phase'][] = ['queued', 'moving', 'returning']

/** What the supervisor says of itself and its shards. */
export interface SupervisorMetrics {
  readonly render: (status: Status) => Promise<string>
  /** Every family, whether or not it has a sample: for the reference. */
  families(): Promise<{ name: string; help: string; type: string }[]>
}

const STARTS = 'tsnsrv_sup_service_start_seconds'
const STARTS_HELP = 'Time from the beginning of a start of a service until it answers: of the first, by a move, any other.'

/** The library's histograms take one observation after the other; these are counted already. */
function renderStarts(starts: Status['starts']): string {
  const lines = START_KINDS.flatMap((kind) => {
    const { buckets, sum, count } = starts[kind] ?? { buckets: [], sum: 0, count: 0 }
    const bucket = (le: string, value: number) => `${STARTS}_bucket{kind="${kind}",le="${le}"} ${value}`
    return [
      ...START_BOUNDS.map((bound, i) => bucket(String(bound), buckets[i] ?? 0)),
      bucket('+Inf', count),
      `${STARTS}_sum{kind="${kind}"} ${sum}`,
      `${STARTS}_count{kind="${kind}"} ${count}`,
    ]
  })
  return [`# HELP ${STARTS} ${STARTS_HELP}`, `# TYPE ${STARTS} histogram`, ...lines, ''].join('\n')
}

/**
 * Renders a status as Prometheus text. The process metrics are the few that cost nothing between scrapes; prom-client's
 * own set keeps an event-loop timer and a GC observer running.
 */
export function createSupervisorMetrics(): SupervisorMetrics {
  const registry = new Registry()
  const registers = [registry]
  const gauge = <L extends string>(name: string, help: string, ...labelNames: L[]) =>
    new Gauge({ name, help, labelNames, registers })
  const counter = <L extends string>(name: string, help: string, ...labelNames: L[]) =>
    new Counter({ name, help, labelNames, registers })

  const services = gauge('tsnsrv_sup_services', 'Services by phase.', 'phase')
  const quarantined = gauge('tsnsrv_sup_quarantined', 'Services that are kept off because they crash their workers.')
  const serviceReady = gauge('tsnsrv_sup_service_ready', '1 while the service answers on the tailnet.', 'service')
  const serviceInfo = gauge('tsnsrv_sup_service_info', 'Always 1; where the service is, in the labels.', 'service', 'shard')
  const serviceRestarts = counter(
    'tsnsrv_sup_service_restarts_total',
    'Starts of the service after its first, by what led to them.',
    'service',
    'reason',
  )
  const serviceProblems = gauge(
    'tsnsrv_sup_service_problems',
    'Parts of the service that do not work while the rest does.',
    'service',
  )
  const certificateEnd = gauge(
    'tsnsrv_sup_certificate_expiry_timestamp_seconds',
    'When the TLS certificate of the service ends; 0 while it has none.',
    'service',
  )
  const keyEnd = gauge(
    'tsnsrv_sup_node_key_expiry_timestamp_seconds',
    'When the node key of the service ends; absent for one that never does.',
    'service',
  )
  const control = gauge(
    'tsnsrv_sup_service_control_connected',
    '0 while the node of the service has lost its connection to the control server.',
    'service',
  )
  const shards = gauge('tsnsrv_sup_shards', 'Shards, each served by one worker process.')
  const shardServices = gauge('tsnsrv_sup_shard_services', 'Services placed in the shard.', 'shard')
  const shardReady = gauge('tsnsrv_sup_shard_ready', 'Services of the shard that are ready.', 'shard')
  const shardCpu = gauge('tsnsrv_sup_shard_cpu_percent', 'CPU of the worker in percent of one core, moving average.', 'shard')
  const shardMemory = gauge('tsnsrv_sup_shard_memory_bytes', 'Resident memory of the worker.', 'shard')
  const shardSwap = gauge('tsnsrv_sup_shard_swap_bytes', 'What of the worker is in swap.', 'shard')
  const shardCpuSeconds = counter(
    'tsnsrv_sup_shard_cpu_seconds_total',
    'CPU time that the worker of the shard has used.',
    'shard',
  )
  const lastStart = gauge('tsnsrv_sup_service_last_start_seconds', 'How long the latest start of the service took.', 'service')
  const shardGrowth = gauge(
    'tsnsrv_sup_shard_memory_growth_bytes_per_hour',
    'By how much the memory of the worker grows without end; 0 while it does not.',
    'shard',
  )
  const shardProblems = gauge('tsnsrv_sup_shard_problems', 'What is wrong with the worker of the shard, as in status.', 'shard')
  const shardRestarts = counter(
    'tsnsrv_sup_shard_restarts_total',
    'Workers of the shard that ended without being told to.',
    'shard',
  )
  const workerUp = gauge('tsnsrv_sup_worker_up', '1 while the worker of the shard answers.', 'shard')
  const workerInfo = gauge('tsnsrv_sup_worker_info', 'Always 1; the version of the worker is in the labels.', 'shard', 'version')
  const orphans = gauge('tsnsrv_sup_orphans', 'Workers that no supervisor follows.')
  const workerExits = counter('tsnsrv_sup_worker_exits_total', 'Workers that have ended, by why.', 'reason')
  const shardCordoned = gauge('tsnsrv_sup_shard_cordoned', '1 while the shard gets nothing new.', 'shard')
  const moves = gauge('tsnsrv_sup_moves', 'Services on their way to another shard, by phase.', 'phase')
  const paused = gauge('tsnsrv_sup_rebalancing_paused', '1 while nothing moves by itself.')
  const decidedAt = gauge(
    'tsnsrv_sup_rebalancing_last_decision_timestamp_seconds',
    'When services were last told to move; 0 for never.',
  )
  const upgradeHalted = gauge('tsnsrv_sup_upgrade_halted', '1 while an upgrade of the workers has halted.')
  const journalFailed = gauge('tsnsrv_sup_journal_failed', '1 while the state file cannot be written, and so nothing moves.')
  const generation = gauge('tsnsrv_sup_config_generation', 'Configurations accepted since the supervisor started.')
  const reloadedAt = gauge(
    'tsnsrv_sup_config_last_reload_success_timestamp_seconds',
    'When a configuration was last accepted; 0 before the first.',
  )
  const reloadFailed = gauge(
    'tsnsrv_sup_config_reload_failed',
    '1 while the last reload was refused and an older configuration runs.',
  )
  const buildInfo = gauge('tsnsrv_sup_build_info', 'Always 1; what runs is in the labels.', 'version', 'nodejs')
  const cpuSeconds = counter('process_cpu_seconds_total', 'CPU time that the supervisor has used.')
  const residentMemory = gauge('process_resident_memory_bytes', 'Resident memory of the supervisor.')
  const heapUsed = gauge('nodejs_heap_size_used_bytes', 'JavaScript heap of the supervisor in use.')
  const openFiles = gauge('process_open_fds', 'Files that the supervisor has open.')
  const startTime = gauge('process_start_time_seconds', 'When the supervisor started, in seconds since the epoch.')

  async function render(status: Status): Promise<string> {
    // Services and shards come and go; what is left of the last scrape must not outlive them.
    registry.resetMetrics()
    for (const phase of PHASES) services.set({ phase }, 0)
    quarantined.set(status.services.filter(({ reason }) => reason === 'Quarantined').length)
    for (const service of status.services) {
      services.inc({ phase: service.phase })
      serviceReady.set({ service: service.name }, Number(service.ready))
      if (service.shard !== null) serviceInfo.set({ service: service.name, shard: String(service.shard) }, 1)
      for (const reason of RESTART_REASONS)
        serviceRestarts.inc({ service: service.name, reason }, service.restartReasons[reason] ?? 0)
      serviceProblems.set({ service: service.name }, service.problems.length)
      control.set({ service: service.name }, Number(!service.problems.some(({ part }) => part === 'control')))
      if (service.startSeconds !== null) lastStart.set({ service: service.name }, service.startSeconds)
      if (service.nodeKeyExpiry !== null) keyEnd.set({ service: service.name }, service.nodeKeyExpiry / 1000)
      if (service.certificate) certificateEnd.set({ service: service.name }, service.certificate.notAfter / 1000)
    }
    shards.set(status.shards.length)
    for (const shard of status.shards) {
      const labels = { shard: String(shard.shard) }
      shardServices.set(labels, shard.services)
      shardReady.set(labels, shard.ready)
      shardRestarts.inc(labels, shard.restarts)
      workerUp.set(labels, Number(answers(shard)))
      shardCordoned.set(labels, Number(shard.cordoned))
      shardGrowth.set(labels, shard.memoryGrowth?.bytesPerHour ?? 0)
      shardProblems.set(labels, shard.problems.length)
      if (shard.cpuPercent !== null) shardCpu.set(labels, shard.cpuPercent)
      if (shard.version !== '') workerInfo.set({ ...labels, version: shard.version }, 1)
      if (shard.cpuSeconds !== null) shardCpuSeconds.inc(labels, shard.cpuSeconds)
      if (shard.swapBytes !== null) shardSwap.set(labels, shard.swapBytes)
      if (shard.memoryBytes !== null) shardMemory.set(labels, shard.memoryBytes)
    }
    for (const reason of EXIT_REASONS) workerExits.inc({ reason }, status.workerExits[reason] ?? 0)
    for (const phase of MOVE_PHASES) moves.set({ phase }, status.moves.filter((move) => move.phase === phase).length)
    paused.set(Number(status.rebalancing.paused))
    decidedAt.set((status.rebalancing.decisions[0]?.at ?? 0) / 1000)
    upgradeHalted.set(Number((status.rebalancing.upgrade?.halted ?? '') !== ''))
    journalFailed.set(Number(status.journalError !== ''))
    generation.set(status.configGeneration)
    reloadedAt.set(status.configLoadedAt / 1000)
    orphans.set(status.orphans.length)
    reloadFailed.set(Number(status.configError !== ''))
    buildInfo.set({ version: status.version, nodejs: process.version }, 1)
    const { user, system } = process.cpuUsage()
    const memory = process.memoryUsage()
    cpuSeconds.inc((user + system) / 1e6)
    residentMemory.set(memory.rss)
    heapUsed.set(memory.heapUsed)
    openFiles.set(readdirSync('/proc/self/fd').length)
    startTime.set(performance.timeOrigin / 1000)
    return `${await registry.metrics()}${renderStarts(status.starts)}`
  }

  return {
    render,
    families: async () => [
      ...(await registry.getMetricsAsJSON()).map(({ name, help, type }) => ({ name, help, type: String(type) })),
      { name: STARTS, help: STARTS_HELP, type: 'histogram' },
    ],
  }
}
