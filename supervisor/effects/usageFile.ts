/**
 * The counters of services in <state dir>/.supervisor/usage.json. They are no state that anything is decided by: a file that
 * cannot be read or written costs numbers, and never a start.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod'
import { inWords } from '../../shared/systemErrors.ts'
import { type UsageBook, type UsageRecord, nothingUsed } from '../core/usageBook.ts'
import { setAside, writeAtomically } from './atomicFile.ts'
import { ownDirectory } from './stateFile.ts'
import { plain } from './stateSchema.ts'

const mapOf = <T extends z.ZodType>(value: T) => z.record(z.string(), value).transform((found) => new Map(Object.entries(found)))

const ByService = mapOf(mapOf(z.number()))
const Usage = z.object({ ended: ByService, workers: mapOf(ByService) })
const UsageFile = z.object({
  version: z.literal(1),
  families: mapOf(z.object({ help: z.string(), type: z.string() })),
  metrics: Usage,
  events: Usage,
})

/** How often the workers' counters are read, and how often they are written at most while no worker ends. */
const READ_MS = 15_000
const WRITE_MS = 60_000

const usageFilePath = (stateDir: string) => join(ownDirectory(stateDir), 'usage.json')

/** What was last written; nothing when nothing was. A damaged file is moved aside, and `warn` is told. */
export async function readUsageFile(stateDir: string, warn: (message: string) => void): Promise<UsageRecord> {
  const path = usageFilePath(stateDir)
  try {
    const { families, metrics, events } = UsageFile.parse(JSON.parse(await readFile(path, 'utf8')))
    return { families, metrics, events }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return nothingUsed
    const why = error instanceof z.ZodError ? z.prettifyError(error) : inWords(error)
    const aside = await setAside(path, new Date()).then(
      (to) => `it is now ${to}`,
      (problem: unknown) => `it cannot be moved aside: ${inWords(problem)}`,
    )
    warn(`cannot use ${path}: ${why}; ${aside}. Requests and errors are counted anew`)
    return nothingUsed
  }
}

/**
 * Keeps the file: `read` has the counters of the workers read, and what they come to is written when a worker has ended, once
 * a minute, and at the end. Returns how to end.
 */
export function keepUsageFile(
  stateDir: string,
  book: UsageBook,
  read: () => Promise<unknown>,
  warn: (message: string) => void,
): () => Promise<void> {
  let writes: Promise<void> = Promise.resolve()
  let isQueued = false
  let writtenAt = performance.now()
  let problem = ''
  const write = (): Promise<void> => {
    // One that has not begun writes this, too.
    if (isQueued) return writes
    isQueued = true
    writes = writes.then(async () => {
      isQueued = false
      writtenAt = performance.now()
      const found = await writeAtomically(
        usageFilePath(stateDir),
        `${JSON.stringify({ version: 1, ...book.record }, plain)}\n`,
      ).then(() => '', inWords)
      if (found !== '' && found !== problem)
        warn(`cannot write ${usageFilePath(stateDir)}: ${found}; counters since then are lost if this supervisor ends`)
      problem = found
    })
    return writes
  }
  book.onEnd = () => void write()
  const timer = setInterval(() => {
    void read().then(() => (performance.now() - writtenAt >= WRITE_MS ? write() : undefined))
  }, READ_MS)
  return () => {
    clearInterval(timer)
    return write()
  }
}
