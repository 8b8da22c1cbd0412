/** How the last supervisor ended. Each supervisor writes a record when it starts, and again when it ends in order. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod'
import { writeAtomically } from './atomicFile.ts'
import { currentBoot } from './processIdentity.ts'
import { ownDirectory } from './stateFile.ts'

const Run = z.object({
  version: z.string(),
  pid: z.number().int(),
  bootId: z.string(),
  startedAt: z.number().describe('epoch ms'),
  ended: z
    .object({ at: z.number().describe('epoch ms'), how: z.string() })
    .nullable()
    .describe('null while it runs, and for ever if it was killed'),
})

type Run = z.infer<typeof Run>

const filePath = (stateDir: string): string => join(ownDirectory(stateDir), 'last-run.json')

/** The record of this run, and what the one before says. */
export interface RunRecord {
  /** One sentence on how the last run ended; empty when there was none, or when its record cannot be read. */
  readonly before: string
  /** Whether the last run ended in order. */
  readonly wasOrderly: boolean
  /** Writes that this run ends in order. `how` continues the words "the last supervisor ended". Rejects when it cannot be written. */
  end(how: string): Promise<void>
}

/** Reads the record of the last run and replaces it by one of this run. Rejects when it cannot be written. */
export async function recordRun(stateDir: string, { version }: { version: string }): Promise<RunRecord> {
  const path = filePath(stateDir)
  const last = await readLast(path)
  const run: Run = { version, pid: process.pid, bootId: currentBoot, startedAt: Date.now(), ended: null }
  const write = (record: Run) => writeAtomically(path, `${JSON.stringify(record)}\n`)
  await write(run)
  return {
    before: last ? describeRun(last) : '',
    wasOrderly: last?.ended !== null,
    end: (how) => write({ ...run, ended: { at: Date.now(), how } }),
  }
}

/** Resolves with null when there is no record, or when it cannot be read. */
async function readLast(path: string): Promise<Run | null> {
  try {
    return Run.parse(JSON.parse(await readFile(path, 'utf8')))
  } catch {
    return null
  }
}

function describeRun({ version, pid, bootId, startedAt, ended }: Run): string {
  const who = `the last supervisor (${version}, pid ${String(pid)}, started ${new Date(startedAt).toISOString()})`
  if (ended) return `${who} ended ${ended.how} at ${new Date(ended.at).toISOString()}`
  if (bootId !== currentBoot) return `${who} ended with the machine, which has been started anew since`
  return `${who} ended without a word: it was killed, or has crashed; its workers served on`
}
