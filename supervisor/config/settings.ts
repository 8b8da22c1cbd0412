/** How this supervisor runs: from the `supervisor:` section, over it the environment, over that the flags. */
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import * as z from 'zod'
import { ConfigFile, SupervisorConfig } from '../../shared/config.ts'
import { parseByteSize } from '../../shared/byteSize.ts'
import { parseDuration } from '../../shared/duration.ts'
import { ConfigError } from './diagnostic.ts'
import { maskLine } from './maskedSource.ts'
import { readAs } from './readAs.ts'
import { quote, type Range, Report } from './report.ts'
import { presentSchema, readScalar } from './scalar.ts'
import { readYaml } from './yamlDocument.ts'

/** Settings with every default applied; paths are absolute. */
export interface Settings {
  readonly shardSize: number
  readonly stateDir: string
  readonly runDir: string
  /** Empty for Tailscale's own. */
  readonly controlURL: string
  /** Empty for the one beside this program. */
  readonly workerBinary: string
  /** 0 for all at once. */
  readonly startConcurrency: number
  readonly drainTimeoutMs: number
  readonly gcPercent: number
  readonly ignoreInterfaces: readonly string[]
  readonly logUpload: boolean
  readonly portMapping: boolean
  readonly sampleIntervalMs: number
  readonly rebalance: boolean
  /** Per cent of one core. */
  readonly hotPercent: number
  readonly coldPercent: number
  readonly minShards: number
  /** 0 for no limit. */
  readonly maxShards: number
  readonly moveCooldownMs: number
  readonly settleTimeMs: number
  /** Bytes; 0 for none. */
  readonly memoryLimitBytes: number
  readonly watchConfig: boolean
  readonly upgradeWorkers: boolean
  /** Per cent of the services. */
  readonly readyPercent: number
  readonly readyTimeoutMs: number
  readonly certificatesPerWeek: number
  readonly keyAPIURL: string
  /** host:port, an empty host being all interfaces; empty for no metrics. */
  readonly prometheusAddr: string
}

/** What a configuration is read with besides its text. What is missing counts as not given; paths then start at "/". */
export interface Overrides {
  /** Options of the command line by attribute (`shardSize`), as commander gives them: texts, or true for one without its value. */
  readonly flags?: Readonly<Record<string, unknown>>
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Relative paths, also those in the file, start here: tsnsrv reads them so. */
  readonly cwd?: string
  readonly home?: string | undefined
  readonly isRoot?: boolean
}

type SettingKey = keyof SupervisorConfig | 'prometheusAddr'
type RawSettings = { readonly [K in keyof SupervisorConfig]?: SupervisorConfig[K] | undefined }

interface Source {
  readonly flag: string
  /** What the value of the flag is called in its help. */
  readonly value: string
  readonly env: string
  /** Variables that give the default when neither flag nor `env` nor file says anything; the first that is set counts. */
  readonly fallbacks?: readonly string[]
}

