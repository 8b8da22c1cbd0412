/** An upstream, or an auth server: answers as the case says and remembers what it was asked. */
import { once } from 'node:events'
import { type IncomingMessage, type RequestListener, type Server, type ServerResponse, createServer } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { Reply } from './case.ts'

export interface Seen {
  readonly url: string
  readonly method: string
  readonly headers: Readonly<Record<string, readonly string[] | undefined>>
  readonly body: string
}

/** More than proxies hold back before they begin to answer. */
const HALF = Buffer.alloc(64 * 1024, 'x')

/** Of one machine: what it says is the same on all of its listeners. */
export class Recorder {
  readonly #servers: Server[] = []
  #seen: Seen[] = []
  #replies: Reply[] = []

  /** On a port of loopback, which is returned as host:port; over TLS when there is a certificate. */
  async listen(certificate?: { cert: Buffer; key: Buffer }): Promise<string> {
    const server = certificate ? createSecureServer(certificate, this.#handle) : createServer(this.#handle)
    await this.#start(server, () => server.listen(0, '127.0.0.1'))
    return `127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  async listenOnSocket(path: string): Promise<void> {
    const server = createServer(this.#handle)
    await this.#start(server, () => server.listen(path))
  }

  /** Forgets what was asked, and takes up what is answered next, in order; after that it is 200. */
  expect(...replies: readonly Reply[]): void {
    this.#seen = []
    this.#replies = [...replies]
  }

  /** What it was asked since it was told what to expect. */
  get seen(): readonly Seen[] {
    return this.#seen
  }

  async close(): Promise<void> {
    await Promise.all(
      this.#servers.map(async (server) => {
        server.close()
        server.closeAllConnections()
        await once(server, 'close')
      }),
    )
  }

  async #start(server: Server, listen: () => void): Promise<void> {
    this.#servers.push(server)
    listen()
    await once(server, 'listening')
  }

  readonly #handle: RequestListener = (request, response) => {
    const reply = this.#replies.shift() ?? {}
    void this.#answer(request, response, reply)
  }

  async #answer(request: IncomingMessage, response: ServerResponse, reply: Reply): Promise<void> {
    const { url = '', method = '', headersDistinct: headers } = request
    this.#seen.push({ url, method, headers, body: await text(request) })
    if (reply === 'says nothing') return
    if (reply === 'hangs up') request.socket.destroy()
    else if (reply === 'talks nonsense') request.socket.end('hello\r\n\r\n')
    else if (reply === 'breaks off') {
      response.writeHead(200, { 'content-length': String(2 * HALF.length) })
      response.write(HALF, () => response.destroy())
    } else {
      const { status = 200, headers = {}, body = 'hello' } = reply
      response.writeHead(status, headers as Record<string, string | string[]>).end(body)
    }
  }
}
