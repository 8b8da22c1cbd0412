/**
 * A worker in a few lines that keeps the protocol of shared/protocol.ts and carries no traffic. Each file beside it changes
 * one thing: it misbehaves in exactly one way.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  strict: false,
  options: { id: { type: 'string' }, shard: { type: 'string' }, dir: { type: 'string' } },
})
const stat = readFileSync('/proc/self/stat', 'utf8')

export const directory = values.dir

export const hello = {
  protocolVersion: 5,
  workerId: values.id,
  shard: Number(values.shard),
  pid: process.pid,
  startTicks: Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]),
  bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
  version: 'fake',
}

export function writeRecord() {
  writeFileSync(join(directory, 'worker.json'), JSON.stringify(hello))
}

const counters = { requests: 0, errors: 0, bytesIn: 0, bytesOut: 0, openConnections: 0 }
const identity = { dnsName: '', addresses: [], loginURL: '', nodeKey: '', udpPort: 0 }
const blank = { message: '', identity, problems: [], counters }
const services = new Map()
let revision = 0
const streams = new Set()

export function emit(event) {
  for (const stream of streams) stream.write(`${JSON.stringify(event)}\n`)
}

export function put(spec) {
  const status = {
    ...blank,
    name: spec.name,
    revision: ++revision,
    specHash: spec.specHash,
    phase: 'ready',
    reason: 'Ready',
    since: Date.now(),
  }
  services.set(spec.name, status)
  emit({ type: 'service', service: status })
  return status
}

export function remove(name) {
  services.delete(name)
  emit({ type: 'removed', name, revision: ++revision })
}

export function exit() {
  rmSync(directory, { recursive: true, force: true })
  process.exit(0)
}

/** What a well-behaved worker does with each request; a misbehaving one replaces some. */
export const wellBehaved = {
  events(response) {
    streams.add(response)
    response.on('close', () => streams.delete(response))
    response.write(`${JSON.stringify({ type: 'state', state: { hello, revision, services: [...services.values()] } })}\n`)
  },
  put(response, spec) {
    answer(response, 200, put(spec))
  },
  delete(response, name) {
    answer(response, 202, {})
    remove(name)
  },
  shutdown(response) {
    answer(response, 202, {})
    setTimeout(exit, 10)
  },
  metrics(response) {
    response.end(`# HELP fake_up Always 1.\n# TYPE fake_up gauge\nfake_up{worker="${hello.workerId}"} 1\n`)
  },
}

export function answer(response, status, body) {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify(body))
}

export function serve(behaviour) {
  writeRecord()
  createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://worker')
    const name = pathname.split('/').at(-1)
    let body = ''
    request.on('data', (chunk) => (body += chunk))
    request.on('end', () => {
      if (pathname === '/v1/events') behaviour.events(response)
      else if (pathname === '/v1/shutdown') behaviour.shutdown(response)
      else if (pathname === '/v1/hello') answer(response, 200, hello)
      else if (pathname === '/metrics') behaviour.metrics(response)
      else if (request.method === 'PUT') behaviour.put(response, JSON.parse(body))
      else if (request.method === 'DELETE') behaviour.delete(response, name)
      else answer(response, 404, { reason: 'NotFound', message: pathname })
    })
  }).listen(join(directory, 'worker.sock'))
}
