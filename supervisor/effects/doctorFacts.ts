/** Looks up what `doctor` judges. It changes nothing, sends nothing but one request to each control server, and takes some seconds at most. */
import { access, readdir, stat, statfs } from 'node:fs/promises'
import { connect, isIP } from 'node:net'
import { join } from 'node:path'
import { inWords } from '../../shared/systemErrors.ts'
import type { ResolvedService } from '../config/parseConfig.ts'

const PATIENCE_MS = 3000
const TAILSCALE = 'https://controlplane.tailscale.com'

/** A directory with its owner; `service` as the caller knows it. */
export interface SeenDirectory {
  readonly path: string
  readonly mode: number
  readonly uid: number
  readonly user: number
}

export async function seeDirectory(path: string): Promise<SeenDirectory[]> {
  try {
    const { mode, uid } = await stat(path)
    return [{ path, mode, uid, user: process.geteuid?.() ?? 0 }]
  } catch {
    // It is made at the first start.
    return []
  }
}

/** Directories of nodes below the state directory: those with a key. */
export async function nodeDirectoriesBelow(stateDir: string): Promise<string[]> {
  const entries = await readdir(stateDir, { withFileTypes: true }).catch(() => [])
  const found = await Promise.all(
    entries
      .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
      .map(async ({ name }) => {
        const path = join(stateDir, name)
        return access(join(path, 'tailscaled.state')).then(
          () => [path],
          () => [],
        )
      }),
  )
  return found.flat()
}

/** Free space where a path is, or would be; absent when it cannot be told. */
export async function freeSpace(path: string) {
  const found = await statfs(path).catch(() => undefined)
  return found ? { disk: { path, freeBytes: found.bavail * found.bsize, totalBytes: found.blocks * found.bsize } } : {}
}

/** Why nobody accepts connections at the upstream of a service; empty when somebody does, or when it may be on the tailnet. */
export function upstreamProblem({ spec }: ResolvedService): Promise<string> {
  const { proxy } = spec
  if (!proxy) return Promise.resolve('')
  const url = new URL(proxy.upstream)
  const address = proxy.dialAddress || url.host
  const { hostname, port } = new URL(`tcp://${address}`)
  if (proxy.dialUnixPath === '' && proxy.useTailnetDialer && mayBeOnTailnet(hostname)) return Promise.resolve('')
  const to =
    proxy.dialUnixPath !== ''
      ? { path: proxy.dialUnixPath }
      : { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || (url.protocol === 'https:' ? 443 : 80)) }
  return new Promise((resolve) => {
    const socket = connect(to)
    const end = (problem: string) => {
      socket.destroy()
      resolve(problem)
    }
    socket.setTimeout(PATIENCE_MS, () => end('it does not answer'))
    socket.once('connect', () => end('')).once('error', (error) => end(inWords(error)))
  })
}

/** The node dials these by itself; this host may not know them. Others it dials by the network of this host. */
const mayBeOnTailnet = (host: string): boolean =>
  host.startsWith('[fd7a:115c:') ||
  /^100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])\./.test(host) ||
  (host !== 'localhost' && isIP(host.replace(/[[\]]/g, '')) === 0)

/** Whether a control server answers at all, and how far this host's clock is ahead of its. */
export async function seeControl(controlURL: string) {
  const url = controlURL || TAILSCALE
  try {
    const sentAt = Date.now()
    const response = await fetch(url, { method: 'HEAD', redirect: 'manual', signal: AbortSignal.timeout(PATIENCE_MS) })
    const date = Date.parse(response.headers.get('date') ?? '')
    // The date has whole seconds, of any moment between question and answer.
    return { url, problem: '', aheadMs: Number.isNaN(date) ? null : (sentAt + Date.now()) / 2 - date - 500 }
  } catch (error) {
    const { cause } = error as Error
    return { url, problem: inWords(cause ?? error), aheadMs: null }
  }
}
