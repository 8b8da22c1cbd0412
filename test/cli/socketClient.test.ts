/** The client against real servers on real sockets, each misbehaving in one way. */
import { chmodSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { createServer as createHttpServer, type RequestListener } from 'node:http'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createSocketClient, type SocketClient } from '../../supervisor/effects/socketClient.ts'

let directory: string
let socketPath: string
let client: SocketClient
let server: Server | undefined
const connections = new Set<Socket>()

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'sc-'))
  socketPath = join(directory, 's.sock')
  client = createSocketClient(socketPath)
})

afterEach(async () => {
  client.close()
  for (const connection of connections) connection.destroy()
  connections.clear()
  await new Promise<void>((resolve) => (server ? server.close(() => resolve()) : resolve()))
  server = undefined
  rmSync(directory, { recursive: true })
})

async function listen(created: Server): Promise<void> {
  server = created
  created.on('connection', (connection) => connections.add(connection))
  await new Promise<void>((resolve) => created.listen(socketPath, resolve))
}

const serve = (listener: RequestListener) => listen(createHttpServer(listener))
/** A peer that answers each connection with bytes of its own. */
const serveBytes = (onConnection: (connection: Socket) => void) => listen(createServer(onConnection))
const never = new AbortController().signal

describe('request', () => {
  it('carries JSON both ways, any status being an answer', async () => {
    await serve((request, response) => {
      let body = ''
      request.on('data', (chunk: Buffer) => (body += chunk.toString()))
      request.on('end', () =>
        response.writeHead(409).end(JSON.stringify({ method: request.method, url: request.url, body: body })),
      )
    })
    const reply = await client.request('PUT', '/v1/services/a?x=1', { body: { name: 'ä' } })
    expect(reply).toEqual({ status: 409, body: { method: 'PUT', url: '/v1/services/a?x=1', body: '{"name":"ä"}' } })
  })

  it('takes an empty reply', async () => {
    await serve((_request, response) => response.writeHead(202).end())
    expect(await client.request('POST', '/v1/stop')).toEqual({ status: 202, body: undefined })
  })

  it('uses a connection again', async () => {
    await serve((_request, response) => response.end('{}'))
    for (let i = 0; i < 5; i++) await client.request('GET', '/')
    expect(connections.size).toBe(1)
  })

  it('sends an idempotent request once more when the kept connection turns out to be closed', async () => {
    let answered = 0
    await serveBytes((connection) => {
      let seen = 0
      connection.on('data', () => {
        // The second request on a connection finds it closed.
        if (++seen === 2) connection.destroy()
        else connection.write(`HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n${++answered}`)
      })
    })
    expect((await client.request('GET', '/')).body).toBe(1)
    expect((await client.request('GET', '/')).body).toBe(2)
  })

  it('never sends any other request on a kept connection', async () => {
    await serve((_request, response) => response.end('{}'))
    for (const method of ['GET', 'POST', 'POST']) await client.request(method, '/')
    expect(connections.size).toBe(3)
  })

  it('says that there is no socket', async () => {
    await expect(client.request('GET', '/')).rejects.toMatchObject({
      code: 'ENOENT',
      message: `there is no socket ${socketPath}`,
    })
  })

  it('says that nobody serves the socket of a killed process', async () => {
    const other = createServer()
    await new Promise<void>((resolve) => other.listen(socketPath, resolve))
    renameSync(socketPath, `${socketPath}.kept`)
    await new Promise<void>((resolve) => other.close(() => resolve()))
    renameSync(`${socketPath}.kept`, socketPath)
    await expect(client.request('GET', '/')).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  })

  it.skipIf(process.geteuid?.() === 0)('says that permission is missing', async () => {
    await serve((_request, response) => response.end('{}'))
    chmodSync(socketPath, 0)
    await expect(client.request('GET', '/')).rejects.toMatchObject({ code: 'EACCES' })
  })

  it('gives up after the time-out, and with a head but no end of the body too', async () => {
    await serve((request, response) => {
      if (request.url === '/half') response.write('{')
    })
    await expect(client.request('GET', '/', { timeoutMs: 30 })).rejects.toMatchObject({ code: 'TIMEOUT' })
    await expect(client.request('GET', '/half', { timeoutMs: 30 })).rejects.toMatchObject({ code: 'TIMEOUT' })
  })

  it('fails every pending call at once when the peer dies', async () => {
    await serve(() => {
      if (connections.size === 3) for (const connection of connections) connection.destroy()
    })
    const calls = await Promise.allSettled(['/a', '/b', '/c'].map((path) => client.request('POST', path)))
    for (const call of calls) expect(call).toMatchObject({ status: 'rejected', reason: { code: 'DISCONNECTED' } })
  })

  it('fails when the peer dies in the middle of a body', async () => {
    await serveBytes((connection) => {
      connection.once('data', () => connection.end('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"half'))
    })
    await expect(client.request('GET', '/')).rejects.toMatchObject({ code: 'DISCONNECTED' })
  })

  it('refuses what is not JSON and what is not HTTP', async () => {
    await serveBytes((connection) => {
      connection.once('data', (data: Buffer) =>
        connection.end(data.includes('/json') ? 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope' : 'SSH-2.0-nope\r\n'),
      )
    })
    await expect(client.request('GET', '/json')).rejects.toMatchObject({ code: 'BAD_REPLY' })
    await expect(client.request('GET', '/')).rejects.toMatchObject({ code: 'BAD_REPLY' })
  })

  it('fails what is pending when it is closed, and what comes after', async () => {
    let arrived: () => void = () => undefined
    const arrival = new Promise<void>((resolve) => (arrived = resolve))
    await serve(() => arrived())
    const pending = client.request('GET', '/')
    const caught = expect(pending).rejects.toMatchObject({ code: 'CLOSED' })
    await arrival
    client.close()
    await caught
    await expect(client.request('GET', '/')).rejects.toMatchObject({ code: 'CLOSED' })
  })
})

describe('text', () => {
  it('gives the text, and refuses another status', async () => {
    await serve((request, response) => response.writeHead(request.url === '/metrics' ? 200 : 503).end('up 1\n'))
    expect(await client.text('/metrics')).toBe('up 1\n')
    await expect(client.text('/other')).rejects.toMatchObject({ code: 'BAD_REPLY' })
  })
})

describe('lines', () => {
  it('hands over each line, however the bytes are cut, and resolves at the end', async () => {
    const values = [{ a: 'ä€😀' }, [1, 2], 'x'.repeat(200_000)]
    const bytes = Buffer.from(values.map((value) => `${JSON.stringify(value)}\n`).join(''))
    await serve((_request, response) => {
      for (let i = 0; i < 40; i++) response.write(bytes.subarray(i, i + 1))
      response.end(bytes.subarray(40))
    })
    const seen: unknown[] = []
    await client.lines('/', (value) => seen.push(value), never)
    expect(seen).toEqual(values)
  })

  it('resolves when its signal is aborted', async () => {
    await serve((_request, response) => response.write('{}\n'))
    const abort = new AbortController()
    await client.lines('/', () => abort.abort(), abort.signal)
    await client.lines('/', () => expect.unreachable(), abort.signal)
  })

  it('rejects with what the reader threw', async () => {
    await serve((_request, response) => response.write('{}\n'))
    const failing = client.lines(
      '/',
      () => {
        throw new RangeError('not what I want')
      },
      never,
    )
    await expect(failing).rejects.toThrow(RangeError)
  })

  it.each([
    ['garbage', '{}\nnope\n', {}, 'BAD_REPLY'],
    ['an unfinished last line', '{}\n{"a":', {}, 'BAD_REPLY'],
    ['a line that is too long', `"${'x'.repeat(300)}"\n`, { maxLineBytes: 200 }, 'BAD_REPLY'],
    ['a line that never ends', 'x'.repeat(300), { maxLineBytes: 200 }, 'BAD_REPLY'],
  ] as const)('rejects %s', async (_what, body, options, code) => {
    await serve((_request, response) => response.end(body))
    await expect(client.lines('/', () => undefined, never, options)).rejects.toMatchObject({ code })
  })

  it('rejects a stream that falls silent, one that breaks, and one that is refused', async () => {
    await serve((request, response) => {
      if (request.url === '/refused') response.writeHead(500).end('no')
      else if (request.url === '/silent') response.write('{}\n')
      else response.write('{}\n', () => response.destroy())
    })
    await expect(client.lines('/silent', () => undefined, never, { idleTimeoutMs: 30 })).rejects.toMatchObject({
      code: 'TIMEOUT',
    })
    await expect(client.lines('/broken', () => undefined, never)).rejects.toMatchObject({ code: 'DISCONNECTED' })
    await expect(client.lines('/refused', () => undefined, never)).rejects.toMatchObject({ code: 'BAD_REPLY' })
  })
})
