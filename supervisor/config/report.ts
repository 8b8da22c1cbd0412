/** Collects diagnostics of one text while it is being read, so that all errors are shown at once. */
import { withoutSecrets } from '../../shared/secrets.ts'
import { ConfigError, type Diagnostic } from './diagnostic.ts'

/** Offsets into the text, in UTF-16 code units; the end is the first one outside. */
export interface Range {
  readonly start: number
  readonly end: number
}

/** Where something stands, as a Diagnostic says it. */
export type Place = Pick<Diagnostic, 'file' | 'line' | 'column' | 'length'>

/** So many errors are no configuration; looking for more would only take time. */
const MOST_ERRORS = 20_000
const LONGEST_QUOTE = 60

/** A text in quotes for a message, cut when it is long. */
export function quote(text: string): string {
  return JSON.stringify(text.length > LONGEST_QUOTE ? `${text.slice(0, LONGEST_QUOTE)}…` : text)
}

/** Diagnostics in the order of the text, nothing twice. */
export function inOrder(diagnostics: readonly Diagnostic[]): readonly Diagnostic[] {
  const distinct = new Map(diagnostics.map((diagnostic) => [JSON.stringify(diagnostic), diagnostic]))
  return [...distinct.values()].sort((a, b) => a.line - b.line || a.column - b.column)
}

export class Report {
  readonly file: string
  readonly text: string
  readonly #found: Diagnostic[] = []
  #errors = 0
  readonly #errorStarts = new Set<number>()
  #lineStarts: readonly number[] | undefined

  constructor(text: string, file: string) {
    this.text = text
    this.file = file
  }

  /** A range of undefined means the file as a whole. */
  error(range: Range | undefined, message: string, hint?: string): void {
    if (range) this.#errorStarts.add(range.start)
    this.#add('error', range, message, hint)
    this.#errors += 1
    if (this.#errors >= MOST_ERRORS) throw this.refusal()
  }

  /** Whether an error has been reported at exactly this start: rules need not complain of what could not be read. */
  hasErrorAt({ start }: Range): boolean {
    return this.#errorStarts.has(start)
  }

  note(range: Range | undefined, message: string, hint?: string): void {
    this.#add('note', range, message, hint)
  }

  /** An error in a flag or environment variable, which stands in `source` instead of a file. */
  errorOutside(source: string, message: string): void {
    this.#errors += 1
    this.#found.push({ severity: 'error', file: source, line: 0, column: 0, length: 1, message: withoutSecrets(message) })
  }

  get failed(): boolean {
    return this.#errors > 0
  }

  /** Everything found, in the order of the text, nothing twice. */
  get diagnostics(): readonly Diagnostic[] {
    return inOrder(this.#found)
  }

  /** What a failed reading throws: everything that is wrong. */
  refusal(): ConfigError {
    return new ConfigError(this.diagnostics, this.text)
  }

  /** Where a range starts, for messages that name a second place. */
  lineOf(range: Range): number {
    return this.#locate(range).line
  }

  /** A range of undefined is the file as a whole. */
  placeOf(range: Range | undefined): Place {
    return { file: this.file, ...(range === undefined ? { line: 0, column: 0, length: 1 } : this.#locate(range)) }
  }

  #add(severity: Diagnostic['severity'], range: Range | undefined, message: string, hint: string | undefined): void {
    const words = { message: withoutSecrets(message), ...(hint !== undefined && { hint: withoutSecrets(hint) }) }
    this.#found.push({ severity, ...this.placeOf(range), ...words })
  }

  #locate({ start, end }: Range): Pick<Diagnostic, 'line' | 'column' | 'length'> {
    const starts = (this.#lineStarts ??= lineStarts(this.text))
    const offset = Math.min(start, this.text.length)
    let low = 0
    let high = starts.length
    while (high - low > 1) {
      const middle = (low + high) >> 1
      if ((starts[middle] ?? 0) <= offset) low = middle
      else high = middle
    }
    const lineStart = starts[low] ?? 0
    const lineEnd = (starts[low + 1] ?? this.text.length + 1) - 1
    return { line: low + 1, column: offset - lineStart + 1, length: Math.max(1, Math.min(end, lineEnd) - offset) }
  }
}

function lineStarts(text: string): number[] {
  const starts = [0]
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) starts.push(at + 1)
  return starts
}
