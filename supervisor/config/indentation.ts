/** Keys that begin one column too far to the right or the left, which a YAML parser tells in riddles. Pure. */
import type { Range } from './report.ts'

/** Errors of the parser that a wrong column causes, and whether the wrong line is the one of the error or the next. */
const CAUSED: Readonly<Partial<Record<string, 'this' | 'next'>>> = {
  BLOCK_AS_IMPLICIT_KEY: 'next',
  BAD_INDENT: 'this',
  MISSING_CHAR: 'this',
  UNEXPECTED_TOKEN: 'this',
}

/** Two keys one above the other that begin in different columns: what to say, and where. Undefined when it is something else. */
export function indentationSlip(text: string, code: string, offset: number): { range: Range; message: string } | undefined {
  const which = CAUSED[code]
  if (which === undefined) return undefined
  const lines = text.split('\n')
  const ofError = text.slice(0, offset).split('\n').length - 1
  const index = which === 'this' ? ofError : nextWritten(lines, ofError + 1, 1)
  const below = keyOf(lines[index])
  const above = keyOf(lines[nextWritten(lines, index - 1, -1)])
  if (!below || !above || above.isParent || above.column === below.column) return undefined
  const start = lines.slice(0, index).join('\n').length + (index > 0 ? 1 : 0) + below.column - 1
  const message = `${below.name} starts in column ${below.column}, ${above.name} above it in column ${above.column}`
  return { range: { start, end: start + below.name.length }, message }
}

/** The next line from one on that is more than a comment. */
function nextWritten(lines: readonly string[], from: number, step: 1 | -1): number {
  let index = from
  while (/^\s*(?:#.*)?$/.test(lines[index] ?? 'end')) index += step
  return index
}

/** The key that a line begins with. One without a value on its line is the parent of what follows. */
function keyOf(line: string | undefined): { name: string; column: number; isParent: boolean } | undefined {
  const [, before, name, value = ''] = /^( *(?:- +)*)([\w-]+):(?:[ \t]+(\S.*)?)?\r?$/.exec(line ?? '') ?? []
  if (before === undefined || name === undefined) return undefined
  return { name, column: before.length + 1, isParent: value === '' || value.startsWith('#') }
}
