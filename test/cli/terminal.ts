/** Streams that keep what a command writes. */
import { Writable } from 'node:stream'
import { runProgram } from '../../supervisor/cli/program.ts'
import type { Output, Streams } from '../../supervisor/cli/terminal.ts'

export class CapturedOutput extends Writable implements Output {
  text = ''
  isTTY?: boolean
  columns?: number
  readonly #waiting = new Set<() => void>()

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString()
    for (const check of this.#waiting) check()
    done()
  }

  /** Resolves once `text` matches. */
  async until(pattern: RegExp): Promise<void> {
    await new Promise<void>((resolve) => {
      const check = () => {
        if (!pattern.test(this.text)) return
        this.#waiting.delete(check)
        resolve()
      }
      this.#waiting.add(check)
      check()
    })
  }
}

export interface Run {
  readonly stdout: CapturedOutput
  readonly stderr: CapturedOutput
  readonly exitCode: Promise<number>
}

/** Runs a command line in this process, as main.ts would. */
export function run(...args: string[]): Run {
  const [stdout, stderr] = [new CapturedOutput(), new CapturedOutput()]
  return { stdout, stderr, exitCode: runProgram(args, { stdout, stderr }) }
}

/** Runs a command line on a terminal where somebody types. */
export function typing(stdin: NonNullable<Streams['stdin']>, ...args: string[]): Run {
  const [stdout, stderr] = [new CapturedOutput(), new CapturedOutput()]
  return { stdout, stderr, exitCode: runProgram(args, { stdin, stdout, stderr }) }
}

/** Runs a command line to its end. */
export async function result(...args: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const { stdout, stderr, exitCode } = run(...args)
  return { exitCode: await exitCode, stdout: stdout.text, stderr: stderr.text }
}
