/** How many goroutines Go programs have, from the Prometheus metrics that they offer. */
import { execa } from 'execa'
import * as z from 'zod'
import { createSocketClient } from '../../../supervisor/effects/socketClient.ts'

/** A URL, or the path /metrics on a Unix socket. */
export type MetricsSource = { url: string } | { socketPath: string }

/** Turns a program and its arguments into what runs it elsewhere, such as in a namespace. */
export type Enter = (file: string, args: readonly string[]) => [file: string, args: string[]]

const TIMEOUT_MS = 5000
const FAMILY = /^go_goroutines(?:\{.*\})? (\S+)/gm

/** Fetches the URLs of its arguments and prints their texts as JSON, null for one that does not answer. */
const FETCH = `
const fetchText = async (url) => {
  const reply = await fetch(url, { signal: AbortSignal.timeout(${TIMEOUT_MS}) })
  return reply.ok ? reply.text() : null
}
const [, ...urls] = process.argv
Promise.all(urls.map((url) => fetchText(url).catch(() => null))).then((texts) => console.log(JSON.stringify(texts)))
`

/**
 * The goroutines of all sources together; null when there is no source, or one does not tell: a part would look like the
 * whole. URLs are fetched by a process that `enter` can put into a network namespace; Unix sockets are reached from any.
 */
export async function countGoroutines(sources: readonly MetricsSource[], enter: Enter = here): Promise<number | null> {
  const urls = sources.flatMap((source) => ('url' in source ? [source.url] : []))
  const sockets = sources.flatMap((source) => ('socketPath' in source ? [source.socketPath] : []))
  const texts = [...(await fetchAll(urls, enter)), ...(await Promise.all(sockets.map(readSocket)))]
  const counts = texts.map(parseGoroutines)
  if (counts.length === 0) return null
  return counts.reduce((total, count) => (total === null || count === null ? null : total + count))
}

async function fetchAll(urls: readonly string[], enter: Enter): Promise<(string | null)[]> {
  if (urls.length === 0) return []
  const { stdout } = await execa(...enter(process.execPath, ['-e', FETCH, '--', ...urls]))
  return z.array(z.string().nullable()).parse(JSON.parse(stdout))
}

async function readSocket(socketPath: string): Promise<string | null> {
  const client = createSocketClient(socketPath)
  try {
    return await client.text('/metrics', TIMEOUT_MS)
  } catch {
    return null
  } finally {
    client.close()
  }
}

/** Of one exposition, in which several processes may stand under labels of their own. */
function parseGoroutines(text: string | null): number | null {
  const values = [...(text ?? '').matchAll(FAMILY)].map(([, value]) => Number(value))
  return values.length === 0 ? null : values.reduce((total, value) => total + value, 0)
}

function here(file: string, args: readonly string[]): [string, string[]] {
  return [file, [...args]]
}
