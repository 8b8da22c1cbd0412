import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type CertificateOrders, certificateTurns, withOrder } from '../../supervisor/core/certificates.ts'

const MINUTE = 60_000
const DAY = 24 * 60 * MINUTE
const none: CertificateOrders = new Map()
const names = (count: number, tailnet = 'a.ts.net') =>
  Array.from({ length: count }, (_, i) => `s${String(i).padStart(3, '0')}.${tailnet}`)

describe('whose turn it is to get a certificate', () => {
  it('is four at a time, whatever is being ordered already', () => {
    const { now, later } = certificateTurns(names(6), 1, none, 0, { perWeek: 50 })
    expect(now).toEqual(names(3))
    expect(later.get('s003.a.ts.net')).toEqual({ why: 'others are being ordered', at: null })
  })

  it('stops at the limit of the week and goes on when the oldest order is a week ago', () => {
    const orders: CertificateOrders = new Map([
      ['old.a.ts.net', [1000]],
      ['new.a.ts.net', [2000]],
    ])
    const missing = ['third.a.ts.net']
    const { now, later } = certificateTurns(missing, 0, orders, DAY, { perWeek: 2 })
    expect(now).toEqual([])
    expect(later.get('third.a.ts.net')).toEqual({
      why: '2 certificates of a.ts.net were ordered within a week, and the limit is 2',
      at: 1000 + 7 * DAY,
    })
    expect(certificateTurns(missing, 0, orders, 1000 + 7 * DAY, { perWeek: 2 }).now).toEqual(missing)
  })

  it('counts each tailnet by itself', () => {
    const orders: CertificateOrders = new Map([['x.a.ts.net', [0]]])
    expect(certificateTurns(['y.a.ts.net', 'y.b.ts.net'], 0, orders, 1, { perWeek: 1 }).now).toEqual(['y.b.ts.net'])
  })

  it('comes again ever more slowly for one that fails, and never keeps others waiting', () => {
    let orders = none
    const pauses: number[] = []
    let now = 0
    for (let i = 0; i < 5; i++) {
      orders = withOrder(orders, 'bad.a.ts.net', now)
      const at = certificateTurns(['bad.a.ts.net'], 0, orders, now, { perWeek: 50 }).later.get('bad.a.ts.net')?.at ?? 0
      pauses.push((at - now) / MINUTE)
      now = at
    }
    expect(pauses).toEqual([15, 60, 240, 960, 1440])
    const [first] = certificateTurns(['bad.a.ts.net', 'good.a.ts.net'], 0, orders, now, { perWeek: 50 }).now
    expect(first).toBe('good.a.ts.net')
  })

  it('never exceeds the limit of a week nor the four at once, and serves everybody in the end', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 10 }),
        fc.array(fc.boolean(), { minLength: 1 }),
        (count, perWeek, luck) => {
          let missing = names(count)
          let orders = none
          const ordered: number[] = []
          const failures = new Map<string, number>()
          for (let now = 0, step = 0; missing.length > 0; step++) {
            expect(step).toBeLessThan(2000)
            const turns = certificateTurns(missing, 0, orders, now, { perWeek })
            expect(turns.now.length).toBeLessThanOrEqual(4)
            expect(turns.now.length + turns.later.size).toBe(missing.length)
            for (const domain of turns.now) {
              orders = withOrder(orders, domain, now)
              ordered.push(now)
              // At most three failures each, so that there is an end.
              const failed = failures.get(domain) ?? 0
              if (failed < 3 && luck[step % luck.length] === false) failures.set(domain, failed + 1)
              else missing = missing.filter((other) => other !== domain)
            }
            const waits = [...turns.later.values()].flatMap(({ at }) => (at === null ? [] : [at]))
            if (turns.now.length === 0) {
              expect(Math.min(...waits)).toBeGreaterThan(now)
              now = Math.min(...waits)
            }
          }
          for (const at of ordered)
            expect(ordered.filter((other) => other > at - 7 * DAY && other <= at).length).toBeLessThanOrEqual(perWeek)
        },
      ),
      { numRuns: 200 },
    )
  })
})
