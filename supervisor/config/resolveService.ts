/** From the keys of a service to what a worker is told. */
import { createHash } from 'node:crypto'
import { resolve } from 'node:path'
import { readAccessRule } from '../../shared/accessRule.ts'
import type { ServiceConfig } from '../../shared/config.ts'
import type {
  AccessRule,
  LimitsSpec,
  ListenSpec,
  ExposureSpec,
  IdentitySpec,
  PrefixSpec,
  ProxySpec,
  ServiceSpec,
} from '../../shared/protocol.ts'
import { parseRate } from '../../shared/rate.ts'
import { shownURL, withoutUserInfo } from '../../shared/secrets.ts'
import { durationMs, type Settings } from './settings.ts'

/** One service with every default applied. */
export interface ResolvedService {
  /** Lower case: a host name. */
  readonly name: string
  /** Expected load beside other services. */
  readonly weight: number
  /** Services of one group share a shard when they fit; empty for none. */
  readonly group: string
  /** For people: without the secrets that a URL may hold. */
  readonly upstream: string
  /** File of the auth key, or the bare name of a systemd credential; empty for none. */
  readonly credentialPath: string
  /** Minted into keys made from an OAuth client secret. */
  readonly tags: readonly string[]
  readonly ephemeral: boolean
  /** What the worker is told, but for the key and whether to try again. */
  readonly spec: Omit<ServiceSpec, 'authKey' | 'retry'>
}

/** A service that broke no rule, with its state directory (absolute). */
export function resolveService(keys: ServiceConfig, stateDir: string, settings: Settings, cwd: string): ResolvedService {
  const name = keys.name.toLowerCase()
  const upstream = withoutUserInfo(keys.upstream)
  const node: IdentitySpec = {
    stateDir,
    hostname: keys.hostname.toLowerCase() || name,
    controlURL: keys.controlURL || settings.controlURL,
    ephemeral: keys.ephemeral,
    // As in tsnsrv, 0 is the default here and for whoisTimeout and authTimeout, and not "for ever".
    connectTimeoutMs: durationMs(keys.timeout) || 60_000,
    verbose: keys.tsnetVerbose,
    tags: [...keys.tags].sort(),
    clientID: keys.clientID,
    audience: keys.audience,
  }
  const listeners = resolveListeners(keys, cwd)
  const proxy = upstream === '' ? undefined : resolveProxy(keys, upstream, cwd)
  const limits = resolveLimits(keys)
  const rules = resolveRules(keys)
  const tcpAllow = keys.tcp.length === 0 ? [] : rules.filter(({ path }) => path === '/')
  const { weight, group, tags, ephemeral } = keys
  const specHash = hashOf([node, listeners, proxy, [limits, tcpAllow]])
  const exposure: ExposureSpec = { kind: 'node', node }
  const spec = { name, specHash, exposure, listeners, ...(proxy && { proxy }), limits, tcpAllow }
  const shown = shownURL(upstream) || keys.tcp.map(({ upstream: target }) => `tcp://${target}`).join(' ')
  return { name, weight, group, upstream: shown, credentialPath: keys.authkeyPath, tags, ephemeral, spec }
}

/** Where a service with these keys listens; also what tells that two of its listeners want one port. */
export function resolveListeners(keys: ServiceConfig, cwd: string): ListenSpec[] {
  const { plaintext, funnel, funnelOnly, redirectHTTP } = keys
  const common = {
    certificateFile: '',
    keyFile: '',
    readHeaderTimeoutMs: durationMs(keys.readHeaderTimeout),
    maxHeaderBytes: keys.maxHeaderBytes,
    idleTimeoutMs: durationMs(keys.idleTimeout),
    dialAddress: '',
    useTailnetDialer: false,
    dialTimeoutMs: 0,
    proxyProtocol: false,
  }
  const address = keys.listenAddr || ':443'
  const certificate = { certificateFile: absolute(keys.certificateFile, cwd), keyFile: absolute(keys.keyFile, cwd) }
  const list: ListenSpec[] = []
  if (keys.upstream !== '') {
    if (plaintext) list.push({ ...common, address, scheme: 'http' })
    else if (!funnelOnly) list.push({ ...common, ...certificate, address, scheme: 'https' })
    if (funnel) list.push({ ...common, ...certificate, address, scheme: 'funnel' })
    if (redirectHTTP) list.push({ ...common, address: ':80', scheme: 'redirect' })
  }
  for (const { listenAddr, upstream, proxyProtocol, idleTimeout } of keys.tcp) {
    list.push({
      ...common,
      address: listenAddr,
      scheme: 'tcp',
      readHeaderTimeoutMs: 0,
      maxHeaderBytes: 0,
      idleTimeoutMs: durationMs(idleTimeout),
      dialAddress: upstream,
      useTailnetDialer: !keys.suppressTailnetDialer,
      dialTimeoutMs: durationMs(keys.upstreamDialTimeout),
      proxyProtocol,
    })
  }
  return list
}

