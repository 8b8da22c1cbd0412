import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { forgetWorkers, sampleWorkers } from '../../supervisor/effects/cpu.ts'
import { identify } from '../../supervisor/effects/processIdentity.ts'

const nothing = { usage: new Map(), hidden: new Set() }

afterEach(forgetWorkers)

describe('sampleWorkers', () => {
  it('tells busy from idle processes from the second sample on', async () => {
    const busy = spawn(process.execPath, ['-e', 'for (;;);'])
    const idle = spawn('sleep', ['60'])
    const workers = new Map([
      ['busy', identify(busy.pid!)!],
      ['idle', identify(idle.pid!)!],
    ])
    try {
      expect(await sampleWorkers(workers)).toEqual(nothing)
      await vi.waitFor(async () => {
        const { usage } = await sampleWorkers(workers)
        expect(usage.get('idle')).toMatchObject({ cpuPercent: 0 })
        expect(usage.get('idle')?.memoryBytes).toBeGreaterThan(100_000)
        expect(usage.get('busy')?.cpuPercent).toBeGreaterThan(1)
        expect(usage.get('busy')?.cpuSeconds).toBeGreaterThan(0)
        expect(usage.get('idle')?.swapBytes).toBeGreaterThanOrEqual(0)
        expect(usage.get('busy')?.memoryBytes).toBeGreaterThan(10e6)
      }, 5000)
    } finally {
      const exits = [busy, idle].map((child) => once(child, 'exit'))
      busy.kill('SIGKILL')
      idle.kill()
      await Promise.all(exits)
    }
    expect(await sampleWorkers(workers)).toEqual(nothing)
  })

  it('takes no processes, and pids of nobody and of somebody else', async () => {
    const me = identify(process.pid)!
    const others = new Map([
      ['gone', { ...me, pid: 2 ** 22 + 1 }],
      ['another', { ...me, startTicks: me.startTicks - 1 }],
    ])
    for (const workers of [new Map<string, typeof me>(), others, others]) expect(await sampleWorkers(workers)).toEqual(nothing)
  })
})
