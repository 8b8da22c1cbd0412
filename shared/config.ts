/**
 * The configuration file: every key of arsfeld/tsnsrv's YAML (its schema to the letter), plus `supervisor:`, `defaults:`
 * and more keys of services. Types and constraints that concern one value live here; rules between keys live
 * in supervisor/config. JSON Schema for editors is generated from this file (`npm run generate`).
 */
import * as z from 'zod'
import { readAccessRule } from './accessRule.ts'
import { parseByteSize } from './byteSize.ts'
import { parseDuration } from './duration.ts'
import { isHttpURL } from './httpURL.ts'
import { parseRate } from './rate.ts'
import { hasUserInfo } from './secrets.ts'

/** The title of a text that is a Go duration, so that a bare number deserves an answer of its own: see supervisor/config/scalar.ts. */
export const DURATION_TITLE = 'duration'

const Duration = z
  .string()
  .superRefine((text, context) => {
    const parsed = parseDuration(text)
    if ('problem' in parsed) context.addIssue({ code: 'custom', message: parsed.problem })
  })
  .meta({ title: DURATION_TITLE })

/** A duration that the supervisor itself waits for: its timers cannot hold more than 24 days. */
const durationWithin = (leastMs: number, mostMs: number, words: string) =>
  Duration.refine((text) => {
    const parsed = parseDuration(text)
    return 'problem' in parsed || (parsed.ms >= leastMs && parsed.ms <= mostMs)
  }, words)

/** An amount of memory. */
const ByteSize = z
  .string()
  .refine((text) => parseByteSize(text) !== null, 'want bytes with a unit, as in 512MiB, or 0')
  .meta({ title: 'size' })

