/** A program that is told what to do by JSON lines on stdin and tells what became of it by JSON lines on stdout. */
import { createInterface } from 'node:readline'
import { type Options, execa } from 'execa'
import * as z from 'zod'
import { lastWords } from './lastWords.ts'

const Line = z.looseObject({ event: z.string() })
type Line = z.infer<typeof Line>

/** What to start: a file and its arguments, with what brings it into its network namespace in front. */
export interface Command {
  readonly file: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Lines on stderr go there; a failure quotes the end of them. */
  readonly logFile?: string
  /** How much longer than it was to take a command may be without an answer; default a minute. */
  readonly hangTimeoutMs?: number
}

export interface Tool {
  /** Its first line. */
  readonly ready: Line
  readonly pid: number
  /**
   * Sends one command and gives its lines until the one that says "done" (which is the last). One at a time. A program that is
   * still not done `hangTimeoutMs` after the `lastsMs` that the command takes is killed.
   */
  ask(command: Readonly<Record<string, unknown>>, lastsMs: number, onLine?: (line: Line) => void): Promise<Line>
  stop(): Promise<void>
}

const STOP_TIMEOUT_MS = 10_000
/** tailscale 1.102 can hang for good while many peers come and go: without an end, the whole run would. */
const HANG_TIMEOUT_MS = 60_000

/** Starts it and waits for its first line; rejects with its own words when it ends before. */
export async function startTool({ file, args, env, logFile, hangTimeoutMs = HANG_TIMEOUT_MS }: Command): Promise<Tool> {
  const child = execa(file, [...args], processOptions(env, logFile))
  const waiting: { line: (line: Line) => void; end: (error: Error) => void }[] = []
  let ended: Error | undefined
  let hung = false
  const said = lastWords(child.stderr)
  const gone = child.then(({ shortMessage }) => {
    const how = hung ? `${file} hung, and was ended` : (shortMessage ?? `${file} has ended`)
    ended = new Error(`${how}\n${said()}`.trim())
    for (const { end } of waiting.splice(0)) end(ended)
  })
  createInterface({ input: child.stdout }).on('line', (text) => {
    const line = Line.safeParse(parse(text))
    if (line.success) waiting[0]?.line(line.data)
  })

  function until(last: string, onLine: (line: Line) => void = () => undefined): Promise<Line> {
    return new Promise<Line>((resolve, reject) => {
      if (ended) reject(ended)
      waiting.push({
        line: (line) => {
          if (line.event === 'error') settle(() => reject(new Error(`${file}: ${String(line.message)}`)))
          else if (line.event === last) settle(() => resolve(line))
          else onLine(line)
        },
        end: reject,
      })
      const settle = (how: () => void) => {
        waiting.shift()
        how()
      }
    })
  }

  const ready = await until('ready')
  return {
    ready,
    pid: child.pid ?? 0,
    ask(command, lastsMs, onLine) {
      const answer = until('done', onLine)
      child.stdin.write(`${JSON.stringify(command)}\n`)
      const hangs = setTimeout(() => {
        hung = true
        child.kill('SIGKILL')
      }, lastsMs + hangTimeoutMs)
      return answer.finally(() => clearTimeout(hangs))
    },
    async stop() {
      child.kill('SIGTERM')
      await gone
    },
  }
}

function processOptions(env: Command['env'], logFile: string | undefined) {
  return {
    env: { PATH: process.env.PATH ?? '', ...env },
    extendEnv: false,
    stdin: 'pipe',
    stderr: logFile === undefined ? 'pipe' : ['pipe', { file: logFile, append: true }],
    reject: false,
    // A group of its own: Ctrl-C is for the benchmark, which then ends things in their order.
    detached: true,
    forceKillAfterDelay: STOP_TIMEOUT_MS,
    // It may live for an hour: what it says is read as it comes.
    buffer: false,
  } as const satisfies Options
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
