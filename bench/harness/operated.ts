/** A supervisor in the hands of an operator: its configuration changes, and it is replaced while its workers serve on. */
import { join } from 'node:path'
import { execa } from 'execa'
import { stringify } from 'yaml'
import type { ReloadResult, Status } from '../../shared/api.ts'
import { createAdminClient } from '../../supervisor/effects/adminClient.ts'
import { type Surroundings, runningProcesses, startProcess, writePrivate } from './subjects/subject.ts'

/** What an operator changes. */
interface Configuration {
  readonly services: readonly string[]
  readonly shardSize: number
  /** A header on every request to the upstreams: a setting that only the proxy sees. */
  readonly revision: number
}

export interface Operated {
  readonly configuration: Configuration
  reload(change: Partial<Configuration>): Promise<ReloadResult>
  /** Ends the supervisor alone, and starts another. */
  replaceSupervisor(): Promise<void>
  /** Has a service moved, and waits until it is there; gives its shard. */
  move(name: string, to: number | 'new'): Promise<number>
  status(): Promise<Status>
  /** The socket of each worker. */
  workerSockets(): Promise<string[]>
  stop(): Promise<void>
}

export const USUAL_SHARD_SIZE = 20

/** Starts it with all services. */
export async function startOperated(cli: string, surroundings: Surroundings): Promise<Operated> {
  const { directory, upstream, controlURL, authKey, place } = surroundings
  const [stateDir, runDir] = [join(directory, 'state'), join(directory, 'run')]
  const configFile = join(directory, 'services.yaml')
  const authkeyPath = await writePrivate(join(directory, 'auth-key'), authKey)
  let configuration: Configuration = { services: surroundings.services, shardSize: USUAL_SHARD_SIZE, revision: 0 }

  async function configure(change: Partial<Configuration>): Promise<void> {
    configuration = { ...configuration, ...change }
    const { services, shardSize, revision } = configuration
    const config = {
      prometheusAddr: 'off',
      supervisor: { controlURL, stateDir, runDir, shardSize },
      defaults: { plaintext: true, listenAddr: ':80', authkeyPath, upstreamHeaders: { 'X-Revision': String(revision) } },
      services: services.map((name) => ({ name, upstream })),
    }
    await writePrivate(configFile, stringify(config))
  }

  const start = () =>
    runningProcesses(surroundings, [startProcess(surroundings, 'supervisor', place(cli, ['start', '--config', configFile]))], {
      metrics: [],
    })
  await configure({})
  let supervisor = start()
  const admin = createAdminClient(runDir)
  const command = (...args: string[]) => {
    const { file, args: all } = place(cli, [...args, '--run-dir', runDir])
    return execa(file, [...all])
  }
  return {
    get configuration() {
      return configuration
    },
    async reload(change) {
      await configure(change)
      return admin.reload()
    },
    async replaceSupervisor() {
      await command('stop', '--leave-workers')
      await supervisor.stop()
      supervisor = start()
    },
    async move(name, to) {
      const { moves } = await admin.order('move', { service: name, to })
      const done = new AbortController()
      await admin.watch((status) => {
        if (status.moves.length === 0) done.abort()
      }, done.signal)
      const { services } = await admin.status()
      const shard = services.find((service) => service.name === name)?.shard
      if (shard === undefined || shard === null || shard !== moves[0]?.to) throw new Error(`${name} did not move`)
      return shard
    },
    status: () => admin.status(),
    async workerSockets() {
      const { shards } = await admin.status()
      return shards.flatMap(({ workerId }) => (workerId === null ? [] : [join(runDir, workerId, 'worker.sock')]))
    },
    async stop() {
      admin.close()
      await supervisor.stop()
    },
  }
}
