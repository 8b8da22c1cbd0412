/** Rates of requests, as in `rateLimit: 50/s`. */

const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 }

/** Requests per second of "50/s", "100/m" or "5000/h"; 0 for "0", which stands for no limit. Null when it is none of these. */
export function parseRate(text: string): number | null {
  if (text === '0') return 0
  const [, count, unit] = /^([1-9]\d{0,8})\/([smh])$/.exec(text) ?? []
  const seconds = SECONDS[unit ?? '']
  return seconds === undefined ? null : Number(count) / seconds
}
