/** One service or shard in full, for people. Pure. */
import type { EventView, ServiceView, ShardView, Status } from '../../shared/api.ts'
import { count, formatDuration, formatMegabytes, formatTable, wrap } from './format.ts'
import { type Colors, plain } from './terminal.ts'

export interface DescribeOptions {
  colors: Colors
  /** Epoch ms: what ages are counted from. */
  now: number
  /** Width to fit into; without it nothing is cut. */
  columns?: number | undefined
}

type Fact = [name: string, value: string]

/** A service: where it is, whether it works, what it depends on, and what has happened to it. */
export function describeService(
  service: ServiceView,
  status: Status,
  events: readonly EventView[],
  options: DescribeOptions,
): string {
  const { now, colors } = options
  const { rebalancing, moves } = status
  const move = moves.find(({ name }) => name === service.name)
  const age = service.since > 0 ? ` for ${formatDuration(now - service.since)}` : ''
  const state = `${service.phase}${age}`
  const restarts = Object.entries(service.restartReasons).map(([reason, times]) => `${String(times)} ${reason}`)
  const shard = service.shard === null ? '-' : String(service.shard)
  const facts: Fact[] = [
    ['Name', service.name],
    ['State', (service.ready ? colors.green : colors.yellow)(state)],
    ['Reason', service.ready && service.message === '' ? '' : [service.reason, service.message].filter(Boolean).join(': ')],
    ['Next attempt', service.retryAt !== null && service.retryAt > now ? `in ${formatDuration(service.retryAt - now)}` : ''],
    ['Log in at', service.loginURL],
    ['URL', service.url],
    ['Tailnet name', service.dnsName],
    ['Addresses', service.addresses.join(', ')],
    ['Upstream', service.upstream],
    ['Shard', `${shard}${rebalancing.pinned.includes(service.name) ? ' (pinned)' : ''}`],
    ['Worker', service.workerPid === null ? '' : `pid ${String(service.workerPid)}`],
    ['Group', service.group],
    ['Weight', String(service.weight)],
    ['Move', move ? `${move.phase} from shard ${String(move.from)} to ${String(move.to)}: ${move.problem || move.why}` : ''],
    ['Certificate', certificateOf(service, now)],
    ['Node key', service.nodeKeyExpiry === null ? '' : ends(service.nodeKeyExpiry, now)],
    ['Requests', `${String(service.requests)}, ${count(service.errors, 'error')}`],
    ['Restarts', [String(service.restarts), ...(restarts.length > 0 ? [`(${restarts.join(', ')})`] : [])].join(' ')],
  ]
  const problems = service.problems.map(({ part, message }) => `${part}: ${message}`)
  return render(facts, problems, events, options)
}

/** A shard: its worker, what that costs, its services, and what has happened to both. */
export function describeShard(shard: ShardView, status: Status, events: readonly EventView[], options: DescribeOptions): string {
  const { now, colors } = options
  const services = status.services.filter((service) => service.shard === shard.shard)
  const phase = shard.silentSince === null ? (shard.workerPhase ?? 'none') : 'silent'
  const growth = shard.memoryGrowth ? `, grows by ${formatMegabytes(shard.memoryGrowth.bytesPerHour)} an hour` : ''
  const facts: Fact[] = [
    ['Shard', String(shard.shard)],
    [
      'Worker',
      shard.workerId === null ? 'none' : `${shard.workerId} (pid ${String(shard.workerPid)}${shard.adopted ? ', adopted' : ''})`,
    ],
    ['State', (phase === 'ready' ? colors.green : colors.yellow)(`${phase} for ${formatDuration(now - shard.since)}`)],
    ['Marked', [...(shard.cordoned ? ['cordoned'] : []), ...(shard.suspected ? ['suspected'] : [])].join(', ')],
    ['Next worker', shard.respawnAt === null ? '' : `in ${formatDuration(shard.respawnAt - now)}`],
    ['Version', shard.version],
    ['CPU', shard.cpuPercent === null ? '' : `${shard.cpuPercent.toFixed(1)} % of a core`],
    ['Memory', shard.memoryBytes === null ? '' : `${formatMegabytes(shard.memoryBytes)}${growth}`],
    ['Restarts', String(shard.restarts)],
    ['Services', `${String(shard.ready)} of ${String(shard.services)} ready`],
    ['', services.map(({ name, ready }) => (ready ? name : `${name} (not ready)`)).join(', ')],
  ]
  return render(facts, shard.problems, events, options)
}

function certificateOf({ certificate }: ServiceView, now: number): string {
  if (!certificate) return ''
  return certificate.notAfter === 0
    ? `${certificate.domain}, none yet`
    : `${certificate.domain}, ${ends(certificate.notAfter, now)}`
}

const ends = (at: number, now: number) =>
  `${at > now ? `ends in ${formatDuration(at - now)}` : `has ended ${formatDuration(now - at)} ago`} (${new Date(at).toISOString()})`

function render(
  facts: readonly Fact[],
  problems: readonly string[],
  events: readonly EventView[],
  options: DescribeOptions,
): string {
  const { colors, now, columns } = options
  const width = Math.max(20, (columns ?? Number.POSITIVE_INFINITY) - INDENT.length)
  const rows = facts
    .filter(([, value]) => value !== '')
    .flatMap(([name, value]) =>
      wrap(keepColours(value), width - LABEL).map((line, i) => [i === 0 && name !== '' ? `${name}:` : '', line]),
    )
  const table = rows.map(([name = '', value = '']) => `${name.padEnd(LABEL)}${value}`)
  const told = problems.flatMap((problem) => wrap(plain(problem), width).map((line) => colors.yellow(`${INDENT}${line}`)))
  const titles = ['AGE', 'TYPE', 'WHAT', 'REASON', 'MESSAGE'].map((text) => ({ text, paint: colors.dim }))
  const happened = events.map((event) => [
    ageOf(event, now),
    { text: event.severity, paint: event.severity === 'warning' ? colors.yellow : undefined },
    event.what,
    event.reason,
    plain(event.message),
  ])
  return [
    ...table,
    ...(told.length > 0 ? ['', 'Problems:', ...told] : []),
    '',
    ...(happened.length > 0
      ? ['Events:', ...formatTable([titles, ...happened], width).map((line) => `${INDENT}${line}`)]
      : ['Events: none since the supervisor started.']),
  ].join('\n')
}

/** As kubectl writes it: "3m (x4 over 2h)". */
function ageOf({ at, firstAt, count: times }: EventView, now: number): string {
  const age = formatDuration(Math.max(0, now - at))
  return times === 1 ? age : `${age} (x${String(times)} over ${formatDuration(Math.max(0, now - firstAt))})`
}

const INDENT = '  '
const LABEL = 15
const ESCAPE = '\u001b'
/** Values come from elsewhere; of control characters only the colours that were put around one stay. */
const keepColours = (value: string) => (value.startsWith(`${ESCAPE}[`) ? value : plain(value))
