/**
 * The worker protocol: HTTP/1.1 + JSON on the worker's Unix socket. This file is the only definition; the JSON Schema and
 * the Go types in worker/internal/protocol are generated from it (`npm run generate`).
 *
 * | request | body | answer |
 * |---|---|---|
 * | GET /v1/hello | | Hello |
 * | GET /v1/state | | WorkerState |
 * | PUT /v1/services/{name} | ServiceSpec | 200 ServiceStatus, as soon as the change has begun (idempotent) |
 * | DELETE /v1/services/{name}?drainMs=N | | 202; "removed" follows on the event stream. 404 when unknown |
 * | GET /v1/events?everyMs=N | | one WorkerEvent a line (NDJSON), a "state" first, then what changes; counters every N ms |
 * | GET /metrics | | Prometheus text |
 * | POST /v1/shutdown?drainMs=N | | 202; the worker drains all services and exits 0 |
 *
 * Errors are ErrorReply with status 400 (refused body), 404 or 409. Unknown fields are ignored on receipt, so a field may
 * be added without a new version; anything else raises PROTOCOL_VERSION.
 */
import * as z from 'zod'

/**
 * Raised by a breaking change. Version 2 brought TLS, funnel, forward auth, prefixes and access rules; 3 standby; 4 the names
 * that a service answers for, limits for clients, and access rules for tcp listeners; 5 sets the identity of a service apart
 * from the service.
 */
export const PROTOCOL_VERSION = 5

/**
 * Workers of this version on are adopted, as ending them would interrupt services; older ones are ended, and their services
 * started anew. It stays one behind: shared/olderProtocol.ts translates for such workers until "upgrade-workers" replaces them.
 */
export const OLDEST_PROTOCOL_VERSION = 4

const Name = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/)
  .describe('Service name: a DNS label, and the key of every map.')
const EpochMs = z.number().int().min(0).describe('Milliseconds since the Unix epoch.')
const DurationMs = z.number().int().min(0).describe('A duration in milliseconds.')
const Revision = z
  .number()
  .int()
  .min(0)
  .describe('Counts the changes in this worker: of two tellings the higher is the newer, whichever way they came.')
const Port = z.number().int().min(0).max(65535)

/** A node of the tailnet: one key, one name. A change of any field restarts it. */
export const IdentitySpec = z
  .object({
    stateDir: z.string().min(1).startsWith('/').describe('Absolute directory of node key, certificates, lock and UDP port.'),
    hostname: Name.describe('Name on the tailnet.'),
    controlURL: z.string().describe("Control server; empty for Tailscale's own."),
    ephemeral: z.boolean(),
    connectTimeoutMs: DurationMs.describe('How long the node may take to be up before the service counts as failed; 0 forever.'),
    verbose: z.boolean().describe("Log the node's own (tsnet) messages too."),
    tags: z.array(z.string().startsWith('tag:')).describe('Tags that the node asks for when it logs in.'),
    clientID: z.string().describe('Workload identity: the OAuth client that stands for this node at login; empty for none.'),
    audience: z.string().describe('Workload identity: audience of the ID token that is asked of the cloud; empty for none.'),
  })
  .meta({ id: 'IdentitySpec' })

/** How clients reach a service. The kind says which other member there is; a new kind is a new member. */
export const ExposureSpec = z
  .object({
    kind: z.enum(['node']).describe('node: by a node of its own.'),
    node: IdentitySpec.describe('What that node is.'),
  })
  .meta({ id: 'ExposureSpec' })

/** One listener of a service. A change replaces the listener; the node stays. Flat, as Go compares it by value. */
export const ListenSpec = z
  .object({
    address: z
      .string()
      .regex(/^[^:]*:[0-9]{1,5}$/)
      .describe('host:port to listen on; the host is usually empty.'),
    scheme: z
      .enum(['http', 'https', 'funnel', 'redirect', 'tcp'])
      .describe(
        'http and https: on the tailnet; funnel: https on the internet only; redirect: http that sends all to https; tcp: bytes.',
      ),
    certificateFile: z.string().describe("PEM, read again when it changes; empty for the node's own certificate."),
    keyFile: z.string().describe('PEM; empty if certificateFile is.'),
    readHeaderTimeoutMs: DurationMs.describe('How long a client may take to send its request header; 0 forever.'),
    maxHeaderBytes: z.number().int().min(0).describe('Longest header of a request; 0 for tcp.'),
    idleTimeoutMs: DurationMs.describe('Connections without a request (tcp: without a byte either way) end; 0 for never.'),
    dialAddress: z.string().describe('tcp: host:port where the bytes go; empty otherwise.'),
    useTailnetDialer: z.boolean().describe('tcp: dial through the node, so that dialAddress may be a tailnet name.'),
    dialTimeoutMs: DurationMs.describe('tcp: how long connecting to dialAddress may take; 0 forever.'),
    proxyProtocol: z.boolean().describe('tcp: tell dialAddress the client by a PROXY protocol v2 header.'),
  })
  .meta({ id: 'ListenSpec' })

