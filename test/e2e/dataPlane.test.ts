/** TLS, funnel, redirects, raw TCP, forward auth and access rules, over real nodes with certificates from a real ACME server. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { type Server as HttpServer, createServer, request as httpRequest } from 'node:http'
import type { IncomingMessage, RequestListener } from 'node:http'
import { type AddressInfo, type Server, createServer as createTcpServer } from 'node:net'
import { join } from 'node:path'
import { Readable, pipeline } from 'node:stream'
import { text } from 'node:stream/consumers'
import { execa } from 'execa'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import * as z from 'zod'
import type { Status } from '../../shared/api.ts'
import { acmeEnvironment, askSecurely, buildPebble, connectByProxy } from './pebble.ts'
import { Stack, allReady, certified, freePort } from './stack.ts'

const DOMAIN = 'tail-lab.ts.net'
let pebble: string
let stack: Stack
const servers: (HttpServer | Server)[] = []

beforeAll(async () => {
  pebble = await buildPebble()
}, 600_000)

afterEach(async () => {
  for (const server of servers.splice(0)) server.close()
  await stack.end()
})

/** A lab with everything, and a supervisor whose nodes take their certificates from there. */
async function createStack(...labFlags: string[]): Promise<Stack> {
  return Stack.create({
    labFlags: ['--acme-server', pebble, ...labFlags],
    env: (lab) => acmeEnvironment(lab),
  })
}

async function listenOn<T extends HttpServer | Server>(server: T): Promise<{ server: T; port: number }> {
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { server, port: (server.address() as AddressInfo).port }
}

async function serve(handle: RequestListener): Promise<string> {
  const { port } = await listenOn(createServer(handle))
  return `http://127.0.0.1:${port}`
}

/** An upstream that answers with what it was asked. */
const echo = (): Promise<string> =>
  serve((request, response) => response.end(JSON.stringify({ url: request.url, headers: request.headers })))

const Echo = z.object({ url: z.string(), headers: z.record(z.string(), z.string()) })
const echoed = (body: string) => Echo.parse(JSON.parse(body))

/** It is the lab's only child. */
async function killAcmeServer(): Promise<void> {
  const { stdout } = await execa('pgrep', ['--parent', String(stack.lab.pid)])
  process.kill(Number(stdout), 'SIGKILL')
}

async function orders(): Promise<number> {
  const response = await fetch(`${stack.lab.adminURL}/lab/orders`)
  return ((await response.json()) as unknown[]).length
}

/** GET over the tailnet without TLS, by the service's own name; redirects are not followed. */
async function askPlainly(url: string): Promise<IncomingMessage & { body: string }> {
  const { hostname, port } = new URL(stack.lab.proxyURL)
  const asked = httpRequest({ host: hostname, port, path: url, headers: { host: new URL(url).host }, agent: false })
  asked.end()
  const [response] = (await once(asked, 'response')) as [IncomingMessage]
  return Object.assign(response, { body: await text(response) })
}

