/** Certificates in the lab: the ACME server that issues them, and clients that believe it and nobody else. */
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { type IncomingHttpHeaders, type IncomingMessage, request as httpRequest } from 'node:http'
import { type Socket, connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { type PeerCertificate, connect as connectTLS } from 'node:tls'
import type { Answer } from '../../demo/lab.ts'
import { buildGoTool } from './goTool.ts'

/** What a lab with --acme-server says of it, and with --funnel of that. */
export interface SecureLab {
  proxyURL: string
  acmeDirectoryURL?: string | undefined
  acmeRootFile?: string | undefined
  funnel?: Record<string, string> | undefined
}

/** Builds Pebble, which Go keeps for the next time, and gives its path for the lab's flag --acme-server. */
export const buildPebble = (): Promise<string> => buildGoTool('pebble')

/** Environment of a process whose nodes are to get their certificates from the lab. */
export function acmeEnvironment({ acmeDirectoryURL = '', acmeRootFile = '' }: SecureLab): Record<string, string> {
  return { TS_DEBUG_ACME_DIRECTORY_URL: acmeDirectoryURL, SSL_CERT_FILE: acmeRootFile }
}

export interface SecureAnswer extends Answer {
  headers: IncomingHttpHeaders
  certificate: PeerCertificate
}

export interface Question {
  method?: string
  headers?: Record<string, string>
  body?: string
  timeoutMs?: number
}

/** Which way a client comes: as a node of the tailnet, or from the internet with an address of loopback as its own. */
export type Way = 'tailnet' | { funnelFrom: string }

/**
 * Asks for an https URL with the service's own name, such as https://photos.tail-lab.ts.net/. Follows no redirect, and rejects
 * a certificate that is not the lab's.
 */
export async function askSecurely(
  lab: SecureLab,
  url: string,
  way: Way,
  { method = 'GET', headers = {}, body = '', timeoutMs = 20_000 }: Question = {},
): Promise<SecureAnswer> {
  const { host, hostname, port, pathname, search } = new URL(url)
  const signal = AbortSignal.timeout(timeoutMs)
  const raw = await (way === 'tailnet'
    ? connectByProxy(lab, `${hostname}:${port || '443'}`, signal)
    : connectByFunnel(lab, port || '443', way.funnelFrom, signal))
  try {
    const secured = connectTLS({ socket: raw, servername: hostname, ca: await readFile(lab.acmeRootFile ?? '') })
    await once(secured, 'secureConnect', { signal })
    // An agent would look the name up, which is on no public name server.
    const path = pathname + search
    const asked = httpRequest({ createConnection: () => secured, method, path, headers: { host, ...headers }, signal })
    asked.end(body)
    const [response] = (await once(asked, 'response')) as [IncomingMessage]
    const certificate = secured.getPeerCertificate()
    return { status: response.statusCode ?? 0, headers: response.headers, body: await text(response), certificate }
  } finally {
    raw.destroy()
  }
}

/** A raw connection to "<name>:<port>" of the tailnet. */
export async function connectByProxy(lab: SecureLab, path: string, signal: AbortSignal): Promise<Socket> {
  const asked = httpRequest(lab.proxyURL, { method: 'CONNECT', path, agent: false, signal })
  asked.end()
  const [response, socket] = (await once(asked, 'connect', { signal })) as [IncomingMessage, Socket]
  if (response.statusCode !== 200) {
    socket.destroy()
    throw new Error(`the lab's proxy has no way to ${path}: ${String(response.statusCode)}`)
  }
  return socket
}

/** A raw connection to a port of the internet where Funnel's relays listen. */
export async function connectByFunnel(lab: SecureLab, port: string, localAddress: string, signal: AbortSignal): Promise<Socket> {
  const [host = '', mapped] = (lab.funnel?.[port] ?? '').split(':')
  const socket = connect({ host, port: Number(mapped), localAddress })
  await once(socket, 'connect', { signal })
  return socket
}
