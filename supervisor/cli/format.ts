/** Numbers and tables for people. */

const UNITS: readonly [unit: string, ms: number][] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
]

/** The two largest units of a duration: "3d 4h", "12m 5s", "0s". */
export function formatDuration(ms: number): string {
  const largest = UNITS.findIndex(([, unitMs]) => ms >= unitMs)
  if (largest === -1) return '0s'
  let rest = ms
  const parts = UNITS.slice(largest, largest + 2).map(([unit, unitMs]) => {
    const count = Math.floor(rest / unitMs)
    rest -= count * unitMs
    return count === 0 ? '' : `${count}${unit}`
  })
  return parts.filter((part) => part !== '').join(' ')
}

/** Decimal megabytes, as measured values of processes are usually given. */
export const formatMegabytes = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`

/** "1 service", "2 services". */
export const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? '' : 's'}`

/** A cell and how to colour it. Colour is applied after the width is known. */
export interface Cell {
  text: string
  paint?: ((text: string) => string) | undefined
}

/**
 * Rows in columns, each as wide as its widest cell. Only the last column is cut, so that a line fits into `columns` when given:
 * put there what may be long.
 */
export function formatTable(rows: readonly (readonly (string | Cell)[])[], columns = Number.POSITIVE_INFINITY): string[] {
  const cells = rows.map((row) => row.map((cell) => (typeof cell === 'string' ? { text: cell } : cell)))
  const widths: number[] = []
  for (const row of cells) {
    for (const [index, { text }] of row.entries()) widths[index] = Math.max(widths[index] ?? 0, text.length)
  }
  return cells.map((row) => {
    let left = columns
    const shown = row.map(({ text, paint = identity }, index) => {
      const width = widths[index] ?? 0
      const isLast = index === row.length - 1
      const fitted = isLast ? cut(text, left) : text.padEnd(width)
      left -= width + GAP.length
      return paint(fitted)
    })
    return shown.join(GAP).trimEnd()
  })
}

/** Lines of at most so many characters, broken at spaces. A longer word, such as a URL, stays whole. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`
    else lines.push(word)
  }
  return lines
}

const GAP = '  '
const identity = (text: string) => text
const cut = (text: string, width: number) => (text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`)
