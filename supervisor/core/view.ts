/** The public view: what `status` and metrics show, made from Desired and Observed. */
import type { ServiceView, ShardView, Status } from '../../shared/api.ts'
import type { ListenSpec, ServiceProblem, ServiceStatus } from '../../shared/protocol.ts'
import type { CertificateTurns } from './certificates.ts'
import type { Culprits } from './culpritRecord.ts'
import { type GuardPolicy, memoryProblems } from './guards.ts'
import { holderOf, nameOrphan } from './orphans.ts'
import { certificatesDue, primaryWorkers } from './reconcile.ts'
import type { Desired, DesiredService, Observed, ObservedWorker, ServiceRecord } from './types.ts'

/** What of the configuration a person wants to see beside the state of a service. */
export interface ServiceLabels {
  readonly upstream: string
  readonly group: string
  readonly weight: number
  readonly spec: { readonly listeners: readonly Pick<ListenSpec, 'address' | 'scheme'>[] }
}

/** What the supervisor as a whole is about. */
export function viewPhase(desired: Desired, services: readonly ServiceView[]): Status['phase'] {
  switch (desired.phase) {
    case 'adopt':
      return 'starting'
    case 'run':
      return services.some(({ phase }) => phase === 'pending' || phase === 'starting') ? 'starting' : 'running'
    case 'stop':
    case 'leave':
      return 'stopping'
  }
}

/** One row for each service that ought to run, and for each that still runs although it ought not. Sorted by name. */
export function viewServices(
  desired: Desired,
  observed: Observed,
  labels: ReadonlyMap<string, ServiceLabels>,
  now: number,
): ServiceView[] {
  const running = ownersOf(observed)
  const primaries = primaryWorkers(observed.workers.values())
  const { later } = certificatesDue(desired, observed, now)
  const names = [...new Set([...desired.services.keys(), ...running.keys()])].sort()
  return names.map((name) => {
    const wanted = desired.services.get(name)
    const worker = running.get(name) ?? (wanted && primaries.get(wanted.shard))
    const problems = problemsOf(worker?.services.get(name), later, now)
    const row = viewService(name, wanted, worker, observed.services.get(name), labels.get(name))
    return { ...row, ...heldByOrphan(row, observed.orphans), problems }
  })
}

/** The worker that has each service: not the one that stands by, if there is another. */
export function ownersOf(observed: Observed): ReadonlyMap<string, ObservedWorker> {
  const owners = new Map<string, ObservedWorker>()
  for (const worker of observed.workers.values()) {
    for (const [name, { phase }] of worker.services) if (phase !== 'standby' || !owners.has(name)) owners.set(name, worker)
  }
  return owners
}

function viewService(
  name: string,
  wanted: DesiredService | undefined,
  worker: ObservedWorker | undefined,
  record: ServiceRecord | undefined,
  labels: ServiceLabels | undefined,
): Omit<ServiceView, 'problems'> {
  const status = worker?.services.get(name)
  const common = {
    name,
    shard: wanted?.shard ?? worker?.shard ?? null,
    workerPid: worker?.process?.pid ?? null,
    retryAt: record?.retryAt ?? null,
    restarts: Object.values(record?.restarts ?? {}).reduce((sum, count) => sum + count, 0),
    restartReasons: record?.restarts ?? {},
    dnsName: status?.identity.dnsName ?? '',
    addresses: status?.identity.addresses ?? [],
    loginURL: status?.identity.loginURL ?? '',
    certificate: status?.certificate ? { domain: status.certificate.domain, notAfter: status.certificate.notAfter } : null,
    nodeKeyExpiry: status?.identity.nodeKeyExpiry ?? null,
    // The loop knows it.
    startSeconds: null,
    url: urlOf(status?.identity.dnsName ?? '', labels),
    upstream: labels?.upstream ?? '',
    group: labels?.group ?? '',
    weight: labels?.weight ?? 1,
    requests: status?.counters.requests ?? 0,
    errors: status?.counters.errors ?? 0,
  }
  const since = worker && muteSince(worker)
  if (worker && typeof since === 'number') {
    // What it last reported may no longer be true.
    const pid = worker.process ? ` (pid ${String(worker.process.pid)})` : ''
    const message = `its worker${pid} has not answered since ${new Date(since).toISOString()}`
    return { ...common, phase: status ? 'unknown' : 'pending', ready: false, since, ...waiting(message) }
  }
  if (status && (status.phase !== 'failed' || !record?.problem)) {
    const removing = wanted === undefined && status.phase !== 'draining'
    const { phase, message, since } = status
    return { ...common, phase, ready: phase === 'ready', reason: removing ? 'Removing' : status.reason, message, since }
  }
  return { ...common, phase: 'pending', ready: false, ...pendingReason(record, worker) }
}

