/** docs/metrics.md: every family, its meaning from where it is declared, and a query that uses it. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { markdownTable } from 'markdown-table'
import { createSupervisorMetrics } from '../supervisor/api/supervisorMetrics.ts'

interface Family {
  name: string
  help: string
  type: string
}

/** A query for each family, as it is of use on a dashboard or in a rule. A family without one fails the generation. */
export const queries: Readonly<Record<string, string>> = {
  tsnsrv_requests_total: 'sum by (service) (rate(tsnsrv_requests_total[5m]))',
  tsnsrv_errors_total: 'sum by (service, type) (increase(tsnsrv_errors_total[1h])) > 0',
  tsnsrv_limited_total: 'sum by (service, limit) (rate(tsnsrv_limited_total[5m])) > 0',
  tsnsrv_auth_requests_total: 'sum by (service, outcome) (rate(tsnsrv_auth_requests_total[5m]))',
  tsnsrv_open_connections: 'topk(10, tsnsrv_open_connections)',
  tsnsrv_upstream_up: 'tsnsrv_upstream_up == 0',
  tsnsrv_auth_server_up: 'tsnsrv_auth_server_up == 0',
  tsnsrv_request_bytes_total: 'sum by (service) (rate(tsnsrv_request_bytes_total[5m]))',
  tsnsrv_response_bytes_total: 'sum by (service) (rate(tsnsrv_response_bytes_total[5m]))',
  tsnsrv_request_duration_seconds:
    'histogram_quantile(0.95, sum by (service, le) (rate(tsnsrv_request_duration_seconds_bucket[10m])))',
  tsnsrv_auth_duration_seconds: 'histogram_quantile(0.95, sum by (service, le) (rate(tsnsrv_auth_duration_seconds_bucket[10m])))',
  tsnsrv_sup_services: 'sum(tsnsrv_sup_services{phase!="ready"})',
  tsnsrv_sup_quarantined: 'tsnsrv_sup_quarantined > 0',
  tsnsrv_sup_service_ready: 'avg_over_time(tsnsrv_sup_service_ready[30d])',
  tsnsrv_sup_service_info: 'tsnsrv_sup_service_ready == 0 and on (service) tsnsrv_sup_service_info{shard="2"}',
  tsnsrv_sup_service_restarts_total:
    'sum by (service) (increase(tsnsrv_sup_service_restarts_total{reason=~"worker|retry"}[1h])) > 3',
  tsnsrv_sup_service_problems: 'tsnsrv_sup_service_problems > 0',
  tsnsrv_sup_service_control_connected: 'count(tsnsrv_sup_service_control_connected == 0)',
  tsnsrv_sup_service_last_start_seconds: 'tsnsrv_sup_service_last_start_seconds > 5',
  tsnsrv_sup_service_start_seconds:
    'histogram_quantile(0.95, sum by (kind, le) (increase(tsnsrv_sup_service_start_seconds_bucket[1h])))',
  tsnsrv_sup_certificate_expiry_timestamp_seconds: '0 < tsnsrv_sup_certificate_expiry_timestamp_seconds < time() + 14 * 86400',
  tsnsrv_sup_node_key_expiry_timestamp_seconds: 'tsnsrv_sup_node_key_expiry_timestamp_seconds < time() + 14 * 86400',
  tsnsrv_sup_shards: 'tsnsrv_sup_shards',
  tsnsrv_sup_shard_services: 'sum(tsnsrv_sup_shard_services)',
  tsnsrv_sup_shard_ready: 'tsnsrv_sup_shard_services - tsnsrv_sup_shard_ready > 0',
  tsnsrv_sup_shard_cpu_percent: 'tsnsrv_sup_shard_cpu_percent > 80 and on (shard) tsnsrv_sup_shard_services < 30',
  tsnsrv_sup_shard_cpu_seconds_total: 'sum(rate(tsnsrv_sup_shard_cpu_seconds_total[5m])) * 100',
  tsnsrv_sup_shard_memory_bytes: 'sum(tsnsrv_sup_shard_memory_bytes) / sum(tsnsrv_sup_shard_services)',
  tsnsrv_sup_shard_swap_bytes: 'sum(tsnsrv_sup_shard_swap_bytes) > 500e6',
  tsnsrv_sup_shard_memory_growth_bytes_per_hour: 'tsnsrv_sup_shard_memory_growth_bytes_per_hour > 0',
  tsnsrv_sup_shard_problems: 'tsnsrv_sup_shard_problems > 0',
  tsnsrv_sup_shard_restarts_total: 'increase(tsnsrv_sup_shard_restarts_total[1h]) > 2',
  tsnsrv_sup_worker_up: 'tsnsrv_sup_worker_up == 0',
  tsnsrv_sup_worker_info: 'count by (version) (tsnsrv_sup_worker_info)',
  tsnsrv_sup_worker_exits_total: 'increase(tsnsrv_sup_worker_exits_total{reason!="stop"}[1h]) > 0',
  tsnsrv_sup_orphans: 'tsnsrv_sup_orphans > 0',
  tsnsrv_sup_shard_cordoned: 'tsnsrv_sup_shard_cordoned == 1',
  tsnsrv_sup_moves: 'sum(tsnsrv_sup_moves)',
  tsnsrv_sup_rebalancing_paused: 'tsnsrv_sup_rebalancing_paused == 1',
  tsnsrv_sup_rebalancing_last_decision_timestamp_seconds: 'time() - tsnsrv_sup_rebalancing_last_decision_timestamp_seconds',
  tsnsrv_sup_upgrade_halted: 'tsnsrv_sup_upgrade_halted == 1',
  tsnsrv_sup_journal_failed: 'tsnsrv_sup_journal_failed == 1',
  tsnsrv_sup_config_generation: 'changes(tsnsrv_sup_config_generation[1d])',
  tsnsrv_sup_config_last_reload_success_timestamp_seconds: 'time() - tsnsrv_sup_config_last_reload_success_timestamp_seconds',
  tsnsrv_sup_config_reload_failed: 'tsnsrv_sup_config_reload_failed == 1',
  tsnsrv_sup_build_info: 'count by (version) (tsnsrv_sup_build_info)',
  process_cpu_seconds_total: 'rate(process_cpu_seconds_total[5m]) * 100',
  process_resident_memory_bytes: 'process_resident_memory_bytes',
  nodejs_heap_size_used_bytes: 'nodejs_heap_size_used_bytes',
  process_open_fds: 'process_open_fds',
  process_start_time_seconds: 'changes(process_start_time_seconds[1d])',
}

