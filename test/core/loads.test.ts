import { expect, it } from 'vitest'
import { type Works, countWork } from '../../supervisor/core/loads.ts'
import { serviceStatus } from './serviceStatus.ts'

it('takes what a service had counted in another worker before for no work of now', () => {
  const look = (works: Works, workerId: string, requests: number, at: number) => {
    const counters = { requests, errors: 0, bytesIn: 0, bytesOut: 0, openConnections: 0 }
    return countWork(works, workerId, [serviceStatus('blog', 'ready', { counters })], at)
  }
  const rate = (works: Works) => works.get('blog')?.perSecond ?? NaN
  const steady = look(look(new Map(), 'a', 1000, 0), 'a', 1020, 10_000)
  expect(rate(steady)).toBeGreaterThan(0.5)
  const moved = look(steady, 'b', 500_000, 11_000)
  expect(rate(moved)).toBe(rate(steady))
  expect(rate(look(moved, 'b', 500_020, 21_000))).toBeLessThan(2)
  // And back, where it goes on.
  expect(rate(look(moved, 'a', 1021, 21_000))).toBe(rate(steady))
})
