import { once } from 'node:events'
import { get, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { hostname } from 'node:os'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type MetricsServer, startMetricsServer } from '../../supervisor/api/metrics.ts'
import { FakeOperator, serviceView, shardView, statusOf } from './fakeOperator.ts'

let operator: FakeOperator
const servers: MetricsServer[] = []

beforeEach(() => {
  operator = new FakeOperator(statusOf([serviceView('blog')]))
})

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()))
})

async function start(addr: string): Promise<string> {
  const server = await startMetricsServer({ addr, operator })
  servers.push(server)
  return server.addr
}

function fetchPath(
  addr: string,
  path: string,
  method = 'GET',
): Promise<{ status: number | undefined; type: string | undefined; body: string }> {
  return new Promise((resolve, reject) => {
    const call =
      method === 'GET'
        ? get(`http://${addr}${path}`, { agent: false })
        : request(`http://${addr}${path}`, { method, agent: false })
    call.on('error', reject).on('response', (reply) => {
      let body = ''
      reply.on('data', (chunk: Buffer) => (body += chunk.toString()))
      reply.on('end', () => resolve({ status: reply.statusCode, type: reply.headers['content-type'], body }))
    })
    call.end()
  })
}

describe('the metrics endpoint', () => {
  it('serves the metrics of supervisor and workers as one page', async () => {
    operator.expositions = ['# TYPE tsnsrv_requests_total counter\ntsnsrv_requests_total{service="blog"} 7\n']
    const { status, type, body } = await fetchPath(await start('127.0.0.1:0'), '/metrics')
    expect(status).toBe(200)
    expect(type).toBe('text/plain; version=0.0.4; charset=utf-8')
    expect(body).toContain('tsnsrv_sup_service_ready{service="blog"} 1\n')
    expect(body).toContain('tsnsrv_requests_total{service="blog"} 7\n')
  })

  it('serves OpenMetrics when asked to, and compresses', async () => {
    operator.expositions = [
      '# HELP tsnsrv_requests_total Said "so".\n# TYPE tsnsrv_requests_total counter\ntsnsrv_requests_total{service="blog"} 7\n',
      '# TYPE odd counter\nodd{a="1"} 2\nbare 3\n',
    ]
    const addr = await start('127.0.0.1:0')
    const response = await fetch(`http://${addr}/metrics`, {
      headers: { accept: 'application/openmetrics-text;version=1.0.0,*/*;q=0.1' },
    })
    expect(response.headers.get('content-type')).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8')
    expect(response.headers.get('content-encoding')).toBe('gzip')
    const text = await response.text()
    expect(text).toContain(
      '# TYPE tsnsrv_requests counter\n# HELP tsnsrv_requests Said \\"so\\".\ntsnsrv_requests_total{service="blog"} 7\n',
    )
    expect(text).toContain('# TYPE odd counter\nodd_total{a="1"} 2\n# TYPE bare unknown\nbare 3\n')
    expect(text).toMatch(/# EOF\n$/)
  })

  it('tells of CPU time, swap, starts, versions and the last reload', async () => {
    const starts = { cold: { buckets: [0, 1, 2, 2, 2, 2, 2, 2], sum: 1.2, count: 2 } }
    operator.current = statusOf([serviceView('blog', { startSeconds: 0.75 })], {
      shards: [shardView(1, { cpuSeconds: 12.5, swapBytes: 4096 })],
      configLoadedAt: 5000,
      starts,
    })
    const { body } = await fetchPath(await start('127.0.0.1:0'), '/metrics')
    for (const line of [
      'tsnsrv_sup_shard_cpu_seconds_total{shard="1"} 12.5',
      'tsnsrv_sup_shard_swap_bytes{shard="1"} 4096',
      'tsnsrv_sup_worker_info{shard="1",version="0.1.0"} 1',
      'tsnsrv_sup_service_last_start_seconds{service="blog"} 0.75',
      'tsnsrv_sup_service_start_seconds_bucket{kind="cold",le="0.5"} 1',
      'tsnsrv_sup_service_start_seconds_bucket{kind="cold",le="+Inf"} 2',
      'tsnsrv_sup_service_start_seconds_sum{kind="cold"} 1.2',
      'tsnsrv_sup_service_start_seconds_count{kind="move"} 0',
      'tsnsrv_sup_config_last_reload_success_timestamp_seconds 5',
    ])
      expect(body).toContain(`${line}\n`)
  })

  it('tells of memory that grows without end, and 0 where it does not', async () => {
    const memoryGrowth = { bytesPerHour: 9_000_000, since: 1 }
    operator.current = statusOf([], { shards: [shardView(1), shardView(2, { memoryGrowth, problems: ['it leaks'] })] })
    const { body } = await fetchPath(await start('127.0.0.1:0'), '/metrics')
    expect(body).toContain('tsnsrv_sup_shard_memory_growth_bytes_per_hour{shard="1"} 0\n')
    expect(body).toContain('tsnsrv_sup_shard_memory_growth_bytes_per_hour{shard="2"} 9000000\n')
    expect(body).toContain('tsnsrv_sup_shard_problems{shard="2"} 1\n')
  })

  it('reads the values when it is asked', async () => {
    const addr = await start('127.0.0.1:0')
    await fetchPath(addr, '/metrics')
    operator.current = statusOf([serviceView('blog'), serviceView('wiki')])
    expect((await fetchPath(addr, '/metrics')).body).toContain('tsnsrv_sup_services{phase="ready"} 2\n')
  })

  it('counts what is quarantined', async () => {
    const addr = await start('127.0.0.1:0')
    expect((await fetchPath(addr, '/metrics')).body).toContain('tsnsrv_sup_quarantined 0\n')
    const wiki = serviceView('wiki', { phase: 'failed', ready: false, reason: 'Quarantined' })
    operator.current = statusOf([serviceView('blog'), wiki])
    expect((await fetchPath(addr, '/metrics')).body).toContain('tsnsrv_sup_quarantined 1\n')
  })

  it('asks the workers once for scrapes that come together', async () => {
    let rounds = 0
    let finish: (texts: string[]) => void = () => undefined
    operator.workerMetrics = () => {
      rounds++
      return new Promise((resolve) => (finish = resolve))
    }
    const addr = await start('127.0.0.1:0')
    const first = fetchPath(addr, '/metrics')
    const second = fetchPath(addr, '/metrics')
    // Both are in before the workers answer: this third one comes after them and needs no worker.
    await fetchPath(addr, '/healthz')
    finish(['a 1\n'])
    expect((await first).body).toBe((await second).body)
    expect(rounds).toBe(1)
  })

  it('says when it fails', async () => {
    operator.workerMetrics = () => Promise.reject(new Error('no workers'))
    expect(await fetchPath(await start('127.0.0.1:0'), '/metrics')).toMatchObject({ status: 500, body: 'no workers\n' })
  })

  it('tells health, method and path', async () => {
    const addr = await start('127.0.0.1:0')
    expect(await fetchPath(addr, '/healthz')).toMatchObject({ status: 200, body: 'running\n' })
    operator.current = { ...operator.current, phase: 'stopping' }
    expect(await fetchPath(addr, '/healthz')).toMatchObject({ status: 503 })
    expect(await fetchPath(addr, '/metrics', 'POST')).toMatchObject({ status: 405 })
    expect(await fetchPath(addr, '/debug/pprof')).toMatchObject({ status: 404 })
  })

  it('tells which methods there are', async () => {
    const call = request(`http://${await start('127.0.0.1:0')}/metrics`, { method: 'DELETE', agent: false }).end()
    const [reply] = (await once(call, 'response')) as [import('node:http').IncomingMessage]
    reply.resume()
    expect(reply.headers.allow).toBe('GET, HEAD')
  })

  it('listens on IPv6 and on all interfaces', async () => {
    const ipv6 = await start('[::1]:0')
    expect(ipv6).toMatch(/^\[::1\]:\d+$/)
    expect((await fetchPath(ipv6, '/healthz')).status).toBe(200)
    const port = (await start(':0')).split(':').at(-1)
    expect((await fetchPath(`127.0.0.1:${port}`, '/healthz')).status).toBe(200)
  })

  it.each(['nonsense', '127.0.0.1', ':99999', '::1:9099', '[::1]', ''])('refuses the address "%s"', async (addr) => {
    await expect(start(addr)).rejects.toThrow(`prometheusAddr "${addr}": want host:port`)
  })

  it('says that an address is in use', async () => {
    const addr = await start('127.0.0.1:0')
    await expect(start(addr)).rejects.toThrow(
      `cannot serve metrics on prometheusAddr ${addr}: the address is in use by another program`,
    )
  })

  it('says that an address is not of this host', async () => {
    await expect(start('192.0.2.1:9099')).rejects.toThrow('this host does not have that address')
  })
})

describe('the metrics endpoint, asked by a name', () => {
  async function statusFor(addr: string, host: string): Promise<number | undefined> {
    const call = get(`http://${addr}/metrics`, { agent: false, headers: { host } })
    const [reply] = (await once(call, 'response')) as [import('node:http').IncomingMessage]
    reply.resume()
    return reply.statusCode
  }

  it.each([
    '127.0.0.1',
    '127.0.0.1:9099',
    '[::1]:9099',
    '192.168.1.5',
    'localhost',
    'LocalHost:80',
    'localhost.',
    'host.docker.internal:9099',
    'prometheus',
    'nas.local',
    'nas.home.arpa',
    hostname(),
  ])('answers to %s', async (host) => {
    expect(await statusFor(await start('127.0.0.1:0'), host)).toBe(200)
  })

  it.each([
    'evil.example',
    'evil.example:9099',
    'localhost.evil.example',
    'internal.evil.example',
    'nas.local.evil.example',
    'evilinternal.example',
    'nas.fritz.box',
    '127.0.0.1.evil.example',
    ':9099',
    '[evil]',
    'a:b:c',
  ])('does not answer to "%s": it may be another site, whose name points here', async (host) => {
    expect(await statusFor(await start('127.0.0.1:0'), host)).toBe(421)
  })

  it('answers to the name that it was told to listen on', async () => {
    // Where that name stands for the address: "localhost" does everywhere.
    const port = (await start('localhost:0')).split(':').at(-1)
    expect(await statusFor(`localhost:${String(port)}`, 'localhost')).toBe(200)
  })

  it('answers to a program that sends no Host', async () => {
    const [host, port] = (await start('127.0.0.1:0')).split(':')
    const socket = connect(Number(port), host)
    socket.write('GET /healthz HTTP/1.0\r\n\r\n')
    const [answer] = (await once(socket, 'data')) as [Buffer]
    expect(answer.toString()).toMatch(/^HTTP\/1\.1 200 /)
  })
})

describe('the metrics endpoint among hostile clients', () => {
  const hostile: Record<string, string> = {
    'that say nothing': '',
    'that never end their header': 'GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ',
    'that never send their body': 'POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n',
    'that do not read': 'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n',
    'that ask and ask and do not read': 'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(100),
  }

  it.each(Object.keys(hostile))('answers a scrape beside 300 connections %s', async (kind) => {
    operator.expositions = [`# TYPE a gauge\n${Array.from({ length: 20_000 }, (_, i) => `a{i="${i}"} 1\n`).join('')}`]
    const addr = await start('127.0.0.1:0')
    const [host, port] = addr.split(':')
    const sockets: Socket[] = []
    for (let i = 0; i < 300; i++) {
      const socket = connect(Number(port), host).on('error', () => undefined)
      socket.pause()
      sockets.push(socket)
      await once(socket, 'connect')
      socket.write(hostile[kind]!)
    }
    const { status, body } = await fetchPath(addr, '/metrics')
    expect({ status, series: body.match(/^a\{/gm)?.length }).toEqual({ status: 200, series: 20_000 })
    for (const socket of sockets) socket.destroy()
  })

  it('holds no more than 128', async () => {
    const addr = await start('127.0.0.1:0')
    const [host, port] = addr.split(':')
    const sockets = Array.from({ length: 200 }, () => connect(Number(port), host).on('error', () => undefined))
    await expect.poll(() => sockets.filter((socket) => socket.closed).length, { timeout: 20_000 }).toBe(200 - 128)
    for (const socket of sockets) socket.destroy()
  })

  it('refuses a header of more than 8 KiB', async () => {
    const call = get(`http://${await start('127.0.0.1:0')}/metrics`, { agent: false, headers: { x: 'y'.repeat(9000) } })
    const [reply] = (await once(call, 'response')) as [import('node:http').IncomingMessage]
    reply.resume()
    expect(reply.statusCode).toBe(431)
  })

  it('ends a connection whose body never comes once it is answered', async () => {
    const [host, port] = (await start('127.0.0.1:0')).split(':')
    const socket = connect(Number(port), host)
    socket.write('POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n')
    const [answer] = (await once(socket, 'data')) as [Buffer]
    expect(answer.toString()).toMatch(/^HTTP\/1\.1 405 /)
    await once(socket, 'close')
  })
})