const DECLARATION = /describe\("(?<name>\w+)", "(?<help>[^"]*)"(?<labels>(?:, "\w+")*)\)/g

/** What the worker declares of services. Its kinds follow from the names, as Prometheus recommends them. */
async function workerFamilies(root: string): Promise<Family[]> {
  const source = await readFile(join(root, 'worker', 'internal', 'proxy', 'metrics.go'), 'utf8')
  return [...source.matchAll(DECLARATION)].map(({ groups }) => {
    const { name = '', help = '' } = groups ?? {}
    const type = name.endsWith('_total') ? 'counter' : name.endsWith('_seconds') ? 'histogram' : 'gauge'
    return { name: `tsnsrv_${name}`, help, type }
  })
}

/** Families that the reference has, and the tests look for on a real page. */
async function documentedFamilies(root: string): Promise<Family[]> {
  return [...(await workerFamilies(root)), ...(await createSupervisorMetrics().families())]
}

/** The page. Throws an Error that names a family without a query, or a query without a family. */
export async function metricsReference(root: string): Promise<string> {
  const families = await documentedFamilies(root)
  const names = new Set(families.map(({ name }) => name))
  const strays = [
    ...families.filter(({ name }) => !(name in queries)).map(({ name }) => name),
    ...Object.keys(queries).filter((name) => !names.has(name)),
  ]
  if (strays.length > 0) throw new Error(`scripts/metricsReference.ts and the sources do not agree on ${strays.join(', ')}`)
  const section = (title: string, about: string, belongs: (name: string) => boolean) => [
    `## ${title}`,
    '',
    about,
    '',
    markdownTable([
      ['family', 'type', 'meaning', 'for example'],
      ...families
        .filter(({ name }) => belongs(name))
        .map(({ name, type, help }) => [`\`${name}\``, type, cell(help), `\`${cell(queries[name] ?? '')}\``]),
    ]),
    '',
  ]
  const isSup = (name: string) => name.startsWith('tsnsrv_sup_')
  return [
    '# Metrics',
    '',
    '<!-- Generated by "npm run generate" from the sources and scripts/metricsReference.ts. -->',
    '',
    '`http://127.0.0.1:9099/metrics` has the supervisor, all workers and all services on one page, in the Prometheus text format, or as',
    'OpenMetrics where the scraper asks for it, compressed where it accepts that. `prometheusAddr` sets the address, or `off`.',
    '',
    'Counters of services never fall: they are the sum over all workers, and survive moves, crashes and restarts. Labels have few values',
    'each; the number of series grows with the number of services and with nothing else. `tsnsrv-sup alerts` prints rules on these',
    'metrics ([alerts.md](alerts.md)).',
    '',
    ...section('Services', 'Each has the label `service`.', (name) => name.startsWith('tsnsrv_') && !isSup(name)),
    ...section('Supervisor, shards, and services as the supervisor sees them', 'The label `shard` names the shard.', isSup),
    ...section(
      'The process of the supervisor',
      'The workers add `go_*` of their runtime, by `shard`.',
      (name) => !name.startsWith('tsnsrv_'),
    ),
  ].join('\n')
}

const cell = (text: string) => text.replaceAll('|', '\\|')