describe('TLS', () => {
  it('has certificates before anybody asks, keeps them over restarts and moves to new workers, and orders none twice', async () => {
    stack = await createStack()
    const upstream = await echo()
    await stack.configure(
      [
        { name: 'photos', upstream },
        { name: 'wiki', upstream, redirectHTTP: true, recommendedProxyHeaders: true },
      ],
      { defaults: {} },
    )
    const first = await stack.startReady()
    await stack.until(certified, 'certificates for both')
    expect(await orders()).toBe(2)

    const { certificate, body } = await askSecurely(stack.lab, `https://wiki.${DOMAIN}/a?b=c`, 'tailnet')
    expect(certificate.subjectaltname).toContain(`DNS:wiki.${DOMAIN}`)
    expect(echoed(body)).toMatchObject({
      url: '/a?b=c',
      headers: { 'x-forwarded-proto': 'https', 'x-scheme': 'https', host: `wiki.${DOMAIN}` },
    })
    const redirect = await askPlainly(`http://wiki.${DOMAIN}/a?b=c`)
    expect([redirect.statusCode, redirect.headers.location]).toEqual([308, `https://wiki.${DOMAIN}/a?b=c`])

    // A new worker in the place of a dead one, then a whole new supervisor.
    const [pid] = (await stack.status()).shards.map(({ workerPid }) => workerPid)
    process.kill(pid ?? 0, 'SIGKILL')
    await stack.until((status) => allReady(status) && status.shards.every((shard) => shard.workerPid !== pid), 'a new worker')
    first.kill('SIGTERM')
    await first.ended
    await stack.startReady()
    await stack.until(certified, 'certificates again')
    const { certificate: same } = await askSecurely(stack.lab, `https://wiki.${DOMAIN}/`, 'tailnet')
    expect(same.serialNumber).toBe(certificate.serialNumber)
    expect(await orders()).toBe(2)
  })

  it('stays within the budget of the week, says so, and serves what needs no certificate meanwhile', async () => {
    stack = await createStack()
    const upstream = await echo()
    const plain = { name: 'plain', upstream, plaintext: true, listenAddr: ':80' }
    await stack.configure([{ name: 'a', upstream }, { name: 'b', upstream }, plain], { defaults: {} })
    await stack.startReady('--certificates-per-week', '1')
    const { services } = await stack.until(
      (status) => status.services.some(({ certificate }) => (certificate?.notAfter ?? 0) > 0),
      'the one certificate',
    )
    const waiting = services.filter(({ problems }) => problems.length > 0)
    expect(waiting.map(({ problems }) => problems[0]?.message)).toEqual([
      expect.stringContaining(`1 certificates of ${DOMAIN} were ordered within a week, and the limit is 1; the next order is at`),
    ])
    expect(waiting[0]?.ready).toBe(true)
    expect(await orders()).toBe(1)
    expect(echoed((await askPlainly(`http://plain.${DOMAIN}/x`)).body).url).toBe('/x')
    expect((await stack.cli('status', '--run-dir', stack.runDir)).stdout).toContain('certificate: It waits: 1 certificates of')
  })

  it('renews a certificate ahead, tells when it ends soon, and serves it to its end while the ACME server is away', async () => {
    stack = await createStack('--certificate-lifetime', '60s')
    const prometheusAddr = `127.0.0.1:${String(await freePort())}`
    await stack.configure([{ name: 'photos', upstream: await echo() }], { defaults: {}, prometheusAddr })
    await stack.startReady()
    const { services } = await stack.until(certified, 'a certificate')
    const notAfter = services[0]?.certificate?.notAfter ?? 0
    const end = `The certificate of photos.${DOMAIN} ends at ${new Date(notAfter).toISOString()}.`
    expect(services[0]?.problems).toEqual([{ part: 'certificate', message: end }])
    expect((await stack.cli('status', '--run-dir', stack.runDir)).stdout).toContain(`certificate: ${end}`)
    const metrics = await (await fetch(`http://${prometheusAddr}/metrics`)).text()
    expect(metrics).toContain(`tsnsrv_sup_certificate_expiry_timestamp_seconds{service="photos"} ${String(notAfter / 1000)}\n`)
    expect(metrics).toContain('tsnsrv_sup_service_problems{service="photos"} 1\n')
    expect(await stack.workerLog(1)).toMatch(/the node has a certificate.*notAfter/)

    const served = async () => (await askSecurely(stack.lab, `https://photos.${DOMAIN}/`, 'tailnet')).certificate.serialNumber
    const first = await served()
    const ends = ({ services: [photos] }: Status) => photos?.certificate?.notAfter ?? 0
    const renewed = await stack.until((status) => ends(status) > notAfter, 'it is renewed', 90_000)
    expect(Date.now()).toBeLessThan(notAfter)
    const second = await served()
    expect(second).not.toBe(first)

    await killAcmeServer()
    const tells = (text: string) => (status: Status) =>
      status.services[0]?.problems.some(({ message }) => message.includes(text)) === true
    await stack.until(tells('cannot be renewed'), 'it is told that it is not renewed', 90_000)
    expect(Date.now()).toBeLessThan(ends(renewed))
    expect(await served()).toBe(second)
    await stack.until(tells('has ended'), 'it is told that it has ended', 90_000)
  })

  it('serves certificates from files, takes over a new one, and keeps the old one while the new one is damaged', async () => {
    stack = await createStack()
    const directory = join(stack.directory, 'own')
    await mkdir(directory)
    const [crt, key] = [join(directory, 'cert.pem'), join(directory, 'key.pem')]
    const { stdout: goRoot } = await execa('go', ['env', 'GOROOT'])
    const generate = ['run', join(goRoot, 'src/crypto/tls/generate_cert.go'), '--ca', '--ecdsa-curve', 'P256']
    const renew = (days: number) =>
      execa('go', [...generate, '--host', `own.${DOMAIN}`, '--duration', `${24 * days}h`], { cwd: directory })
    await stack.configure([{ name: 'own', upstream: await echo(), certificateFile: crt, keyFile: key }], { defaults: {} })
    await stack.startReady()
    const problem = await stack.until(({ services: [own] }) => own?.problems.length === 1, 'the missing file is told')
    expect(problem.services[0]?.problems[0]?.message).toMatch(
      /^CertificateFile .*cert\.pem and keyFile .* cannot be used: .*no such file/,
    )
    expect(problem.services[0]?.ready).toBe(true)
    const log = await readFile(join(stack.stateDir, '.supervisor', 'logs', 'supervisor.log'), 'utf8')
    expect(log).toContain(`note: certificateFile: ${crt} does not exist`)

    const served = async () => {
      const { certificate } = await askSecurely({ ...stack.lab, acmeRootFile: crt }, `https://own.${DOMAIN}/`, 'tailnet')
      return certificate.serialNumber
    }
    await renew(2)
    await expect.poll(served, { timeout: 20_000 }).toBeTruthy()
    const first = await served()
    await stack.until(
      ({ services: [own] }) => own?.problems.some(({ message }) => message.includes('ends at')) ?? false,
      'its end is near',
    )
    await renew(30)
    await expect.poll(served, { timeout: 20_000 }).not.toBe(first)
    await stack.until(({ services: [own] }) => own?.problems.length === 0, 'no problem is left')
    expect(await orders()).toBe(0)
  })
})

