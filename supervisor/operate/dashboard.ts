/** A dashboard for Grafana on the metrics of one supervisor. Pure. */

interface Target {
  readonly expr: string
  readonly legend: string
}

interface Panel {
  readonly title: string
  readonly type: 'stat' | 'timeseries' | 'table'
  /** As Grafana names units. */
  readonly unit: string
  /** Of 24 columns. */
  readonly width: number
  readonly targets: readonly Target[]
}

const one = (expr: string, legend = ''): Target[] => [{ expr, legend }]
const stat = (title: string, expr: string, unit = 'short'): Panel => ({ title, type: 'stat', unit, width: 4, targets: one(expr) })
const graph = (title: string, unit: string, ...targets: Target[]): Panel => ({
  title,
  type: 'timeseries',
  unit,
  width: 12,
  targets,
})

const OF = '{service=~"$service"}'

export const panels: readonly Panel[] = [
  stat('Services', 'sum(tsnsrv_sup_services)'),
  stat('Not ready', 'sum(tsnsrv_sup_services) - sum(tsnsrv_sup_service_ready)'),
  stat('Problems', 'sum(tsnsrv_sup_service_problems)'),
  stat('Workers', 'sum(tsnsrv_sup_worker_up)'),
  stat('CPU of one core', '100 * sum(rate(tsnsrv_sup_shard_cpu_seconds_total[5m]))', 'percent'),
  stat('Memory', 'sum(tsnsrv_sup_shard_memory_bytes)', 'bytes'),
  graph('Requests a second', 'reqps', {
    expr: `sum by (service) (rate(tsnsrv_requests_total${OF}[$__rate_interval]))`,
    legend: '{{service}}',
  }),
  graph('Trouble a second', 'reqps', {
    expr: `sum by (service, type) (rate(tsnsrv_errors_total${OF}[$__rate_interval])) > 0`,
    legend: '{{service}} {{type}}',
  }),
  graph('Time to the header, 95th percentile', 's', {
    expr: `histogram_quantile(0.95, sum by (service, le) (rate(tsnsrv_request_duration_seconds_bucket${OF}[$__rate_interval])))`,
    legend: '{{service}}',
  }),
  graph('Bytes to clients', 'Bps', {
    expr: `sum by (service) (rate(tsnsrv_response_bytes_total${OF}[$__rate_interval]))`,
    legend: '{{service}}',
  }),
  graph('Connections', 'short', { expr: `tsnsrv_open_connections${OF}`, legend: '{{service}}' }),
  graph('CPU by shard', 'percent', { expr: 'tsnsrv_sup_shard_cpu_percent', legend: 'shard {{shard}}' }),
  graph(
    'Memory by shard',
    'bytes',
    { expr: 'tsnsrv_sup_shard_memory_bytes', legend: 'shard {{shard}}' },
    { expr: 'tsnsrv_sup_shard_swap_bytes > 0', legend: 'shard {{shard}}, swap' },
  ),
  graph('Services by shard', 'short', { expr: 'tsnsrv_sup_shard_services', legend: 'shard {{shard}}' }),
  graph('Starts', 's', {
    expr: 'sum by (kind) (increase(tsnsrv_sup_service_start_seconds_sum[1h])) / sum by (kind) (increase(tsnsrv_sup_service_start_seconds_count[1h]))',
    legend: '{{kind}}',
  }),
  graph(
    'Moves and ends of workers',
    'short',
    { expr: 'sum by (reason) (increase(tsnsrv_sup_worker_exits_total[10m]))', legend: 'worker {{reason}}' },
    { expr: 'sum(tsnsrv_sup_moves)', legend: 'moves on their way' },
  ),
  {
    title: 'Not ready now',
    type: 'table',
    unit: 'short',
    width: 12,
    targets: one('tsnsrv_sup_service_ready == 0'),
  },
  {
    title: 'Certificates, days left',
    type: 'table',
    unit: 'd',
    width: 12,
    targets: one('(tsnsrv_sup_certificate_expiry_timestamp_seconds > 0) / 86400 - time() / 86400'),
  },
]

const COLUMNS = 24
const HEIGHTS = { stat: 4, timeseries: 8, table: 8 } as const
const datasource = { type: 'prometheus', uid: '${datasource}' }

/** The JSON that Grafana imports. */
export function dashboard() {
  let [x, y, rowHeight] = [0, 0, 0]
  const placed = panels.map(({ title, type, unit, width, targets }, i) => {
    if (x + width > COLUMNS) [x, y, rowHeight] = [0, y + rowHeight, 0]
    const gridPos = { x, y, w: width, h: HEIGHTS[type] }
    x += width
    rowHeight = Math.max(rowHeight, gridPos.h)
    return {
      id: i + 1,
      title,
      type,
      datasource,
      gridPos,
      fieldConfig: { defaults: { unit, min: type === 'timeseries' ? 0 : undefined }, overrides: [] },
      options:
        type === 'timeseries'
          ? { legend: { displayMode: 'list', placement: 'bottom' }, tooltip: { mode: 'multi', sort: 'desc' } }
          : {},
      targets: targets.map(({ expr, legend }, n) => ({
        refId: String.fromCharCode(65 + n),
        datasource,
        expr,
        legendFormat: legend || '__auto',
        ...(type === 'table' ? { format: 'table', instant: true } : {}),
      })),
    }
  })
  return {
    title: 'tsnsrv-sup',
    uid: 'tsnsrv-sup',
    tags: ['tailscale'],
    schemaVersion: 39,
    version: 1,
    refresh: '30s',
    time: { from: 'now-6h', to: 'now' },
    templating: {
      list: [
        { name: 'datasource', type: 'datasource', query: 'prometheus' },
        {
          name: 'service',
          type: 'query',
          datasource,
          query: { query: 'label_values(tsnsrv_sup_service_ready, service)', refId: 'service' },
          includeAll: true,
          multi: true,
          allValue: '.*',
          current: { text: 'All', value: '$__all' },
          refresh: 2,
          sort: 1,
        },
      ],
    },
    panels: placed,
  }
}
