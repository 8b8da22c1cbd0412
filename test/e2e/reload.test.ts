/** SIGHUP and `tsnsrv-sup reload` with every kind of change: what changes, changes; what does not, keeps its connections. */
import { request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { readFile, writeFile } from 'node:fs/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { serviceURL } from '../../demo/lab.ts'
import { Stack, allReady, workerPids } from './stack.ts'

let stack: Stack
afterEach(() => stack.end())

/** An event stream of a service, held open over the tailnet. */
async function openEvents(service: string): Promise<{ received(): number; broken(): boolean; close(): void }> {
  let received = 0
  let broken = false
  let closing = false
  const { host } = new URL(serviceURL(stack.lab, service))
  const asked = request({
    host: '127.0.0.1',
    port: stack.lab.gatewayPort,
    path: '/events?n=1000&interval=20ms',
    headers: { host },
  })
  asked.on('error', () => (broken = !closing))
  asked.end()
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    asked.once('response', resolve).once('error', reject)
  })
  expect(response.statusCode).toBe(200)
  response.on('data', () => received++)
  response.on('close', () => (broken = !closing))
  await expect.poll(() => received).toBeGreaterThan(2)
  return {
    received: () => received,
    broken: () => broken,
    close() {
      closing = true
      asked.destroy()
    },
  }
}

/** Reloads, and waits until what was asked for runs. */
async function reload(): Promise<{ stdout: string; exitCode: number | undefined }> {
  const result = await stack.cli('reload', '--run-dir', stack.runDir)
  await stack.until(allReady, 'ready after the reload')
  return result
}

describe('a reload', () => {
  it('adds, removes and changes services, and leaves the connections of all others alone', async () => {
    stack = await Stack.create({ upstreams: 6 })
    await stack.configure(stack.services(4))
    await stack.startReady()
    const before = await stack.status()
    const untouched = await openEvents('svc0')
    const inPlace = await openEvents('svc1')
    const [svc0, svc1, svc2] = stack.services(4)
    if (!svc0 || !svc1 || !svc2) throw new Error('four services were made')
    await stack.configure([
      svc0,
      // The proxy only: the node, and the streams through it, stay.
      { ...svc1, upstream: stack.upstream(4) },
      // The node: this one starts again.
      { ...svc2, timeout: '50s' },
      { name: 'fresh', upstream: stack.upstream(5) },
    ])
    await reload()
    const [answer1, answer5] = await Promise.all([stack.whoAnswers('svc1'), stack.whoAnswers('fresh')])
    expect(answer1).not.toBe(answer5)
    const seen = [untouched.received(), inPlace.received()]
    await expect.poll(() => untouched.received() > (seen[0] ?? 0) && inPlace.received() > (seen[1] ?? 0)).toBe(true)
    expect([untouched.broken(), inPlace.broken()]).toEqual([false, false])
    const after = await stack.status()
    expect(after.services.map(({ name }) => name)).toEqual(['fresh', 'svc0', 'svc1', 'svc2'])
    expect(workerPids(after)).toEqual(workerPids(before))
    const since = (status: typeof after, name: string) => status.services.find((service) => service.name === name)?.since
    expect(since(after, 'svc0')).toBe(since(before, 'svc0'))
    expect(since(after, 'svc2')).not.toBe(since(before, 'svc2'))
    untouched.close()
    inPlace.close()
  })

  it('by SIGHUP of a broken file is refused with place and reason, and what runs stays', async () => {
    stack = await Stack.create()
    await stack.configure(stack.services(3))
    const supervisor = await stack.startReady()
    const stream = await openEvents('svc0')
    await writeFile(stack.configFile, 'services:\n  - name: svc0\n    upstraem: http://127.0.0.1:1\n')
    supervisor.kill('SIGHUP')
    const status = await stack.until(({ configError }) => configError !== '', 'the refusal')
    expect(status.configError).toContain('upstraem')
    expect(status.services.map(({ ready }) => ready)).toEqual([true, true, true])
    const result = await stack.cli('reload', '--run-dir', stack.runDir)
    expect(result.exitCode).toBe(2)
    expect(result.stderr).toMatch(/services\.yaml:3:5: error: .*upstraem/)
    expect(stream.broken()).toBe(false)
    stream.close()
    await stack.configure(stack.services(2))
    supervisor.kill('SIGHUP')
    await stack.until((now) => now.configError === '' && now.services.length === 2 && allReady(now), 'the mended file')
  })

  it('is told as refused no longer than the file is wrong, without another reload', async () => {
    stack = await Stack.create()
    await stack.configure(stack.services(1))
    await stack.startReady()
    const right = await readFile(stack.configFile, 'utf8')
    await writeFile(stack.configFile, 'services:\n  - nam: svc0\n')
    expect((await stack.cli('reload', '--run-dir', stack.runDir)).exitCode).toBe(2)
    expect((await stack.status()).configError).toContain('nam')
    await writeFile(stack.configFile, 'services:\n  - naem: svc0\n')
    await stack.until(({ configError }) => configError.includes('naem'), 'what is wrong now')
    await writeFile(stack.configFile, right)
    const { configGeneration } = await stack.until(({ configError }) => configError === '', 'the end of the refusal')
    expect(configGeneration).toBe(1)
  })

  it('with a smaller shard size moves only what must, keeping node keys and addresses', async () => {
    stack = await Stack.create({ shardSize: 6 })
    await stack.configure(stack.services(6))
    await stack.startReady()
    const before = await stack.status()
    stack.shardSize = 4
    await stack.configure(stack.services(6))
    await reload()
    const after = await stack.status()
    expect(after.shards.map(({ services }) => services)).toEqual([4, 2])
    expect(after.services.map(({ addresses }) => addresses)).toEqual(before.services.map(({ addresses }) => addresses))
    for (const { name } of after.services) await stack.whoAnswers(name)
  })

  it('a hundred times in a row leaves everything as it was', async () => {
    stack = await Stack.create()
    await stack.configure(stack.services(4))
    const supervisor = await stack.startReady()
    const before = await stack.status()
    for (let i = 0; i < 100; i++) supervisor.kill('SIGHUP')
    await stack.cli('reload', '--run-dir', stack.runDir)
    const after = await stack.until(allReady, 'calm')
    expect(workerPids(after)).toEqual(workerPids(before))
    expect(after.services.map(({ since }) => since)).toEqual(before.services.map(({ since }) => since))
  })
})