/** A path that a service answers on, and to whom. */
export const PrefixSpec = z
  .object({
    from: z.enum(['any', 'tailnet', 'funnel']).describe('Where the request came in.'),
    path: z.string().startsWith('/').describe('Matches whole segments: /api is /api and /api/x, and not /apix.'),
  })
  .meta({ id: 'PrefixSpec' })

/**
 * Lets in who it names. Of all rules whose path is a prefix of the request's, those with the longest path decide: one of
 * them has to match. A request that no rule's path covers is let in.
 */
export const AccessRule = z
  .object({
    path: z.string().startsWith('/').describe('As in PrefixSpec; / for the whole service.'),
    kind: z
      .enum(['anyone', 'login', 'domain', 'tag', 'node', 'capability'])
      .describe('What value is compared with: login name, its part after @, a tag, the node name, a capability from grants.'),
    value: z.string().describe('Empty for anyone, who may also come by funnel.'),
  })
  .meta({ id: 'AccessRule' })

/** Asking another server about each request. Anything but a 2xx from it denies. */
export const ForwardAuthSpec = z
  .object({
    url: z.url({ protocol: /^https?$/ }).describe('What is asked, with path and query.'),
    timeoutMs: DurationMs,
    copyHeaders: z.array(z.string()).describe('Headers taken from its answer into the request, and never from the client.'),
    insecureHTTPS: z.boolean().describe('Accept any certificate.'),
    bypassForTailnet: z.boolean().describe('People on the tailnet, never tagged nodes nor funnel, need not be asked about.'),
    cacheTTLMs: DurationMs.describe('How long a 2xx is believed for the same credentials; 0 for not at all.'),
    passPaths: z
      .array(z.string().startsWith('/'))
      .describe("Its own pages on the service's name: passed to it, not asked about."),
  })
  .meta({ id: 'ForwardAuthSpec' })

export const AccessLogSpec = z
  .object({
    sampling: z.number().min(0).max(1).describe('Share of the requests that are logged; errors and denials always are.'),
    query: z.boolean().describe('With the query, which may carry secrets.'),
  })
  .meta({ id: 'AccessLogSpec' })

/** What the proxy does with a request. A change swaps the handler; no connection is touched. */
export const ProxySpec = z
  .object({
    upstream: z
      .url({ protocol: /^(https?|h2c)$/ })
      .describe('http, https or h2c URL (HTTP/2 without TLS); its path is put before the path of the request.'),
    dialAddress: z.string().describe('host:port dialled instead of the host of upstream; empty for none.'),
    dialUnixPath: z.string().describe('Unix socket dialled instead; empty for none.'),
    useTailnetDialer: z.boolean().describe('Dial through the node, so that upstream may be a tailnet name.'),
    insecureHTTPS: z.boolean().describe('Accept any certificate of an https upstream.'),
    allowInsecureCiphers: z.boolean().describe('Offer an https upstream the cipher suites that Go counts as insecure, too.'),
    caFile: z.string().describe("PEM of the authorities that an https upstream's certificate may be from; empty: the host's."),
    dialTimeoutMs: DurationMs.describe('0 forever, as with all below.'),
    tlsTimeoutMs: DurationMs.describe('For the handshake with an https upstream.'),
    responseHeaderTimeoutMs: DurationMs.describe('From the end of the request to the header of the response.'),
    upstreamIdleTimeoutMs: DurationMs.describe('How long an unused connection to the upstream is kept.'),
    bodyReadTimeoutMs: DurationMs.describe('How long a client may pause while it sends a body.'),
    maxRequestBodyBytes: z.number().int().min(0).describe('0 for no limit. Above it the answer is 413.'),
    hostnames: z
      .array(z.string())
      .describe('Names that the service answers for beside its own, in lower case; "*." at the front stands for any labels.'),
    upgrades: z.array(z.string()).describe('Protocols that a client may switch to, in lower case; any other Upgrade is ignored.'),
    recommendedProxyHeaders: z.boolean().describe('Keep Host and set X-Scheme, X-Real-Ip, X-Forwarded-Server, X-Forwarded-Port.'),
    upstreamHeaders: z.record(z.string(), z.string()).describe('Headers set on every request to the upstream.'),
    removeUpstreamHeaders: z.array(z.string()).describe('Headers taken off every request.'),
    responseHeaders: z.record(z.string(), z.string()).describe('Headers set on every response of the upstream.'),
    removeResponseHeaders: z.array(z.string()).describe('Headers taken off every response of the upstream.'),
    whois: z.boolean().describe('Set the X-Tailscale-* identity headers.'),
    whoisTimeoutMs: DurationMs.describe('How long the identity lookup may take; then the request goes on without.'),
    prefixes: z.array(PrefixSpec).describe('What the service answers on: the first that matches, else 404. Empty: everything.'),
    stripPrefix: z.boolean().describe('Take the matched prefix off the path.'),
    allow: z.array(AccessRule),
    forwardAuth: ForwardAuthSpec.optional(),
    accessLog: AccessLogSpec.optional().describe('Absent: requests are counted and not logged.'),
  })
  .meta({ id: 'ProxySpec' })