function resolveProxy(keys: ServiceConfig, upstream: string, cwd: string): ProxySpec {
  const forwardAuth = keys.authURL === '' ? undefined : resolveForwardAuth(keys)
  return {
    upstream,
    dialAddress: keys.upstreamTCPAddr,
    dialUnixPath: unixPath(keys.upstreamUnixAddr, cwd),
    useTailnetDialer: !keys.suppressTailnetDialer,
    insecureHTTPS: keys.insecureHTTPS,
    allowInsecureCiphers: keys.upstreamAllowInsecureCiphers,
    caFile: absolute(keys.upstreamCAFile, cwd),
    dialTimeoutMs: durationMs(keys.upstreamDialTimeout),
    tlsTimeoutMs: durationMs(keys.upstreamTLSTimeout),
    responseHeaderTimeoutMs: durationMs(keys.upstreamResponseTimeout),
    upstreamIdleTimeoutMs: durationMs(keys.upstreamIdleTimeout),
    bodyReadTimeoutMs: durationMs(keys.bodyReadTimeout),
    maxRequestBodyBytes: keys.maxRequestBodyBytes,
    hostnames: keys.hostnames.map((name) => name.toLowerCase()),
    upgrades: keys.upgrades.map((protocol) => protocol.toLowerCase()),
    recommendedProxyHeaders: keys.recommendedProxyHeaders,
    upstreamHeaders: sortedByName(keys.upstreamHeaders),
    removeUpstreamHeaders: keys.removeUpstreamHeaders,
    responseHeaders: sortedByName(keys.responseHeaders),
    removeResponseHeaders: keys.removeResponseHeaders,
    whois: !keys.suppressWhois,
    whoisTimeoutMs: durationMs(keys.whoisTimeout) || 1000,
    prefixes: keys.prefixes.map(resolvePrefix),
    stripPrefix: keys.stripPrefix,
    allow: resolveRules(keys),
    ...(forwardAuth && { forwardAuth }),
    ...(keys.accessLog && { accessLog: { sampling: keys.accessLogSampling, query: keys.accessLogQuery } }),
  }
}

function resolveLimits(keys: ServiceConfig): LimitsSpec {
  return {
    maxConnections: keys.maxConnections,
    maxConnectionsPerClient: keys.maxConnectionsPerClient,
    maxRequests: keys.maxRequests,
    maxRequestsPerClient: keys.maxRequestsPerClient,
    rateLimit: parseRate(keys.rateLimit) ?? 0,
    funnelRateLimit: parseRate(keys.funnelRateLimit) ?? 0,
    sendTimeoutMs: durationMs(keys.sendTimeout),
  }
}

function resolveRules(keys: ServiceConfig): AccessRule[] {
  return keys.allow.flatMap((text) => {
    const read = readAccessRule(text)
    return 'rule' in read ? [read.rule] : []
  })
}

/** As in tsnsrv, scheme and host are those of authURL, and the rest is authPath. */
function resolveForwardAuth(keys: ServiceConfig): ProxySpec['forwardAuth'] {
  return {
    url: new URL(keys.authURL).origin + keys.authPath,
    timeoutMs: durationMs(keys.authTimeout) || 5000,
    copyHeaders: Object.keys(keys.authCopyHeaders).sort(),
    insecureHTTPS: keys.authInsecureHTTPS,
    bypassForTailnet: keys.authBypassForTailnet,
    cacheTTLMs: durationMs(keys.authCacheTTL),
    passPaths: keys.authPassPaths,
  }
}

function resolvePrefix(text: string): PrefixSpec {
  const [, from = 'any', path = ''] = /^(?:(tailnet|funnel):)?(.*)$/.exec(text) ?? []
  return { from: from as PrefixSpec['from'], path }
}

/** "@name" is an abstract socket and no path. */
function unixPath(path: string, cwd: string): string {
  return path.startsWith('@') ? path : absolute(path, cwd)
}

function absolute(path: string, cwd: string): string {
  return path === '' ? '' : resolve(cwd, path)
}

function sortedByName(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** A hash for each part, so that two can be told apart by what has changed. The objects above are always built in one order. */
function hashOf(parts: readonly unknown[]): string {
  const short = (part: unknown) =>
    createHash('sha256')
      .update(JSON.stringify(part ?? null))
      .digest('hex')
      .slice(0, 12)
  return parts.map(short).join('-')
}
