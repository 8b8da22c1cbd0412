/** Everything around a subject: control plane, upstream and client, each in its place of the storage host. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as z from 'zod'
import type { Binaries } from '../build.ts'
import { type Place, type StorageHost, WORLD_ADDRESS } from '../host/storageHost.ts'
import type { Surroundings } from '../subjects/subject.ts'
import { type Client, joinClient } from './client.ts'
import { startControlPlane } from './controlPlane.ts'
import { startTool } from './tool.ts'

export interface World {
  readonly binaries: Binaries
  readonly host: StorageHost
  /** Clients ask by https, without a look at certificates; default false. */
  readonly https?: boolean
}

/** Makes them, empty and fresh, for `count` services; `join` makes more clients. Whatever happens, nothing of them is left. */
export async function withWorld(
  count: number,
  { binaries, host, https = false }: World,
  use: (surroundings: Surroundings, client: Client, join: () => Promise<Client>) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'tsnsrv-bench-'))
  const inWorld = placeIn(host, 'world')
  const inHost = placeIn(host, 'host')
  const undo: (() => Promise<void>)[] = [() => rm(directory, { recursive: true, force: true })]
  try {
    const control = await startControlPlane({
      binaries,
      directory: join(directory, 'control'),
      address: WORLD_ADDRESS,
      place: inWorld,
    })
    undo.push(() => control.stop())
    const upstream = await startTool({
      ...inHost(binaries.bench, ['upstream', '-exit-with-stdin', '-addr', '127.0.0.1:0']),
      env: { GOMAXPROCS: '1' },
    })
    undo.push(() => upstream.stop())
    const joinAnother = async () => {
      const state = ['-state-dir', join(directory, `client${undo.length}`), '-control-url', control.url]
      const client = await joinClient({
        ...inWorld(binaries.bench, ['client', '-exit-with-stdin', ...(https ? ['-https'] : []), ...state]),
        env: { TSNSRV_BENCH_AUTH_KEY: control.authKey, TS_NO_LOGS_NO_SUPPORT: 'true', GOMAXPROCS: '1' },
      })
      undo.push(() => client.stop())
      return client
    }
    const client = await joinAnother()
    const own = join(directory, 'subject')
    await mkdir(own, { mode: 0o700 })
    const services = Array.from({ length: count }, (_, i) => `svc${i}`)
    await use(
      {
        directory: own,
        services,
        controlURL: control.url,
        authKey: control.authKey,
        certificate: binaries.certificate,
        upstream: z.string().parse(upstream.ready.url),
        metricsPort: 9300,
        place: inHost,
      },
      client,
      joinAnother,
    )
  } finally {
    for (const each of undo.reverse()) await each()
  }
}

function placeIn(host: StorageHost, place: Place): Surroundings['place'] {
  return (file, args) => {
    const [entered, all] = host.command(place, file, args)
    return { file: entered, args: all }
  }
}
