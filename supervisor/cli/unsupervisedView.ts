/** The workers that serve without a supervisor, as text for people. Pure. */
import type { Unsupervised } from '../../shared/api.ts'
import { type Cell, count, formatTable } from './format.ts'
import { type Colors, plain } from './terminal.ts'

/** One line for each service, with the worker that serves it; then the workers without services, and the orphans. */
export function renderUnsupervised({ workers, orphans }: Unsupervised, colors: Colors, columns?: number): string {
  const heading = ['SERVICE', 'SHARD', 'WORKER', 'STATE', 'IP', 'TAILNET NAME / MESSAGE'].map((text) => ({
    text,
    paint: colors.dim,
  }))
  const served = workers.flatMap((worker) => worker.services.map((service) => ({ ...service, worker })))
  const rows = served
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, phase, message, dnsName, addresses, worker }): (string | Cell)[] => [
      name,
      String(worker.shard),
      String(worker.pid),
      { text: phase, paint: phase === 'ready' ? colors.green : colors.yellow },
      addresses[0] ?? '-',
      plain(phase === 'ready' ? dnsName : message),
    ])
  const idle = workers.filter(({ services }) => services.length === 0)
  return [
    colors.bold('No supervisor runs here.'),
    ...(rows.length > 0 ? formatTable([heading, ...rows], columns) : []),
    ...idle.map(({ pid, workerId }) => `worker ${workerId} (pid ${pid}) runs without services`),
    ...orphans.map(({ message }) => colors.yellow(plain(message))),
  ].join('\n')
}

/** For example "2 workers (pid 71, 72) serve 8 services without one"; empty when there are no workers. */
export function summarizeUnsupervised({ workers, orphans }: Unsupervised): string {
  const pids = [...workers, ...orphans].flatMap(({ pid }) => pid ?? [])
  const services = [
    ...workers.flatMap(({ services: all }) => all.map(({ name }) => name)),
    ...orphans.flatMap((one) => one.services),
  ]
  const all = workers.length + orphans.length
  if (all === 0) return ''
  const verb = all === 1 ? 'serves' : 'serve'
  return `${count(all, 'worker')} (pid ${pids.join(', ')}) ${verb} ${count(new Set(services).size, 'service')} without one`
}