/** Where each setting may come from. */
const SOURCES: Readonly<Record<SettingKey, Source>> = {
  shardSize: { flag: '--shard-size', value: '<count>', env: 'TSNSRV_SUP_SHARD_SIZE' },
  stateDir: { flag: '--state-dir', value: '<dir>', env: 'TSNSRV_SUP_STATE_DIR', fallbacks: ['STATE_DIRECTORY', 'TS_STATE_DIR'] },
  runDir: { flag: '--run-dir', value: '<dir>', env: 'TSNSRV_SUP_RUN_DIR', fallbacks: ['RUNTIME_DIRECTORY'] },
  controlURL: { flag: '--control-url', value: '<url>', env: 'TSNSRV_SUP_CONTROL_URL', fallbacks: ['TS_URL'] },
  workerBinary: { flag: '--worker-binary', value: '<file>', env: 'TSNSRV_SUP_WORKER_BINARY' },
  startConcurrency: { flag: '--start-concurrency', value: '<count>', env: 'TSNSRV_SUP_START_CONCURRENCY' },
  drainTimeout: { flag: '--drain-timeout', value: '<duration>', env: 'TSNSRV_SUP_DRAIN_TIMEOUT' },
  gcPercent: { flag: '--gc-percent', value: '<percent>', env: 'TSNSRV_SUP_GC_PERCENT' },
  ignoreInterfaces: { flag: '--ignore-interfaces', value: '<patterns>', env: 'TSNSRV_SUP_IGNORE_INTERFACES' },
  logUpload: { flag: '--log-upload', value: '[boolean]', env: 'TSNSRV_SUP_LOG_UPLOAD' },
  portMapping: { flag: '--port-mapping', value: '[boolean]', env: 'TSNSRV_SUP_PORT_MAPPING' },
  sampleInterval: { flag: '--sample-interval', value: '<duration>', env: 'TSNSRV_SUP_SAMPLE_INTERVAL' },
  rebalance: { flag: '--rebalance', value: '[boolean]', env: 'TSNSRV_SUP_REBALANCE' },
  hotPercent: { flag: '--hot-percent', value: '<percent>', env: 'TSNSRV_SUP_HOT_PERCENT' },
  coldPercent: { flag: '--cold-percent', value: '<percent>', env: 'TSNSRV_SUP_COLD_PERCENT' },
  minShards: { flag: '--min-shards', value: '<count>', env: 'TSNSRV_SUP_MIN_SHARDS' },
  maxShards: { flag: '--max-shards', value: '<count>', env: 'TSNSRV_SUP_MAX_SHARDS' },
  moveCooldown: { flag: '--move-cooldown', value: '<duration>', env: 'TSNSRV_SUP_MOVE_COOLDOWN' },
  settleTime: { flag: '--settle-time', value: '<duration>', env: 'TSNSRV_SUP_SETTLE_TIME' },
  memoryLimit: { flag: '--memory-limit', value: '<bytes>', env: 'TSNSRV_SUP_MEMORY_LIMIT' },
  watchConfig: { flag: '--watch-config', value: '[boolean]', env: 'TSNSRV_SUP_WATCH_CONFIG' },
  upgradeWorkers: { flag: '--upgrade-workers', value: '[boolean]', env: 'TSNSRV_SUP_UPGRADE_WORKERS' },
  readyPercent: { flag: '--ready-percent', value: '<percent>', env: 'TSNSRV_SUP_READY_PERCENT' },
  readyTimeout: { flag: '--ready-timeout', value: '<duration>', env: 'TSNSRV_SUP_READY_TIMEOUT' },
  certificatesPerWeek: { flag: '--certificates-per-week', value: '<count>', env: 'TSNSRV_SUP_CERTIFICATES_PER_WEEK' },
  keyAPIURL: { flag: '--key-api-url', value: '<url>', env: 'TSNSRV_SUP_KEY_API_URL', fallbacks: ['TS_BASE_URL'] },
  prometheusAddr: { flag: '--prometheus-addr', value: '<host:port>', env: 'TSNSRV_SUP_PROMETHEUS_ADDR' },
}

const SCHEMAS: Readonly<Record<SettingKey, z.ZodType>> = {
  ...SupervisorConfig.shape,
  prometheusAddr: ConfigFile.shape.prometheusAddr,
}

/** systemd may give its directory variables as lists ("a:b"); the first is the one that we asked for. */
const DIRECTORY_LISTS: ReadonlySet<string> = new Set(['STATE_DIRECTORY', 'RUNTIME_DIRECTORY'])

/** The socket of a worker below the run directory, at its longest. */
const LONGEST_SOCKET = 'shard-9999-xxxxxxxx-9999/worker.sock'
/** sun_path of sockaddr_un holds 108 bytes with the closing zero (unix(7)). */
export const MOST_SOCKET_PATH_BYTES = 107

/** Adds the flag of every setting to a command, as a group below its own options. */
export function addSettingsOptions(command: Command): Command {
  command.optionsGroup('Settings, over those of the file and of the environment:')
  for (const key of Object.keys(SOURCES) as SettingKey[]) addOption(command, key)
  return command.optionsGroup('')
}

