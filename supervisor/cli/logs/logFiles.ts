import { readdir } from 'node:fs/promises'
import { join } from 'node:path'

/** A log that is written to now, with its rotated parts. */
export interface LogSource {
  /** "supervisor", "shard-3", "shard-3-requests" or "shard-3-access". */
  name: string
  /** Newest first: the current file, then those that lumberjack has renamed to <name>-<timestamp>.log. */
  paths: string[]
}

const LOG_FILE = /^(?<name>supervisor|shard-\d+(?:-requests|-access)?)(?:-(?<rotatedAt>\d{4}-[\dT:.-]+))?\.log$/

/** The name of the log that a file name is the current part of; undefined for any other file. */
export function currentLogName(fileName: string): string | undefined {
  const groups = LOG_FILE.exec(fileName)?.groups
  return groups?.rotatedAt === undefined ? groups?.name : undefined
}

/** All logs in the directory; none when it does not exist yet. */
export async function findLogs(directory: string): Promise<LogSource[]> {
  const names = await readdir(directory).catch((error: unknown) => {
    if (isMissing(error)) return []
    throw new Error(`cannot read the logs in ${directory}: ${String(error)}`, { cause: error })
  })
  const parts = new Map<string, { rotatedAt: string; path: string }[]>()
  for (const fileName of names) {
    const { name, rotatedAt = '~' } = LOG_FILE.exec(fileName)?.groups ?? {}
    if (name === undefined) continue
    parts.set(name, [...(parts.get(name) ?? []), { rotatedAt, path: join(directory, fileName) }])
  }
  // "~" sorts after every timestamp: the current file is the newest part.
  return [...parts].map(([name, files]) => ({
    name,
    paths: files.sort((a, b) => (a.rotatedAt < b.rotatedAt ? 1 : -1)).map((file) => file.path),
  }))
}

/** Not there: not yet, or rotated away between listing and opening. */
export const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT'
