import { chmodSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, statSync } from 'node:fs'
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Plan, PlanRequest, Status } from '../../shared/api.ts'
import { orders, type Parameter, type Verb } from '../../shared/orders.ts'
import { type AdminServer, startAdminServer } from '../../supervisor/api/adminServer.ts'
import {
  type AdminClient,
  adminSocketPath,
  createAdminClient,
  NoSupervisorError,
  RefusedError,
} from '../../supervisor/effects/adminClient.ts'
import { OrderError } from '../../supervisor/core/ports.ts'
import { FakeOperator, refusedConfig, serviceView, statusOf } from './fakeOperator.ts'

let runDir: string
let socketPath: string
let operator: FakeOperator
let server: AdminServer | undefined
let client: AdminClient

beforeEach(() => {
  runDir = mkdtempSync(join(tmpdir(), 'as-'))
  socketPath = adminSocketPath(runDir)
  operator = new FakeOperator(statusOf([serviceView('blog')]))
  client = createAdminClient(runDir)
})

afterEach(async () => {
  client.close()
  await server?.close()
  server = undefined
  chmodSync(runDir, 0o700)
  rmSync(runDir, { recursive: true })
})

const start = async () => {
  server = await startAdminServer({ socketPath, operator })
}

describe('the admin socket', () => {
  it('is for its owner only, whatever the umask, and goes with the server', async () => {
    const umask = process.umask(0)
    try {
      await start()
    } finally {
      process.umask(umask)
    }
    expect(statSync(socketPath).mode & 0o777).toBe(0o600)
    await server?.close()
    server = undefined
    expect(existsSync(socketPath)).toBe(false)
  })

  it('is made in a directory that is made, private', async () => {
    socketPath = join(runDir, 'deep', 'run', 'supervisor.sock')
    await start()
    expect(statSync(join(runDir, 'deep', 'run')).mode & 0o777).toBe(0o700)
  })

  it('is refused where others could replace it', async () => {
    chmodSync(runDir, 0o770)
    await expect(start()).rejects.toThrow(`${runDir} is writable by other users`)
  })

  it('is refused when its path is longer than the kernel takes', async () => {
    socketPath = join(runDir, 'x'.repeat(100), 'supervisor.sock')
    await expect(start()).rejects.toThrow('longer than 107 bytes')
    expect(existsSync(join(runDir, 'x'.repeat(100)))).toBe(false)
  })

  it('replaces what a killed supervisor has left', async () => {
    const killed = createServer()
    await new Promise<void>((resolve) => killed.listen(socketPath, resolve))
    renameSync(socketPath, `${socketPath}.kept`)
    await new Promise((resolve) => killed.close(resolve))
    renameSync(`${socketPath}.kept`, socketPath)
    await expect(client.status()).rejects.toThrow(NoSupervisorError)
    await start()
    expect((await client.status()).version).toBe('0.1.0')
  })

  it('is not taken from a supervisor that answers', async () => {
    await start()
    await expect(startAdminServer({ socketPath, operator })).rejects.toThrow(`another supervisor answers on ${socketPath}`)
    expect((await client.status()).version).toBe('0.1.0')
  })

  it('is not replaced when it is something else', async () => {
    mkdirSync(socketPath)
    await expect(start()).rejects.toThrow(socketPath)
  })
})

describe('the admin API', () => {
  beforeEach(start)

  it('gives the status', async () => {
    expect(await client.status()).toEqual(operator.current)
  })

  it('hands a configuration over to be planned, and back what it would do', async () => {
    const wanted: PlanRequest = { file: 'ä.yaml', text: 'services: []\n', flags: { shardSize: '3', logUpload: true } }
    const plan: Plan = { comparedWith: 'supervisor', shardSize: 3, services: [], notes: ['a note'] }
    const asked: PlanRequest[] = []
    operator.onPlan = (request) => {
      asked.push(request)
      return Promise.resolve(plan)
    }
    expect(await client.plan(wanted)).toEqual(plan)
    expect(asked).toEqual([wanted])
    operator.onPlan = () => Promise.reject(refusedConfig())
    await expect(client.plan(wanted)).rejects.toMatchObject({ status: 422, reason: 'ConfigError' })
    await expect(client.plan({ file: 'x' } as PlanRequest)).rejects.toMatchObject({ status: 400 })
  })

  it('reloads', async () => {
    const result = { configGeneration: 2, added: ['a'], removed: [], changed: [], moved: [], unchanged: 3, notes: [] }
    operator.onReload = () => Promise.resolve(result)
    expect(await client.reload()).toEqual(result)
  })

  it('tells a refused configuration (422) from a fault (500)', async () => {
    operator.onReload = () => Promise.reject(refusedConfig())
    await expect(client.reload()).rejects.toMatchObject({
      status: 422,
      message: expect.stringContaining('services.yaml:3:5') as string,
    })
    operator.onReload = () => Promise.reject(new Error('disk full'))
    await expect(client.reload()).rejects.toEqual(new RefusedError(500, 'Error', 'disk full'))
  })

  it('passes the order to stop on', async () => {
    const orders: unknown[] = []
    operator.onStop = (options) => orders.push(options)
    await client.stop({ leaveWorkers: true })
    await client.stop({ leaveWorkers: false })
    expect(orders).toEqual([{ leaveWorkers: true }, { leaveWorkers: false }])
  })

  it('answers to the order to stop even when the operator closes the server at once', async () => {
    operator.onStop = () => void server?.close()
    await client.stop({ leaveWorkers: false })
    await expect(client.status()).rejects.toThrow(NoSupervisorError)
  })

  it.each([
    ['POST', '/v1/stop?leaveWorkers=maybe', 400],
    ['POST', '/v1/stop', 400],
    ['POST', '/v1/reload?force=true', 400],
    ['GET', '/v1/status?json', 400],
    ['GET', '/v1/stop', 404],
    ['GET', '/v1/pause', 404],
    ['POST', '/v1/status', 404],
    ['POST', '/v1/constructor', 404],
    ['GET', '/', 404],
    ['GET', '//[', 404],
  ])('refuses %s %s', async (method, path, status) => {
    operator.onStop = () => expect.unreachable()
    expect((await ask(method, path)).status).toBe(status)
  })
})