describe('funnel', () => {
  it('serves the internet with its real address, and apart from the tailnet', async () => {
    stack = await createStack('--funnel')
    const upstream = await echo()
    await stack.configure(
      [
        { name: 'both', upstream, funnel: true, prefixes: ['funnel:/hook', 'tailnet:/'], allow: ['/admin tag:nobody'] },
        { name: 'only', upstream, funnel: true, funnelOnly: true, listenAddr: ':8443', recommendedProxyHeaders: true },
      ],
      { defaults: {} },
    )
    await stack.startReady()
    await stack.until(certified, 'certificates')
    const both = `https://both.${DOMAIN}`
    const internet = { funnelFrom: '127.0.0.9' }

    const fromInternet = await askSecurely(stack.lab, `${both}/hook/x`, internet)
    const { headers } = echoed(fromInternet.body)
    expect(headers).toMatchObject({ 'x-forwarded-for': '127.0.0.9', 'x-forwarded-proto': 'https' })
    expect(Object.keys(headers).filter((name) => name.startsWith('x-tailscale'))).toEqual([])
    expect((await askSecurely(stack.lab, `${both}/other`, internet)).status).toBe(404)

    const fromTailnet = await askSecurely(stack.lab, `${both}/other`, 'tailnet')
    expect(echoed(fromTailnet.body).headers['x-tailscale-user-loginname']).toMatch(/@/)
    expect((await askSecurely(stack.lab, `${both}/admin`, 'tailnet')).status).toBe(403)

    const { body } = await askSecurely(stack.lab, `https://only.${DOMAIN}:8443/`, internet)
    expect(echoed(body).headers['x-real-ip']).toBe('127.0.0.9')
    await expect(askSecurely(stack.lab, `https://only.${DOMAIN}:8443/`, 'tailnet')).rejects.toThrow()
  })
})

