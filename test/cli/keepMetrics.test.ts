import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { expect, it, vi } from 'vitest'
import { keepMetrics } from '../../supervisor/api/keepMetrics.ts'
import { FakeOperator, serviceView, statusOf } from './fakeOperator.ts'

const operator = new FakeOperator(statusOf([serviceView('blog')]))

it('serves metrics as soon as the address can be had, and tells why not until then', async () => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const addr = `127.0.0.1:${String((other.address() as AddressInfo).port)}`
  const problems: string[] = []
  const kept = await keepMetrics({ addr, operator, onProblem: (problem) => problems.push(problem), retryMs: 10 })
  try {
    expect(kept.addr).toBeUndefined()
    await vi.waitFor(() => expect(problems.length).toBeGreaterThan(2))
    expect(new Set(problems)).toEqual(new Set([expect.stringContaining(`${addr}: the address is in use by another program`)]))
    expect(problems[0]).toContain('--prometheus-addr')
    other.close()
    await vi.waitFor(() => expect(problems.at(-1)).toBe(''), 5000)
    expect(kept.addr).toBe(addr)
    expect(await (await fetch(`http://${addr}/healthz`)).text()).toBe('running\n')
  } finally {
    await kept.close()
  }
  await expect(fetch(`http://${addr}/healthz`)).rejects.toThrow()
})

it('refuses what is no address, and tries nothing after it was closed', async () => {
  const onProblem = vi.fn()
  await expect(keepMetrics({ addr: 'nowhere', operator, onProblem })).rejects.toThrow('want host:port')
  const kept = await keepMetrics({ addr: '192.0.2.1:9099', operator, onProblem, retryMs: 1 })
  await kept.close()
  const told = onProblem.mock.calls.length
  await new Promise((resolve) => setImmediate(resolve))
  expect(onProblem.mock.calls.length).toBe(told)
})
