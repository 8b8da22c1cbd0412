/** The two systems under test, seen from outside: each reads a file of tsnsrv's format and runs it in the lab. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { execa } from 'execa'
import type { Diagnostic } from '../../supervisor/config/diagnostic.ts'
import type { Status } from '../../shared/api.ts'
import { result } from '../cli/terminal.ts'
import type { Stack } from '../e2e/stack.ts'

export interface Subject {
  readonly name: 'ours' | 'tsnsrv'
  /** How often it is started when it does not listen by funnel; tsnsrv silently loses that when many nodes start at once. */
  readonly mostStarts: number
  /** What it says of a file, without running it for longer than that takes: "accepted" or "refused: ...", see Observed. */
  judge(file: string): Promise<string>
  /** Runs a file. Resolves when so many services are up; rejects with its last words when it ends before. */
  start(place: Place, file: string, count: number): Promise<Running>
}

interface Place {
  readonly stack: Stack
  /** By which nodes join the lab. */
  readonly environment: Readonly<Record<string, string>>
}

export interface Running {
  /** All that it has logged so far. */
  log(): Promise<string>
  stop(): Promise<void>
}

/** tsnsrv-sup, whose environment is that of the stack. */
export const ours: Subject = {
  name: 'ours',
  mostStarts: 1,
  judge: judgeOurs,
  async start({ stack }, file, count) {
    await writeFile(stack.configFile, file)
    const supervisor = stack.start('--state-dir', stack.stateDir, '--run-dir', stack.runDir)
    const up = ({ services }: Status) => services.filter(({ ready }) => ready).length >= count
    const ended = supervisor.ended.then(({ stderr }) => {
      throw new Error(`the supervisor has ended:\n${stderr}`)
    })
    await Promise.race([stack.until(up, `${count} services up`), ended])
    ended.catch(() => undefined) // from now on it is told to
    return {
      async log() {
        const { shards } = await stack.status()
        return (await Promise.all(shards.map(({ shard }) => stack.workerLog(shard)))).join('')
      },
      async stop() {
        supervisor.kill('SIGTERM')
        await supervisor.ended
      },
    }
  },
}

async function judgeOurs(file: string): Promise<string> {
  return inDirectory(async (directory) => {
    const path = join(directory, 'services.yaml')
    await writeFile(path, file)
    const { stdout } = await result('validate', '--json', path)
    const found = JSON.parse(stdout) as Diagnostic[]
    const says = (severity: Diagnostic['severity']) =>
      found.flatMap((each) => (each.severity === severity ? [each.message] : [])).join('; ')
    const [errors, notes] = [says('error'), says('note')]
    if (errors !== '') return `refused: ${errors}`
    return notes === '' ? 'accepted' : `accepted: ${notes}`
  })
}

/** arsfeld/tsnsrv. */
export function tsnsrv(binary: string): Subject {
  return {
    name: 'tsnsrv',
    mostStarts: 4,
    judge: (file) =>
      inDirectory(async (directory) => {
        // A control server that nobody runs: the file alone is the matter.
        const process = await run(binary, directory, file, { TS_URL: 'http://127.0.0.1:9', TS_AUTHKEY: 'none' })
        const said = await process.until((log) => log.includes('tsnet starting with hostname'))
        await process.stop()
        if (said) return 'accepted'
        return `refused: ${reasonIn(process.log())}`
      }),
    async start({ environment }, file, count) {
      const directory = await mkdtemp(join(tmpdir(), 'tsnsrv-'))
      const process = await run(binary, directory, file, environment)
      const stop = async () => {
        await process.stop()
        await rm(directory, { recursive: true })
      }
      const up = await process.until((log) => (log.match(/ INFO Serving /g)?.length ?? 0) >= count)
      if (up) return { log: () => Promise.resolve(process.log()), stop }
      await stop()
      throw new Error(`tsnsrv has ended, or has not ${count} services up:\n${process.log().slice(-4000)}`)
    },
  }
}

const PATIENCE_MS = 60_000
const LOOK_MS = 10

/** The host has no way to Tailscale's log server; and as its NixOS module starts it. */
const QUIET = { TS_NO_LOGS_NO_SUPPORT: 'true', TS_DEBUG_DISABLE_PORTLIST: 'true' }

/** A process of tsnsrv with this file. */
async function run(binary: string, directory: string, file: string, environment: Readonly<Record<string, string>>) {
  const path = join(directory, 'tsnsrv.yaml')
  await writeFile(path, file)
  const child = execa(binary, ['-config', path], {
    env: { ...QUIET, PATH: process.env.PATH ?? '', HOME: directory, ...environment },
    extendEnv: false,
    cwd: directory,
    stdin: 'ignore',
    all: true,
    reject: false,
  })
  let log = ''
  child.all.on('data', (chunk: Buffer) => (log += chunk.toString()))
  let ended = false
  const end = child.then(() => (ended = true))
  return {
    log: () => log,
    /** Whether the log fulfils a condition before the process ends by itself. */
    async until(condition: (log: string) => boolean): Promise<boolean> {
      const deadline = Date.now() + PATIENCE_MS
      while (!condition(log) && !ended && Date.now() < deadline) await delay(LOOK_MS)
      return condition(log)
    },
    async stop(): Promise<void> {
      child.kill('SIGKILL') // it knows no other end
      await end
    },
  }
}

/** The errors in what it says at its end, without the words that are before each of them. */
function reasonIn(log: string): string {
  const usage = /Errors:\n([^]*?)\n\nUSAGE/.exec(log)?.[1]
  const reason =
    usage ??
    log
      .trim()
      .split('\n')
      .at(-1)
      ?.replace(/^\S+ \S+ /, '') ??
    ''
  return reason
    .replace(/^(parsing|validating|reading) config(?: file)?: /, '')
    .replace(/^yaml: unmarshal errors:\n/, '')
    .split('\n')
    .map((line) => line.trim().replace(/^line \d+: /, ''))
    .join('; ')
}

async function inDirectory<T>(use: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'judge-'))
  try {
    return await use(directory)
  } finally {
    await rm(directory, { recursive: true })
  }
}
