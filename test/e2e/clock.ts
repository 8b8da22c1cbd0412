/** The clock of a supervisor, and how a test sets it. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/** How wrong the time of day is, and how much more than really has passed. */
interface ClockError {
  readonly wallMs: number
  readonly elapsedMs: number
}

/** Environment of a program of Node whose clock is as wrong as the file says; without the file it is right. */
export function clockEnvironment(file: string): Record<string, string> {
  return {
    NODE_OPTIONS: `--import ${pathToFileURL(join(import.meta.dirname, 'setClock.mjs')).href}`,
    CLOCK_FILE: file,
  }
}

/** What `clockEnvironment` looks at. */
export async function setClock(file: string, error: ClockError): Promise<void> {
  await writeFile(file, JSON.stringify(error))
}
