/** The supervisor with the services of the stage, as an operator would run them: attacked ones and their neighbours in one shard. */
import { join } from 'node:path'
import { stringify } from 'yaml'
import { createAdminClient } from '../../../supervisor/effects/adminClient.ts'
import { logDirectory } from '../../../supervisor/effects/stateFile.ts'
import type { Tools } from '../../harness/build.ts'
import { listening, startProcess, writePrivate } from '../../harness/subjects/subject.ts'
import { measured } from './niceness.ts'
import type { WorkerProcess } from './watch.ts'

/** Attacked by TLS, from the tailnet and the internet. */
export const SECURE = 'attacked'
/** The same without TLS, for the tailnet. */
export const PLAIN = 'attacked-http'
export const NEIGHBOUR = 'neighbour'
const BYSTANDERS = ['bystander-1', 'bystander-2', 'bystander-3']
/** Those that answer by http. */
export const ANSWERING = [PLAIN, NEIGHBOUR, ...BYSTANDERS]

export interface Surroundings {
  /** The supervisor's own. */
  readonly directory: string
  readonly controlURL: string
  /** http URL of what the attacked services publish. */
  readonly attackedUpstream: string
  /** The same of all others. */
  readonly otherUpstream: string
}

export interface Services {
  /** The worker's log files are in it. */
  readonly logs: string
  /** The worker that serves all of them now. Rejects when there is none, or more than one. */
  worker(): Promise<WorkerProcess>
  /** The full name of a service, once it has one; empty before. */
  nameOf(service: string): Promise<string>
  /** Rejects when the supervisor ends before it is told to. */
  readonly failed: Promise<never>
  stop(): Promise<void>
}

/** Starts it, and waits for nothing. */
export async function startServices({ cli, worker, certificate }: Tools, surroundings: Surroundings): Promise<Services> {
  const { directory } = surroundings
  const [stateDir, runDir] = [join(directory, 'state'), join(directory, 'run')]
  const { controlURL, attackedUpstream, otherUpstream } = surroundings
  const attacked = { upstream: attackedUpstream, allow: ['/denied tag:nobody'] }
  const config = {
    prometheusAddr: 'off',
    // A worker under attack is busy, and is to stay the one that is measured.
    supervisor: { controlURL, stateDir, runDir, workerBinary: worker, maxShards: 1, rebalance: false, drainTimeout: '1s' },
    services: [
      { name: SECURE, ...attacked, ...listening(true, certificate), funnel: true },
      { name: PLAIN, ...attacked, ...listening(false, certificate) },
      ...[NEIGHBOUR, ...BYSTANDERS].map((name) => ({ name, upstream: otherUpstream, ...listening(false, certificate) })),
    ],
  }
  const file = await writePrivate(join(directory, 'services.yaml'), stringify(config))
  const supervisor = startProcess({ directory }, 'supervisor', measured({ file: cli, args: ['start', '--config', file] }))
  const admin = createAdminClient(runDir)
  let stopping = false
  const failed = supervisor.ended.then((message) =>
    stopping ? new Promise<never>(() => undefined) : Promise.reject(new Error(message)),
  )
  // Whoever waits for something of it is told; after that its end is noticed by what it served.
  failed.catch(() => undefined)
  return {
    logs: logDirectory(stateDir),
    async worker() {
      const { shards } = await admin.status()
      const workers = shards.flatMap(({ workerPid, workerId }) =>
        workerPid === null || workerId === null ? [] : [{ pid: workerPid, socketPath: join(runDir, workerId, 'worker.sock') }],
      )
      const [only] = workers
      if (workers.length !== 1 || !only) throw new Error(`there are ${workers.length} workers, and one was to serve all`)
      return only
    },
    async nameOf(service) {
      const { services } = await admin.status()
      return services.find(({ name }) => name === service)?.dnsName ?? ''
    },
    failed,
    async stop() {
      stopping = true
      admin.close()
      supervisor.end()
      await supervisor.ended
    },
  }
}
