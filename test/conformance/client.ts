/** A client that sends exactly what it is told, and tells what it got. */
import { once } from 'node:events'
import { type IncomingMessage, request as httpRequest } from 'node:http'
import type { Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { TLSSocket, connect as connectTLS } from 'node:tls'
import type { Asked } from './case.ts'

export interface Answer {
  readonly status: number | null
  readonly headers: IncomingMessage['headersDistinct']
  readonly body: string
  /** Of the service's certificate; null without TLS. */
  readonly issuer: string | null
}

/** What there is to see where nobody listens. */
export const NOBODY: Answer = { status: null, headers: {}, body: '', issuer: null }

/** The first client of tsnsrv waits until its certificate has been ordered. */
const TIMEOUT_MS = 60_000

/** Speaks TLS on a connection, with whoever is there: whose certificate it is, is a thing to look at. */
export async function secure(connection: Socket, servername: string): Promise<TLSSocket> {
  const secured = connectTLS({ socket: connection, servername, rejectUnauthorized: false })
  try {
    await once(secured, 'secureConnect', { signal: AbortSignal.timeout(TIMEOUT_MS) })
  } catch (error) {
    connection.destroy()
    throw error
  }
  return secured
}

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
      issuer: connection instanceof TLSSocket ? issuerOf(connection) : null,
    }
  } finally {
    connection.destroy()
  }
}

/** Without the number that an authority of tests makes up for each run. */
function issuerOf(connection: TLSSocket): string {
  const { O: organisation, CN: name } = connection.getPeerCertificate().issuer
  return String(organisation ?? name).replace(/ [0-9a-f]{6}$/, '')
}
