/** What is wrong with an installation, and what mends it: judged from facts that somebody else has looked up. Pure. */
import type { Status, Unsupervised } from '../../shared/api.ts'

/** What was found on this host. A fact that could not be looked up is absent, and nothing is said of it. */
export interface Facts {
  /** Epoch ms. */
  readonly now: number
  /** Null where no supervisor runs; then `unsupervised` says what serves. */
  readonly status: Status | null
  readonly unsupervised: Unsupervised | null
  /** Why the configuration cannot be read or is refused; empty when it is fine or was not named. */
  readonly configProblem: string
  /** Services of the configuration. */
  readonly services: readonly ConfiguredService[]
  readonly directories: readonly DirectoryFact[]
  /** Of the file system of the state directory. */
  readonly disk?: { readonly path: string; readonly freeBytes: number; readonly totalBytes: number }
  /** One sentence when a worker may open too few files; empty otherwise. */
  readonly filesProblem: string
  /** Of the worker that is installed. */
  readonly installedVersion?: string
  readonly control: readonly ControlFact[]
}

interface ConfiguredService {
  readonly name: string
  readonly hostname: string
  readonly upstream: string
  /** Why a connection to it failed just now; empty when it did not, or was not tried. */
  readonly upstreamProblem: string
  readonly ephemeral: boolean
}

interface DirectoryFact {
  readonly path: string
  readonly mode: number
  readonly uid: number
  /** Of this process. */
  readonly user: number
  /** The service that it is the node of; null for the state directory itself, empty for a node that no service has. */
  readonly service: string | null
}

interface ControlFact {
  readonly url: string
  /** Why it did not answer; empty when it did. */
  readonly problem: string
  /** How far the clock of this host is ahead of its, in ms; null when it does not tell. */
  readonly aheadMs: number | null
}

export interface Finding {
  /** A word that stays, for scripts. */
  readonly check: string
  readonly severity: 'error' | 'warning' | 'info'
  /** What it is about: a service, "shard 2", a path; empty for the whole. */
  readonly about: string
  readonly message: string
  /** A command, or a line of the configuration. */
  readonly remedy: string
}

type Told = Omit<Finding, 'check'>
type Check = (facts: Facts) => readonly Told[]

const MINUTE = 60_000
const DAY = 24 * 60 * MINUTE
/** Certificates and logins are refused when clocks are apart by some minutes. */
const MOST_CLOCK_MS = MINUTE
/** So much is needed for logs (30 MB a shard and kind) and state. */
const LEAST_FREE_BYTES = 500e6

const services = ({ status }: Facts) => status?.services ?? []
const shards = ({ status }: Facts) => status?.shards ?? []
const error = (about: string, message: string, remedy: string): Told => ({ severity: 'error', about, message, remedy })
const warning = (about: string, message: string, remedy: string): Told => ({ severity: 'warning', about, message, remedy })
const info = (about: string, message: string, remedy: string): Told => ({ severity: 'info', about, message, remedy })
const when = (isTrue: boolean, told: () => Told): Told[] => (isTrue ? [told()] : [])

