/** This project: the supervisor and its workers, as an operator starts them. */
import { chmod } from 'node:fs/promises'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import type { Built } from '../../../scripts/build.ts'
import type { Subject as SubjectInfo } from '../results.ts'
import { type Subject, listening, runningProcesses, startProcess, writePrivate } from './subject.ts'

export interface Variant extends Pick<SubjectInfo, 'key' | 'title' | 'about' | 'group'>, Pick<Subject, 'scope' | 'https'> {
  /** Flags of `tsnsrv-sup start`, beside the file. */
  readonly flags?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Each worker is bound to one of the cores, in turn. */
  readonly pinned?: true
}

/** The supervisor with its defaults, or with what the variant changes. */
export function ours(
  { cli, worker }: Built,
  version: string,
  { flags = [], env = {}, pinned, scope, https = false, ...info }: Variant,
): Subject {
  return {
    info: { ...info, version },
    ...(scope && { scope }),
    https,
    async start(surroundings) {
      const { directory, services, upstream, controlURL, authKey, certificate, metricsPort, place } = surroundings
      const metricsAddress = `127.0.0.1:${metricsPort}`
      const config = {
        prometheusAddr: metricsAddress,
        supervisor: { controlURL, stateDir: join(directory, 'state'), runDir: join(directory, 'run') },
        defaults: { ...listening(https, certificate), authkeyPath: await writePrivate(join(directory, 'auth-key'), authKey) },
        services: services.map((name) => ({ name, upstream })),
      }
      const file = await writePrivate(join(directory, 'services.yaml'), stringify(config))
      const binary = pinned ? await writePinningWorker(directory, worker) : worker
      const command = { ...place(cli, ['start', '--config', file, '--worker-binary', binary, ...flags]), env }
      return runningProcesses(surroundings, [startProcess(surroundings, 'supervisor', command)], {
        metrics: [`http://${metricsAddress}/metrics`],
        ready: { line: /"msg":"service ready"/ },
      })
    },
  }
}

/** A program that is the worker, on a core that its shard's number chooses (`--id shard-<n>-...` is its first argument). */
async function writePinningWorker(directory: string, worker: string): Promise<string> {
  const script = `#!/bin/sh
shard=\${2#shard-}
exec taskset --cpu-list $((\${shard%%-*} % ${cpus().length})) '${worker}' "$@"
`
  const path = await writePrivate(join(directory, 'pinned-worker'), script)
  await chmod(path, 0o700)
  return path
}
