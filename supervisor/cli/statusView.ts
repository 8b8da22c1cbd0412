/** A Status as people read it. Pure: what is shown depends on nothing but the arguments. */
import type { DecisionRecord, ServiceView, ShardView, Status } from '../../shared/api.ts'
import { type Cell, count, formatDuration, formatMegabytes, formatTable, wrap } from './format.ts'
import { type Colors, plain } from './terminal.ts'

export interface StatusViewOptions {
  colors: Colors
  /** Epoch ms: what "up" and "retry in" are counted from. */
  now: number
  /** Width and height to fit into; without them nothing is cut. */
  columns?: number | undefined
  rows?: number | undefined
}

/** Header, login URLs, shards, services: those that need attention first. */
export function renderStatus(status: Status, options: StatusViewOptions): string {
  const head = [
    ...header(status, options),
    ...logins(status.services, options),
    ...movement(status, options),
    '',
    ...shardTable(status.shards, options),
    '',
  ]
  const [titles = [], ...services] = serviceTable(status.services, options)
  const room = Math.max(3, (options.rows ?? Number.POSITIVE_INFINITY) - head.length - 2)
  const lines = [...head, ...titles]
  if (services.flat().length <= room) return [...lines, ...services.flat()].join('\n')
  let [shown, used] = [0, 0]
  for (const { length } of services) {
    // One line is for how many are left out.
    if (used + length > room - 1) break
    shown++
    used += length
  }
  const hidden = count(services.length - shown, 'more service')
  return [...lines, ...services.slice(0, shown).flat(), options.colors.dim(`... and ${hidden}`)].join('\n')
}

/** What changed between two states, one line each: for logs and pipes, where nothing can be redrawn. */
export function describeChanges(before: Status, after: Status): string[] {
  const lines: string[] = []
  if (before.phase !== after.phase) lines.push(`supervisor: ${before.phase} -> ${after.phase}`)
  if (before.configGeneration !== after.configGeneration) lines.push(`config: generation ${after.configGeneration}`)
  if (before.configError !== after.configError && after.configError !== '') lines.push(`config: refused: ${after.configError}`)
  if (before.metricsError !== after.metricsError) lines.push(`metrics: ${plain(after.metricsError || 'served')}`)
  lines.push(
    ...differences(
      before.orphans,
      after.orphans,
      ({ workerId }) => `orphan ${workerId}`,
      ({ message }) => plain(message),
    ),
    ...differences(before.shards, after.shards, (shard) => `shard ${shard.shard}`, describeShard),
    ...differences(before.services, after.services, (service) => service.name, describeService),
  )
  return lines
}

function differences<T>(
  before: readonly T[],
  after: readonly T[],
  key: (row: T) => string,
  describe: (row: T) => string,
): string[] {
  const known = new Map(before.map((row) => [key(row), describe(row)]))
  const lines: string[] = []
  for (const row of after) {
    const text = describe(row)
    if (known.get(key(row)) !== text) lines.push(`${key(row)}: ${text}`)
    known.delete(key(row))
  }
  return [...lines, ...[...known.keys()].map((gone) => `${gone}: gone`)]
}

/** The phase of the worker, or that it does not answer. */
const phaseOf = ({ workerPhase, silentSince }: ShardView) =>
  silentSince !== null && workerPhase === 'ready' ? 'silent' : (workerPhase ?? 'none')

const describeShard = (shard: ShardView) => {
  const { workerPhase, workerPid, problems } = shard
  const worker = workerPid === null ? (workerPhase ?? 'no worker') : `${phaseOf(shard)} (pid ${workerPid})`
  return [worker, ...problems.map(plain)].join(', ')
}

const describeService = ({ phase, ready, message, loginURL, ...service }: ServiceView) =>
  [phase, ...(ready ? [] : [plain(message)]), ...(loginURL === '' ? [] : [loginURL]), ...shortcomings(service).map(plain)]
    .filter((part) => part !== '')
    .join(', ')

