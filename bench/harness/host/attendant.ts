/** Processes that make up the host. */
import { once } from 'node:events'
import { execa } from 'execa'

/** A process that ends when its standard input closes, and so never outlives this one, however this one ends. */
export interface Attendant {
  /** Sends a line to its standard input; nothing happens when it has ended. */
  send(line: string): void
  /** Resolves when it has written something to its standard output; rejects when it ends without. */
  ready(): Promise<void>
  /** Throws when it has ended, with what it wrote to its standard error. */
  check(): void
  /** Closes its standard input, and resolves when it has ended. */
  stop(): Promise<void>
}

const KILL_AFTER_MS = 5000

/** Starts it. `title` stands for it in messages. */
export function startAttendant(title: string, file: string, args: readonly string[]): Attendant {
  const child = execa(file, args, { reject: false })
  let stopping = false
  let said = ''
  child.stderr.on('data', (text: Buffer) => {
    said += text.toString()
  })
  const ended = child.then((result) => {
    said ||= result.shortMessage ?? ''
  })
  // A line for a process that has just ended: check() tells of it.
  child.stdin.on('error', () => undefined)

  function check(): void {
    if (stopping || (child.pid !== undefined && child.exitCode === null && child.signalCode === null)) return
    throw new Error(`${title} ended: ${said.trim() || `exit code ${child.exitCode ?? child.signalCode ?? 'unknown'}`}`)
  }

  return {
    send: (line) => void child.stdin.write(`${line}\n`),
    async ready() {
      await Promise.race([once(child.stdout, 'data'), ended])
      check()
    },
    check,
    async stop() {
      stopping = true
      child.stdin.end()
      const timer = setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS)
      await ended
      clearTimeout(timer)
    },
  }
}