/**
 * What the clients of one service may use at once; 0 for no limit. A client is an IP address, or a /64 where it is one of
 * IPv6 from the internet. A change takes effect in place.
 */
export const LimitsSpec = z
  .object({
    maxConnections: z.number().int().min(0).describe('Of all clients, over all listeners. More are closed at once.'),
    maxConnectionsPerClient: z.number().int().min(0),
    maxRequests: z.number().int().min(0).describe('In flight, of all clients; WebSockets count until they end. More get 503.'),
    maxRequestsPerClient: z.number().int().min(0).describe('More get 429.'),
    rateLimit: z.number().min(0).describe('Requests per second of one client on the tailnet, with a burst of ten seconds.'),
    funnelRateLimit: z.number().min(0).describe('The same for a client on the internet.'),
    sendTimeoutMs: DurationMs.describe('A client that takes in nothing of what waits for it for so long is cut off.'),
  })
  .meta({ id: 'LimitsSpec' })

/** The body of PUT /v1/services/{name}. */
export const ServiceSpec = z
  .object({
    name: Name,
    specHash: z
      .string()
      .min(1)
      .describe(
        'Hash of exposure, listeners, proxy, limits and tcpAllow, given back in the status: tells whether what runs is what is desired.',
      ),
    exposure: ExposureSpec,
    listeners: z.array(ListenSpec).min(1),
    proxy: ProxySpec.optional().describe('What the listeners that speak HTTP serve; absent when all are tcp.'),
    limits: LimitsSpec,
    tcpAllow: z.array(AccessRule).describe('Whom tcp listeners let in: rules for the whole service. Empty: everybody.'),
    authKey: z
      .string()
      .optional()
      .describe(
        'Tailscale auth key, used only when the node has to log in. Never logged, never given back, not part of the hash.',
      ),
    retry: z.boolean().optional().describe('Start again even if nothing changed: what a failed or needsLogin service waits for.'),
    standby: z
      .boolean()
      .optional()
      .describe('Another worker still has the state directory: wait until it lets go, and start then, instead of failing.'),
    orderCertificate: z
      .boolean()
      .optional()
      .describe('Order the certificate that the status says is missing. Orders are limited per tailnet, so nobody else does.'),
  })
  .meta({ id: 'ServiceSpec' })

export const ServicePhase = z
  .enum(['standby', 'starting', 'needsLogin', 'ready', 'draining', 'failed'])
  .describe('Life of one service inside a worker. standby: another worker has the node; this one starts it as soon as that ends.')

/** CamelCase word for programs, as in Kubernetes conditions; `message` is for people. */
export const ServiceReason = z.enum([
  'Standby',
  'Starting',
  'Queued',
  'NeedsLogin',
  'NeedsApproval',
  'Ready',
  'Draining',
  'StateDirLocked',
  'StateDirUnusable',
  'AuthKeyRefused',
  'ConnectTimeout',
  'ListenFailed',
  'NodeFailed',
])

export const ServiceCounters = z
  .object({
    requests: z.number().int().min(0),
    errors: z
      .number()
      .int()
      .min(0)
      .describe(
        'Requests that the upstream did not answer, or with a 5xx, and those that the auth server gave no usable answer about.',
      ),
    bytesIn: z.number().int().min(0),
    bytesOut: z.number().int().min(0),
    openConnections: z.number().int().min(0),
  })
  .meta({ id: 'ServiceCounters' })

/** What does not work, while the rest of the service does. */
export const ServiceProblem = z
  .object({
    part: z.string().describe('What it is about, as in "certificate" or "funnel :443".'),
    message: z.string().describe('One sentence for the operator, with the remedy when there is one.'),
  })
  .meta({ id: 'ServiceProblem' })

