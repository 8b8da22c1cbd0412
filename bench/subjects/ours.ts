/** This project: the supervisor and its workers, as an operator starts them. */
import { join } from 'node:path'
import { stringify } from 'yaml'
import type { Subject as SubjectInfo } from '../results.ts'
import { type Subject, runningProcesses, startProcess, writePrivate } from './subject.ts'

const METRICS_ADDRESS = '127.0.0.1:9300'
const METRICS_URL = `http://${METRICS_ADDRESS}/metrics`

export interface Variant extends Pick<SubjectInfo, 'key' | 'title' | 'about' | 'group'> {
  /** Flags of `tsnsrv-sup start`, beside the file. */
  readonly flags?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

/** The supervisor with its defaults, or with what the variant changes. */
export function ours(cli: string, version: string, { flags = [], env = {}, ...info }: Variant): Subject {
  return {
    info: { ...info, version },
    ...(info.group === 'ablation' ? { headlineLoads: ['idle', 'saturated'] as const } : {}),
    async start(surroundings) {
      const { directory, services, upstream, controlURL, authKey, place } = surroundings
      const config = {
        prometheusAddr: METRICS_ADDRESS,
        supervisor: { controlURL, stateDir: join(directory, 'state'), runDir: join(directory, 'run') },
        defaults: { plaintext: true, listenAddr: ':80', authkeyPath: await writePrivate(join(directory, 'auth-key'), authKey) },
        services: services.map((name) => ({ name, upstream })),
      }
      const file = await writePrivate(join(directory, 'services.yaml'), stringify(config))
      const command = { ...place(cli, ['start', '--config', file, ...flags]), env }
      return runningProcesses(surroundings, [startProcess(surroundings, 'supervisor', command)], {
        metrics: [METRICS_URL],
        ready: { line: /"msg":"service ready"/ },
      })
    },
  }
}
