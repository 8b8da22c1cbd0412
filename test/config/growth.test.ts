/** How the time to read a configuration grows with the length of what is in it. */
import { describe, expect, test } from 'vitest'
import { ConfigError } from '../../supervisor/config/diagnostic.ts'
import { parseConfig } from '../../supervisor/config/parseConfig.ts'

/** Texts in many kinds of fields, each of which has a pattern of its own to match. */
const everywhere = (text: string): string => {
  const value = `'${text.replaceAll("'", "''")}'`
  return `prometheusAddr: ${value}
supervisor: { memoryLimit: ${value}, controlURL: ${value}, drainTimeout: ${value}, shardSize: ${value} }
services:
  - name: ${value}
    upstream: ${value}
    timeout: ${value}
    allow: [${value}]
    prefixes: [${value}]
    tags: [${value}]
    authURL: ${value}
    authPath: ${value}
    hostname: ${value}
    listenAddr: ${value}
    tcp: [{ listenAddr: ${value}, upstream: ${value} }]
    upstreamHeaders: { ${value}: ${value} }
    plaintext: ${value}
    ${value}: 1
`
}

const plainly = (text: string) =>
  `services: [{ name: a, upstream: http://h, timeout: ${text}, weight: ${text}, maxRequestBodyBytes: ${text} }]`

/** A pattern tries all ways only when none of them leads to a match: what no field takes stands at the end. */
const long = (unit: string, length: number) => `${unit.repeat(length / unit.length)}x~`

/** Milliseconds of the quicker of two readings. */
function timeOf(text: string): number {
  const times = [1, 2].map(() => {
    const start = performance.now()
    expect(() => parseConfig(text, 'f.yaml', {})).toThrow(ConfigError)
    return performance.now() - start
  })
  return Math.min(...times)
}

/** What repeats in each field. A pattern that tries one character in two ways shows it with one of these. */
const units = [
  '1',
  '1.',
  '1h',
  '0',
  '/',
  '/a',
  '/ ',
  '.',
  'a.',
  ' ',
  '\t',
  ' a',
  '-',
  '@',
  '*@',
  ':',
  '[',
  '<',
  '?',
  '%2',
  '://',
  'tag:a',
]
const LENGTH = 10_000

describe('eight times the text takes about eight times as long', () => {
  test.each([
    ...units.map((unit) => ['in quotes', unit, everywhere] as const),
    ...['1', '1.', '1e', '.1', '1h', '-'].map((unit) => ['without', unit, plainly] as const),
    ...['Bearer ', 'http://a@', 'tskey-', ': ', ' #'].map((unit) => ['in quotes', unit, everywhere] as const),
  ])('%s, of %j', (_how, unit, document) => {
    const small = timeOf(document(long(unit, LENGTH)))
    const big = timeOf(document(long(unit, 8 * LENGTH)))
    // 64 times would be quadratic; so little time that it cannot be told does no harm.
    expect(big).toBeLessThan(24 * Math.max(small, 20))
  })
})