describe('forward auth', () => {
  it('asks about everybody but people on the tailnet, fails closed, and no other service notices', async () => {
    stack = await createStack('--funnel')
    const upstream = await echo()
    const asked: (string | undefined)[] = []
    const authURL = await serve((request, response) => {
      asked.push(request.headers['x-forwarded-for'] as string)
      if (request.headers.cookie === 'session=good') response.writeHead(200, { 'remote-user': 'alice' }).end()
      else response.writeHead(302, { location: 'https://login.example/' }).end()
    })
    const auth = { upstream, funnel: true, authURL, authCopyHeaders: { 'Remote-User': '' } }
    const dead = await serve(() => undefined)
    servers.pop()?.close()
    await stack.configure(
      [
        { name: 'asked', ...auth },
        { name: 'bypass', ...auth, authBypassForTailnet: true },
        { name: 'dead', ...auth, authURL: dead },
      ],
      { defaults: {} },
    )
    await stack.startReady()
    await stack.until(certified, 'certificates')
    const ask = (name: string, way: Parameters<typeof askSecurely>[2], headers = {}) =>
      askSecurely(stack.lab, `https://${name}.${DOMAIN}/p?q=r`, way, { headers })
    const internet = { funnelFrom: '127.0.0.8' }

    expect((await ask('asked', 'tailnet')).status).toBe(302)
    const allowed = await ask('asked', 'tailnet', { cookie: 'session=good', 'remote-user': 'root' })
    expect(echoed(allowed.body).headers['remote-user']).toBe('alice')
    expect((await ask('asked', internet)).status).toBe(302)
    expect(asked.at(-1)).toBe('127.0.0.8')

    const before = asked.length
    const bypassed = await ask('bypass', 'tailnet', { 'remote-user': 'root' })
    expect(echoed(bypassed.body).headers['remote-user']).toBeUndefined()
    expect(asked.length).toBe(before)
    expect((await ask('bypass', internet)).status).toBe(302)

    const failed = await ask('dead', 'tailnet', { cookie: 'session=good' })
    expect(failed.status).toBe(502)
    expect(failed.body).toMatch(/request/)
    expect((await ask('asked', 'tailnet', { cookie: 'session=good' })).status).toBe(200)
  })
})

describe('raw tcp', () => {
  it('stands beside https on one name, and alone', async () => {
    stack = await createStack()
    const { port } = await listenOn(createTcpServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket)))
    const tcp = [{ listenAddr: ':22', upstream: `127.0.0.1:${port}` }]
    await stack.configure(
      [
        { name: 'git', upstream: await echo(), tcp },
        { name: 'db', tcp: [{ ...tcp[0], listenAddr: ':5432' }] },
      ],
      {
        defaults: {},
      },
    )
    await stack.startReady()
    for (const place of [`git.${DOMAIN}:22`, `db.${DOMAIN}:5432`]) {
      const socket = await connectByProxy(stack.lab, place, AbortSignal.timeout(20_000))
      socket.end('hello')
      expect(await text(socket)).toBe('hello')
    }
    await stack.until(
      ({ services }) => services.some(({ certificate }) => (certificate?.notAfter ?? 0) > 0),
      'the certificate of git',
    )
    expect((await askSecurely(stack.lab, `https://git.${DOMAIN}/`, 'tailnet')).status).toBe(200)
    expect((await stack.status()).services.map(({ name, url }) => [name, url])).toEqual([
      ['db', ''],
      ['git', `https://git.${DOMAIN}/`],
    ])
  })
})

describe('long bodies', () => {
  it('pass in flat memory: a gibibyte up and down', async () => {
    stack = await createStack()
    const size = 2 ** 30
    const part = Buffer.alloc(2 ** 20, 'x')
    const gibibyte = function* () {
      for (let sent = 0; sent < size; sent += part.length) yield part
    }
    const count = async (body: AsyncIterable<Buffer>) => {
      let bytes = 0
      for await (const piece of body) bytes += piece.length
      return bytes
    }
    const upstream = await serve((request, response) => {
      if (request.method === 'PUT') void count(request).then((bytes) => response.end(String(bytes)))
      else pipeline(Readable.from(gibibyte()), response, () => undefined)
    })
    await stack.configure([{ name: 'big', upstream, plaintext: true, listenAddr: ':80' }], { defaults: {} })
    await stack.startReady()
    const [pid] = (await stack.status()).shards.map(({ workerPid }) => workerPid ?? 0)
    const residentBytes = () => 1024 * Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid ?? 0}/status`, 'utf8'))?.[1])
    const before = residentBytes()
    let most = before
    const watching = setInterval(() => (most = Math.max(most, residentBytes())), 50)
    const { hostname, port } = new URL(stack.lab.proxyURL)
    const ask = async (method: string) => {
      const path = `http://big.${DOMAIN}/`
      const asked = httpRequest({ host: hostname, port, path, method, headers: { host: `big.${DOMAIN}` }, agent: false })
      if (method === 'PUT') pipeline(Readable.from(gibibyte()), asked, () => undefined)
      else asked.end()
      const [response] = (await once(asked, 'response')) as [IncomingMessage]
      return response
    }
    try {
      expect(await text(await ask('PUT'))).toBe(String(size))
      expect(await count(await ask('GET'))).toBe(size)
    } finally {
      clearInterval(watching)
    }
    // What a busy worker is allowed of garbage, and packets on their way; the bodies would be four times as much.
    expect((most - before) / 2 ** 20).toBeLessThan(512)
  })
})
