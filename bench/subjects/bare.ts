/** Tailnet nodes with Go's own reverse proxy and none of our measures: the floor to build on, and what a first program would be. */
import { join } from 'node:path'
import { type Subject, runningProcesses, startProcess } from './subject.ts'

const METRICS_ADDRESS = '127.0.0.1:9300'
const METRICS_URL = `http://${METRICS_ADDRESS}/metrics`

/** `binary` is tsnsrv-bench. With `answers` there is no upstream: each node answers itself, which is the least a request can cost. */
export function bare(binary: string, { answers = false } = {}): Subject {
  const about = answers
    ? 'Bare tsnet nodes in one process whose handlers answer themselves: the least that a request can cost.'
    : 'Bare tsnet nodes with httputil.ReverseProxy in one process, Go and tsnet at their defaults.'
  return {
    info: {
      key: answers ? 'limit' : 'bare',
      title: answers ? 'the limit' : 'bare tsnet',
      about,
      group: 'floor',
      version: 'tsnet 1.102.5',
    },
    ...(answers ? { loads: ['saturated'] as const } : {}),
    start(surroundings) {
      const { directory, services, controlURL, upstream, authKey, place } = surroundings
      const command = place(binary, [
        'nodes',
        ...['-count', String(services.length), '-state-dir', join(directory, 'state')],
        ...['-control-url', controlURL, '-upstream', upstream, '-metrics-addr', METRICS_ADDRESS],
        ...(answers ? ['-answer'] : []),
      ])
      const process = startProcess(surroundings, 'nodes', { ...command, env: { TSNSRV_BENCH_AUTH_KEY: authKey } })
      return Promise.resolve(
        runningProcesses(surroundings, [process], { metrics: [METRICS_URL], ready: { line: /"event":"ready"/, once: true } }),
      )
    },
  }
}
