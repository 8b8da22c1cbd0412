/** `tsnsrv-sup start`: the one place where configuration, loop, effects and API are put together. */
import { resolve } from 'node:path'
import { Command } from 'commander'
import { inWords } from '../../../shared/systemErrors.ts'
import { startAdminServer } from '../../api/adminServer.ts'
import { keepMetrics } from '../../api/keepMetrics.ts'
import { renderDiagnostics } from '../../config/diagnostic.ts'
import { type Settings, addSettingsOptions } from '../../config/settings.ts'
import { defaultPatience } from '../../core/patience.ts'
import { nothingRemembered, type Remembered } from '../../core/types.ts'
import { UsageBook } from '../../core/usageBook.ts'
import { adminSocketPath } from '../../effects/adminClient.ts'
import { systemClock } from '../../effects/clock.ts'
import { loadConfig, understandConfig } from '../../effects/configFile.ts'
import { sampleWorkers } from '../../effects/cpu.ts'
import { createCredentials, KEY_VARIABLES } from '../../effects/credential.ts'
import { createFleet } from '../../effects/fleet.ts'
import { type RunRecord, recordRun } from '../../effects/lastRun.ts'
import { lockStateDir } from '../../effects/lock.ts'
import { openLogFile } from '../../effects/logFile.ts'
import { openFileLimit, openFilesProblem } from '../../effects/openFiles.ts'
import {
  linkRunDirectory,
  logDirectory,
  prepareDirectories,
  readStateFile,
  setStateFileAside,
  StateFileError,
  writeStateFile,
} from '../../effects/stateFile.ts'
import { tellServiceManager } from '../../effects/serviceManager.ts'
import type { Log } from '../../effects/supervisorLog.ts'
import { keepUsageFile, readUsageFile } from '../../effects/usageFile.ts'
import { watchFile } from '../../effects/watchFile.ts'
import { findWorkerBinary, readSocketOwner, readWorkerVersion } from '../../effects/workerBinary.ts'
import { Loop } from '../../loop.ts'
import { createStartOutput } from '../startOutput.ts'
import { version } from '../version.ts'

/** The command. Its action resolves when the supervisor has ended as it was told to. */
export function startCommand(): Command {
  const command = new Command('start')
    .description('Run the services of a configuration file, each under its own name on the tailnet.')
    .requiredOption('-c, --config <file>', 'YAML file in the format of arsfeld/tsnsrv')
  return addSettingsOptions(command)
    .addHelpText(
      'after',
      `
Signals: TERM and INT drain and stop everything (a second one ends it at once), HUP reloads the configuration, as
--watch-config does by itself when the file has changed,
USR2 ends only the supervisor: its workers keep serving and the next one adopts them.

Examples:
  $ tsnsrv-sup start --config services.yaml --shard-size 20
  $ TS_URL=https://headscale.example tsnsrv-sup start -c services.yaml --state-dir /var/lib/tsnsrv-sup`,
    )
    .action((options: Record<string, unknown> & { config: string }) => start(options.config, options))
}

/** A worker that has stopped is told of so much later, at most, and as long again as it is waited for. */
const PING_MS = 3000