/** An exchange without the client. */
async function ask(method: string, path: string): Promise<{ status: number | undefined; message: string }> {
  const call = request({ socketPath, method, path, agent: false }).end()
  const [reply] = (await once(call, 'response')) as [IncomingMessage]
  return { status: reply.statusCode, message: (JSON.parse(await text(reply)) as { message?: string }).message ?? '' }
}

describe('an order', () => {
  beforeEach(start)

  /** Texts that each kind of parameter takes, by its words. */
  const good: Record<string, string> = {
    'the name of a service': 'blog',
    'a whole number from 1': '7',
    'true or false': 'true',
    'a whole number from 1, or "new"': 'new',
    'a whole number from 1, or "auto"': '12',
  }
  const bad: Record<string, readonly string[]> = {
    'the name of a service': [''],
    'a whole number from 1': ['', '0', '-1', '1.5', '1e3', ' 1', '01', '9999999', 'new', 'NaN'],
    'true or false': ['', '1', '0', 'yes', 'True', 'FALSE', 'null'],
    'a whole number from 1, or "new"': ['', '0', 'auto', 'New'],
    'a whole number from 1, or "auto"': ['', '0', 'new', 'AUTO'],
  }
  const verbs = Object.entries(orders).map(
    ([verb, { takes }]) => [verb as Verb, takes as Record<string, Parameter<unknown>>] as const,
  )
  const queryOf = (takes: Record<string, Parameter<unknown>>, without = '') =>
    Object.entries(takes).flatMap(([name, { wanted }]) => (name === without ? [] : [`${name}=${good[wanted]!}`]))

  it.each(verbs)('%s gets from the client to the operator, and its answer back', async (verb, takes) => {
    const given = Object.fromEntries(Object.entries(takes).map(([name, { wanted, read }]) => [name, read(good[wanted]!)]))
    const seen: unknown[] = []
    const order = operator.order.bind(operator)
    operator.order = (...call) => {
      seen.push(call)
      return order(...call)
    }
    const answer = await client.order(verb, given)
    expect(seen).toEqual([[verb, given]])
    expect(orders[verb].answers.safeParse(answer).success).toBe(true)
  })

  it.each(verbs)('%s is refused, and not carried out, unless it is said whole', async (verb, takes) => {
    const wrong: string[][] = [
      [...queryOf(takes), 'other=1'],
      [...queryOf(takes), 'toString=1'],
    ]
    for (const [name, { wanted }] of Object.entries(takes)) {
      wrong.push(queryOf(takes, name), [...queryOf(takes), `${name}=${good[wanted]!}`])
      for (const text of bad[wanted]!) wrong.push([...queryOf(takes, name), `${name}=${encodeURIComponent(text)}`])
    }
    for (const query of wrong) {
      const { status, message } = await ask('POST', `/v1/${verb}?${query.join('&')}`)
      expect({ query, status }).toEqual({ query, status: 400 })
      expect(message).not.toBe('')
    }
    expect(operator.orders).toEqual([])
  })

  it('does what its verb says', async () => {
    for (const path of ['pause', 'resume', 'cordon?shard=3', 'uncordon?shard=3', 'pin?service=blog', 'unpin?service=blog'])
      expect((await ask('POST', `/v1/${path}`)).status).toBe(200)
    expect(operator.orders).toEqual(['pause', 'resume', 'cordon 3', 'uncordon 3', 'pin blog', 'unpin blog'])
  })

  it('says what is wrong', async () => {
    expect((await ask('POST', '/v1/pause?paused=false')).message).toBe('there is no parameter paused; it takes none')
    expect((await ask('POST', '/v1/move?service=blog')).message).toBe('to is missing: a whole number from 1, or "new"')
    expect((await ask('POST', '/v1/cordon?shard=x')).message).toBe('shard is a whole number from 1, not "x"')
    expect((await ask('POST', '/v1/cordon?shard=1&shard=2')).message).toBe('shard is given twice')
  })

  it('that cannot be is a conflict', async () => {
    operator.onOrder = () => Promise.reject(new OrderError('there is no shard 9; there are 1'))
    await expect(client.order('uncordon', { shard: 9 })).rejects.toMatchObject({
      status: 409,
      message: 'there is no shard 9; there are 1',
    })
  })
})

