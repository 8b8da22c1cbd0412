/** Tailnet nodes with Go's own reverse proxy and none of our measures: the floor to build on, and what a first program would be. */
import { join } from 'node:path'
import type { Scope } from '../plan.ts'
import type { Subject as SubjectInfo } from '../results.ts'
import { HTTPS_SCOPE, SATURATED, type Subject, runningProcesses, startProcess } from './subject.ts'

type Kind = 'bare' | 'bare-https' | 'limit'

const KINDS: Readonly<Record<Kind, Omit<SubjectInfo, 'key' | 'version'>>> = {
  bare: {
    title: 'bare tsnet',
    about: 'Bare tsnet nodes with httputil.ReverseProxy in one process, Go and tsnet at their defaults.',
    group: 'floor',
  },
  'bare-https': {
    title: 'bare tsnet, https',
    about: "The same with a certificate from a file and Go's TLS, as tsnet's ListenTLS has it.",
    group: 'https',
  },
  limit: {
    title: 'the limit',
    about: 'Bare tsnet nodes in one process whose handlers answer themselves: the least that a request can cost.',
    group: 'floor',
  },
}

const SCOPES: Readonly<Record<Kind, Scope>> = {
  // How its cost grows is known from tsnsrv, which is made of it.
  bare: { most: { headline: 1, size: 0 } },
  'bare-https': HTTPS_SCOPE,
  limit: { loads: SATURATED },
}

/** `binary` is tsnsrv-bench. The limit has no upstream. */
export function bare(binary: string, kind: Kind = 'bare'): Subject {
  return {
    info: { key: kind, ...KINDS[kind], version: 'tsnet 1.102.5' },
    scope: SCOPES[kind],
    https: kind === 'bare-https',
    start(surroundings) {
      const { directory, services, controlURL, upstream, authKey, certificate, metricsPort, place } = surroundings
      const metricsAddress = `127.0.0.1:${metricsPort}`
      const command = place(binary, [
        'nodes',
        ...['-names', services.join(','), '-state-dir', join(directory, 'state')],
        ...['-control-url', controlURL, '-upstream', upstream, '-metrics-addr', metricsAddress],
        ...(kind === 'limit' ? ['-answer'] : []),
        ...(kind === 'bare-https' ? ['-certificate-file', certificate.certificateFile, '-key-file', certificate.keyFile] : []),
      ])
      const process = startProcess(surroundings, 'nodes', { ...command, env: { TSNSRV_BENCH_AUTH_KEY: authKey } })
      return Promise.resolve(
        runningProcesses(surroundings, [process], {
          metrics: [`http://${metricsAddress}/metrics`],
          ready: { line: /"event":"ready"/, once: true },
        }),
      )
    },
  }
}