const Text = z.string()
const Strings = z.array(Text)
const Path = Text.refine((path) => !path.includes('\0'), 'a path cannot contain a NUL character')
const HttpURL = Text.refine((url) => url === '' || isHttpURL(url), 'want an http or https URL, as in http://host:port')
/** A URL that paths are appended to. Nobody could log in with it: fetch refuses such a URL, and the control protocol has no place for it. */
const BaseURL = HttpURL.refine((url) => !hasUserInfo(url), 'it has a user name or password: remove that').refine(
  (url) => !/[?#]/.test(url),
  'it has a query or fragment: remove that',
)
const HeaderName = Text.regex(/^[\w!#$%&'*+.^`|~-]+$/, 'not a header name (RFC 9110: letters, digits and dashes)')
/** The one kind of text that may hold anything: what a browser or a server makes of it is not ours to know. */
export const HeaderValue = Text.regex(/^(?:\t|\P{Cc})*$/u, 'a header value cannot contain control characters')
const Headers = z.record(HeaderName, HeaderValue)
// Tailscale's rule for tag names: a letter, then letters, digits and dashes.
const Tag = Text.regex(
  /^tag:[a-zA-Z][a-zA-Z0-9-]*$/,
  "tags must start with 'tag:', then a letter, then letters, digits and dashes",
)

/** Whether it is "host:port" with a port from 1 to 65535. The host may be missing; an IPv6 address stands in brackets. */
const hasPort = (address: string): boolean => {
  const port = Number(/^(?:\[[0-9a-f:.]+(?:%[\w.-]+)?\]|[\w.-]*):(\d{1,5})$/i.exec(address)?.[1] ?? 0)
  return port >= 1 && port <= 65535
}

/** Whether a node can listen there: on a port of all its addresses, or of one. */
const isListenAddress = (address: string): boolean => {
  const host = address.slice(0, address.lastIndexOf(':'))
  return hasPort(address) && (host === '' || z.ipv4().safeParse(host).success)
}
const LISTEN_WANTED = 'want :port, or an IPv4 address before it, as in ":443" or "100.64.0.7:443"'

/** Whole number within limits. */
const whole = (least: number, most: number) =>
  z
    .number()
    .refine(
      (count) => Number.isInteger(count) && count >= least && count <= most,
      `want a whole number from ${String(least)} to ${String(most)}`,
    )
    .meta({ type: 'integer', minimum: least, maximum: most })

/** Keys that start with x- hold notes and anchors, at every level; nothing reads them. */
const withNotes = <T extends z.ZodType>(schema: T): T => schema.meta({ patternProperties: { '^x-': {} } })

const HeaderNames = z.array(HeaderName)
/** Headers about a connection or a message, and not about who sent it (worker/internal/forwardauth). */
const OF_THE_CONNECTION = /^(connection|keep-alive|proxy-connection|te|trailer|transfer-encoding|upgrade|content-length|host)$/i
const IdentityHeaderName = HeaderName.refine(
  (name) => !OF_THE_CONNECTION.test(name.replace(/[^a-z0-9-]/gi, '-')),
  'a header about the connection says nothing of who asks: remove it',
)
const Listen = Text.refine((address) => address === '' || isListenAddress(address), LISTEN_WANTED)
const RequestPath = Text.regex(/^\/[^\s\p{Cc}?#%\\]*$/u, 'want a path that begins with "/", without "%", "?" or "#"')
const AccessRuleText = Text.superRefine((text, context) => {
  const read = readAccessRule(text)
  if ('problem' in read) context.addIssue({ code: 'custom', message: read.problem })
})
/** Protocols of HTTP itself are left out: what is said inside of them would pass no rule of the proxy. */
const UpgradeToken = Text.regex(
  /^[\w!#$%&'*+.^`|~-]+(\/[\w!#$%&'*+.^`|~-]+)?$/,
  'want the name of a protocol, as in websocket',
).refine(
  (name) => !/^(h\d|https?(\/|$)|spdy|tls(\/|$))/i.test(name),
  'a client could speak HTTP or TLS with the upstream past every rule; only other protocols can be allowed',
)
const Hostname = Text.regex(
  /^(\*\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/i,
  'want a host name without port, as in "photos.example.org" or "*.example.org"',
)
const Rate = Text.refine((text) => parseRate(text) !== null, 'want requests per second, minute or hour, as in 50/s, or 0')
const DNSLabel = Text.regex(/^([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)?$/, 'want a DNS label: letters, digits and dashes')

/** One entry of `tcp:`. */
export const TCPForward = withNotes(
  z.strictObject({
    listenAddr: z
      .string('listenAddr is required')
      .refine(isListenAddress, LISTEN_WANTED)
      .meta({ examples: [':22'] })
      .describe('Where it listens.'),
    upstream: z
      .string('upstream is required')
      .refine(hasPort, 'want host:port, as in "127.0.0.1:22"')
      .meta({ examples: ['127.0.0.1:22'] })
      .describe('host:port where the bytes go.'),
    proxyProtocol: z.boolean().default(false).describe('Tell the upstream the client by a PROXY protocol v2 header.'),
    idleTimeout: Duration.meta({ examples: ['1h'] })
      .default('0s')
      .describe('Ends connections that carry nothing for so long; 0 for never.'),
  }),
)

/** Keys that both `defaults:` and a service may have. The defaults are tsnsrv's (its config.go), where it has one. */
const serviceKeys = {
  upstreamTCPAddr: Text.refine((address) => address === '' || hasPort(address), 'want host:port, as in "127.0.0.1:8080"')
    .meta({ examples: ['127.0.0.1:8080'] })
    .default('')
    .describe('host:port to dial instead of the host of upstream.'),
  upstreamUnixAddr: Path.refine(
    (path) => new TextEncoder().encode(path).length <= 107,
    'the path of a Unix socket is at most 107 bytes long',
  )
    .meta({ examples: ['/run/grafana/grafana.sock'] })
    .default('')
    .describe('Unix socket to dial instead of the host of upstream.'),
  ephemeral: z.boolean().default(false).describe('The control server forgets the node when it disconnects.'),
  tags: z
    .array(Tag)
    .meta({ examples: [['tag:service']] })
    .default([])
    .describe('The node asks for them when it logs in; minted into keys that are made from an OAuth client secret.'),
  stateDir: Path.meta({ examples: ['/srv/nodes/grafana'] })
    .default('')
    .describe("The node's own directory; default <state dir>/<service>."),
  authkeyPath: Path.refine((path) => !path.startsWith('tskey-'), 'this is a key; write it into a file, and name the file here')
    .meta({ examples: ['/run/secrets/authkey'] })
    .default('')
    .describe('File with an auth key or an OAuth client secret (tskey-client-...).'),
  hostname: DNSLabel.meta({ examples: ['charts'] })
    .default('')
    .describe('Name of the node; default the name of the service.'),
  hostnames: z
    .array(Hostname)
    .meta({ examples: [['photos.example.org', '*.apps.example.org']] })
    .default([])
    .describe(
      'More names that the service answers for, beside its name and addresses on the tailnet and the names in certificateFile. ' +
        'A request for any other name is answered 421.',
    ),
  controlURL: BaseURL.meta({ examples: ['https://headscale.example.org'] })
    .default('')
    .describe('Control server of this node; default that of supervisor:.'),
  clientID: Text.meta({ examples: ['kAbCdEfCNTRL'] })
    .default('')
    .describe('Workload identity: the OAuth client that the node logs in as, without a secret.'),
  audience: Text.meta({ examples: ['api.tailscale.com/kAbCdEfCNTRL'] })
    .default('')
    .describe('Workload identity: audience of the ID token that the node asks its cloud for.'),
  funnel: z.boolean().default(false).describe('Serve the internet too, through Tailscale Funnel.'),
  funnelOnly: z.boolean().default(false).describe('Serve the internet only. Needs funnel.'),
  listenAddr: Listen.meta({ examples: [':8443'] })
    .default(':443')
    .describe('Where the service listens on its tailnet addresses.'),
  plaintext: z.boolean().default(false).describe('Serve http without TLS.'),
  redirectHTTP: z.boolean().default(false).describe('Listen on port 80 as well, and send clients to https.'),
  certificateFile: Path.meta({ examples: ['/var/lib/acme/example.org/cert.pem'] })
    .default('')
    .describe("PEM of a certificate to serve instead of the node's own; read again when it changes."),
  keyFile: Path.meta({ examples: ['/var/lib/acme/example.org/key.pem'] })
    .default('')
    .describe("PEM of certificateFile's key."),
  prefixes: z
    .array(
      Text.regex(
        /^((tailnet|funnel):)?\/[^\s\p{Cc}?#%\\]*$/u,
        'want [tailnet:|funnel:]/path, without "%", "?" or "#"; "/" stands for everything',
      ),
    )
    .meta({ examples: [['/api', 'funnel:/hooks']] })
    .default([])
    .describe('What the service answers on, by whole segments; everything else is not found.'),
  stripPrefix: z
    .boolean()
    .default(false)
    .describe(
      'Take the matched prefix off the path; the upstream learns it from X-Forwarded-Prefix. Means nothing without prefixes.',
    ),
  allow: z
    .array(AccessRuleText)
    .meta({ examples: [['*@example.org', '/admin tag:admin']] })
    .default([])
    .describe(
      'Who may use the service, as [/path ]who: a login, *@domain, tag:x, node:x, cap:x or anyone. Rules without a path hold for tcp: too. A path with an encoded slash (%2F) is answered 400 where a rule depends on it.',
    ),
  recommendedProxyHeaders: z
    .boolean()
    .default(false)
    .describe('Keep Host; set X-Scheme, X-Real-Ip, X-Forwarded-Server and -Port.'),
  upgrades: z
    .array(UpgradeToken)
    .meta({ examples: [['websocket', 'tcp']] })
    .default(['websocket'])
    .describe('Protocols that a client may switch a connection to. Any other Upgrade is ignored, and h2c cannot be allowed.'),
  upstreamHeaders: Headers.meta({ examples: [{ 'X-From': 'tailnet' }] })
    .default({})
    .describe('Headers set on every request to the upstream.'),
  removeUpstreamHeaders: HeaderNames.meta({ examples: [['Cookie']] })
    .default([])
    .describe('Headers taken off every request.'),
  responseHeaders: Headers.meta({ examples: [{ 'Cache-Control': 'no-store' }] })
    .default({})
    .describe('Headers set on every response.'),
  removeResponseHeaders: HeaderNames.meta({ examples: [['Server']] })
    .default([])
    .describe('Headers taken off every response.'),
  insecureHTTPS: z.boolean().default(false).describe('Accept any certificate of an https upstream.'),
  upstreamAllowInsecureCiphers: z
    .boolean()
    .default(false)
    .describe('Offer an https upstream the cipher suites that count as insecure, too.'),
  upstreamCAFile: Path.meta({ examples: ['/etc/ssl/home-ca.pem'] })
    .default('')
    .describe("PEM of the authorities that an https upstream's certificate may be from."),
  upstreamDialTimeout: Duration.meta({ examples: ['3s'] })
    .default('10s')
    .describe('How long connecting to the upstream may take; 0 forever.'),
  upstreamTLSTimeout: Duration.meta({ examples: ['3s'] })
    .default('10s')
    .describe('How long the TLS handshake with it may take; 0 forever.'),
  upstreamResponseTimeout: Duration.meta({ examples: ['1m'] })
    .default('0s')
    .describe('How long it may take until its response begins; 0 forever.'),
  upstreamIdleTimeout: Duration.meta({ examples: ['30s'] })
    .default('90s')
    .describe('How long an unused connection to it is kept.'),
  idleTimeout: Duration.meta({ examples: ['1m'] })
    .default('5m')
    .describe('How long a connection of a client is kept between requests; 0 forever.'),
  bodyReadTimeout: Duration.meta({ examples: ['30s'] })
    .default('1m')
    .describe('How long a client may pause while it sends a body; 0 forever.'),
  sendTimeout: Duration.meta({ examples: ['30s'] })
    .default('1m')
    .describe('How long a client may take in nothing of a response that waits for it; 0 forever.'),
  maxHeaderBytes: whole(4096, 1_048_576)
    .meta({ examples: [131_072] })
    .default(65_536)
    .describe('Longest header of a request; above it the answer is 431.'),
  maxConnections: whole(0, 1_000_000)
    .meta({ examples: [500] })
    .default(2048)
    .describe('Most connections of clients at once, WebSockets and tcp among them; 0 for any number.'),
  maxConnectionsPerClient: whole(0, 1_000_000)
    .meta({ examples: [64] })
    .default(256)
    .describe('Most of them from one address (IPv6 from the internet: one /64); 0 for any number.'),
  maxRequests: whole(0, 1_000_000)
    .meta({ examples: [200] })
    .default(1024)
    .describe('Most requests at once, WebSockets among them; above it the answer is 503. 0 for any number.'),
  maxRequestsPerClient: whole(0, 1_000_000)
    .meta({ examples: [50] })
    .default(256)
    .describe('Most of them from one address; above it the answer is 429. 0 for any number.'),
  rateLimit: Rate.meta({ examples: ['50/s'] })
    .default('0')
    .describe(
      'Most requests of one address on the tailnet, with a burst of ten seconds; above it the answer is 429. 0 for any number.',
    ),
  funnelRateLimit: Rate.meta({ examples: ['10/s'] })
    .default('50/s')
    .describe(
      'The same for each address on the internet (IPv6: each /64), through funnel. Together they are sent 32 MB a second at most.',
    ),
  maxRequestBodyBytes: whole(0, Number.MAX_SAFE_INTEGER)
    .meta({ examples: [104_857_600] })
    .default(0)
    .describe('Longest body of a request; 0 for any.'),
  suppressWhois: z
    .boolean()
    .default(false)
    .describe(
      'Do not look up and send X-Tailscale-* identity headers. Values in them that are not ASCII are encoded (RFC 2047).',
    ),
  whoisTimeout: Duration.meta({ examples: ['500ms'] })
    .default('1s')
    .describe('How long the identity lookup may take; 0 means 1s.'),
  suppressTailnetDialer: z.boolean().default(false).describe("Dial upstreams by the host's network only."),
  authURL: HttpURL.meta({ examples: ['http://127.0.0.1:9091'] })
    .default('')
    .describe('Ask this server about each request; of the URL, scheme and host count.'),
  authPath: Text.regex(/^\/[^\s\p{Cc}#\\]*$/u, 'want a path that begins with "/", with a query where the server wants one')
    .regex(/^(?:[^%]|%[0-9a-f]{2})*$/i, 'a "%" is not followed by two hexadecimal digits; a URL writes "%" as %25')
    .meta({ examples: ['/oauth2/auth'] })
    .default('/api/authz/forward-auth')
    .describe('What is asked of the auth server.'),
  authTimeout: Duration.meta({ examples: ['2s'] })
    .default('5s')
    .describe('How long its answer may take; 0 means 5s.'),
  authCopyHeaders: z
    .record(IdentityHeaderName, Text)
    .meta({ examples: [{ 'Remote-User': '' }] })
    .default({})
    .describe('Names of headers that go from its answer to the upstream; the values mean nothing.'),
  authInsecureHTTPS: z.boolean().default(false).describe('Accept any certificate of the auth server.'),
  authBypassForTailnet: z.boolean().default(false).describe('Do not ask about people who come by the tailnet.'),
  authCacheTTL: Duration.meta({ examples: ['10s'] })
    .default('0s')
    .describe('How long its yes is believed for the same credentials; 0 for not at all.'),
  authPassPaths: z
    .array(RequestPath)
    .meta({ examples: [['/oauth2']] })
    .default([])
    .describe("The auth server's own pages on this service's name, as in /outpost.goauthentik.io or /oauth2."),
  accessLog: z.boolean().default(false).describe('Log each request.'),
  accessLogSampling: z
    .number()
    .refine((share) => share > 0 && share <= 1, 'want a share above 0, at most 1')
    .meta({ examples: [0.1] })
    .default(1)
    .describe('Share of the requests that are logged; errors and denials always are.'),
  accessLogQuery: z.boolean().default(false).describe('Log the query too, which may carry secrets.'),
  timeout: Duration.meta({ examples: ['2m'] })
    .default('1m')
    .describe('How long the node may take to connect to the tailnet.'),
  readHeaderTimeout: Duration.meta({ examples: ['10s'] })
    .default('30s')
    .describe('How long a client may take to send its request header; 0 forever.'),
  tcp: z
    .array(TCPForward)
    .meta({ examples: [[{ listenAddr: ':22', upstream: '127.0.0.1:22' }]] })
    .default([])
    .describe('TCP ports beside the proxy, or instead of it.'),
  tsnetVerbose: z.boolean().default(false).describe("Log the node's own messages too."),
  group: Text.meta({ examples: ['media'] })
    .default('')
    .describe('Services of one group share a shard when they fit.'),
  weight: z
    .number()
    .refine((weight) => weight > 0 && weight <= 1_000_000, 'want a number above 0, at most 1000000')
    .meta({ examples: [5] })
    .default(1)
    .describe('Expected load beside other services; shards are made even by it.'),
}

/** One entry of `services:`. */
export const ServiceConfig = withNotes(
  z.strictObject({
    name: z
      .string('a service needs a name')
      .min(1, 'a service needs a name')
      .max(63, 'a name is a DNS label: at most 63 characters')
      .regex(
        /^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$/,
        'a name is a DNS label: letters, digits and dashes, no dash at either end',
      )
      .meta({ examples: ['grafana'] })
      .describe('Host name on the tailnet; unique.'),
    upstream: Text.meta({ examples: ['http://127.0.0.1:3000'] })
      .default('')
      .describe('http, https or h2c URL of the service; h2c is HTTP/2 without TLS, as of gRPC. Required, unless there is tcp:.'),
    ...serviceKeys,
  }),
)

/** `defaults:` takes any service key but the two that make a service; nothing is filled in, so that it only overrides. */
export const ServiceDefaults = withNotes(
  z.strictObject(
    Object.fromEntries(
      Object.entries(serviceKeys).map(([key, schema]) => [
        key,
        schema
          .unwrap()
          .optional()
          .describe(schema.description ?? ''),
      ]),
    ) as {
      [K in keyof typeof serviceKeys]: z.ZodOptional<ReturnType<(typeof serviceKeys)[K]['unwrap']>>
    },
  ),
)

/** How this supervisor and its workers run. Each has a flag and an environment variable too (supervisor/config/settings.ts). */
export const SupervisorConfig = withNotes(
  z.strictObject({
    shardSize: whole(1, 1000)
      .meta({ examples: [10] })
      .default(20)
      .describe('Most services in one worker process.'),
    stateDir: Path.meta({ examples: ['/srv/tsnsrv-sup'] })
      .default('')
      .describe('Default: $STATE_DIRECTORY, else $TS_STATE_DIR, else /var/lib/tsnsrv-sup (root) or ~/.local/state/tsnsrv-sup.'),
    runDir: Path.meta({ examples: ['/run/tsnsrv-sup'] })
      .default('')
      .describe('Sockets of supervisor and workers. Default: $RUNTIME_DIRECTORY, else <state dir>/.supervisor/run.'),
    controlURL: BaseURL.meta({ examples: ['https://headscale.example.org'] })
      .default('')
      .describe("Control server of all services; default $TS_URL, else Tailscale's own."),
    workerBinary: Path.meta({ examples: ['/usr/lib/tsnsrv-sup/tsnsrv-worker'] })
      .default('')
      .describe('Path of tsnsrv-worker; default: the one beside this program.'),
    startConcurrency: whole(0, 1000)
      .meta({ examples: [5] })
      .default(0)
      .describe('How many nodes of a shard start at once; 0: all.'),
    drainTimeout: durationWithin(0, 86_400_000, 'want at most 24h')
      .meta({ examples: ['30s'] })
      .default('10s')
      .describe('How long open requests may take to end when a service stops.'),
    gcPercent: whole(1, 1000)
      .meta({ examples: [10] })
      .default(2)
      .describe(
        'How much garbage an idle worker keeps before it frees it, in percent of its live memory, at least 16 MiB. More under load.',
      ),
    ignoreInterfaces: Strings.meta({ examples: [['docker*', 'wg-*']] })
      .default(['docker*', 'veth*', 'br-*', 'virbr*', 'cni*', 'lxc*', 'cali*', 'flannel*', 'podman*', 've-*', 'vnet*', 'tap*'])
      .describe(
        'Interfaces whose changes are ignored, as shell patterns: those of containers. The one with the default route never is.',
      ),
    logUpload: z.boolean().default(false).describe("Upload the nodes' logs to Tailscale, as tailscaled does."),
    portMapping: z
      .boolean()
      .default(true)
      .describe('Ask the router to map the UDP ports of the nodes (NAT-PMP, PCP, UPnP): for hosts behind NAT.'),
    sampleInterval: durationWithin(100, 3_600_000, 'want 100ms to 1h')
      .meta({ examples: ['10s'] })
      .default('5s')
      .describe('How often CPU and memory of the workers are read.'),
    rebalance: z
      .boolean()
      .default(true)
      .describe('Move services between shards, open and merge shards, by CPU. Commands such as "tsnsrv-sup move" always work.'),
    hotPercent: whole(10, 100_000)
      .meta({ examples: [60] })
      .default(80)
      .describe('Above it, a worker gives services to other shards or to a new one: percent of one core, moving average.'),
    coldPercent: whole(0, 100_000)
      .meta({ examples: [20] })
      .default(30)
      .describe('A shard below it is merged into others that have room; 0 never merges. Less than hotPercent.'),
    minShards: whole(1, 10_000)
      .meta({ examples: [2] })
      .default(1)
      .describe('At least so many shards, if there are as many services.'),
    maxShards: whole(0, 10_000)
      .meta({ examples: [8] })
      .default(0)
      .describe('At most so many shards, if shardSize allows; 0 for no limit.'),
    moveCooldown: durationWithin(0, 86_400_000, 'want at most 24h')
      .meta({ examples: ['30m'] })
      .default('10m')
      .describe('How long a service stays in its shard before it is moved again.'),
    settleTime: durationWithin(0, 86_400_000, 'want at most 24h')
      .meta({ examples: ['2m'] })
      .default('1m')
      .describe('How long a shard is watched after a move, or after its worker has started, before it gives or takes another.'),
    memoryLimit: ByteSize.meta({ examples: ['512MiB'] })
      .default('0')
      .describe(
        'Most memory of a worker (resident set), as in 512MiB. It collects garbage harder near it, and is replaced above it; 0 for no limit.',
      ),
    watchConfig: z.boolean().default(false).describe('Reload when the configuration file changes.'),
    upgradeWorkers: z
      .boolean()
      .default(false)
      .describe('When the supervisor starts, replace running workers of another version, as "tsnsrv-sup upgrade-workers" does.'),
    readyPercent: whole(0, 100)
      .meta({ examples: [90] })
      .default(100)
      .describe('Share of the services that must be ready until systemd counts the unit as started (Type=notify).'),
    readyTimeout: durationWithin(0, 86_400_000, 'want at most 24h')
      .meta({ examples: ['2m'] })
      .default('1m')
      .describe('How long systemd waits for them; then it counts the unit as started all the same.'),
    certificatesPerWeek: whole(1, 10_000)
      .meta({ examples: [25] })
      .default(50)
      .describe("How many nodes of a tailnet may get a first certificate within a week: Let's Encrypt's limit."),
    keyAPIURL: BaseURL.meta({ examples: ['https://api.example.org'] })
      .default('')
      .describe('API that mints auth keys; default $TS_BASE_URL, else https://api.tailscale.com.'),
  }),
)

/** The whole file. */
export const ConfigFile = withNotes(
  z.strictObject({
    prometheusAddr: Text.refine(
      (address) => address === '' || address === 'off' || hasPort(address),
      'want host:port, as in "127.0.0.1:9099", or "off"',
    )
      .meta({ examples: [':9099'] })
      .default('')
      .describe(
        'host:port of the metrics; default 127.0.0.1:9099, "off" for none. Answered for requests by IP address, to localhost, to the name of this machine, or to the host given here.',
      ),
    supervisor: SupervisorConfig.prefault({}),
    defaults: ServiceDefaults.prefault({}),
    services: z
      .array(ServiceConfig, 'configuration must define at least one service')
      .min(1, 'configuration must define at least one service'),
  }),
)

export type ServiceConfig = z.infer<typeof ServiceConfig>
export type ServiceDefaults = z.infer<typeof ServiceDefaults>
export type SupervisorConfig = z.infer<typeof SupervisorConfig>
export type ConfigFile = z.infer<typeof ConfigFile>