/** The TLS certificate that the node has of its own: from Let's Encrypt, for its name on the tailnet. */
export const CertificateStatus = z
  .object({
    phase: z
      .enum(['missing', 'ordering', 'valid'])
      .describe('missing: orderCertificate is waited for. valid: renewed by itself, in time.'),
    domain: z.string(),
    notAfter: EpochMs.describe('When it ends; 0 while there is none.'),
    ordered: z.number().int().min(0).describe('Orders since the worker has the service, those that failed included.'),
  })
  .meta({ id: 'CertificateStatus' })

/** What is known of a node of the tailnet. */
export const IdentityStatus = z
  .object({
    dnsName: z.string().describe('Full tailnet name without the last dot; empty until known.'),
    addresses: z.array(z.string()).describe('Tailnet IP addresses, IPv4 first; empty until known.'),
    loginURL: z.string().describe('Where a person authenticates the node; empty unless needsLogin.'),
    nodeKey: z.string().describe('Public node key (nodekey:...); empty until known.'),
    nodeKeyExpiry: EpochMs.optional().describe('When the node key ends; absent for never, and until known.'),
    udpPort: Port.describe('WireGuard port of the node; 0 until chosen.'),
  })
  .meta({ id: 'IdentityStatus' })

export const ServiceStatus = z
  .object({
    name: Name,
    revision: Revision,
    specHash: z.string(),
    phase: ServicePhase,
    reason: ServiceReason,
    message: z.string().describe('One sentence for the operator; says the remedy when there is one.'),
    since: EpochMs.describe('When phase or reason last changed.'),
    identity: IdentityStatus.describe('Of the node that clients reach it by.'),
    certificate: CertificateStatus.optional().describe('Absent when no listener needs it, and until the name is known.'),
    problems: z.array(ServiceProblem),
    counters: ServiceCounters,
  })
  .meta({ id: 'ServiceStatus' })

/** Who answers on this socket. pid and startTicks together name a process; a pid alone is never signalled. */
export const Hello = z
  .object({
    protocolVersion: z.number().int().min(1),
    workerId: z.string().min(1),
    shard: z.number().int().min(1),
    pid: z.number().int().min(1),
    startTicks: z.number().int().min(0).describe('Field 22 of /proc/<pid>/stat: clock ticks since boot.'),
    bootId: z.string().describe('/proc/sys/kernel/random/boot_id: startTicks only mean something within one boot.'),
    version: z.string().describe('Version of the worker binary.'),
  })
  .meta({ id: 'Hello' })

export const WorkerState = z
  .object({
    hello: Hello,
    revision: Revision.describe('Of the list: a service that is not in it and has a higher revision came later.'),
    services: z.array(ServiceStatus),
  })
  .meta({ id: 'WorkerState' })

/** Each event carries whole states and not differences: a reader that missed some is right again at the next. */
export const WorkerEvent = z
  .object({
    type: z.enum(['state', 'service', 'removed', 'alive']),
    state: WorkerState.optional().describe('With "state": everything. First line of a stream.'),
    service: ServiceStatus.optional().describe('With "service": the new state of one service.'),
    name: z.string().optional().describe('With "removed": the service that is gone; its identity is free.'),
    revision: Revision.optional().describe('With "removed": a state of the service with a higher one is that of a new service.'),
  })
  .meta({ id: 'WorkerEvent' })

export const ErrorReply = z.object({ reason: z.string(), message: z.string() }).meta({ id: 'ErrorReply' })

export type IdentitySpec = z.infer<typeof IdentitySpec>
export type IdentityStatus = z.infer<typeof IdentityStatus>
export type ExposureSpec = z.infer<typeof ExposureSpec>
export type ListenSpec = z.infer<typeof ListenSpec>
export type PrefixSpec = z.infer<typeof PrefixSpec>
export type AccessRule = z.infer<typeof AccessRule>
export type LimitsSpec = z.infer<typeof LimitsSpec>
export type ProxySpec = z.infer<typeof ProxySpec>
export type ServiceSpec = z.infer<typeof ServiceSpec>
export type ServicePhase = z.infer<typeof ServicePhase>
export type ServiceReason = z.infer<typeof ServiceReason>
export type ServiceProblem = z.infer<typeof ServiceProblem>
export type ServiceStatus = z.infer<typeof ServiceStatus>
export type Hello = z.infer<typeof Hello>
export type WorkerState = z.infer<typeof WorkerState>
export type WorkerEvent = z.infer<typeof WorkerEvent>
export type ErrorReply = z.infer<typeof ErrorReply>

/** All shapes of the protocol: what JSON Schema, Go types and the fixtures in shared/fixtures/protocol are made of. */
export const protocolShapes = { Hello, WorkerState, WorkerEvent, ServiceSpec, ServiceStatus, ErrorReply }