/** Adds the two flags that tell a client command where the supervisor's socket is. */
export function addRunDirOptions(command: Command): Command {
  addOption(command, 'stateDir')
  addOption(command, 'runDir')
  return command
}

function addOption(command: Command, key: SettingKey): void {
  const { flag, value, env } = SOURCES[key]
  const schema = SCHEMAS[key]
  const preset = schema instanceof z.ZodDefault ? String(schema.def.defaultValue) : ''
  const shown = preset === '' ? '' : ` (default: ${preset})`
  command.option(`${flag} ${value}`, `${schema.description ?? ''}${shown} [$${env}]`)
}

/**
 * Settings from what the file says (values that are checked already) and the overrides. Bad ones are reported with the
 * name of their flag or variable; `place` tells where in the file a key stands.
 */
export function resolveSettings(
  file: { readonly supervisor: RawSettings; readonly prometheusAddr: string | undefined },
  overrides: Overrides,
  report: Report,
  place: (key: SettingKey) => Range | undefined,
): Settings {
  const inFile: Readonly<Record<string, unknown>> = { ...file.supervisor, prometheusAddr: file.prometheusAddr }
  const chosen: Record<string, unknown> = {}
  for (const key of Object.keys(SOURCES) as SettingKey[]) {
    const value = override(key, overrides, report) ?? inFile[key] ?? fallback(key, overrides, report)
    if (value !== undefined) chosen[key] = value
  }
  const { prometheusAddr, ...rest } = chosen
  const settings = SupervisorConfig.parse(rest)
  const absolute = (path: string) => resolve(overrides.cwd ?? '/', path)
  const stateDir = absolute(settings.stateDir || defaultStateDir(overrides))
  const runDir = settings.runDir ? absolute(settings.runDir) : join(stateDir, '.supervisor', 'run')
  if (Buffer.byteLength(join(runDir, LONGEST_SOCKET)) > MOST_SOCKET_PATH_BYTES) {
    const limit = MOST_SOCKET_PATH_BYTES - LONGEST_SOCKET.length - 1
    const message = `the run directory is too long for the sockets in it: ${runDir} has ${Buffer.byteLength(runDir)} bytes`
    report.error(
      place('runDir') ?? place('stateDir'),
      message,
      `give one of at most ${limit} bytes with --run-dir, as in /run/tsnsrv-sup`,
    )
  }
  if (settings.coldPercent >= settings.hotPercent) {
    const message = `coldPercent (${settings.coldPercent}) is not below hotPercent (${settings.hotPercent}): shards would be merged and split again`
    report.error(
      place('coldPercent') ?? place('hotPercent'),
      message,
      'leave a wide gap between the two, as the defaults 30 and 80 do',
    )
  }
  if (settings.maxShards > 0 && settings.minShards > settings.maxShards) {
    const message = `minShards (${settings.minShards}) is more than maxShards (${settings.maxShards})`
    report.error(place('minShards') ?? place('maxShards'), message, 'let minShards be at most maxShards')
  }
  return {
    shardSize: settings.shardSize,
    stateDir,
    runDir,
    controlURL: settings.controlURL,
    workerBinary: settings.workerBinary && absolute(settings.workerBinary),
    startConcurrency: settings.startConcurrency,
    rebalance: settings.rebalance,
    hotPercent: settings.hotPercent,
    coldPercent: settings.coldPercent,
    minShards: settings.minShards,
    maxShards: settings.maxShards,
    moveCooldownMs: durationMs(settings.moveCooldown),
    settleTimeMs: durationMs(settings.settleTime),
    certificatesPerWeek: settings.certificatesPerWeek,
    drainTimeoutMs: durationMs(settings.drainTimeout),
    gcPercent: settings.gcPercent,
    ignoreInterfaces: settings.ignoreInterfaces,
    logUpload: settings.logUpload,
    portMapping: settings.portMapping,
    sampleIntervalMs: durationMs(settings.sampleInterval),
    memoryLimitBytes: parseByteSize(settings.memoryLimit) ?? 0,
    watchConfig: settings.watchConfig,
    upgradeWorkers: settings.upgradeWorkers,
    readyPercent: settings.readyPercent,
    readyTimeoutMs: durationMs(settings.readyTimeout),
    keyAPIURL: settings.keyAPIURL || 'https://api.tailscale.com',
    prometheusAddr: metricsAddress(prometheusAddr),
  }
}

