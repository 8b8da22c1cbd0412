import type { FileHandle } from 'node:fs/promises'

const BLOCK_BYTES = 64 * 1024
const NEWLINE = 0x0a

/**
 * The lines of a file from the last to the first, without reading more than is asked for. `end` is where to begin (exclusive).
 * What follows the last newline is a line that is being written, and left out.
 */
export async function* linesBackwards(file: FileHandle, end: number): AsyncGenerator<string> {
  // Blocks of the line whose start has not been seen yet, the first of them in front.
  let tail: Buffer[] | undefined
  for (let position = end; position > 0; ) {
    const length = Math.min(BLOCK_BYTES, position)
    position -= length
    const block = Buffer.alloc(length)
    const { bytesRead } = await file.read(block, 0, length, position)
    // Shorter than it was a moment ago: truncated under us. What is left is not what was asked for.
    if (bytesRead < length) return
    let lineEnd = length
    for (
      let newline = block.lastIndexOf(NEWLINE);
      newline !== -1;
      newline = newline === 0 ? -1 : block.lastIndexOf(NEWLINE, newline - 1)
    ) {
      if (tail) yield Buffer.concat([block.subarray(newline + 1, lineEnd), ...tail]).toString('utf8')
      tail = []
      lineEnd = newline
    }
    tail?.unshift(block.subarray(0, lineEnd))
  }
  if (tail) yield Buffer.concat(tail).toString('utf8')
}
