import { watch } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { currentLogName, findLogs } from './logFiles.ts'

interface Followed {
  file: FileHandle
  inode: number
  /** Where the next line begins in the file. */
  offset: number
}

const BLOCK_BYTES = 64 * 1024
const NEWLINE = 0x0a

/**
 * Hands over every line that is written to the logs in `directory` until `signal` is aborted. Follows logs that are rotated
 * (renamed, then begun anew), truncated, or new. Calls `onStart` once, before the first line, with where each current file is
 * taken up: what stands before is the caller's, so that together nothing is missing and nothing comes twice.
 */
export async function followLogs(
  directory: string,
  onLine: (line: string) => void,
  signal: AbortSignal,
  onStart: (ends: ReadonlyMap<string, number>) => Promise<void>,
): Promise<void> {
  const followed = new Map<string, Followed>()
  const changed = new Set<string>()
  const failed = new AbortController()
  const ended = AbortSignal.any([signal, failed.signal])
  let wake: () => void = () => undefined
  const watcher = watch(directory, (_event, fileName) => {
    if (fileName === null || currentLogName(fileName) === undefined) return
    changed.add(fileName)
    wake()
  })
  watcher.on('error', (error) => failed.abort(error))
  ended.addEventListener('abort', () => wake(), { once: true })
  try {
    for (const { name } of await findLogs(directory)) {
      const log = await openAt(join(directory, `${name}.log`), 'end')
      if (log) followed.set(`${name}.log`, log)
    }
    await onStart(new Map([...followed].map(([fileName, { offset }]) => [join(directory, fileName), offset])))
    while (!ended.aborted) {
      for (const fileName of changed) {
        // Deleted first: what is written while it is read counts as a change again.
        changed.delete(fileName)
        await catchUp(fileName)
      }
      await new Promise<void>((resolve) => {
        wake = resolve
        if (changed.size > 0 || ended.aborted) resolve()
      })
    }
    failed.signal.throwIfAborted()
  } finally {
    watcher.close()
    await Promise.all([...followed.values()].map(({ file }) => file.close()))
  }

  async function catchUp(fileName: string): Promise<void> {
    const path = join(directory, fileName)
    const log = followed.get(fileName)
    // Asked before reading: if another file has the name by now, this one was rotated away and is complete.
    const now = await stat(path).catch(() => undefined)
    if (log) await readNew(log, onLine)
    if (!now || now.ino === log?.inode) return
    await log?.file.close()
    followed.delete(fileName)
    const next = await openAt(path, 'start')
    if (!next) return
    followed.set(fileName, next)
    await readNew(next, onLine)
  }
}

async function openAt(path: string, where: 'start' | 'end'): Promise<Followed | undefined> {
  const file = await open(path).catch(() => undefined)
  if (!file) return undefined
  const { ino, size } = await file.stat()
  return { file, inode: ino, offset: where === 'start' ? 0 : await lastLineEnd(file, size) }
}

/** Where the last whole line ends: a line that is half written when we come is followed from its start. */
async function lastLineEnd(file: FileHandle, size: number): Promise<number> {
  for (let position = size; position > 0; ) {
    const length = Math.min(BLOCK_BYTES, position)
    position -= length
    const { buffer } = await file.read(Buffer.alloc(length), 0, length, position)
    const newline = buffer.lastIndexOf(NEWLINE)
    if (newline !== -1) return position + newline + 1
  }
  return 0
}

/** Reads whole lines from where the last call ended; what follows the last newline waits for the rest of its line. */
async function readNew(log: Followed, onLine: (line: string) => void): Promise<void> {
  const { size } = await log.file.stat()
  if (size < log.offset) log.offset = 0
  let blockBytes = BLOCK_BYTES
  while (log.offset < size) {
    const { buffer, bytesRead } = await log.file.read(Buffer.alloc(blockBytes), 0, blockBytes, log.offset)
    const end = buffer.subarray(0, bytesRead).lastIndexOf(NEWLINE)
    if (end === -1) {
      // A line longer than the block, or not finished yet.
      if (bytesRead < blockBytes) return
      blockBytes *= 2
      continue
    }
    for (const line of buffer.toString('utf8', 0, end).split('\n')) onLine(line)
    log.offset += end + 1
  }
}
