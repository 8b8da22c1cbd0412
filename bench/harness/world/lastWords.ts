import type { Readable } from 'node:stream'

/** How much is quoted: the traces of all goroutines fill books. */
const CHARACTERS = 2000

/** Reads all that a process says, for as long as it lives, and keeps the end of it for the error that quotes it. */
export function lastWords(stream: Readable): () => string {
  let words = ''
  stream.setEncoding('utf8').on('data', (more: string) => {
    words = (words + more).slice(-CHARACTERS)
  })
  return () => words.trim()
}