async function start(configFile: string, flags: Record<string, unknown>): Promise<void> {
  const load = () => loadConfig(configFile, { flags, env: process.env })
  const { config, notes, text } = await load()
  const { settings } = config
  const binary = findWorkerBinary(settings.workerBinary)
  await prepareDirectories(settings.stateDir, settings.runDir)
  const lock = await lockStateDir(settings.stateDir, (name) => readSocketOwner(binary, name))
  await linkRunDirectory(settings.stateDir, settings.runDir)
  const output = await createStartOutput(process.stderr, openLogFile(logDirectory(settings.stateDir)))
  if (lock.note !== '') output.log.warn(lock.note)
  const run = await beginRun(settings.stateDir, output.log)
  for (const note of notes) output.log.warn(renderDiagnostics([note], text).trimEnd())
  const tooFewFiles = openFilesProblem(await openFileLimit(), config.services.length, settings)
  if (tooFewFiles !== '') output.log.warn(tooFewFiles)

  const credentials = createCredentials({ env: process.env, keyAPIURL: settings.keyAPIURL })
  for (const name of KEY_VARIABLES) Reflect.deleteProperty(process.env, name)
  const warn = (message: string) => {
    output.log.warn(message)
  }
  const usage = new UsageBook(await readUsageFile(settings.stateDir, warn))
  const loop: Loop = new Loop(
    {
      clock: systemClock,
      createFleet: (post) =>
        createFleet({
          binary,
          stateDir: settings.stateDir,
          runDir: settings.runDir,
          workerArguments: () => tuningOf(loop.settings),
          nodes: () => loop.nodeDirectories(),
          reportMs: settings.sampleIntervalMs,
          env: process.env,
          post,
        }),
      loadConfig: async () => (await load()).config,
      readConfig: async ({ file, text: other, flags: otherFlags }) =>
        (await understandConfig(other, file, { flags: { ...flags, ...otherFlags } })).config,
      save: (state) => writeStateFile(settings.stateDir, state),
      usage,
      authKey: (service, how) => credentials.authKey(service, how),
      hasCredential: (service) => credentials.has(service),
      workerVersion: () => readWorkerVersion(binary),
      onTransition: (transition) => {
        output.transition(transition)
      },
    },
    { version, pid: process.pid, configFile: resolve(configFile) },
    config,
    await recall(settings.stateDir, output.log),
    defaultPatience,
  )
  const metrics = settings.prometheusAddr === '' ? null : await serveMetrics(loop, output.log)
  const admin = await startAdminServer({ socketPath: adminSocketPath(settings.runDir), operator: loop })
  handleSignals(loop, output.log)
  const endTelling = tellServiceManager(loop, process.env, () => loop.settings, warn)
  const endUsage = keepUsageFile(settings.stateDir, usage, () => loop.readMetrics(), warn)
  const sampling = setInterval(() => void sample(loop), settings.sampleIntervalMs)
  const pinging = setInterval(() => loop.pingWorkers(), PING_MS)
  const stopWatching = settings.watchConfig
    ? watchFile(configFile, () => void reload(loop, output.log, 'the configuration file has changed'))
    : watchWhileRefused(loop, configFile)
  const stopShowing = output.follow(loop)

  output.log.info('starting', {
    version,
    pid: process.pid,
    services: config.services.length,
    stateDir: settings.stateDir,
    metrics: metrics?.addr,
  })
  let how = 'as it could not start'
  try {
    // Told to end in the middle of adoption, it is done without ever having started.
    await Promise.race([loop.start(), loop.done])
    if (settings.upgradeWorkers) await upgradeWorkers(loop, output.log)
    const { journalError } = loop.status()
    if (journalError !== '')
      output.log.warn(`${journalError}; everything is started all the same, and written as soon as it can be`)
    await loop.done
    how = loop.leavesWorkers ? 'as it was told to, and left its workers serving' : 'as it was told to, with its workers'
  } catch (error) {
    // Nothing of the configuration runs; what an earlier supervisor left does, and stays.
    loop.stop({ leaveWorkers: true })
    await loop.done
    throw error
  } finally {
    clearInterval(sampling)
    clearInterval(pinging)
    stopWatching()
    stopShowing()
    await Promise.all([endUsage(), endTelling()])
    await Promise.all([admin.close(), metrics?.close()])
    // Before the lock is released: the next supervisor replaces the record.
    await run?.end(how).catch((error: unknown) => output.log.warn(UNRECORDED, { error: inWords(error) }))
    await lock.release()
  }
  output.log.info('ended')
  // Sockets to workers that serve on, and their children handles, are no reason to stay.
  process.exit()
}

/** Has adopted workers of another version replaced. Only begins it; never rejects: what cannot be replaced serves on. */
async function upgradeWorkers(loop: Loop, log: Log): Promise<void> {
  try {
    const { shards } = await loop.order('upgrade-workers', { all: false })
    if (shards.length > 0) log.info('replacing workers of another version', { shards })
  } catch (error) {
    log.warn('workers of another version are not replaced; try "tsnsrv-sup upgrade-workers"', { error: inWords(error) })
  }
}

