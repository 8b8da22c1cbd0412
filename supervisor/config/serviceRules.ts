/** Rules between the keys of a service and between services, in tsnsrv's words where it has words (its config.go and cli.go). */
import { dirname, join } from 'node:path'
import type { ServiceConfig } from '../../shared/config.ts'
import { hasUserInfo } from '../../shared/secrets.ts'
import { type Range, type Report } from './report.ts'
import { resolveListeners } from './resolveService.ts'
import { upstreamProblem } from './upstreamURL.ts'

/** A service as written, with `defaults:` and tsnsrv's defaults under it. What is wrong by itself counts as not written. */
export interface WrittenService {
  /** Place in the list of services. */
  readonly index: number
  readonly keys: ServiceConfig
  /** What the service or `defaults:` says, as opposed to what it leaves open. */
  readonly said: ReadonlySet<string>
  /** Absolute; empty when the service has no name to make one of. */
  readonly stateDir: string
}

export interface RuleContext {
  readonly report: Report
  /** Where a key of a service stands: in the service, else in `defaults:`, else the service's name, else its entry. */
  readonly place: (index: number, key: string) => Range | undefined
  /** Which keys of a service are there under a wrong name, which has been reported. */
  readonly misspelt: (index: number) => ReadonlySet<string>
}

/** Reports every broken rule. */
export function checkServices(services: readonly WrittenService[], supervisorDir: string, context: RuleContext): void {
  for (const service of services) {
    checkUpstream(service, context)
    noteWrongScheme(service, context)
    noteLostHost(service, context)
    checkListener(service, context)
    checkFunnel(service, context)
    checkPorts(service, context)
    checkAuth(service, context)
    checkWorkloadIdentity(service, context)
  }
  checkNames(services, context)
  checkStateDirs(services, supervisorDir, context)
  noteDefaults(services, context)
  noteForeignNames(services, context)
}

function checkUpstream({ index, keys }: WrittenService, { report, place, misspelt }: RuleContext): void {
  const wrong = keys.upstream === '' ? undefined : upstreamProblem(keys.upstream)
  if (keys.upstream === '' && keys.tcp.length === 0) {
    const range = place(index, 'upstream')
    if ((range && report.hasErrorAt(range)) || misspelt(index).has('upstream')) return
    report.error(range, 'upstream URL is required', 'add upstream: http://host:port, or tcp: for a service that is no web server')
  } else if (wrong) report.error(place(index, 'upstream'), wrong.problem, wrong.hint)
  else if (hasUserInfo(keys.upstream)) {
    const remedy = 'set an Authorization header under upstreamHeaders: instead'
    report.note(place(index, 'upstream'), 'user name and password of an upstream are ignored, as tsnsrv does', remedy)
  }
  if (keys.upstreamTCPAddr !== '' && keys.upstreamUnixAddr !== '') {
    const message = 'upstreamUnixAddr and upstreamTCPAddr exclude each other: there is one address to dial'
    report.error(place(index, 'upstreamUnixAddr'), message, 'remove one of the two keys')
  }
}

