import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { forgetWorkers, sampleWorkers } from '../../supervisor/effects/cpu.ts'

afterEach(forgetWorkers)

describe('sampleWorkers', () => {
  it('tells busy from idle processes from the second sample on', async () => {
    const busy = spawn(process.execPath, ['-e', 'for (;;);'])
    const idle = spawn('sleep', ['60'])
    const pids = [busy.pid!, idle.pid!]
    try {
      expect(await sampleWorkers(pids)).toEqual(new Map())
      await vi.waitFor(async () => {
        const usage = await sampleWorkers(pids)
        expect(usage.get(idle.pid!)).toMatchObject({ cpuPercent: 0 })
        expect(usage.get(idle.pid!)?.memoryBytes).toBeGreaterThan(100_000)
        expect(usage.get(busy.pid!)?.cpuPercent).toBeGreaterThan(1)
        expect(usage.get(busy.pid!)?.memoryBytes).toBeGreaterThan(10e6)
      }, 5000)
    } finally {
      const exits = [busy, idle].map((child) => once(child, 'exit'))
      busy.kill('SIGKILL')
      idle.kill()
      await Promise.all(exits)
    }
    expect(await sampleWorkers(pids)).toEqual(new Map())
  })

  it('takes no pids, and pids of nobody', async () => {
    expect(await sampleWorkers([])).toEqual(new Map())
    expect(await sampleWorkers([2 ** 22 + 1])).toEqual(new Map())
  })
})