function header(status: Status, { colors, now }: StatusViewOptions): string[] {
  const ready = status.services.filter((service) => service.ready).length
  const all = status.services.length
  const parts = [
    colors.bold(`tsnsrv-sup ${status.version}`),
    status.phase === 'running' ? colors.green('running') : colors.yellow(status.phase),
    `pid ${status.pid}`,
    `up ${formatDuration(now - status.startedAt)}`,
    (ready === all ? colors.green : colors.yellow)(`${ready} of ${count(all, 'service')} ready`),
  ]
  const lines = [parts.join('  '), colors.dim(`config ${status.configFile} (generation ${status.configGeneration})`)]
  if (status.configError !== '') {
    lines.push(
      colors.red('The last reload was refused; what is shown still runs:'),
      ...status.configError.split('\n').map((line) => colors.red(plain(line))),
    )
  }
  if (status.metricsError !== '') lines.push(colors.yellow(plain(status.metricsError)))
  lines.push(...status.orphans.map(({ message }) => colors.yellow(plain(message))))
  return lines
}

/** What moves, and why; what was decided last, and what came of it. */
function movement({ moves, rebalancing, journalError }: Status, { colors, now }: StatusViewOptions): string[] {
  const { paused, scaledTo, pinned, upgrade, reason, decisions } = rebalancing
  const [latest] = decisions
  const lines = moves.map(({ name, from, to, phase, why, problem }) => {
    const way = phase === 'returning' ? `back to shard ${from}: ${problem}` : `from shard ${from} to ${to}: ${why}`
    return colors.yellow(plain(`${phase} ${name} ${way}`))
  })
  if (journalError !== '')
    lines.unshift(colors.red(plain(`No service is moved, because the state file cannot be written: ${journalError}`)))
  if (upgrade) {
    const rest = `${count(upgrade.waiting.length, 'more worker')} to replace`
    lines.push(
      upgrade.halted === '' ? colors.yellow(rest) : colors.red(plain(`The upgrade has halted: ${upgrade.halted} (${rest})`)),
    )
  }
  const mode = [...(paused ? ['paused'] : []), ...(scaledTo === null ? [] : [`to ${count(scaledTo, 'shard')}`])]
  if (reason !== '') lines.push(colors.dim(plain(`rebalancing${mode.length > 0 ? ` (${mode.join(', ')})` : ''}: ${reason}`)))
  if (pinned.length > 0) lines.push(colors.dim(plain(`pinned: ${pinned.join(', ')}; "tsnsrv-sup unpin" lets them move`)))
  if (latest) lines.push(colors.dim(plain(`last moved ${formatDuration(now - latest.at)} ago: ${describeDecision(latest)}`)))
  return lines
}

/** A decision with what it expected and what it did: "shard 1 is hot (95 %): 2 services; shard 1 95 % -> 50 %, is 48 %". */
function describeDecision({ reason, moves, expected, measured, problems }: DecisionRecord): string {
  const effects = expected.map(({ shard, beforePercent, afterPercent }) => {
    const found = measured?.find((other) => other.shard === shard)
    return `shard ${shard} ${beforePercent.toFixed(0)} % -> ${afterPercent.toFixed(0)} %${found ? `, is ${found.percent.toFixed(0)} %` : ''}`
  })
  return [`${reason}: ${count(moves.length, 'service')}`, ...effects, ...problems].join('; ')
}

/** A node that waits for a person is the one thing nobody else can fix: its URL stands on top, never cut. */
function logins(services: readonly ServiceView[], { colors }: StatusViewOptions): string[] {
  const waiting = services.filter((service) => service.loginURL !== '')
  if (waiting.length === 0) return []
  const rows = waiting.map(({ name, loginURL }) => [`  ${name}`, { text: plain(loginURL), paint: colors.cyan }])
  return ['', colors.yellow('To log in, open:'), ...formatTable(rows)]
}

