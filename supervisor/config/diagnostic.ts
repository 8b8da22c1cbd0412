/** What is wrong with a configuration and where, and how it is shown: as compilers do, with the line and a caret under the place. */
import pc from 'picocolors'
import { maskedSource } from './maskedSource.ts'

export interface Diagnostic {
  /** An error refuses the configuration; a note only says what is worth knowing. */
  readonly severity: 'error' | 'note'
  /** The file, or the flag or environment variable that the value came from. */
  readonly file: string
  /** From 1; 0 when it concerns no place in the text. */
  readonly line: number
  /** From 1, in UTF-16 code units, as editors count. */
  readonly column: number
  /** How many code units of that line are meant, at least 1. */
  readonly length: number
  readonly message: string
  /** What to do about it. */
  readonly hint?: string
}

/** A configuration that was refused: everything that is wrong with it at once. The message is the rendering without colours. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly diagnostics: readonly Diagnostic[]
  readonly #text: string

  constructor(diagnostics: readonly Diagnostic[], text: string) {
    super(renderDiagnostics(diagnostics, text))
    this.diagnostics = diagnostics
    this.#text = text
  }

  /** The same as the message, in colours when asked to. */
  render(options: RenderOptions): string {
    return renderDiagnostics(this.diagnostics, this.#text, options)
  }
}

export interface RenderOptions {
  readonly colour: boolean
}

/** More than anybody reads at once; the rest is counted. */
const MOST_SHOWN = 50
/** How many further places of one and the same message are listed. */
const MOST_PLACES = 5
/** Columns of a source line that are shown around the place. */
const WINDOW = 100

/** Renders diagnostics for people, with lines of the text when it is given. Those that say the same of several places become one. */
export function renderDiagnostics(
  diagnostics: readonly Diagnostic[],
  text = '',
  { colour }: RenderOptions = { colour: false },
): string {
  const groups = groupBySaying(diagnostics)
  const lastLine = diagnostics.reduce((last, { line }) => Math.max(last, line), 0)
  const source = maskedSource(text === '' ? [] : text.split('\n', lastLine))
  const shown = groups.slice(0, MOST_SHOWN).map((group) => renderGroup(group, source, pc.createColors(colour)))
  if (groups.length > MOST_SHOWN) shown.push(`... and ${groups.length - MOST_SHOWN} more`)
  return shown.join('\n')
}

type Colors = ReturnType<typeof pc.createColors>

interface Group {
  readonly first: Diagnostic
  readonly others: Diagnostic[]
}

function groupBySaying(diagnostics: readonly Diagnostic[]): Group[] {
  const groups = new Map<string, Group>()
  for (const diagnostic of diagnostics) {
    const saying = JSON.stringify([diagnostic.severity, diagnostic.file, diagnostic.message, diagnostic.hint])
    const group = groups.get(saying)
    if (group) group.others.push(diagnostic)
    else groups.set(saying, { first: diagnostic, others: [] })
  }
  return [...groups.values()]
}

function renderGroup({ first, others }: Group, sourceLine: ReturnType<typeof maskedSource>, colors: Colors): string {
  const { severity, file, line, column, message, hint } = first
  const place = line === 0 ? file : `${file}:${line}:${column}`
  const paint = severity === 'error' ? colors.red : colors.cyan
  const gutter = line === 0 ? '  ' : `  ${' '.repeat(String(line).length)} `
  const rendered = [`${colors.bold(`${visible(place)}:`)} ${paint(`${severity}:`)} ${visible(message)}`]
  const source = line === 0 ? undefined : sourceLine(line - 1)
  if (source !== undefined) {
    const { shown, carets } = excerpt(source, first)
    rendered.push(`  ${line} | ${shown}`, `${gutter}| ${paint(carets)}`)
  }
  if (others.length > 0) rendered.push(`${gutter}= also at ${listPlaces(others)}`)
  if (hint !== undefined) rendered.push(`${gutter}= ${visible(hint)}`)
  return rendered.join('\n')
}

function listPlaces(others: readonly Diagnostic[]): string {
  const listed = others.slice(0, MOST_PLACES).map(({ line, column }) => `${line}:${column}`)
  const left = others.length - listed.length
  return left > 0 ? `${listed.join(', ')} and ${left} more` : listed.join(', ')
}

/** The part of a line around a diagnostic that fits the window, and the carets that go under it. */
function excerpt(sourceLine: string, { column, length }: Diagnostic): { shown: string; carets: string } {
  const line = sourceLine.replace(/\r$/, '')
  const marked = column - 1
  const start = line.length <= WINDOW ? 0 : Math.max(0, Math.min(marked - WINDOW / 3, line.length - WINDOW))
  const from = Math.trunc(start)
  const to = Math.min(line.length, from + WINDOW)
  const before = (from > 0 ? '…' : '') + visible(line.slice(from, marked))
  const under = visible(line.slice(marked, Math.min(marked + length, to)))
  const after = visible(line.slice(marked + length, to)) + (to < line.length ? '…' : '')
  return {
    shown: `${before}${under}${after}`,
    carets: `${' '.repeat(columns(before))}${'^'.repeat(Math.max(1, columns(under)))}`,
  }
}

/** How many columns of a terminal a text takes, near enough: one for each code point. */
function columns(text: string): number {
  return Array.from(text).length
}

/** Text that cannot move the cursor, change direction or hide: control characters as pictures, tabs as two spaces. */
function visible(text: string): string {
  return text.replaceAll('\t', '  ').replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0
    if (code < 0x20) return String.fromCodePoint(0x2400 + code)
    return code === 0x7f ? '␡' : '�'
  })
}