/** The port says which scheme is meant: an upstream that is spoken to by the other one answers nothing of use. */
function noteWrongScheme({ index, keys }: WrittenService, { report, place }: RuleContext): void {
  const [, scheme = '', port] = /^(https?|h2c):\/\/[^/?#]*:(80|443)(?:[/?#]|$)/i.exec(keys.upstream) ?? []
  const usual = port === '443' ? 'https' : 'http'
  if (port === undefined || scheme.toLowerCase() === usual || (port === '80' && scheme.toLowerCase() === 'h2c')) return
  const message = `upstream is spoken to by ${scheme}, and port ${port} is that of ${usual}`
  report.note(place(index, 'upstream'), message, `write ${usual}://, unless it is another protocol that listens there`)
}

/** A Host that is written where other headers are. */
function noteLostHost({ index, keys }: WrittenService, { report, place }: RuleContext): void {
  if (!Object.keys(keys.upstreamHeaders).some((name) => name.toLowerCase() === 'host')) return
  const message = 'Host under upstreamHeaders has no effect, as in tsnsrv: what is sent is the host of upstream'
  const hint =
    'write recommendedProxyHeaders: true for the name that clients ask for; for another, upstream: http://NAME and upstreamTCPAddr:'
  report.note(place(index, 'upstreamHeaders'), message, hint)
}

function checkListener({ index, keys }: WrittenService, { report, place }: RuleContext): void {
  const { plaintext, funnel, funnelOnly, certificateFile, keyFile } = keys
  if (plaintext && funnel) {
    report.error(place(index, 'plaintext'), 'can not serve plaintext on a funnel service', 'remove plaintext: or funnel:')
  }
  if (funnelOnly && !funnel) {
    report.error(place(index, 'funnelOnly'), 'funnelOnly needs funnel: true', 'add that, or remove funnelOnly:')
  }
  if ((certificateFile === '') !== (keyFile === '')) {
    const [given, missing] = keyFile === '' ? ['certificateFile', 'keyFile'] : ['keyFile', 'certificateFile']
    const message = 'when providing either a certificate or key file, the other must be provided'
    report.error(place(index, given), message, `add ${missing}:`)
  }
  if (plaintext && certificateFile !== '' && keyFile !== '') {
    const message = 'can not serve plaintext when using custom certificate and key'
    report.error(place(index, 'plaintext'), message, 'remove plaintext:, or both certificateFile: and keyFile:')
  }
}

/** Where Tailscale's relays let the internet in. */
const FUNNEL_PORTS = [443, 8443, 10000]

function checkFunnel({ index, keys }: WrittenService, { report, place }: RuleContext): void {
  const port = portOf(keys.listenAddr || ':443')
  if (keys.funnel && !FUNNEL_PORTS.includes(port)) {
    const message = `funnel works on the ports ${FUNNEL_PORTS.join(', ')} only, and listenAddr is ${keys.listenAddr}`
    report.error(place(index, 'listenAddr'), message, 'choose one of them, or remove funnel:')
  }
  if (keys.funnel && keys.listenAddr !== '' && !keys.listenAddr.startsWith(':')) {
    report.error(place(index, 'listenAddr'), 'a funnel service listens on all its addresses', `write ":${port}"`)
  }
  if (keys.redirectHTTP && keys.plaintext) {
    report.error(place(index, 'redirectHTTP'), 'there is no https to redirect to', 'remove plaintext: or redirectHTTP:')
  }
}

/** Two listeners on one port; a funnel listener stands beside that of the tailnet. */
function checkPorts({ index, keys }: WrittenService, { report, place }: RuleContext): void {
  const owners = new Map<string, string>()
  for (const { address, scheme } of resolveListeners(keys, '/')) {
    const what = scheme === 'tcp' ? 'tcp' : scheme === 'redirect' ? 'redirectHTTP' : 'listenAddr'
    const port = `${scheme === 'funnel' ? 'funnel' : 'tailnet'}:${portOf(address)}`
    const other = owners.get(port)
    if (other === undefined) owners.set(port, what)
    else report.error(place(index, what), `port ${portOf(address)} is taken by ${other}`, 'give each listener a port of its own')
  }
}

function portOf(address: string): number {
  return Number(address.slice(address.lastIndexOf(':') + 1))
}

/** The server that is asked about requests: what would leave them unasked, or asks with less than it seems. */
function checkAuth({ index, keys, said }: WrittenService, { report, place }: RuleContext): void {
  if (keys.authURL === '') {
    const lost = ['authCopyHeaders', 'authBypassForTailnet', 'authPassPaths', 'authCacheTTL'].find((key) => said.has(key))
    if (lost) report.note(place(index, lost), `${lost} means nothing without authURL`, 'set authURL:, or remove it')
    return
  }
  if (keys.authBypassForTailnet && keys.suppressWhois) {
    const message =
      'authBypassForTailnet needs the identity of the client, which suppressWhois turns off: nobody can bypass the auth server'
    report.note(place(index, 'authBypassForTailnet'), message, 'remove one of the two keys')
  }
  if (URL.canParse(keys.authURL) && !/^(\/?)$/.test(new URL(keys.authURL).pathname)) {
    const message = 'the path of authURL is ignored, as tsnsrv does'
    report.note(place(index, 'authURL'), message, 'set authPath: for what is asked of the auth server')
  }
}

/** An identity without a secret: the node proves to be a workload of its cloud. */
function checkWorkloadIdentity({ index, keys }: WrittenService, { report, place }: RuleContext): void {
  if (keys.clientID === '' && keys.audience === '') return
  if (keys.clientID === '' || keys.audience === '') {
    const [given, missing] = keys.clientID === '' ? ['audience', 'clientID'] : ['clientID', 'audience']
    report.error(place(index, given), `${given} is nothing without ${missing}`, `add ${missing}:, or remove ${given}:`)
  }
  if (keys.authkeyPath !== '') {
    report.error(place(index, 'clientID'), 'a node logs in by authkeyPath or by clientID, not both', 'remove one of the two')
  }
  if (keys.tags.length === 0) {
    report.error(place(index, 'clientID'), 'a workload identity has to name the tags of the node', 'add tags:')
  }
}

/** Names are compared as the tailnet compares host names: without case. */
function checkNames(services: readonly WrittenService[], { report, place }: RuleContext): void {
  const first = new Map<string, WrittenService>()
  for (const service of services) {
    const name = service.keys.name.toLowerCase()
    const other = first.get(name)
    if (name === '') continue
    if (other === undefined) {
      first.set(name, service)
      continue
    }
    const otherPlace = place(other.index, 'name')
    const line = otherPlace === undefined ? '' : `, first at line ${report.lineOf(otherPlace)}`
    report.error(
      place(service.index, 'name'),
      `service ${service.keys.name}: duplicate service name${line}`,
      'names are unique, upper and lower case being the same',
    )
  }
}

/** Two nodes on one directory would be one node twice; a directory inside another is lost with it. */
function checkStateDirs(services: readonly WrittenService[], supervisorDir: string, { report, place }: RuleContext): void {
  const owners = new Map<string, WrittenService[]>()
  for (const service of services) {
    if (service.stateDir === '') continue
    const sharing = owners.get(service.stateDir)
    // Services of one name are told so already.
    if (sharing?.some(({ keys }) => keys.name.toLowerCase() === service.keys.name.toLowerCase())) continue
    if (sharing) sharing.push(service)
    else owners.set(service.stateDir, [service])
  }
  for (const [directory, [owner, second, ...others]] of owners) {
    if (owner === undefined) continue
    if (second) {
      const more = others.length > 0 ? ` and ${others.length} more` : ''
      const message = `services ${labelOf(owner)} and ${labelOf(second)}${more} have one stateDir: ${directory}`
      report.error(place(second.index, 'stateDir'), message, 'give each its own, or leave stateDir: out')
    }
    const outer = [...parents(directory)].find((parent) => owners.has(parent) || parent === supervisorDir)
    const holder = outer === undefined ? undefined : owners.get(outer)?.[0]
    const inside =
      outer &&
      `stateDir ${directory} of ${labelOf(owner)} is inside that of ${holder ? labelOf(holder) : 'the supervisor'}: ${outer}`
    if (inside) report.error(place(owner.index, 'stateDir'), inside, 'put them beside each other')
  }
  for (const parent of [supervisorDir, ...parents(supervisorDir)]) {
    const owner = owners.get(parent)?.[0]
    if (owner === undefined) continue
    const message = `stateDir ${parent} of ${labelOf(owner)} holds the supervisor's own files`
    report.error(place(owner.index, 'stateDir'), message, `put it below, as in ${join(parent, owner.keys.name)}`)
  }
}

/** How messages call a service. */
function labelOf({ keys, index }: WrittenService): string {
  return keys.name || `#${index + 1}`
}

function* parents(directory: string): Generator<string> {
  for (let inner = directory, parent = dirname(inner); parent !== inner; inner = parent, parent = dirname(inner)) yield parent
}

/** tsnsrv's documentation promises true for both keys, its YAML reader takes false; real files may rely on either. */
function noteDefaults(services: readonly WrittenService[], { report, place }: RuleContext): void {
  const open = [
    { key: 'recommendedProxyHeaders', asks: services, why: '; docs/applications.md says which applications need it' },
    { key: 'stripPrefix', asks: services.filter(({ keys }) => keys.prefixes.length > 0), why: '' },
  ]
  const isWrong = (range: Range | undefined) => range !== undefined && report.hasErrorAt(range)
  for (const { key, asks, why } of open) {
    const silent = asks.filter(({ index, said }) => !said.has(key) && !isWrong(place(index, key)))
    const [first] = silent
    if (first === undefined) continue
    const who = silent.length === 1 ? labelOf(first) : `${silent.length} services`
    const message = `${key} is not set for ${who} and so is false, as in tsnsrv's YAML; its documentation says true`
    report.note(place(first.index, key), message, `write ${key}: under defaults: to choose${why}`)
  }
}

/**
 * tsnsrv answers for any name. A service without TLS whose upstream is told which one was asked for may rely on that: with TLS,
 * the certificate keeps browsers from other names, and a Host that nobody is told makes no difference to the upstream.
 */
function noteForeignNames(services: readonly WrittenService[], { report, place }: RuleContext): void {
  const silent = services.filter(
    ({ keys, said }) => keys.plaintext && keys.upstream !== '' && keys.recommendedProxyHeaders && !said.has('hostnames'),
  )
  const [first] = silent
  if (first === undefined || report.failed) return
  const who = silent.length === 1 ? `${labelOf(first)} answers` : `${silent.length} services answer`
  const message = `${who} only for names on the tailnet, and 421 for others; tsnsrv answers for any name`
  report.note(
    place(first.index, 'plaintext'),
    message,
    'list more names under hostnames:, or write hostnames: [] if there are none',
  )
}
