import { Command } from 'commander'
import { describe, expect, test } from 'vitest'
import { parseConfig } from '../../supervisor/config/parseConfig.ts'
import { defaultRebalancing } from '../../supervisor/core/rebalance.ts'
import { addSettingsOptions, type Overrides, resolveDirectories, type Settings } from '../../supervisor/config/settings.ts'

const services = 'services: [{ name: a, upstream: "http://h", plaintext: true }]'

function settingsOf(supervisor: string, overrides: Overrides = {}): Settings {
  return parseConfig(`supervisor: { ${supervisor} }\n${services}`, 'f.yaml', overrides).config.settings
}

/** Flags as commander gives them for a command line. */
function flagsOf(...args: string[]): Record<string, unknown> {
  return addSettingsOptions(new Command()).parse(args, { from: 'user' }).opts()
}

test('a flag wins over the environment, the environment over the file, the file over the default', () => {
  const env = { TSNSRV_SUP_SHARD_SIZE: '7' }
  expect(settingsOf('').shardSize).toBe(20)
  expect(settingsOf('shardSize: 5').shardSize).toBe(5)
  expect(settingsOf('shardSize: 5', { env }).shardSize).toBe(7)
  expect(settingsOf('shardSize: 5', { env, flags: flagsOf('--shard-size', '9') }).shardSize).toBe(9)
  expect(settingsOf('shardSize: 5', { env: { TSNSRV_SUP_SHARD_SIZE: '' } }).shardSize).toBe(5)
})

test('what the simulator plays is the default', () => {
  const { shardSize, hotPercent, coldPercent, minShards, maxShards, moveCooldownMs, settleTimeMs } = settingsOf('')
  const { serviceCooldownMs, shardCooldownMs, ...policy } = defaultRebalancing
  expect(policy).toMatchObject({ shardSize, hotPercent, coldPercent, minShards, maxShards })
  expect([serviceCooldownMs, shardCooldownMs]).toEqual([moveCooldownMs, settleTimeMs])
})

test('every setting has a flag and a variable that mean the same', () => {
  const flags = flagsOf(
    ...['--shard-size', '3', '--state-dir', 'state', '--run-dir', '/run/x', '--control-url', 'https://c.example'],
    ...['--worker-binary', 'bin/w', '--start-concurrency', '2', '--drain-timeout', '1m', '--gc-percent', '50'],
    ...[
      '--ignore-interfaces',
      'a*,b*',
      '--log-upload',
      '--port-mapping',
      'false',
      '--sample-interval',
      '2s',
      '--key-api-url',
      'https://k.example',
    ],
    ...['--certificates-per-week', '30', '--prometheus-addr', 'off', '--rebalance', 'no', '--hot-percent', '70'],
    ...['--cold-percent', '20', '--min-shards', '2', '--max-shards', '9', '--move-cooldown', '5s'],
    ...['--settle-time', '2s'],
    ...['--memory-limit', '512MiB', '--watch-config', '--upgrade-workers', '--ready-percent', '90', '--ready-timeout', '2m'],
  )
  const env = {
    TSNSRV_SUP_SHARD_SIZE: '3',
    TSNSRV_SUP_REBALANCE: 'no',
    TSNSRV_SUP_HOT_PERCENT: '70',
    TSNSRV_SUP_COLD_PERCENT: '20',
    TSNSRV_SUP_MIN_SHARDS: '2',
    TSNSRV_SUP_MAX_SHARDS: '9',
    TSNSRV_SUP_MOVE_COOLDOWN: '5s',
    TSNSRV_SUP_SETTLE_TIME: '2s',
    TSNSRV_SUP_STATE_DIR: 'state',
    TSNSRV_SUP_RUN_DIR: '/run/x',
    TSNSRV_SUP_CONTROL_URL: 'https://c.example',
    TSNSRV_SUP_WORKER_BINARY: 'bin/w',
    TSNSRV_SUP_START_CONCURRENCY: '2',
    TSNSRV_SUP_DRAIN_TIMEOUT: '1m',
    TSNSRV_SUP_GC_PERCENT: '50',
    TSNSRV_SUP_IGNORE_INTERFACES: 'a*,b*',
    TSNSRV_SUP_LOG_UPLOAD: 'yes',
    TSNSRV_SUP_PORT_MAPPING: 'no',
    TSNSRV_SUP_SAMPLE_INTERVAL: '2s',
    TSNSRV_SUP_MEMORY_LIMIT: '512 MiB',
    TSNSRV_SUP_WATCH_CONFIG: 'true',
    TSNSRV_SUP_UPGRADE_WORKERS: 'true',
    TSNSRV_SUP_READY_PERCENT: '90',
    TSNSRV_SUP_READY_TIMEOUT: '2m',
    TSNSRV_SUP_CERTIFICATES_PER_WEEK: '30',
    TSNSRV_SUP_KEY_API_URL: 'https://k.example',
    TSNSRV_SUP_PROMETHEUS_ADDR: 'off',
  }
  const wanted: Settings = {
    shardSize: 3,
    stateDir: '/here/state',
    runDir: '/run/x',
    controlURL: 'https://c.example',
    workerBinary: '/here/bin/w',
    startConcurrency: 2,
    rebalance: false,
    hotPercent: 70,
    coldPercent: 20,
    minShards: 2,
    maxShards: 9,
    moveCooldownMs: 5000,
    settleTimeMs: 2000,
    certificatesPerWeek: 30,
    drainTimeoutMs: 60_000,
    gcPercent: 50,
    memoryLimitBytes: 512 * 1024 * 1024,
    watchConfig: true,
    upgradeWorkers: true,
    readyPercent: 90,
    readyTimeoutMs: 120_000,
    ignoreInterfaces: ['a*', 'b*'],
    logUpload: true,
    portMapping: false,
    sampleIntervalMs: 2000,
    keyAPIURL: 'https://k.example',
    prometheusAddr: '',
  }
  expect(settingsOf('', { flags, cwd: '/here' })).toEqual(wanted)
  expect(settingsOf('', { env, cwd: '/here' })).toEqual(wanted)
})

