/** Starts the real supervisor on a configuration of its own, as an operator would. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { execa } from 'execa'
import { stringify } from 'yaml'
import type { Status } from '../shared/api.ts'
import { createAdminClient, NoSupervisorError } from '../supervisor/effects/adminClient.ts'
import { SocketError } from '../supervisor/effects/socketClient.ts'
import type { SampleService } from './sampleServices.ts'

export interface SupervisorOptions {
  /** Path of the supervisor's command line. */
  cli: string
  /** Path of tsnsrv-worker. */
  worker: string
  /** Holds everything that it writes. */
  directory: string
  controlURL: string
  shardSize: number
  services: readonly SampleService[]
}

export interface Supervisor {
  /** Settles when the supervisor has ended, with the last lines of its log. */
  ended: Promise<string>
  /** Hands over its state now and after each change, until it ends or `signal` is aborted. Waits for it to come up. */
  watch(onStatus: (status: Status) => void, signal: AbortSignal): Promise<void>
  /** Drains and ends it with its workers, and waits for that. */
  stop(): Promise<void>
}

const STOP_TIMEOUT_MS = 20_000
const LOG_LINES_SHOWN = 20

/** What a user has set for a supervisor of theirs, auth keys first of all, is not the demo's. */
const FOREIGN_SETTINGS = /^(TS_|TSNSRV_SUP_|STATE_DIRECTORY$|RUNTIME_DIRECTORY$|CREDENTIALS_DIRECTORY$)/

export async function startSupervisor(options: SupervisorOptions): Promise<Supervisor> {
  const { directory } = options
  const configFile = join(directory, 'services.yaml')
  const logFile = join(directory, 'supervisor.log')
  const runDir = join(directory, 'run')
  const stateDir = join(directory, 'state')
  const shardSize = String(options.shardSize)
  await writeFile(configFile, configuration(options))
  const supervisor = execa(
    options.cli,
    ['start', '--config', configFile, '--shard-size', shardSize, '--state-dir', stateDir, '--run-dir', runDir],
    {
      stdin: 'ignore',
      stdout: 'ignore',
      stderr: { file: logFile },
      // What is kept is in the file; a demo may run for days.
      buffer: false,
      reject: false,
      extendEnv: false,
      env: Object.fromEntries(Object.entries(process.env).filter(([name]) => !FOREIGN_SETTINGS.test(name))),
      forceKillAfterDelay: STOP_TIMEOUT_MS,
      // A process group of its own: Ctrl-C on the terminal is for the demo, which tells the supervisor once, in its turn.
      detached: true,
    },
  )
  const gone = new AbortController()
  const ended = supervisor.then(async ({ shortMessage }) => {
    gone.abort()
    const lines = (await readFile(logFile, 'utf8')).trimEnd().split('\n')
    return [shortMessage ?? 'the supervisor has ended', ...lines.slice(-LOG_LINES_SHOWN)].join('\n')
  })
  return {
    ended,
    async watch(onStatus, signal) {
      const client = createAdminClient(runDir)
      try {
        while (!gone.signal.aborted && !signal.aborted) {
          try {
            await client.watch(onStatus, signal)
            return
          } catch (error) {
            // Not there yet, or gone in the middle of a line: then it ends, or comes back.
            if (!(error instanceof NoSupervisorError || error instanceof SocketError)) throw error
            await delay(50)
          }
        }
      } finally {
        client.close()
      }
    },
    async stop() {
      supervisor.kill('SIGTERM')
      await ended
    },
  }
}

/** A file as an operator would write it. Plaintext, because the lab's certificates would be no browser's. */
function configuration({ worker, controlURL, services }: SupervisorOptions): string {
  return stringify({
    prometheusAddr: 'off',
    supervisor: { controlURL, workerBinary: worker },
    defaults: { plaintext: true, listenAddr: ':80', recommendedProxyHeaders: true },
    services,
  })
}