/**
 * Where sockets and state are, for commands that ask about a supervisor: the text of its configuration helps when it can be
 * read, and need not be valid. Throws a ConfigError only for a bad flag or variable.
 */
export function resolveDirectories(overrides: Overrides, configText = ''): Pick<Settings, 'stateDir' | 'runDir'> {
  const supervisor = configText.includes('supervisor') ? supervisorSection(configText) : {}
  const report = new Report('', '')
  const { stateDir, runDir } = resolveSettings({ supervisor, prometheusAddr: undefined }, overrides, report, () => undefined)
  if (report.failed) throw report.refusal()
  return { stateDir, runDir }
}

/** What can be understood of the section; its errors are for the commands that need the rest. */
function supervisorSection(text: string): RawSettings {
  const report = new Report(text, '')
  try {
    const document = readYaml(report)
    const entry = document.section('supervisor')
    const place = { name: 'supervisor', range: undefined }
    return readAs(SupervisorConfig, entry?.value, place, { document, report }) ?? {}
  } catch (error) {
    if (error instanceof ConfigError) return {}
    throw error
  }
}

/** Milliseconds of a duration that its schema has accepted. */
export function durationMs(text: string): number {
  const parsed = parseDuration(text)
  if ('problem' in parsed) throw new Error(`${text}: ${parsed.problem}`)
  return parsed.ms
}

/** The value of the flag, or else of the variable; both as text. An empty variable counts as not set. */
function override(key: SettingKey, { flags = {}, env = {} }: Overrides, report: Report): unknown {
  const source = SOURCES[key]
  const flag = flags[attributeOf(source.flag)]
  if (typeof flag === 'string' || flag === true) return readText(key, source.flag, String(flag), report)
  return env[source.env] ? readText(key, `$${source.env}`, env[source.env] ?? '', report) : undefined
}

function fallback(key: SettingKey, { env = {} }: Overrides, report: Report): unknown {
  const name = SOURCES[key].fallbacks?.find((variable) => env[variable])
  const text = name && env[name]
  if (!text) return undefined
  return readText(key, `$${name}`, DIRECTORY_LISTS.has(name) ? (text.split(':')[0] ?? '') : text, report)
}

/** Reads a flag or variable as its schema wants it; a list has commas between its elements. */
function readText(key: SettingKey, source: string, text: string, report: Report): unknown {
  const wanted = presentSchema(SCHEMAS[key])
  const element = wanted instanceof z.ZodArray ? (wanted.element as z.ZodType) : wanted
  const parts = wanted instanceof z.ZodArray ? text.split(',').filter(Boolean) : [text]
  const values: unknown[] = []
  for (const part of parts) {
    const reading = readScalar(element, { text: part, plain: true })
    if ('problem' in reading) report.errorOutside(source, `${quote(maskLine(part))}: ${reading.problem}`)
    else values.push(reading.value)
  }
  return wanted instanceof z.ZodArray ? values : values[0]
}

/** commander's name of a flag's value: --shard-size becomes shardSize. */
function attributeOf(flag: string): string {
  return flag.slice(2).replace(/-([a-z])/g, (_match, letter: string) => letter.toUpperCase())
}

function defaultStateDir({ home = '/', isRoot = false }: Overrides): string {
  return isRoot ? '/var/lib/tsnsrv-sup' : join(home, '.local', 'state', 'tsnsrv-sup')
}

/** tsnsrv serves on all interfaces when nothing is said; metrics tell who visits what, so ours stay on loopback then. */
function metricsAddress(written: unknown): string {
  if (written === 'off') return ''
  return typeof written === 'string' && written !== '' ? written : '127.0.0.1:9099'
}