test('the variables of systemd and tsnsrv give defaults that the file overrides', () => {
  const env = {
    STATE_DIRECTORY: '/var/lib/one:/var/lib/two',
    TS_STATE_DIR: '/other',
    RUNTIME_DIRECTORY: '/run/one',
    TS_URL: 'https://headscale.example',
    TS_BASE_URL: 'https://api.example',
  }
  expect(settingsOf('', { env })).toMatchObject({
    stateDir: '/var/lib/one',
    runDir: '/run/one',
    controlURL: 'https://headscale.example',
    keyAPIURL: 'https://api.example',
  })
  expect(settingsOf('stateDir: /srv, controlURL: "https://c"', { env })).toMatchObject({
    stateDir: '/srv',
    controlURL: 'https://c',
  })
  expect(settingsOf('', { env: { TS_STATE_DIR: '/other' } })).toMatchObject({
    stateDir: '/other',
    runDir: '/other/.supervisor/run',
  })
  expect(settingsOf('', { home: '/home/anna' }).stateDir).toBe('/home/anna/.local/state/tsnsrv-sup')
  expect(settingsOf('', { isRoot: true }).stateDir).toBe('/var/lib/tsnsrv-sup')
})

test.each([
  ['', '127.0.0.1:9099'],
  ['prometheusAddr: ""', '127.0.0.1:9099'],
  ['prometheusAddr: ":9500"', ':9500'],
  ['prometheusAddr: "[::1]:9500"', '[::1]:9500'],
  ['prometheusAddr: off', ''],
])('%j serves metrics at %j', (line, address) => {
  expect(parseConfig(`${line}\n${services}`, 'f', {}).config.settings.prometheusAddr).toBe(address)
})

describe('what is wrong outside the file', () => {
  test('is said with the name of the flag or variable, all at once', () => {
    const overrides = { flags: flagsOf('--shard-size', '0'), env: { TSNSRV_SUP_DRAIN_TIMEOUT: '5', TS_URL: 'nonsense' } }
    const complaints = [
      '--shard-size: error: "0": want a whole number from 1 to 1000',
      '$TSNSRV_SUP_DRAIN_TIMEOUT: error: "5": not a duration: write 5s',
      '$TS_URL: error: "nonsense": want an http or https URL',
    ]
    for (const complaint of complaints) expect(() => settingsOf('shardSize: 5', overrides)).toThrow(complaint)
  })

  test('a run directory that leaves no room for sockets is refused with the flag that mends it', () => {
    expect(() => settingsOf(`runDir: /${'r'.repeat(73)}`)).toThrow(
      /f\.yaml:1:\d+: error: the run directory is too long.*\n.*\n.*\n.*--run-dir/,
    )
    expect(settingsOf(`runDir: /${'r'.repeat(69)}`).runDir).toHaveLength(70)
  })
})

describe('the run directory for client commands', () => {
  test('comes from the configuration even when that is not valid', () => {
    expect(resolveDirectories({ cwd: '/here' }, 'supervisor: { runDir: run, shardSize: wrong }\nservices: 5').runDir).toBe(
      '/here/run',
    )
    expect(resolveDirectories({}, 'supervisor: { stateDir: /srv }').runDir).toBe('/srv/.supervisor/run')
  })

  test('needs no configuration, and is not stopped by one that cannot be read', () => {
    expect(resolveDirectories({ home: '/h' }).runDir).toBe('/h/.local/state/tsnsrv-sup/.supervisor/run')
    expect(resolveDirectories({ flags: flagsOf('--run-dir', '/run/x') }, 'supervisor: {').runDir).toBe('/run/x')
  })

  test('a bad variable is an error', () => {
    expect(() => resolveDirectories({ env: { TSNSRV_SUP_RUN_DIR: '/x\0' } })).toThrow('$TSNSRV_SUP_RUN_DIR')
  })
})
