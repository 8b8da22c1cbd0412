/** jtdowney/tsbridge: all services in one process, started one after another. */
import { join } from 'node:path'
import { type Subject, type Surroundings, runningProcesses, startProcess, writePrivate } from './subject.ts'

export function tsbridge(binary: string): Subject {
  return {
    // One start of 57 services takes it more than two minutes.
    scope: { most: { headline: 1 } },
    info: {
      key: 'tsbridge',
      title: 'tsbridge',
      about: 'jtdowney/tsbridge, all services in one process; its defaults, without TLS.',
      group: 'peer',
      version: 'tsbridge 605f25b (tsnet 1.100)',
    },
    async start(surroundings) {
      const { directory, authKey, metricsPort, place } = surroundings
      const file = await writePrivate(join(directory, 'tsbridge.toml'), configuration(surroundings))
      const command = { ...place(binary, ['-config', file]), env: { TSBRIDGE_LAB_KEY: authKey } }
      return runningProcesses(surroundings, [startProcess(surroundings, 'tsbridge', command)], {
        metrics: [`http://127.0.0.1:${metricsPort}/metrics`],
        ready: { line: /msg="started service"/ },
      })
    },
  }
}

/** TOML; JSON's strings are strings of TOML too. */
function configuration({ directory, services, controlURL, upstream, metricsPort }: Surroundings): string {
  const text = (value: string) => JSON.stringify(value)
  const head = [
    '[tailscale]',
    'auth_key_env = "TSBRIDGE_LAB_KEY"',
    `control_url = ${text(controlURL)}`,
    `state_dir = ${text(join(directory, 'state'))}`,
    '[global]',
    `metrics_addr = ${text(`127.0.0.1:${metricsPort}`)}`,
  ]
  const blocks = services.flatMap((name) => [
    '[[services]]',
    `name = ${text(name)}`,
    `backend_addr = ${text(new URL(upstream).host)}`,
    'tls_mode = "off"',
    'listen_addr = ":80"',
  ])
  return `${[...head, ...blocks].join('\n')}\n`
}
