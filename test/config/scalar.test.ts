import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { ServiceConfig } from '../../shared/config.ts'
import { parseDuration } from '../../shared/duration.ts'
import { readScalar } from '../../supervisor/config/scalar.ts'

const plain = (text: string) => ({ text, plain: true })
const quoted = (text: string) => ({ text, plain: false })

// Each of these was put to gopkg.in/yaml.v3 v3.0.1 with a struct of bool, string and time.Duration fields.
describe('as yaml.v3', () => {
  test.each(['true', 'True', 'TRUE'])('%s is true only without quotes', (text) => {
    expect(readScalar(z.boolean(), plain(text))).toEqual({ value: true })
    expect(readScalar(z.boolean(), quoted(text))).toHaveProperty('problem')
  })

  test.each(['y', 'Y', 'yes', 'Yes', 'YES', 'on', 'On', 'ON'])('%s is true, with a note, also in quotes', (text) => {
    for (const written of [plain(text), quoted(text)]) {
      expect(readScalar(z.boolean(), written)).toMatchObject({
        value: true,
        note: expect.stringContaining('read as true') as string,
      })
    }
  })

  test.each(['n', 'N', 'no', 'No', 'NO', 'off', 'Off', 'OFF'])('%s is false, with a note', (text) => {
    expect(readScalar(z.boolean(), plain(text))).toMatchObject({ value: false, note: expect.any(String) as string })
  })

  test.each(['1', 'tRue', '0x1', ''])('%j is no boolean', (text) => {
    expect(readScalar(z.boolean(), plain(text))).toHaveProperty('problem')
  })

  test.each(['123', 'true', '0x10', '1.50', '2020-01-01', 'yes', '010', '0o14'])(
    '%s is its own text where a text is wanted',
    (text) => {
      expect(readScalar(z.string(), plain(text))).toEqual({ value: text })
    },
  )
})

describe('durations', () => {
  const read = (written: { text: string; plain: boolean }) => readScalar(ServiceConfig.shape.timeout, written)

  test.each(['5s', '1.5h', '+3s', '1h2m3.5s', '.5s', '1µs', '1us', '0s'])('%s is one', (text) => {
    expect(read(plain(text))).toEqual({ value: text })
  })

  test.each([
    ['5', 'not a duration: write 5s'],
    ['1500', 'not a duration: write 1.5s if these are milliseconds, or 1500s'],
    ['0', 'not a duration: write 0s'],
    ['1d', 'not a duration: want numbers with units, as in 300ms, 5s or 1h30m'],
    ['5 s', 'not a duration: want numbers with units, as in 300ms, 5s or 1h30m'],
    ['', 'not a duration: want numbers with units, as in 300ms, 5s or 1h30m'],
    ['-5s', 'a duration cannot be negative'],
    ['100000000h', 'a duration is at most about 292 years (2562047h)'],
  ])('%j is none', (text, problem) => {
    expect(read(plain(text))).toEqual({ problem })
  })

  test('0 is one in quotes, 5 is not', () => {
    expect(read(quoted('0'))).toEqual({ value: '0' })
    expect(read(quoted('5'))).toEqual({ problem: 'not a duration: write 5s' })
  })

  test.each([
    ['1h30m', 5_400_000],
    ['1.005s', 1005],
    ['1ns', 1],
    ['0', 0],
    ['250ms', 250],
  ])('%s is %i ms', (text, ms) => {
    expect(parseDuration(text)).toEqual({ ms })
  })

  test('the parts of a duration add up', () => {
    const part = fc.nat(500)
    fc.assert(
      fc.property(part, part, part, part, (h, m, s, ms) => {
        expect(parseDuration(`${h}h${m}m${s}s${ms}ms`)).toEqual({ ms: ((h * 60 + m) * 60 + s) * 1000 + ms })
      }),
    )
  })
})