/** Begins the record of this run, and logs how the last one ended. Resolves with null when the record cannot be written. */
async function beginRun(stateDir: string, log: Log): Promise<RunRecord | null> {
  try {
    const run = await recordRun(stateDir, { version })
    if (!run.wasOrderly) log.warn(run.before)
    else if (run.before !== '') log.info(run.before)
    return run
  } catch (error) {
    log.warn(UNRECORDED, { error: inWords(error) })
    return null
  }
}

const UNRECORDED = 'the next supervisor will not know how this one ended'

function serveMetrics(loop: Loop, log: Log): ReturnType<typeof keepMetrics> {
  const addr = loop.settings.prometheusAddr
  let told = ''
  return keepMetrics({
    addr,
    operator: loop,
    onProblem(problem) {
      loop.metricsError = problem
      // The log gets one line, not one for each attempt.
      if (problem !== '' && told === '') log.warn(problem)
      else if (problem === '' && told !== '') log.info('metrics are served now', { metrics: addr })
      told = problem
    },
  })
}

/** What was last written; a damaged file is moved aside, and the workers that answer tell what was in it. */
async function recall(stateDir: string, log: Log): Promise<Remembered> {
  try {
    return (await readStateFile(stateDir)) ?? nothingRemembered
  } catch (error) {
    if (!(error instanceof StateFileError)) throw error
    log.warn(
      `${error.message}; it is now ${await setStateFileAside(stateDir, new Date())}, and the placement is made again from what runs`,
    )
    return nothingRemembered
  }
}

function tuningOf(settings: Settings): string[] {
  return [
    ...['--gc-percent', String(settings.gcPercent)],
    ...(settings.memoryLimitBytes > 0 ? ['--memory-limit', String(settings.memoryLimitBytes)] : []),
    ...['--start-concurrency', String(settings.startConcurrency)],
    ...['--ignore-interfaces', settings.ignoreInterfaces.join(',')],
    ...(settings.logUpload ? ['--log-upload'] : []),
    ...(settings.portMapping ? [] : ['--port-mapping=false']),
  ]
}

function handleSignals(loop: Loop, log: Log): void {
  let stopping = false
  const stop = (signal: string) => {
    if (stopping) {
      log.warn(`${signal} again: ending all workers now`)
      loop.killAll()
      return
    }
    stopping = true
    log.info(`${signal}: draining and stopping everything`)
    loop.stop({ leaveWorkers: false })
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  process.on('SIGUSR2', () => {
    log.info('SIGUSR2: ending; the workers keep serving')
    loop.stop({ leaveWorkers: true })
  })
  process.on('SIGHUP', () => void reload(loop, log, 'SIGHUP'))
}

/** While the last reload is refused, has the loop look again when the file changes: so the status says so no longer than it is true. */
function watchWhileRefused(loop: Loop, configFile: string): () => void {
  let stopWatching: (() => void) | undefined
  const stopListening = loop.onChange(() => {
    if (loop.configError !== '') stopWatching ??= watchFile(configFile, () => void loop.review())
    else {
      stopWatching?.()
      stopWatching = undefined
    }
  })
  return () => {
    stopListening()
    stopWatching?.()
  }
}

/** Reloads without anybody who waits for the answer: it goes to the log, and a refusal to the status as well. */
async function reload(loop: Loop, log: Log, why: string): Promise<void> {
  try {
    log.info('reloaded', { why, ...(await loop.reload()) })
  } catch (error) {
    if (loop.configError !== '') {
      log.error(`${why}: the new configuration is refused, the old one stays:\n${inWords(error)}`)
      return
    }
    log.error(
      `${why}: the new configuration cannot be taken now: ${inWords(error)}. It is tried again when the state can be written`,
    )
    const stopListening = loop.onChange(() => {
      if (loop.status().journalError !== '') return
      stopListening()
      void reload(loop, log, 'the state can be written again')
    })
  }
}

async function sample(loop: Loop): Promise<void> {
  const sampled = await sampleWorkers(loop.workerProcesses())
  if (sampled.usage.size > 0 || sampled.hidden.size > 0) loop.post({ type: 'usageSampled', ...sampled })
  await loop.lookAfterOrphans()
}
