/** What is compared: anything that gives each of N services its own node on the tailnet. */
import { closeSync, openSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { execa } from 'execa'
import type { Certificate } from '../build.ts'
import type { Contender, Scope } from '../plan.ts'
import type { LoadName, Subject as SubjectInfo } from '../results.ts'
import { countGoroutines } from '../measure/goroutines.ts'
import type { Command } from '../world/tool.ts'

/** What a subject is given: the same for all of them. */
export interface Surroundings {
  /** The subject's own; what is in it survives from a start to the next. */
  readonly directory: string
  /** Names on the tailnet. */
  readonly services: readonly string[]
  readonly controlURL: string
  readonly authKey: string
  /** For those that serve https: of nobody's name, as clients do not look at it. */
  readonly certificate: Certificate
  /** http URL of what all services publish. */
  readonly upstream: string
  /** For metrics, on loopback; a subject of several processes takes the ones after it as well. */
  readonly metricsPort: number
  /** Brings a program into the network of the storage host. */
  readonly place: (file: string, args: readonly string[]) => Command
}

export interface Running {
  /** Processes that the subject consists of, without those that these have started. */
  roots(): readonly number[]
  /**
   * Settles when it has said of every service that it is up, or when `answered` is aborted, as what answers is up; gives that
   * time in epoch milliseconds, or null where it does not tell.
   */
  untilReady(answered: AbortSignal): Promise<number | null>
  /** Goroutines of all its Go processes; null where it does not tell. */
  goroutines(): Promise<number | null>
  /** Settles when a process of it has ended before it was told to, with its last words. */
  readonly failed: Promise<string>
  /** Ends it in good order; settles when all its processes are gone. */
  readonly stop: () => Promise<void>
}

export interface Subject extends Pick<Contender, 'scope'> {
  readonly info: SubjectInfo
  /** It answers by https on port 443, and not by http on port 80. */
  readonly https?: boolean
  start(surroundings: Surroundings): Promise<Running>
}

/** Whether its network map is expected to be quiet soon after its start. The others report each change of the host's interfaces. */
export function becomesQuiet({ group }: Pick<SubjectInfo, 'group'>): boolean {
  return group !== 'peer' && group !== 'floor'
}

/** For subjects that are of interest for what a request costs, and for nothing else. */
export const SATURATED = ['saturated', 'connecting'] as const satisfies readonly LoadName[]

/** For subjects of which it is not. */
export const UNSATURATED = ['idle', 'light', 'moderate'] as const satisfies readonly LoadName[]

/** For subjects that show what https costs, which nothing is held against closely. */
export const HTTPS_SCOPE: Scope = { loads: SATURATED, most: { saturation: 3 } }

/** Variables for all subjects: the host has no way to Tailscale's log server, and would try. */
const LAB_ENVIRONMENT: Readonly<Record<string, string>> = { TS_NO_LOGS_NO_SUPPORT: 'true' }

const STOP_TIMEOUT_MS = 30_000
/** Between two looks at the logs. */
const LOOK_MS = 50

/** One process of a subject; its output goes to a file of this start in the subject's directory. */
export function startProcess(
  { directory }: Pick<Surroundings, 'directory'>,
  name: string,
  { file, args, env }: Command,
): Process {
  const logFile = join(directory, `${name}-${Date.now()}.log`)
  // The file itself: a pipe would wake this process for each line, on the cores that are measured.
  // Its number is any; execa's types know those from 3 to 9.
  const log = openSync(logFile, 'a', 0o600) as 3
  const child = execa(file, [...args], {
    env: { PATH: process.env.PATH ?? '', ...LAB_ENVIRONMENT, ...env },
    extendEnv: false,
    stdin: 'ignore',
    stdout: log,
    stderr: log,
    reject: false,
    detached: true,
    forceKillAfterDelay: STOP_TIMEOUT_MS,
  })
  closeSync(log)
  const ended = child.then(({ shortMessage }) => `${name} ended by itself: ${shortMessage ?? 'exit code 0'}`)
  return { pid: child.pid, logFile, ended, end: () => void child.kill('SIGTERM') }
}

export interface Process {
  readonly pid: number | undefined
  readonly logFile: string
  /** Settles with a sentence on how; never rejects. */
  readonly ended: Promise<string>
  readonly end: () => void
}

/** How a subject tells what it has to tell. */
export interface Telling {
  /** URLs of its metrics, seen from its own network. */
  readonly metrics: readonly string[]
  /** In its logs: a line for each service that is up, or, with `once`, one when all are. */
  readonly ready?: { readonly line: RegExp; readonly once?: true }
}

/** A subject of these processes. */
export function runningProcesses(
  { place, services }: Surroundings,
  processes: readonly Process[],
  { metrics, ready }: Telling,
): Running {
  const enter = (file: string, args: readonly string[]): [string, string[]] => {
    const command = place(file, args)
    return [command.file, [...command.args]]
  }
  let stopping = false
  return {
    roots: () => processes.flatMap(({ pid }) => pid ?? []),
    async untilReady(answered) {
      if (!ready) return null
      const lines = new RegExp(ready.line, 'g')
      for (;;) {
        const logs = await Promise.all(processes.map(({ logFile }) => readFile(logFile, 'utf8').catch(() => '')))
        const told = logs.reduce((count, log) => count + (log.match(lines)?.length ?? 0), 0)
        if (answered.aborted || told >= (ready.once ? 1 : services.length)) return Date.now()
        await delay(LOOK_MS, undefined, { signal: answered }).catch(() => undefined)
      }
    },
    goroutines: () =>
      countGoroutines(
        metrics.map((url) => ({ url })),
        enter,
      ),
    failed: new Promise((resolve) => {
      for (const { ended } of processes) {
        void ended.then((message) => {
          if (!stopping) resolve(message)
        })
      }
    }),
    async stop() {
      stopping = true
      for (const { end } of processes) end()
      await Promise.all(processes.map(({ ended }) => ended))
    },
  }
}

/** Where a service listens, in the keys of tsnsrv's YAML. */
export const listening = (https: boolean, certificate: Certificate) =>
  https ? { ...certificate, listenAddr: ':443' } : { plaintext: true, listenAddr: ':80' }

/** A file that only the subject reads. */
export async function writePrivate(path: string, text: string): Promise<string> {
  await writeFile(path, text, { mode: 0o600 })
  return path
}
