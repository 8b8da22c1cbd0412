/** A Node process that does what a test tells it, line by line. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

export interface Child {
  readonly pid: number
  /** Sends a line to its standard input and resolves to the next line of its standard output. */
  ask(line: string): Promise<string>
  /** Kills it, when it has not ended, and resolves when it has. */
  end(): Promise<void>
}

/** Available to `script`: burns CPU until this process has used `seconds` more of it. */
const BURN = `
const used = () => { const { user, system } = process.cpuUsage(); return (user + system) / 1e6 }
const burn = (seconds) => { const end = used() + seconds; while (used() < end); }
`

/**
 * Starts it. `script` is the body of a function of `line`, and what that function returns, or a promise of it, is the answer.
 * Without a script the answer to a number is the CPU seconds that it has used in all, after it has used that many more.
 */
export function startChild(script = 'burn(Number(line)); return used()', [file, args] = node(script)): Child {
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  if (child.pid === undefined) throw new Error(`${file} did not start`)
  const ended = once(child, 'exit')
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    pid: child.pid,
    async ask(line) {
      child.stdin.write(`${line}\n`)
      return String((await lines.next()).value)
    },
    async end() {
      child.kill('SIGKILL')
      await ended
    },
  }
}

/** What to spawn for a child with this script. */
export function node(script: string): [file: string, args: string[]] {
  const loop = `${BURN} require('node:readline').createInterface({ input: process.stdin }).on('line', async (line) => {
    console.log(await (async () => { ${script} })())
  })`
  return [process.execPath, ['-e', loop]]
}