describe('many clients', () => {
  beforeEach(start)

  /** So many connections that have sent this. */
  async function connections(number: number, text: string): Promise<Socket[]> {
    const sockets: Socket[] = []
    for (let i = 0; i < number; i++) {
      const socket = connect(socketPath)
        .on('error', () => undefined)
        .resume()
      sockets.push(socket)
      await once(socket, 'connect')
      socket.write(text)
    }
    return sockets
  }

  it.each(['', 'GET /v1/status HTTP/1.1\r\nHost: x\r\nX: ', 'GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n'])(
    'are bounded, and an order among them is heard: %j',
    async (text) => {
      const sockets = await connections(300, text)
      expect((await client.status()).version).toBe('0.1.0')
      await expect.poll(() => sockets.filter((socket) => !socket.closed).length).toBeLessThanOrEqual(128)
      for (const socket of sockets) socket.destroy()
    },
  )

  it('that watch keep their streams', async () => {
    const sockets = await connections(20, 'GET /v1/watch HTTP/1.1\r\nHost: x\r\n\r\n')
    const idle = await connections(200, '')
    expect(operator.listeners.size).toBe(1)
    expect(sockets.some((socket) => socket.closed)).toBe(false)
    for (const socket of [...sockets, ...idle]) socket.destroy()
  })

  it('hold no more than one big body together', async () => {
    const half = 60 * 1024 * 1024
    const posts = Array.from({ length: 2 }, () => {
      const head = { method: 'POST', path: '/v1/plan', headers: { 'content-length': String(half) }, agent: false }
      const call = request({ socketPath, ...head }).on('error', () => undefined)
      call.write(Buffer.alloc(half - 1, 0x20))
      return call
    })
    const statuses = posts.map(async (call) => {
      const [reply] = (await once(call, 'response')) as [IncomingMessage]
      reply.resume()
      return reply.statusCode
    })
    expect(await Promise.race(statuses)).toBe(400)
    for (const call of posts) call.destroy()
    await Promise.allSettled(statuses)
    await expect(client.plan({ file: 'x' } as PlanRequest)).rejects.toThrow('no PlanRequest')
  })
})

describe('watching', () => {
  beforeEach(start)

  /** Watches until `enough` says so, and gives what was seen. */
  async function watchUntil(
    enough: (seen: Status[]) => boolean,
    onEach: (seen: Status[]) => void = () => undefined,
  ): Promise<Status[]> {
    const abort = new AbortController()
    const seen: Status[] = []
    await client.watch((status) => {
      seen.push(status)
      onEach(seen)
      if (enough(seen)) abort.abort()
    }, abort.signal)
    return seen
  }

  const generations = (seen: Status[]) => seen.map((status) => status.configGeneration)

  it('gives the status at once and after a change', async () => {
    const seen = await watchUntil(
      ({ length }) => length === 2,
      ({ length }) => {
        if (length === 1) operator.become({ ...operator.current, configGeneration: 2 })
      },
    )
    expect(generations(seen)).toEqual([1, 2])
  })

  it('puts many changes together, and the last one always comes', async () => {
    const seen = await watchUntil(
      (all) => all.at(-1)?.configGeneration === 500,
      ({ length }) => {
        if (length > 1) return
        for (let i = 2; i <= 500; i++) operator.become({ ...operator.current, configGeneration: i })
      },
    )
    expect(seen.length).toBeLessThan(5)
  })

  it('ends when the supervisor does', async () => {
    const watching = watchUntil(
      () => false,
      () => void server?.close(),
    )
    expect(generations(await watching)).toEqual([1])
  })

  it('listens to the operator only while somebody watches', async () => {
    expect(operator.listeners.size).toBe(0)
    await watchUntil(
      () => true,
      () => expect(operator.listeners.size).toBe(1),
    )
    await vi.waitFor(() => expect(operator.listeners.size).toBe(0))
  })

  it('spares a reader that takes nothing the states between, and others do not wait for it', async () => {
    operator.current = statusOf(Array.from({ length: 2000 }, (_, i) => serviceView(`s${i}`)))
    const slow = connect(socketPath)
    slow.pause()
    slow.write('GET /v1/watch HTTP/1.1\r\nHost: x\r\n\r\n')
    await vi.waitFor(() => expect(operator.listeners.size).toBe(1))
    const before = process.memoryUsage.rss()
    const seen = await watchUntil(
      (all) => all.at(-1)?.configGeneration === 4,
      (all) => operator.become({ ...operator.current, configGeneration: all.length + 1 }),
    )
    expect(generations(seen)).toEqual([1, 2, 3, 4])
    expect(process.memoryUsage.rss() - before).toBeLessThan(200e6)
    slow.destroy()
    await vi.waitFor(() => expect(operator.listeners.size).toBe(0))
  })
})