function shardTable(shards: readonly ShardView[], { colors, now, columns }: StatusViewOptions): string[] {
  const rows = shards.map((shard): (string | Cell)[] => [
    String(shard.shard),
    shard.workerPid === null ? '-' : String(shard.workerPid),
    {
      text: [phaseOf(shard), ...(shard.cordoned ? ['cordoned'] : []), ...(shard.suspected ? ['suspected'] : [])].join(', '),
      paint: phaseOf(shard) === 'ready' && !shard.cordoned ? colors.green : colors.yellow,
    },
    `${shard.ready}/${shard.services}`,
    shard.cpuPercent === null ? '-' : `${shard.cpuPercent.toFixed(1)}%`,
    shard.memoryBytes === null ? '-' : formatMegabytes(shard.memoryBytes),
    String(shard.restarts),
    shard.workerPid !== null
      ? `${formatDuration(now - shard.since)}${shard.adopted ? ' (adopted)' : ''}`
      : shard.respawnAt === null
        ? '-'
        : `starts in ${formatDuration(shard.respawnAt - now)}`,
  ])
  const problems = shards.flatMap(({ shard, problems: told }) =>
    told.map((text) => colors.yellow(`shard ${shard}: ${plain(text)}`)),
  )
  const table = formatTable(
    [heading(['SHARD', 'WORKER', 'PHASE', 'READY', 'CPU', 'MEMORY', 'RESTARTS', 'UP'], colors), ...rows],
    columns,
  )
  return [...table, ...problems]
}

/** A row of lines for each service, after one for the titles. What is wrong stands below the row where it does not fit into it. */
function serviceTable(services: readonly ServiceView[], { colors, now, columns }: StatusViewOptions): string[][] {
  const paints: Partial<Record<ServiceView['phase'], Colors['red']>> = { ready: colors.green, failed: colors.red }
  const sorted = [...services].sort((a, b) => urgency(b) - urgency(a))
  const rows = sorted.map((service): (string | Cell)[] => [
    service.name,
    service.shard === null ? '-' : String(service.shard),
    { text: service.phase, paint: paints[service.phase] ?? colors.yellow },
    service.addresses[0] ?? '-',
    String(service.requests),
    { text: String(service.errors), paint: service.errors > 0 ? colors.red : undefined },
  ])
  const titles = heading(['SERVICE', 'SHARD', 'STATE', 'IP', 'REQUESTS', 'ERRORS'], colors)
  const width = Math.max(...formatTable([titles.map(({ text }) => text), ...rows.map(withoutPaint)]).map(({ length }) => length))
  const room = (columns ?? Number.POSITIVE_INFINITY) - width - 2
  const lines = sorted.map((service) => {
    const troubles = (service.ready ? shortcomings(service) : [problem(service, now)]).map(plain)
    const name = service.ready ? service.dnsName : ''
    const all = [name, ...troubles].filter((text) => text !== '').join('; ')
    return all.length <= room || troubles.length === 0 ? { beside: all, below: [] } : { beside: name, below: troubles }
  })
  const table = formatTable(
    [
      [...titles, ...heading(['TAILNET NAME / MESSAGE'], colors)],
      ...rows.map((row, i) => [
        ...row,
        { text: lines[i]?.beside ?? '', paint: urgency(sorted[i]) > 0 ? colors.yellow : undefined },
      ]),
    ],
    columns,
  )
  return table.map((line, i) => {
    const below = lines[i - 1]?.below.flatMap((text) => wrap(text, (columns ?? 0) - INDENT.length)) ?? []
    return [line, ...below.map((text) => colors.yellow(`${INDENT}${text}`))]
  })
}

const INDENT = '    '

/** Not ready before ready with a problem before all well; the order of names is kept. */
const urgency = (service: ServiceView | undefined) => (service?.ready === false ? 2 : Number((service?.problems.length ?? 0) > 0))

const withoutPaint = (row: (string | Cell)[]) => row.map((cell) => (typeof cell === 'string' ? cell : cell.text))

const shortcomings = ({ problems }: Pick<ServiceView, 'problems'>) => problems.map(({ part, message }) => `${part}: ${message}`)

function problem({ reason, message, retryAt }: ServiceView, now: number): string {
  const retry = retryAt !== null && retryAt > now ? ` (retry in ${formatDuration(retryAt - now)})` : ''
  return `${message === '' ? reason : message}${retry}`
}

const heading = (titles: readonly string[], colors: Colors): Cell[] => titles.map((text) => ({ text, paint: colors.dim }))
