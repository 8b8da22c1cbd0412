/** `npm run demo` as a new user runs it. */
import { join } from 'node:path'
import { execa } from 'execa'
import { describe, expect, it } from 'vitest'
import * as z from 'zod'

const root = join(import.meta.dirname, '..', '..')
const Summary = z.strictObject({
  servicesReady: z.number(),
  services: z.number(),
  shards: z.number(),
  secondsUntilReady: z.number(),
  requestsOk: z.number(),
  requestsFailed: z.number(),
})

const demo = (...args: string[]) =>
  execa('node', ['--import', 'tsx', 'demo/main.ts', ...args], { cwd: root, reject: false, detached: true })

describe('npm run demo', () => {
  it('unattended: every service answers, and the last line of stdout is the summary', async () => {
    const { exitCode, stdout, stderr } = await demo('--services', '5', '--shard-size', '2', '--seconds', '1', '--json')
    expect(exitCode, stderr).toBe(0)
    const summary = Summary.parse(JSON.parse(stdout.trim().split('\n').at(-1) ?? ''))
    expect(summary).toMatchObject({ servicesReady: 5, services: 5, shards: 3, requestsOk: 5, requestsFailed: 0 })
  })

  it('interrupted: prints the table, and Ctrl-C leaves nothing behind', async () => {
    const running = demo('--services', '3', '--shard-size', '2')
    const seen = new Promise<void>((resolve) => {
      let text = ''
      running.stdout.on('data', (chunk: Buffer) => {
        text += chunk.toString()
        if (/\.localhost:\d+\/[\s\S]*\.localhost:\d+\/[\s\S]*\.localhost:\d+\//.test(text)) resolve()
      })
    })
    await Promise.race([seen, running])
    // As a terminal does: to the whole process group.
    process.kill(-(running.pid ?? 0), 'SIGINT')
    const { stdout } = await running
    expect(stdout).toMatch(/100\.\d+\.\d+\.\d+/)
  })

  it('refuses what makes no sense, exit 2', async () => {
    expect((await demo('--services', 'many')).exitCode).toBe(2)
  })
})
