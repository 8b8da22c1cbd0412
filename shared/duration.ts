/** Durations as tsnsrv's YAML writes them: the strings of Go's time.ParseDuration (https://pkg.go.dev/time#ParseDuration). */

const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
}
const PART = /(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/gy
/** Go counts nanoseconds in an int64: about 292 years. */
const LONGEST_MS = 2 ** 63 / 1e6

/**
 * Whole milliseconds of a Go duration string, or what is wrong with it in plain words. Two differences to Go: a negative
 * duration is refused, and what is shorter than a millisecond counts as one, because 0 often means "for ever".
 */
export function parseDuration(text: string): { ms: number } | { problem: string } {
  const unsigned = text.replace(/^[+-]/, '')
  if (unsigned === '0') return { ms: 0 }
  let ms = 0
  let end = 0
  for (const [part, count, unit = ''] of unsigned.matchAll(PART)) {
    ms += Number(count) * (UNIT_MS[unit] ?? Number.NaN)
    end += part.length
  }
  if (end === 0 || end !== unsigned.length) {
    return { problem: notADuration(unsigned) }
  }
  if (text.startsWith('-')) return { problem: 'a duration cannot be negative' }
  if (ms >= LONGEST_MS) return { problem: 'a duration is at most about 292 years (2562047h)' }
  return { ms: ms === 0 ? 0 : Math.max(1, Math.round(ms)) }
}

/** What to write instead of a text that is no duration. A bare number is most often meant in seconds, a big one in milliseconds. */
export function notADuration(text: string): string {
  if (!/^[\d.]+$/.test(text)) return 'not a duration: want numbers with units, as in 300ms, 5s or 1h30m'
  const number = Number(text)
  const milliseconds = number >= 1000 ? `${number / 1000}s if these are milliseconds, or ` : ''
  return `not a duration: write ${milliseconds}${text}s`
}
