/** A real loop with a real fleet over fake worker processes, in directories of its own. */
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { processesOf } from '../../demo/leftovers.ts'
import type { Status } from '../../shared/api.ts'
import { type ResolvedConfig, parseConfig } from '../../supervisor/config/parseConfig.ts'
import { defaultPatience } from '../../supervisor/core/patience.ts'
import type { Transition } from '../../supervisor/core/transitions.ts'
import { nothingRemembered, type Patience } from '../../supervisor/core/types.ts'
import { systemClock } from '../../supervisor/effects/clock.ts'
import { createFleet } from '../../supervisor/effects/fleet.ts'
import { prepareDirectories, readStateFile, writeStateFile } from '../../supervisor/effects/stateFile.ts'
import { UsageBook, nothingUsed } from '../../supervisor/core/usageBook.ts'
import { Loop } from '../../supervisor/loop.ts'
import { stringify } from 'yaml'

/** Short enough for a test, long enough for a busy machine. */
const patience: Patience = {
  ...defaultPatience,
  spawnTimeoutMs: 2000,
  foundTimeoutMs: 1000,
  lostTimeoutMs: 1000,
  serviceBackoff: { free: 0, baseMs: 50, maxMs: 200, halfLifeMs: 1000 },
  workerBackoff: { free: 1, baseMs: 50, maxMs: 200, halfLifeMs: 1000 },
}

export class Playground {
  readonly transitions: Transition[] = []
  readonly loops: Loop[] = []
  config: ResolvedConfig
  readonly directory: string

  private constructor(directory: string, names: readonly string[]) {
    this.directory = directory
    this.config = this.configOf(names)
  }

  static async create(names: readonly string[]): Promise<Playground> {
    const playground = new Playground(await mkdtemp(join(tmpdir(), 'tsnsrv-it-')), names)
    const { stateDir, runDir } = playground.config.settings
    await prepareDirectories(stateDir, runDir)
    return playground
  }

  configOf(names: readonly string[], shardSize = 2): ResolvedConfig {
    const supervisor = { shardSize, stateDir: this.directory, runDir: join(this.directory, 'run'), drainTimeout: '200ms' }
    const services = names.map((name) => ({ name, upstream: `http://${name}.test`, plaintext: true }))
    return parseConfig(stringify({ supervisor, services }), 'test.yaml', {}).config
  }

  /** A supervisor whose workers are of this kind: a file of ./workers. */
  async start(kind: string): Promise<Loop> {
    const { settings } = this.config
    const loop: Loop = new Loop(
      {
        clock: systemClock,
        createFleet: (post) =>
          createFleet({
            binary: join(import.meta.dirname, 'workers', `${kind}.mjs`),
            stateDir: settings.stateDir,
            runDir: settings.runDir,
            workerArguments: () => [],
            nodes: () => loop.nodeDirectories(),
            reportMs: 1000,
            env: process.env,
            post,
          }),
        loadConfig: () => Promise.resolve(this.config),
        readConfig: () => Promise.resolve(this.config),
        save: (state) => writeStateFile(settings.stateDir, state),
        authKey: () => Promise.resolve(undefined),
        workerVersion: () => Promise.resolve('test'),
        hasCredential: () => false,
        usage: new UsageBook(nothingUsed),
        onTransition: (transition) => {
          this.transitions.push(transition)
        },
      },
      { version: 'test', pid: process.pid, configFile: 'test.yaml' },
      this.config,
      (await readStateFile(settings.stateDir)) ?? nothingRemembered,
      patience,
    )
    this.loops.push(loop)
    await loop.start()
    return loop
  }

  /** Ends every worker, also those that do not want to, and removes all files. */
  async end(): Promise<void> {
    for (const loop of this.loops) loop.stop({ leaveWorkers: true })
    await Promise.all(this.loops.map((loop) => loop.done))
    for (const pid of await this.workerPids()) process.kill(pid, 'SIGKILL')
    await until(async () => (await this.workerPids()).length === 0, 'all workers are gone')
    await rm(this.directory, { recursive: true })
  }

  /** Pids of all processes whose command line names this playground. */
  workerPids(): Promise<number[]> {
    return processesOf(this.directory)
  }

  runDirectory(): Promise<string[]> {
    return readdir(this.config.settings.runDir)
  }
}

/** Waits until the status of the loop fulfils the condition; fails with the last status after the deadline. */
export async function untilStatus(loop: Loop, condition: (status: Status) => boolean, what: string): Promise<Status> {
  await until(
    () => Promise.resolve(condition(loop.status())),
    what,
    () => JSON.stringify(loop.status(), null, 1),
  )
  return loop.status()
}

/** Looks again and again until the condition holds; fails after 15 s. */
export async function until(condition: () => Promise<boolean>, what: string, details: () => string = () => ''): Promise<void> {
  const deadline = Date.now() + 15_000
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within 15 s: ${what}\n${details()}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

export const allReady = (status: Status): boolean =>
  status.services.length > 0 && status.services.every((service) => service.ready)
