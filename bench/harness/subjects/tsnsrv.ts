/** arsfeld/tsnsrv: all services in one process, in shards that an operator made by hand, or a process for each. */
import { join } from 'node:path'
import { stringify } from 'yaml'
import type { Subject as SubjectInfo } from '../results.ts'
import { type Subject, type Surroundings, listening, runningProcesses, startProcess, writePrivate } from './subject.ts'

/** It says nothing later than that it has logged in: "Starting" or "Running", which is a little before it serves. */
const READY = /AuthLoop: state is \w+; done/

/** tsnsrv with so many services in a process. `key` and `title` name the arrangement. */
export function tsnsrv(
  binary: string,
  arrangement: Pick<SubjectInfo, 'key' | 'title' | 'about'> & Pick<Subject, 'scope' | 'https'> & { servicesPerProcess: number },
): Subject {
  const { key, title, about, scope, https = false, servicesPerProcess } = arrangement
  return {
    ...(scope && { scope }),
    https,
    info: { key, title, about, group: https ? 'https' : 'peer', version: 'arsfeld/tsnsrv da684322 (tsnet 1.86.5)' },
    async start(surroundings) {
      const parts = chunks(surroundings.services, servicesPerProcess)
      const processes = await Promise.all(
        parts.map((services, i) => startOne(binary, surroundings, { services, index: i, https })),
      )
      const metrics = parts.map((_, i) => `http://127.0.0.1:${surroundings.metricsPort + i}/metrics`)
      return runningProcesses(surroundings, processes, { metrics, ready: { line: READY } })
    },
  }
}

interface Part {
  readonly services: readonly string[]
  readonly index: number
  readonly https: boolean
}

async function startOne(binary: string, surroundings: Surroundings, { services, index, https }: Part) {
  const { directory, upstream, controlURL, authKey, certificate, metricsPort, place } = surroundings
  const config = {
    prometheusAddr: `127.0.0.1:${metricsPort + index}`,
    services: services.map((name) => ({
      name,
      upstream,
      ...listening(https, certificate),
      stateDir: join(directory, 'state', name),
    })),
  }
  const file = await writePrivate(join(directory, `tsnsrv-${index}.yaml`), stringify(config))
  // As its NixOS module starts it.
  const env = { TS_AUTHKEY: authKey, TS_URL: controlURL, TS_DEBUG_DISABLE_PORTLIST: 'true' }
  return startProcess(surroundings, `tsnsrv-${index}`, { ...place(binary, ['-config', file]), env })
}

/** `size` may be Infinity: all in one. */
function chunks<T>(items: readonly T[], size: number): T[][] {
  const whole = Math.min(size, items.length)
  return Array.from({ length: Math.ceil(items.length / whole) }, (_, i) => items.slice(i * whole, (i + 1) * whole))
}
