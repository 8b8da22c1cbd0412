/** From the keys of a service to what a worker is told. */
import { createHash } from 'node:crypto'
import { resolve } from 'node:path'
import type { ServiceConfig } from '../../shared/config.ts'
import type { ServiceSpec } from '../../shared/protocol.ts'
import { durationMs, type Settings } from './settings.ts'
import { withoutUserInfo } from './upstreamURL.ts'

/** One service with every default applied. */
export interface ResolvedService {
  /** Lower case: a host name. */
  readonly name: string
  /** Expected load beside other services. */
  readonly weight: number
  /** Services of one group share a shard when they fit; empty for none. */
  readonly group: string
  /** For people. */
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
  const node: ServiceSpec['node'] = {
    stateDir,
    hostname: name,
    controlURL: settings.controlURL,
    ephemeral: keys.ephemeral,
    // As in tsnsrv, 0 is the default here and for whoisTimeout, and not "for ever".
    connectTimeoutMs: durationMs(keys.timeout) || 60_000,
    verbose: keys.tsnetVerbose,
  }
  const listeners: ServiceSpec['listeners'] = [
    { address: keys.listenAddr || ':443', scheme: 'http', readHeaderTimeoutMs: durationMs(keys.readHeaderTimeout) },
  ]
  const proxy: ServiceSpec['proxy'] = {
    upstream,
    dialAddress: keys.upstreamTCPAddr,
    dialUnixPath: unixPath(keys.upstreamUnixAddr, cwd),
    useTailnetDialer: !keys.suppressTailnetDialer,
    insecureHTTPS: keys.insecureHTTPS,
    recommendedProxyHeaders: keys.recommendedProxyHeaders,
    upstreamHeaders: sortedByName(keys.upstreamHeaders),
    whois: !keys.suppressWhois,
    whoisTimeoutMs: durationMs(keys.whoisTimeout) || 1000,
  }
  const { weight, group, tags, ephemeral } = keys
  const spec = { name, specHash: hashOf({ node, listeners, proxy }), node, listeners, proxy }
  return { name, weight, group, upstream, credentialPath: keys.authkeyPath, tags, ephemeral, spec }
}

/** "@name" is an abstract socket and no path. */
function unixPath(path: string, cwd: string): string {
  return path === '' || path.startsWith('@') ? path : resolve(cwd, path)
}

function sortedByName(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** A hash for each part, so that two can be told apart by what has changed. The objects above are always built in one order. */
function hashOf({ node, listeners, proxy }: Pick<ServiceSpec, 'node' | 'listeners' | 'proxy'>): string {
  const short = (part: unknown) => createHash('sha256').update(JSON.stringify(part)).digest('hex').slice(0, 12)
  return [node, listeners, proxy].map(short).join('-')
}
