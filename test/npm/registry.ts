/** A registry on loopback that has some packed packages, and nothing else. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { basename } from 'node:path'
import { execa } from 'execa'

export interface Manifest extends Readonly<Record<string, unknown>> {
  readonly name: string
  readonly version: string
}

export interface Registry {
  readonly url: string
  /** Paths that were asked for and are not there. */
  readonly missing: readonly string[]
  close(): Promise<void>
}

/** What a packed package says of itself. */
export async function readManifest(archive: string): Promise<Manifest> {
  const { stdout } = await execa('tar', ['--extract', '--to-stdout', '--file', archive, 'package/package.json'])
  return JSON.parse(stdout) as Manifest
}

/** Serves the archives, each as the latest version of its package. */
export async function startRegistry(archives: readonly string[]): Promise<Registry> {
  const answers = new Map<string, string | Buffer>()
  const missing: string[] = []
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? '')
    const answer = answers.get(path)
    if (answer === undefined) missing.push(path)
    response.writeHead(answer === undefined ? 404 : 200).end(answer ?? '{}')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`
  for (const archive of archives) {
    const [manifest, content] = await Promise.all([readManifest(archive), readFile(archive)])
    const path = `/-/${basename(archive)}`
    const integrity = `sha512-${createHash('sha512').update(content).digest('base64')}`
    const { name, version } = manifest
    const versions = { [version]: { ...manifest, dist: { tarball: `${url}${path}`, integrity } } }
    answers.set(path, content)
    answers.set(`/${name}`, JSON.stringify({ name, 'dist-tags': { latest: version }, versions }))
  }
  return {
    url,
    missing,
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