/** Each check by its word, in the order in which findings of the same severity are shown. */
const checks: Readonly<Record<string, Check>> = {
  supervisor: ({ status, unsupervised }) =>
    when(status === null, () => {
      const serving = unsupervised?.workers.length ?? 0
      return serving > 0
        ? error(
            '',
            `No supervisor runs, and ${String(serving)} workers serve without one: one that ends stays away.`,
            'tsnsrv-sup start -c FILE',
          )
        : error('', 'No supervisor runs.', 'tsnsrv-sup start -c FILE')
    }),
  config: ({ configProblem }) => when(configProblem !== '', () => error('', configProblem, 'tsnsrv-sup validate FILE')),
  reload: ({ status }) =>
    when((status?.configError ?? '') !== '', () =>
      error(
        '',
        `The last reload was refused, and an older configuration runs: ${status?.configError ?? ''}`,
        'tsnsrv-sup validate FILE && tsnsrv-sup reload',
      ),
    ),
  journal: ({ status }) =>
    when((status?.journalError ?? '') !== '', () =>
      error(
        '',
        `The state file cannot be written, so nothing moves: ${status?.journalError ?? ''}`,
        `df ${status?.stateDir ?? ''}`,
      ),
    ),
  login: (facts) =>
    services(facts)
      .filter(({ loginURL }) => loginURL !== '')
      .map(({ name, loginURL }) =>
        error(name, 'Its node waits for somebody to log it in.', `open ${loginURL}, or set authkeyPath`),
      ),
  ready: (facts) =>
    services(facts)
      .filter(({ ready, loginURL }) => !ready && loginURL === '')
      .map(({ name, phase, reason, message }) =>
        error(name, `It is ${phase}: ${message || reason}`, `tsnsrv-sup describe ${name}`),
      ),
  problem: (facts) =>
    services(facts).flatMap(({ name, problems }) =>
      problems.map(({ part, message }) => warning(name, `${part}: ${message}`, `tsnsrv-sup describe ${name}`)),
    ),
  upstream: (facts) =>
    facts.services
      .filter(({ upstreamProblem }) => upstreamProblem !== '')
      .map(({ name, upstream, upstreamProblem }) =>
        error(name, `Its upstream ${upstream} cannot be reached: ${upstreamProblem}`, 'start it, or correct "upstream"'),
      ),
  'name-taken': (facts) =>
    facts.services.flatMap(({ name, hostname }) => {
      const dnsName = services(facts).find((service) => service.name === name)?.dnsName ?? ''
      const [label = ''] = dnsName.split('.')
      const isOther = label !== hostname && label.startsWith(`${hostname}-`) && /^\d+$/.test(label.slice(hostname.length + 1))
      return when(isOther, () =>
        warning(
          name,
          `It is ${label} on the tailnet, as another node has the name ${hostname}.`,
          `remove the old node ${hostname} in the admin console, then rename this one`,
        ),
      )
    }),
  orphans: ({ status, unsupervised }) =>
    (status?.orphans ?? unsupervised?.orphans ?? []).map(({ workerId, message }) =>
      error(workerId, message, 'tsnsrv-sup stop --workers'),
    ),
  worker: (facts) =>
    shards(facts).flatMap(({ shard, problems }) =>
      problems.map((message) => warning(`shard ${String(shard)}`, message, `tsnsrv-sup describe ${String(shard)}`)),
    ),
  suspected: (facts) =>
    shards(facts)
      .filter(({ suspected }) => suspected)
      .map(({ shard }) =>
        warning(
          `shard ${String(shard)}`,
          'One of its services may crash its workers; the supervisor searches for it.',
          `tsnsrv-sup describe ${String(shard)}`,
        ),
      ),
  quarantine: (facts) =>
    services(facts)
      .filter(({ reason }) => reason === 'Quarantined')
      .map(({ name }) => error(name, 'It is kept off because it crashes its workers.', `tsnsrv-sup release ${name}`)),
  upgrade: ({ status }) =>
    when((status?.rebalancing.upgrade?.halted ?? '') !== '', () =>
      error(
        '',
        `The upgrade of the workers has halted: ${status?.rebalancing.upgrade?.halted ?? ''}`,
        'tsnsrv-sup upgrade-workers',
      ),
    ),
  'worker-version': (facts) => {
    const old = shards(facts).filter(
      ({ version }) => facts.installedVersion !== undefined && version !== '' && version !== facts.installedVersion,
    )
    return when(old.length > 0, () =>
      warning(
        '',
        `${String(old.length)} workers run ${[...new Set(old.map(({ version }) => version))].join(', ')}; ${facts.installedVersion ?? ''} is installed.`,
        'tsnsrv-sup upgrade-workers',
      ),
    )
  },
  metrics: ({ status }) =>
    when((status?.metricsError ?? '') !== '', () =>
      warning('', `Metrics are not served: ${status?.metricsError ?? ''}`, 'prometheusAddr: 127.0.0.1:PORT'),
    ),
  'metrics-open': ({ status }) =>
    when(/^(?::|0\.0\.0\.0:|\[::\]:)/.test(status?.prometheusAddr ?? ''), () =>
      info(
        '',
        `Metrics are served on all interfaces (${status?.prometheusAddr ?? ''}): names of services and how much they are used.`,
        'prometheusAddr: 127.0.0.1:9099',
      ),
    ),
  directory: ({ directories }) =>
    directories.flatMap(({ path, mode, uid, user, service }) => {
      const about = service ?? ''
      if (uid !== user && uid !== 0 && user !== 0)
        return [
          error(
            about,
            `${path} belongs to uid ${String(uid)}, who can replace what is in it.`,
            `chown -R ${String(user)} ${path}`,
          ),
        ]
      if ((mode & 0o022) !== 0)
        return [error(about, `${path} is writable by other users, who could replace the node's key.`, `chmod go-w ${path}`)]
      return when(service !== null && (mode & 0o055) !== 0, () =>
        warning(about, `${path} can be read by other users; the node's key is in it.`, `chmod 700 ${path}`),
      )
    }),
  leftover: ({ directories }) =>
    directories
      .filter(({ service }) => service === '')
      .map(({ path }) =>
        info(
          '',
          `${path} is of a node that no service has any more.`,
          `remove the node in the admin console, then rm -r ${path}`,
        ),
      ),
  disk: ({ disk }) =>
    when(disk !== undefined && disk.freeBytes < Math.min(LEAST_FREE_BYTES, disk.totalBytes / 20), () =>
      error(
        '',
        `Only ${String(Math.round((disk?.freeBytes ?? 0) / 1e6))} MB are free at ${disk?.path ?? ''}: without space nothing can be written, and so nothing moves.`,
        `du -sh ${disk?.path ?? ''}/*`,
      ),
    ),
  files: ({ filesProblem }) => when(filesProblem !== '', () => warning('', filesProblem, 'LimitNOFILE=65536 in the unit')),
  control: ({ control }) =>
    control
      .filter(({ problem }) => problem !== '')
      .map(({ url, problem }) => error('', `The control server ${url} does not answer: ${problem}`, `curl -I ${url}`)),
  clock: ({ control }) =>
    control
      .filter(({ aheadMs }) => aheadMs !== null && Math.abs(aheadMs) > MOST_CLOCK_MS)
      .map(({ url, aheadMs }) =>
        error(
          '',
          `The clock of this host is ${String(Math.round(Math.abs(aheadMs ?? 0) / 1000))} s ${(aheadMs ?? 0) > 0 ? 'ahead of' : 'behind'} that of ${url}: certificates and logins fail.`,
          'timedatectl set-ntp true',
        ),
      ),
  ephemeral: (facts) => {
    const found = facts.services.filter(({ ephemeral }) => ephemeral)
    return when(found.length > 0, () =>
      info(
        '',
        `${String(found.length)} services are ephemeral: each start is a new node with a new address, and logs in again.`,
        'ephemeral: false',
      ),
    )
  },
  paused: ({ status }) =>
    when(status?.rebalancing.paused === true, () => info('', 'Rebalancing is paused: hot shards stay hot.', 'tsnsrv-sup resume')),
  cordoned: (facts) =>
    shards(facts)
      .filter(({ cordoned }) => cordoned)
      .map(({ shard }) =>
        info(`shard ${String(shard)}`, 'It is cordoned: nothing new comes to it.', `tsnsrv-sup uncordon ${String(shard)}`),
      ),
  'key-end': (facts) =>
    services(facts)
      .filter(
        ({ nodeKeyExpiry, ready }) =>
          ready && nodeKeyExpiry !== null && nodeKeyExpiry > facts.now + 14 * DAY && nodeKeyExpiry < facts.now + 60 * DAY,
      )
      .map(({ name, nodeKeyExpiry }) =>
        info(
          name,
          `Its node key ends in ${String(Math.floor(((nodeKeyExpiry ?? 0) - facts.now) / DAY))} days.`,
          'disable key expiry in the admin console, or set tags',
        ),
      ),
}

const ORDER = { error: 0, warning: 1, info: 2 } as const

/** All findings, the worst first. */
export function diagnose(facts: Facts): Finding[] {
  return Object.entries(checks)
    .flatMap(([check, judge]) => judge(facts).map((told): Finding => ({ check, ...told })))
    .sort((a, b) => ORDER[a.severity] - ORDER[b.severity])
}
