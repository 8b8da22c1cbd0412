import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { countGoroutines } from '../harness/measure/goroutines.ts'

/** As Go's client writes it, with lines that only look alike. */
const exposition = `# HELP go_goroutines Number of goroutines that currently exist.
# TYPE go_goroutines gauge
go_goroutines 41
# TYPE go_goroutines_total counter
go_goroutines_total 1000
not_go_goroutines 1000
`

let directory: string
const closers: (() => Promise<unknown>)[] = []
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'metrics-'))
})
afterEach(async () => {
  await Promise.all(closers.splice(0).map((close) => close()))
  await rm(directory, { recursive: true })
})

/** Serves a text at /metrics, on a Unix socket or else a port of loopback, which it resolves to. */
async function serve(text: string, socketPath?: string): Promise<number> {
  const server = createServer((request, reply) => {
    reply.statusCode = request.url === '/metrics' ? 200 : 404
    reply.end(text)
  })
  if (socketPath === undefined) server.listen(0, '127.0.0.1')
  else server.listen(socketPath)
  await once(server, 'listening')
  closers.push(() => {
    server.closeAllConnections()
    return once(server.close(), 'close')
  })
  const address = server.address()
  return typeof address === 'object' && address ? address.port : 0
}

it('adds up what URLs and sockets tell, labelled or not', async () => {
  const socketPath = join(directory, 'w.sock')
  await serve('go_goroutines 1.5e+03\n', socketPath)
  const plain = await serve(exposition)
  const labelled = await serve('go_goroutines{worker="w1"} 100\ngo_goroutines{worker="w2"} 200\n')
  const urls = [plain, labelled].map((port) => ({ url: `http://127.0.0.1:${port}/metrics` }))
  expect(await countGoroutines([{ socketPath }, ...urls])).toBe(1841)
})

it('is null without a source, and when one does not tell', async () => {
  const port = await serve(exposition)
  const good = { url: `http://127.0.0.1:${port}/metrics` }
  expect(await countGoroutines([good])).toBe(41)
  expect(await countGoroutines([])).toBeNull()
  expect(await countGoroutines([good, { url: `http://127.0.0.1:${port}/other` }])).toBeNull()
  expect(await countGoroutines([good, { socketPath: join(directory, 'nobody.sock') }])).toBeNull()
  const silent = join(directory, 'silent.sock')
  await serve('up 1\n', silent)
  expect(await countGoroutines([{ socketPath: silent }])).toBeNull()
})
