/**
 * The configuration file: every key of arsfeld/tsnsrv's YAML (its schema to the letter), plus `supervisor:`, `defaults:`,
 * and per service `group:` and `weight:`. Types and constraints that concern one value live here; rules between keys live
 * in supervisor/config. JSON Schema for editors is generated from this file (`npm run generate`).
 */
import * as z from 'zod'
import { parseDuration } from './duration.ts'

/** What the reader of the file must know of a schema and zod does not: see supervisor/config/readAs.ts and serviceRules.ts. */
export const traits = z.registry<{
  /** The text is a Go duration, so that a bare number deserves an answer of its own. */
  duration?: true
  /** The behaviour of this key comes with later work: any other value is refused, never ignored. */
  supportedOnlyAs?: unknown
}>()

const Duration = z
  .string()
  .superRefine((text, context) => {
    const parsed = parseDuration(text)
    if ('problem' in parsed) context.addIssue({ code: 'custom', message: parsed.problem })
  })
  .meta({ examples: ['5s', '1m30s'] })
  .register(traits, { duration: true })

/** A duration that the supervisor itself waits for: its timers cannot hold more than 24 days. */
const durationWithin = (leastMs: number, mostMs: number, words: string) =>
  Duration.refine((text) => {
    const parsed = parseDuration(text)
    return 'problem' in parsed || (parsed.ms >= leastMs && parsed.ms <= mostMs)
  }, words)

