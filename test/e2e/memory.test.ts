/** A worker that real load has driven above its memory limit, and that is replaced for it. */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { type IncomingMessage, type Server, createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { serviceURL } from '../../demo/lab.ts'
import type { Status } from '../../shared/api.ts'
import { clockEnvironment, setClock } from './clock.ts'
import { startLoad } from './load.ts'
import { Stack, allReady, isRunning, workerPids } from './stack.ts'

const MIB = 2 ** 20
/** So much of memory that is taken by open downloads is more than garbage. */
const TAKEN_MIB = 40

let stack: Stack
let upstream: Server
let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tsnsrv-e2e-hour-'))
})
afterEach(async () => {
  upstream.close().closeAllConnections()
  await stack.end()
  rmSync(directory, { recursive: true })
})

/** An upstream whose answers have no end. */
async function endless(): Promise<string> {
  const part = Buffer.alloc(MIB, 'x')
  upstream = createServer((_request, response) => {
    const write = () => {
      while (!response.destroyed && response.write(part));
    }
    response.on('drain', write)
    write()
  })
  await once(upstream.listen(0, '127.0.0.1'), 'listening')
  return `http://127.0.0.1:${String((upstream.address() as AddressInfo).port)}`
}

/** Opens downloads that nobody reads: what the worker has read ahead for them stays in its buffers. */
async function stall(count: number): Promise<void> {
  const { host } = new URL(serviceURL(stack.lab, 'big'))
  const open = async () => {
    const asked = request({ host: '127.0.0.1', port: stack.lab.gatewayPort, path: '/', headers: { host }, agent: false })
    // They end with the worker.
    asked.on('error', () => undefined).end()
    const [response] = (await once(asked, 'response', { signal: AbortSignal.timeout(30_000) })) as [IncomingMessage]
    response.on('error', () => undefined).pause()
    expect(response.statusCode).toBe(200)
  }
  await Promise.all(Array.from({ length: count }, open))
}

const HOUR_MS = 3_600_000
const mebibytes = ({ shards }: Status) => (shards[0]?.memoryBytes ?? 0) / MIB

it('is replaced when it has run for an hour: its services go on in a fresh one, with no request lost', async () => {
  const clockFile = join(directory, 'clock.json')
  stack = await Stack.create({
    upstreams: 3,
    env: clockEnvironment(clockFile),
  })
  const services = [...stack.services(3), { name: 'big', upstream: await endless() }]
  const configure = (more: Record<string, unknown> = {}) =>
    stack.configure(services, { supervisor: { ...stack.supervisorKeys(), sampleInterval: '500ms', ...more } })
  await configure()
  await stack.startReady()
  const load = startLoad(stack.lab, ['svc0', 'svc1', 'svc2'], 50)
  await load.answers(100)
  const idle = mebibytes(await stack.until((status) => mebibytes(status) > 0, 'a sample of memory'))
  const isBig = (status: Status) => mebibytes(status) > idle + TAKEN_MIB
  for (let stalled = 0; stalled < 200 && !isBig(await stack.status()); stalled += 10) {
    await stall(10)
    await stack.until(isBig, 'much memory is taken', 2000).catch(() => undefined)
  }
  const limit = Math.round(idle + TAKEN_MIB / 2)
  await configure({ memoryLimit: `${String(limit)}MiB` })
  expect((await stack.cli('reload', '--config', stack.configFile)).exitCode).toBe(0)

  const early = await stack.until(({ shards }) => shards[0]?.problems.length === 1, 'what is wrong is told')
  expect(early.shards[0]?.problems[0]).toContain(`Its 4 services take more than memoryLimit, ${String(limit)} MiB`)
  expect(early.rebalancing.decisions).toEqual([])
  const [old] = workerPids(early)
  await setClock(clockFile, { wallMs: HOUR_MS, elapsedMs: HOUR_MS })
  const isReplaced = (status: Status) => allReady(status) && status.moves.length === 0 && !workerPids(status).includes(old ?? 0)
  const replaced = await stack.until(isReplaced, 'the worker is replaced')
  expect(replaced.shards).toMatchObject([{ shard: 2, services: 4, problems: [] }])
  expect(replaced.rebalancing.decisions).toMatchObject([
    {
      verdict: 'replace',
      reason: expect.stringMatching(/^the worker of shard 1 has \d+ MiB, the limit is \d+ MiB: its services move/) as string,
      problems: [],
    },
  ])
  expect(await isRunning(old ?? 0)).toBe(false)
  await load.answers(150)
  expect((await load.stop()).failed).toEqual([])
  expect(mebibytes(await stack.status())).toBeLessThan(limit)
})
