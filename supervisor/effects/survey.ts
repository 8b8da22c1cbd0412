/** Which workers serve what where no supervisor runs. The workers themselves are asked, by their sockets. */
import type { Unsupervised } from '../../shared/api.ts'
import { fromWorker } from '../../shared/olderProtocol.ts'
import { WorkerState } from '../../shared/protocol.ts'
import { viewOrphan } from '../core/orphans.ts'
import type { NodeDirectories } from './nodeLocks.ts'
import { findOrphans } from './orphans.ts'
import { createSocketClient } from './socketClient.ts'
import { findWorkerDirectories, workerSocketPath } from './workerDirectory.ts'

const ANSWER_MS = 2000

/** Resolves with all workers that have a run directory, or hold the lock of a node. Never rejects. */
export async function surveyWorkers(runDir: string, nodes: NodeDirectories): Promise<Unsupervised> {
  const directories = await findWorkerDirectories(runDir).catch(() => [])
  const states = (await Promise.all(directories.map(({ path }) => askState(path)))).flatMap((state) => state ?? [])
  const followed = new Set(states.map(({ hello }) => hello.workerId))
  const workers = states.map(({ hello: { workerId, shard, pid, version }, services }) => ({
    workerId,
    shard,
    pid,
    version,
    services: services.map(({ name, phase, message, identity: { dnsName, addresses } }) => ({
      name,
      phase,
      message,
      dnsName,
      addresses,
    })),
  }))
  return {
    supervisor: null,
    workers: workers.sort((a, b) => a.shard - b.shard),
    orphans: (await findOrphans({ runDir, nodes, followed })).map(viewOrphan),
  }
}

/** Resolves with null when the worker does not answer. */
async function askState(directory: string): Promise<WorkerState | null> {
  const client = createSocketClient(workerSocketPath(directory))
  try {
    const { body } = await client.request('GET', '/v1/state', { timeoutMs: ANSWER_MS })
    return WorkerState.safeParse(fromWorker(body)).data ?? null
  } catch {
    return null
  } finally {
    client.close()
  }
}
