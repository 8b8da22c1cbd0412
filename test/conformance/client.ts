/** A client that sends exactly what it is told, and tells what it got. */
import { once } from 'node:events'
import { type IncomingMessage, request as httpRequest } from 'node:http'
import type { Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import type { Asked } from './case.ts'

export interface Answer {
  readonly status: number
  readonly headers: IncomingMessage['headersDistinct']
  readonly body: string
}

const TIMEOUT_MS = 20_000

/** One request on a connection of its own, which is closed afterwards. Redirects are not followed. */
export async function send(connection: Socket, host: string, asked: Asked): Promise<Answer> {
  const { path = '/', method = 'GET', body, headers = {} } = asked
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS)
    const request = httpRequest({ createConnection: () => connection, method, path, headers: { host, ...headers }, signal })
    request.end(body)
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    return {
      status: response.statusCode ?? 0,
      headers: response.headersDistinct,
      body: await text(response).catch(() => '(cut off)'),
    }
  } finally {
    connection.destroy()
  }
}