/** The worker can only say that the directory is locked. The supervisor knows that an orphan has it, and what ends the orphan. */
function heldByOrphan({ name, reason }: Omit<ServiceView, 'problems'>, orphans: Observed['orphans']): { message?: string } {
  const holder = reason === 'StateDirLocked' ? holderOf(name, orphans) : undefined
  return holder
    ? { message: `its node is held by ${nameOrphan(holder)}, which no supervisor follows; "tsnsrv-sup stop --workers" ends it` }
    : {}
}

/** The rows, and one for each service that is kept off. Sorted by name. */
export function viewQuarantined(
  rows: readonly ServiceView[],
  quarantine: Culprits['quarantine'],
  observed: Observed,
  labels: ReadonlyMap<string, ServiceLabels>,
): ServiceView[] {
  const kept = [...quarantine].map(([name, { since, reason }]): ServiceView => {
    const row = viewService(name, undefined, undefined, observed.services.get(name), labels.get(name))
    const message = `${reason}. It stays off until its configuration changes or "tsnsrv-sup release ${name}"`
    return { ...row, phase: 'failed', reason: 'Quarantined', message, since, retryAt: null, problems: [] }
  })
  return [...rows.filter(({ name }) => !quarantine.has(name)), ...kept].sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** A certificate that ends so soon should long have been renewed: by the worker, or by whoever writes the file. */
const DAY_MS = 24 * 3_600_000
const ENDS_SOON_MS = 7 * DAY_MS

/** Control servers let a node key end after months, and then a person has to log in. Two weeks are for holidays. */
const KEY_ENDS_SOON_MS = 14 * DAY_MS

/** What the worker says, and what only the supervisor knows: why a certificate has to wait, and what is about to end. */
function problemsOf(status: ServiceStatus | undefined, later: CertificateTurns['later'], now: number): ServiceProblem[] {
  if (!status) return []
  return [...status.problems, ...certificateProblems(status, later, now), ...nodeKeyProblems(status, now)]
}

function certificateProblems({ certificate }: ServiceStatus, later: CertificateTurns['later'], now: number): ServiceProblem[] {
  if (!certificate) return []
  const { domain, notAfter } = certificate
  const wait = later.get(domain)
  if (wait) {
    const until = wait.at === null ? '' : `; the next order is at ${new Date(wait.at).toISOString()}`
    return [{ part: 'certificate', message: `It waits: ${wait.why}${until}.` }]
  }
  if (notAfter === 0 || notAfter - now >= ENDS_SOON_MS) return []
  const message = `The certificate of ${domain} ${notAfter > now ? 'ends' : 'has ended'} at ${new Date(notAfter).toISOString()}.`
  return [{ part: 'certificate', message }]
}

/** A key that has ended is no problem of a part: the node needs a login. */
function nodeKeyProblems({ identity: { nodeKeyExpiry: ends } }: ServiceStatus, now: number): ServiceProblem[] {
  if (ends === undefined || ends <= now || ends - now >= KEY_ENDS_SOON_MS) return []
  const days = Math.floor((ends - now) / DAY_MS)
  const left = days === 0 ? 'in less than a day' : `in ${String(days)} day${days === 1 ? '' : 's'}`
  const message =
    `The key of the node ends ${left}, at ${new Date(ends).toISOString()}. The node then leaves the tailnet until somebody logs it ` +
    'in. Disable its key expiry in the admin console, or give the service tags: nodes with tags keep their key.'
  return [{ part: 'node key', message }]
}

/** The first listener as a URL, without the port that its scheme implies. */
function urlOf(dnsName: string, labels: ServiceLabels | undefined): string {
  const listener = labels?.spec.listeners[0]
  if (dnsName === '' || !listener || listener.scheme === 'tcp') return ''
  const scheme = listener.scheme === 'funnel' ? 'https' : listener.scheme
  return new URL(`${scheme}://${dnsName}${listener.address.slice(listener.address.lastIndexOf(':'))}/`).href
}

const waiting = (message: string) => ({ reason: 'WaitingForWorker' as const, message })

function pendingReason(
  record: ServiceRecord | undefined,
  worker: ObservedWorker | undefined,
): Pick<ServiceView, 'reason' | 'message' | 'since'> {
  if (record?.problem) return record.problem
  if (!worker) return { ...waiting('its worker has ended and is about to be started again'), since: 0 }
  if (worker.phase !== 'ready') return { ...waiting('its worker is starting'), since: worker.since }
  return { reason: 'WaitingForRelease', message: 'another worker has its node, or may have it', since: worker.since }
}

/** One row for each shard that ought to exist or still has a worker. Sorted by number. */
export function viewShards(
  desired: Desired,
  observed: Observed,
  cordoned: ReadonlySet<number>,
  suspects: Culprits['suspects'],
  guards: GuardPolicy,
): ShardView[] {
  const wanted = new Map<number, number>([...desired.opening].map((shard) => [shard, 0]))
  for (const service of desired.services.values()) wanted.set(service.shard, (wanted.get(service.shard) ?? 0) + 1)
  const workers = [...observed.workers.values()]
  const shards = [...new Set([...wanted.keys(), ...workers.map((worker) => worker.shard)])].sort((a, b) => a - b)
  const primaries = primaryWorkers(workers)
  return shards.map((shard) => {
    const worker = primaries.get(shard) ?? workers.find((candidate) => candidate.shard === shard)
    const record = observed.shards.get(shard)
    const statuses = worker ? [...worker.services.values()] : []
    return {
      shard,
      services: wanted.get(shard) ?? statuses.length,
      ready: worker && muteSince(worker) !== null ? 0 : statuses.filter((status) => status.phase === 'ready').length,
      workerId: worker?.id ?? null,
      workerPid: worker?.process?.pid ?? null,
      workerPhase: worker?.phase ?? null,
      adopted: worker?.adopted ?? false,
      since: worker?.since ?? 0,
      restarts: record?.restarts ?? 0,
      respawnAt: worker ? null : (record?.respawnAt ?? null),
      cpuPercent: worker?.usage?.cpuPercent ?? null,
      memoryBytes: worker?.usage?.memoryBytes ?? null,
      swapBytes: worker?.usage?.swapBytes ?? null,
      cpuSeconds: worker?.usage?.cpuSeconds ?? null,
      version: worker?.version ?? '',
      cordoned: cordoned.has(shard),
      suspected: suspects.has(shard),
      memoryGrowth: worker?.memory.growth ?? null,
      silentSince: worker?.silentSince ?? null,
      problems: worker ? [...silenceProblems(worker), ...memoryProblems(worker, guards), ...hiddenProblems(worker)] : [],
    }
  })
}

function hiddenProblems({ shard, isHidden, process }: ObservedWorker): string[] {
  if (!isHidden || !process) return []
  return [
    `Its CPU and memory are not known, as this host hides /proc/${String(process.pid)} from the supervisor (hidepid, or another ` +
      `user namespace): rebalancing and memoryLimit leave it alone. "tsnsrv-sup drain ${String(shard)}" moves its services to a ` +
      'worker that can be measured.',
  ]
}

/** Epoch ms since when nothing is known of a worker; null while it answers. */
const muteSince = ({ phase, silentSince, since }: ObservedWorker) => silentSince ?? (phase === 'unknown' ? since : null)

function silenceProblems(worker: ObservedWorker): string[] {
  const since = muteSince(worker)
  // One that has just been found has not been asked before.
  if (since === null || !worker.heard) return []
  const remedy = worker.process ? `: "ps -o stat= ${String(worker.process.pid)}" says T, and SIGCONT continues it` : ''
  return [
    `Its worker has not answered since ${new Date(since).toISOString()}, so nothing is known of its services. It is replaced if ` +
      `it stays silent. Its process may be stopped${remedy}.`,
  ]
}
