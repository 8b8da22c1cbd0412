/** The services as other programs list them. Pure. */
import type { ServiceDiscovery, ServiceEntry, Status, Summary } from '../../shared/api.ts'

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0)

export function summarize(status: Status, now: number): Summary {
  const { version, phase, startedAt, services, shards } = status
  const ready = services.filter((service) => service.ready)
  return {
    version,
    phase,
    uptimeSeconds: Math.floor((now - startedAt) / 1000),
    total: services.length,
    ready: ready.length,
    unready: services.length - ready.length,
    needsLogin: services.filter(({ loginURL }) => loginURL !== '').length,
    problems: ready.filter(({ problems }) => problems.length > 0).length,
    shards: shards.length,
    cpuPercent: Math.round(10 * sum(shards.map(({ cpuPercent }) => cpuPercent ?? 0))) / 10,
    memoryBytes: sum(shards.map(({ memoryBytes }) => memoryBytes ?? 0)),
    requests: sum(services.map(({ requests }) => requests)),
    errors: sum(services.map(({ errors }) => errors)),
  }
}

export function listServices({ services }: Status): ServiceEntry[] {
  return services.map(({ name, url, ready, problems, loginURL, message, group, shard, since, requests, errors }) => ({
    name,
    url,
    state: !ready ? 'unready' : problems.length > 0 ? 'problem' : 'ready',
    message: !ready
      ? loginURL === ''
        ? message
        : 'Its node waits for a login.'
      : problems.map((one) => `${one.part}: ${one.message}`).join(' '),
    group,
    shard,
    since,
    requests,
    errors,
  }))
}

export function discoverServices(status: Status): ServiceDiscovery {
  return listServices(status)
    .filter(({ url }) => url !== '')
    .map(({ name, url, group }) => ({ targets: [url], labels: { service: name, ...(group === '' ? {} : { group }) } }))
}