const Text = z.string()
const Strings = z.array(Text)
const Path = Text.refine((path) => !path.includes('\0'), 'a path cannot contain a NUL character')
const HttpURL = Text.refine(
  (url) => url === '' || (/^https?:\/\/[^/?#]/i.test(url) && URL.canParse(url)),
  'want an http or https URL',
)
const HeaderName = Text.regex(/^[\w!#$%&'*+.^`|~-]+$/, 'not a header name (RFC 9110: letters, digits and dashes)')
const HeaderValue = Text.regex(/^(?:\t|\P{Cc})*$/u, 'a header value cannot contain control characters')
const Headers = z.record(HeaderName, HeaderValue)
// Tailscale's rule for tag names: a letter, then letters, digits and dashes.
const Tag = Text.regex(
  /^tag:[a-zA-Z][a-zA-Z0-9-]*$/,
  "tags must start with 'tag:', then a letter, then letters, digits and dashes",
)

/** The port of "host:port" when that is well-formed and within 1 to 65535. An IPv6 host stands in brackets. */
const hasPort = (address: string): boolean => {
  const port = Number(/^(?:\[[^\]\s]+\]|[^:\s[\]]*):(\d{1,5})$/.exec(address)?.[1] ?? 0)
  return port >= 1 && port <= 65535
}

/** Whole number within limits. */
const whole = (least: number, most: number) =>
  z
    .number()
    .refine(
      (count) => Number.isInteger(count) && count >= least && count <= most,
      `want a whole number from ${String(least)} to ${String(most)}`,
    )
    .meta({ type: 'integer', minimum: least, maximum: most })

const unsupported = <T extends z.ZodType>(schema: T, supportedOnlyAs: unknown): T => {
  const described = schema.describe('Not yet supported; comes with the data plane.')
  traits.add(described, { supportedOnlyAs })
  return described
}

/** Keys that start with x- hold notes and anchors, at every level; nothing reads them. */
const withNotes = <T extends z.ZodType>(schema: T): T => schema.meta({ patternProperties: { '^x-': {} } })

/** Keys that both `defaults:` and a service may have. The defaults are tsnsrv's (its config.go), where it has one. */
const serviceKeys = {
  upstreamTCPAddr: Text.refine((address) => address === '' || hasPort(address), 'want host:port, as in "127.0.0.1:8080"')
    .default('')
    .describe('host:port to dial instead of the host of upstream.'),
  upstreamUnixAddr: Path.refine(
    (path) => new TextEncoder().encode(path).length <= 107,
    'the path of a Unix socket is at most 107 bytes long',
  )
    .default('')
    .describe('Unix socket to dial instead of the host of upstream.'),
  ephemeral: z.boolean().default(false).describe('The control server forgets the node when it disconnects.'),
  tags: z.array(Tag).default([]).describe('Minted into the keys that are made from an OAuth client secret.'),
  stateDir: Path.default('').describe("The node's own directory; default <state dir>/<service>."),
  authkeyPath: Path.default('').describe('File with an auth key or an OAuth client secret (tskey-client-...).'),
  funnel: unsupported(z.boolean().default(false), false),
  funnelOnly: unsupported(z.boolean().default(false), false),
  listenAddr: Text.refine(
    (address) => address === '' || (hasPort(address) && !address.startsWith('[')),
    'want [host]:port, as in ":443"',
  )
    .default(':443')
    .describe('Where the service listens on its tailnet addresses.'),
  plaintext: unsupported(z.boolean().default(false), true).describe(
    'Serve http without TLS. Must be true until TLS is supported.',
  ),
  certificateFile: unsupported(Path.default(''), ''),
  keyFile: unsupported(Path.default(''), ''),
  recommendedProxyHeaders: z
    .boolean()
    .default(false)
    .describe('Keep Host; set X-Scheme, X-Real-Ip, X-Forwarded-Server and -Port.'),
  prefixes: unsupported(Strings.default([]), []),
  stripPrefix: z.boolean().default(false).describe('Take the matched prefix off the path. Means nothing without prefixes.'),
  upstreamHeaders: Headers.default({}).describe('Headers set on every request to the upstream.'),
  insecureHTTPS: z.boolean().default(false).describe('Accept any certificate of an https upstream.'),
  upstreamAllowInsecureCiphers: unsupported(z.boolean().default(false), false),
  suppressWhois: z.boolean().default(false).describe('Do not look up and send X-Tailscale-* identity headers.'),
  whoisTimeout: Duration.default('1s').describe('How long the identity lookup may take; 0 means 1s.'),
  suppressTailnetDialer: z.boolean().default(false).describe("Dial upstreams by the host's network only."),
  authURL: unsupported(Text.default(''), ''),
  authPath: unsupported(Text.default('/api/authz/forward-auth'), '/api/authz/forward-auth'),
  authTimeout: unsupported(Duration.default('5s'), '5s'),
  authCopyHeaders: unsupported(Headers.default({}), {}),
  authInsecureHTTPS: unsupported(z.boolean().default(false), false),
  authBypassForTailnet: unsupported(z.boolean().default(false), false),
  timeout: Duration.default('1m').describe('How long the node may take to connect to the tailnet.'),
  readHeaderTimeout: Duration.default('0s').describe('How long a client may take to send its request header; 0 for ever.'),
  tsnetVerbose: z.boolean().default(false).describe("Log the node's own messages too."),
  group: Text.default('').describe('Services of one group share a shard when they fit.'),
  weight: z
    .number()
    .refine((weight) => weight > 0 && weight <= 1_000_000, 'want a number above 0, at most 1000000')
    .default(1)
    .describe('Expected load beside other services; shards are made even by it.'),
}

/** One entry of `services:`. */
export const ServiceConfig = withNotes(
  z.strictObject({
    name: z
      .string('tsnsrv needs a -name')
      .min(1, 'tsnsrv needs a -name')
      .max(63, 'a name is a DNS label: at most 63 characters')
      .regex(
        /^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$/,
        'a name is a DNS label: letters, digits and dashes, no dash at either end',
      )
      .describe('Host name on the tailnet; unique.'),
    upstream: z
      .string('upstream URL is required')
      .min(1, 'upstream URL is required')
      .describe('http or https URL of the service.'),
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
    shardSize: whole(1, 1000).default(20).describe('Most services in one worker process.'),
    stateDir: Path.default('').describe(
      'Default: $STATE_DIRECTORY, else $TS_STATE_DIR, else /var/lib/tsnsrv-sup (root) or ~/.local/state/tsnsrv-sup.',
    ),
    runDir: Path.default('').describe(
      'Sockets of supervisor and workers. Default: $RUNTIME_DIRECTORY, else <state dir>/.supervisor/run.',
    ),
    controlURL: HttpURL.default('').describe("Control server of all services; default $TS_URL, else Tailscale's own."),
    workerBinary: Path.default('').describe('Path of tsnsrv-worker; default: the one beside this program.'),
    startConcurrency: whole(0, 1000).default(0).describe('How many nodes of a shard start at once; 0: all.'),
    drainTimeout: durationWithin(0, 86_400_000, 'want at most 24h')
      .default('10s')
      .describe('How long open requests may take to end when a service stops.'),
    gcPercent: whole(1, 1000)
      .default(2)
      .describe('Garbage of an idle worker in per cent of its live heap, but at least 16 MiB; relaxed by itself under load.'),
    ignoreInterfaces: Strings.default([
      'docker*',
      'veth*',
      'br-*',
      'virbr*',
      'cni*',
      'lxc*',
      'cali*',
      'flannel*',
      'podman*',
      've-*',
      'vnet*',
      'tap*',
    ]).describe(
      'Shell patterns of interfaces that are no change of network (containers). Never hides the one with the default route.',
    ),
    logUpload: z.boolean().default(false).describe("Upload the nodes' logs to Tailscale, as tailscaled does."),
    portMapping: z
      .boolean()
      .default(true)
      .describe('Ask the router to map the UDP ports of the nodes (NAT-PMP, PCP, UPnP): for hosts behind NAT.'),
    sampleInterval: durationWithin(100, 3_600_000, 'want 100ms to 1h')
      .default('5s')
      .describe('How often CPU and memory of the workers are read.'),
    keyAPIURL: HttpURL.default('').describe('API that mints auth keys; default $TS_BASE_URL, else https://api.tailscale.com.'),
  }),
)

/** The whole file. */
export const ConfigFile = withNotes(
  z.strictObject({
    prometheusAddr: Text.refine(
      (address) => address === '' || address === 'off' || hasPort(address),
      'want host:port, as in "127.0.0.1:9099", or "off"',
    )
      .default('')
      .describe('host:port of the metrics; default 127.0.0.1:9099, "off" for none.'),
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
