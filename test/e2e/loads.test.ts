/** What a byte costs a worker beside a small request: the supervisor weighs services by it, as it knows only their counters. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { Agent, type IncomingMessage, type Server, createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable, pipeline } from 'node:stream'
import { afterEach, expect, it } from 'vitest'
import { serviceURL } from '../../demo/lab.ts'
import { BYTES_PER_REQUEST } from '../../supervisor/core/tuning.ts'
import { Stack, workerPids } from './stack.ts'

const MIB = 2 ** 20
const REQUESTS = 2000
const BODY_BYTES = 128 * MIB
const REPEATS = 3

let stack: Stack
let upstream: Server
afterEach(async () => {
  upstream.close().closeAllConnections()
  await stack.end()
})

const part = Buffer.alloc(MIB, 'x')
function* body() {
  for (let sent = 0; sent < BODY_BYTES; sent += part.length) yield part
}

/** Answers with so many bytes as the path says; of what comes only the end matters. */
async function serve(): Promise<string> {
  upstream = createServer((asked, response) => {
    asked.resume().on('end', () => {
      if (asked.url === '/long') pipeline(Readable.from(body()), response, () => undefined)
      else response.end('{}')
    })
  })
  await once(upstream.listen(0, '127.0.0.1'), 'listening')
  return `http://127.0.0.1:${String((upstream.address() as AddressInfo).port)}`
}

async function ask(method: 'GET' | 'PUT', path: string, agent: Agent): Promise<void> {
  const { host } = new URL(serviceURL(stack.lab, 'one'))
  const asked = request({ host: '127.0.0.1', port: stack.lab.gatewayPort, method, path, headers: { host }, agent })
  if (method === 'PUT') pipeline(Readable.from(body()), asked, () => undefined)
  else asked.end()
  const [response] = (await once(asked, 'response')) as [IncomingMessage]
  expect(response.statusCode).toBe(200)
  await once(response.resume(), 'end')
}

/** User and system time of a process, in seconds. The kernel counts in hundredths. */
function cpuSeconds(pid: number): number {
  const fields =
    readFileSync(`/proc/${String(pid)}/stat`, 'utf8')
      .split(') ')[1]
      ?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / 100
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0

it('is what a service is weighed by, as measured', async () => {
  stack = await Stack.create({ upstreams: 1 })
  await stack.configure([{ name: 'one', upstream: await serve() }])
  await stack.startReady()
  const [pid = 0] = workerPids(await stack.status())
  const agent = new Agent({ keepAlive: true, maxSockets: 8 })
  const cost = async (work: () => Promise<unknown>, units: number) => {
    const before = cpuSeconds(pid)
    await work()
    return (cpuSeconds(pid) - before) / units
  }
  const requests = async () => {
    const client = async () => {
      for (let i = 0; i < REQUESTS / 8; i++) await ask('GET', '/short', agent)
    }
    await Promise.all(Array.from({ length: 8 }, client))
  }
  const found = { request: [] as number[], down: [] as number[], up: [] as number[] }
  try {
    await requests()
    for (let i = 0; i < REPEATS; i++) {
      found.request.push(await cost(requests, REQUESTS))
      found.down.push(await cost(() => ask('GET', '/long', agent), BODY_BYTES))
      found.up.push(await cost(() => ask('PUT', '/short', agent), BODY_BYTES))
    }
  } finally {
    agent.destroy()
  }
  const perRequest = median(found.request)
  const [down, up] = [perRequest / median(found.down), perRequest / median(found.up)]
  const text =
    `a request costs ${(1e6 * perRequest).toFixed(0)} us, a GiB ${(2 ** 30 * median(found.down)).toFixed(2)} s down and ` +
    `${(2 ** 30 * median(found.up)).toFixed(2)} s up: ${down.toFixed(0)} and ${up.toFixed(0)} bytes for a request`
  console.info(text, found)
  // Within a factor of three: the next machine, and its neighbours, are other ones.
  const bytes = Math.sqrt(down * up)
  expect(bytes, text).toBeGreaterThan(BYTES_PER_REQUEST / 3)
  expect(bytes, text).toBeLessThan(BYTES_PER_REQUEST * 3)
})
