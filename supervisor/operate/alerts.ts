/**
 * Rules for Prometheus: what an operator is woken for. Each line of the table has what the page in docs/alerts.md says of it, and an
 * example that the tests have Prometheus fire and resolve. Pure.
 */

/** What an operator may set, with its default. Percentages are of one core. */
export const THRESHOLDS = {
  shardCPUPercent: 80,
  shardServices: 30,
  totalCPUPercent: 150,
  swapMB: 500,
  memoryGrowthMBPerDay: 50,
  trafficFactor: 5,
  startSeconds: 5,
  latencySeconds: 1,
  authPerSecond: 20,
  errorPercent: 5,
  certificateDays: 7,
  nodeKeyDays: 14,
  notReadyMinutes: 5,
  controlPercent: 50,
} as const satisfies Readonly<Record<string, number>>

export type Threshold = keyof typeof THRESHOLDS
export type Thresholds = Readonly<Record<Threshold, number>>

/** Samples of a series, one a minute from minute 0, in promtool's notation. */
type Series = readonly [series: string, values: string]

export interface Alert {
  readonly name: string
  readonly severity: 'critical' | 'warning' | 'info'
  /** How long it has to be true before it fires: "5m". */
  readonly after: string
  readonly expr: string
  /** One line, with labels as {{ $labels.service }}. */
  readonly summary: string
  /** For the page: what it means to users, and what to do. */
  readonly means: string
  readonly steps: readonly string[]
  /** Series with which it fires at minute `firesAt`, and has ended at `endsAt`. */
  readonly example: { readonly series: readonly Series[]; readonly firesAt: number; readonly endsAt: number }
}

/** The rules for these thresholds. */
export function alerts(limits: Thresholds): readonly Alert[] {
  const notReady = `${String(limits.notReadyMinutes)}m`
  const last = limits.notReadyMinutes
  return [
    {
      name: 'TsnsrvSupDown',
      severity: 'critical',
      after: '2m',
      expr: 'up{job=~".*tsnsrv.*"} == 0',
      summary: 'The supervisor on {{ $labels.instance }} does not answer',
      means:
        'Its workers keep serving, so users notice nothing yet. But nobody replaces a worker that ends. Name the ' +
        'scrape job with "tsnsrv" in it.',
      steps: [
        '`systemctl status tsnsrv-sup`, or `tsnsrv-sup status`: it says which workers serve without a supervisor.',
        'Start it again. It takes the workers over, and no request is lost.',
        'Its log says how the last one ended: `journalctl -u tsnsrv-sup`.',
      ],
      example: { series: [['up{job="tsnsrv-sup",instance="h:9099"}', '1 1 0x5 1x10']], firesAt: 5, endsAt: 10 },
    },
    {
      name: 'TsnsrvServiceNotReady',
      severity: 'critical',
      after: notReady,
      expr: 'tsnsrv_sup_service_ready == 0',
      summary: '{{ $labels.service }} is not reachable on the tailnet',
      means: 'Nobody can open the service.',
      steps: [
        '`tsnsrv-sup describe {{service}}` says why, what was tried, and when the next attempt is.',
        '`needsLogin`: open the URL that it shows, or give the service an auth key.',
        '`failed` with a reason of the control server: the message names what is wrong with the key.',
        '`Quarantined`: it crashed its workers. Find out why in `tsnsrv-sup logs {{service}}`, then `tsnsrv-sup release {{service}}`.',
      ],
      example: {
        series: [['tsnsrv_sup_service_ready{service="photos"}', `1 0x${String(last + 3)} 1x10`]],
        firesAt: last + 3,
        endsAt: last + 8,
      },
    },
    {
      name: 'TsnsrvUpstreamDown',
      severity: 'critical',
      after: '3m',
      expr: 'tsnsrv_upstream_up == 0',
      summary: 'The upstream of {{ $labels.service }} does not answer',
      means: 'The service is on the tailnet, but its application is not there: users see 502.',
      steps: ['Start the application, or correct `upstream`. `tsnsrv-sup describe {{service}}` shows its address and the error.'],
      example: { series: [['tsnsrv_upstream_up{service="photos"}', '1 0x6 1x10']], firesAt: 5, endsAt: 9 },
    },
    {
      name: 'TsnsrvAuthServerDown',
      severity: 'critical',
      after: '3m',
      expr: 'tsnsrv_auth_server_up == 0',
      summary: 'The auth server of {{ $labels.service }} gives no usable answer',
      means: 'Everybody who has to be asked about is refused: the service fails closed.',
      steps: ['Start the auth server, or correct `authURL`. `tsnsrv-sup logs {{service}}` has what it answered.'],
      example: { series: [['tsnsrv_auth_server_up{service="photos"}', '1 0x6 1x10']], firesAt: 5, endsAt: 9 },
    },
    {
      name: 'TsnsrvErrors',
      severity: 'warning',
      after: '10m',
      expr:
        'sum by (service) (rate(tsnsrv_errors_total{type=~"upstream|upstream_5xx|auth"}[10m])) > ' +
        `${String(limits.errorPercent / 100)} * sum by (service) (rate(tsnsrv_requests_total[10m]))`,
      summary: `More than ${String(limits.errorPercent)} % of the requests to {{ $labels.service }} fail`,
      means: 'Users see errors of the application, or the application does not answer in time.',
      steps: ['`tsnsrv-sup logs {{service}}` has each failure with its request id.', 'Look into the log of the application.'],
      example: {
        series: [
          ['tsnsrv_errors_total{service="photos",type="upstream_5xx"}', '0x5 0+60x20 1200x30'],
          ['tsnsrv_requests_total{service="photos",code="200"}', '0+600x60'],
        ],
        firesAt: 24,
        endsAt: 50,
      },
    },
    {
      name: 'TsnsrvSlow',
      severity: 'warning',
      after: '15m',
      expr:
        'histogram_quantile(0.95, sum by (service, le) (rate(tsnsrv_request_duration_seconds_bucket[10m]))) > ' +
        String(limits.latencySeconds),
      summary: `One in twenty requests to {{ $labels.service }} waits longer than ${String(limits.latencySeconds)} s`,
      means: 'The time until the header of the answer. Long polls and event streams count with theirs.',
      steps: [
        'Ask the upstream itself from this machine: `curl -w "%{time_starttransfer}" UPSTREAM`. Most often it is as slow.',
        'If only the way over the tailnet is slow, see whether the worker is hot: `tsnsrv-sup status`.',
      ],
      example: {
        series: [
          ['tsnsrv_request_duration_seconds_bucket{service="photos",le="1"}', '0x60'],
          ['tsnsrv_request_duration_seconds_bucket{service="photos",le="5"}', '0+60x40 2400x40'],
          ['tsnsrv_request_duration_seconds_bucket{service="photos",le="+Inf"}', '0+60x40 2400x40'],
        ],
        firesAt: 30,
        endsAt: 60,
      },
    },
    {
      name: 'TsnsrvAuthOverhead',
      severity: 'info',
      after: '15m',
      expr: `sum by (service) (rate(tsnsrv_auth_requests_total{outcome=~"allowed|denied|error"}[5m])) > ${String(limits.authPerSecond)}`,
      summary: 'The auth server is asked {{ $value | humanize }} times a second for {{ $labels.service }}',
      means: 'Each question delays its request.',
      steps: ['Set `authCacheTTL`, so that a yes is believed for a while.', 'Name paths that need no login in `authPassPaths`.'],
      example: {
        series: [
          [
            'tsnsrv_auth_requests_total{service="photos",outcome="allowed"}',
            `0+${String(limits.authPerSecond * 90)}x30 ${String(limits.authPerSecond * 2700)}x30`,
          ],
        ],
        firesAt: 25,
        endsAt: 45,
      },
    },
    {
      name: 'TsnsrvServiceProblem',
      severity: 'warning',
      after: '15m',
      expr: 'tsnsrv_sup_service_problems > 0',
      summary: 'A part of {{ $labels.service }} does not work',
      means: 'The rest of the service does. It may be a certificate, a port, funnel, the upstream.',
      steps: ['`tsnsrv-sup describe {{service}}` names the part and the remedy.'],
      example: { series: [['tsnsrv_sup_service_problems{service="photos"}', '0 1x20 0x10']], firesAt: 18, endsAt: 24 },
    },
    {
      name: 'TsnsrvControlLost',
      severity: 'warning',
      after: '5m',
      expr: `100 * avg(1 - tsnsrv_sup_service_control_connected) > ${String(limits.controlPercent)}`,
      summary: '{{ $value | humanize }} % of the nodes have lost the control server',
      means: 'Connections that are there go on. New peers, changes of access rules and logins have to wait.',
      steps: [
        'See whether the control server can be reached from this machine: `curl -I https://controlplane.tailscale.com`, or yours.',
        'Nothing has to be restarted: nodes connect again by themselves.',
      ],
      example: {
        series: [
          ['tsnsrv_sup_service_control_connected{service="a"}', '1 0x10 1x10'],
          ['tsnsrv_sup_service_control_connected{service="b"}', '1 0x10 1x10'],
        ],
        firesAt: 8,
        endsAt: 13,
      },
    },
    {
      name: 'TsnsrvCertificateEnds',
      severity: 'warning',
      after: '1h',
      expr: `0 < tsnsrv_sup_certificate_expiry_timestamp_seconds < time() + ${String(limits.certificateDays)} * 86400`,
      summary: 'The certificate of {{ $labels.service }} ends within days and has not been renewed',
      means: 'Certificates are renewed a month before they end. This one was not, and browsers will refuse it.',
      steps: [
        '`tsnsrv-sup describe {{service}}` says why an order waits or has failed.',
        'Let’s Encrypt gives a tailnet a limited number of certificates a week.',
        'With `certificateFile`: renew the file. It is read again when it changes.',
      ],
      example: {
        series: [['tsnsrv_sup_certificate_expiry_timestamp_seconds{service="photos"}', '86400x70 99999999x20']],
        firesAt: 65,
        endsAt: 75,
      },
    },
    {
      name: 'TsnsrvNodeKeyEnds',
      severity: 'warning',
      after: '1h',
      expr: `tsnsrv_sup_node_key_expiry_timestamp_seconds < time() + ${String(limits.nodeKeyDays)} * 86400`,
      summary: 'The node key of {{ $labels.service }} ends soon',
      means: 'The node then leaves the tailnet until somebody logs it in.',
      steps: [
        'Disable key expiry of the node in the admin console, or log it in again.',
        'For good: give the service `tags`. Nodes with tags keep their key.',
      ],
      example: {
        series: [['tsnsrv_sup_node_key_expiry_timestamp_seconds{service="photos"}', '86400x70 99999999x20']],
        firesAt: 65,
        endsAt: 75,
      },
    },
    {
      name: 'TsnsrvWorkerDown',
      severity: 'critical',
      after: '2m',
      expr: 'tsnsrv_sup_worker_up == 0',
      summary: 'The worker of shard {{ $labels.shard }} does not answer',
      means:
        'The services of the shard may be away. A worker that ends is replaced within seconds; this one hangs, or cannot start.',
      steps: [
        '`tsnsrv-sup describe {{shard}}` shows its state and how the last ones ended.',
        '`ps -o stat= PID` says T for a process that was stopped; `kill -CONT PID` continues it.',
      ],
      example: { series: [['tsnsrv_sup_worker_up{shard="1"}', '1 0x5 1x10']], firesAt: 5, endsAt: 9 },
    },
    {
      name: 'TsnsrvWorkerCrashes',
      severity: 'warning',
      after: '0m',
      expr: 'sum by (reason) (increase(tsnsrv_sup_worker_exits_total{reason!="stop"}[30m])) > 2',
      summary: 'Workers end again and again ({{ $labels.reason }})',
      means: 'Each end takes the services of a shard away for a second or two.',
      steps: [
        '`tsnsrv-sup status` shows suspected shards: the supervisor searches for the service that crashes them.',
        '`killed`: `dmesg` says whether the kernel ran out of memory. Set `memoryLimit`, or add memory.',
        '`crashed`: `tsnsrv-sup logs` has the last words of the worker. Report them.',
      ],
      example: { series: [['tsnsrv_sup_worker_exits_total{reason="killed"}', '0 1 2 3 4 4x60']], firesAt: 5, endsAt: 50 },
    },
    {
      name: 'TsnsrvQuarantined',
      severity: 'warning',
      after: '1m',
      expr: 'tsnsrv_sup_quarantined > 0',
      summary: '{{ $value }} services are kept off because they crash their workers',
      means: 'They stay off until somebody lets them start again.',
      steps: ['`tsnsrv-sup status` names them. Mend the cause, then `tsnsrv-sup release SERVICE`.'],
      example: { series: [['tsnsrv_sup_quarantined', '0 1x5 0x10']], firesAt: 4, endsAt: 8 },
    },
    {
      name: 'TsnsrvOrphans',
      severity: 'warning',
      after: '5m',
      expr: 'tsnsrv_sup_orphans > 0',
      summary: '{{ $value }} workers run that no supervisor follows',
      means: 'They hold the nodes of their services, which cannot be started elsewhere.',
      steps: ['`tsnsrv-sup status` names them with their services. `tsnsrv-sup stop --workers` ends them.'],
      example: { series: [['tsnsrv_sup_orphans', '0 1x8 0x10']], firesAt: 8, endsAt: 12 },
    },
    {
      name: 'TsnsrvShardHot',
      severity: 'warning',
      after: '10m',
      expr:
        `tsnsrv_sup_shard_cpu_percent > ${String(limits.shardCPUPercent)} and on (shard) ` +
        `tsnsrv_sup_shard_services < ${String(limits.shardServices)}`,
      summary: `Shard {{ $labels.shard }} needs {{ $value | humanize }} % of a core for fewer than ${String(limits.shardServices)} services`,
      means:
        'Requests of the shard wait for CPU. Rebalancing moves services elsewhere by itself, unless it is paused or one service needs it all.',
      steps: [
        '`tsnsrv-sup rebalance --dry-run` says what would move, or why nothing can.',
        '`tsnsrv-sup move SERVICE --to new` isolates the busiest one.',
      ],
      example: {
        series: [
          ['tsnsrv_sup_shard_cpu_percent{shard="1"}', `10 ${String(limits.shardCPUPercent + 15)}x15 20x10`],
          ['tsnsrv_sup_shard_services{shard="1"}', '20x40'],
        ],
        firesAt: 13,
        endsAt: 18,
      },
    },
    {
      name: 'TsnsrvCPUHigh',
      severity: 'warning',
      after: '10m',
      expr:
        '100 * (sum(rate(tsnsrv_sup_shard_cpu_seconds_total[5m])) + sum(rate(process_cpu_seconds_total{job=~".*tsnsrv.*"}[5m]))) > ' +
        String(limits.totalCPUPercent),
      summary: 'All workers together need {{ $value | humanize }} % of a core',
      means: 'For idle services a few percent are normal.',
      steps: [
        '`tsnsrv-sup status` shows which shard; requests by service show whether somebody asks for it.',
        'Without requests: `ip monitor link` shows interfaces that come and go; name them in `ignoreInterfaces`.',
      ],
      example: {
        series: [
          [
            'tsnsrv_sup_shard_cpu_seconds_total{shard="1"}',
            `0+${String(limits.totalCPUPercent * 1.2)}x25 ${String(limits.totalCPUPercent * 30)}x20`,
          ],
          ['process_cpu_seconds_total{job="tsnsrv-sup"}', '0+1x50'],
        ],
        firesAt: 20,
        endsAt: 35,
      },
    },
    {
      name: 'TsnsrvMemoryGrows',
      severity: 'warning',
      after: '1h',
      expr:
        'tsnsrv_sup_shard_memory_growth_bytes_per_hour > 0 or ' +
        `86400 * deriv(tsnsrv_sup_shard_memory_bytes[1d]) > ${String(limits.memoryGrowthMBPerDay)}e6`,
      summary: 'The memory of shard {{ $labels.shard }} grows without end',
      means: 'It is a leak, or more and more connections that stay open.',
      steps: [
        '`tsnsrv-sup describe {{shard}}`; open connections by service show who holds them.',
        'Set `memoryLimit`: a worker near it is replaced without a lost request.',
        '`tsnsrv-sup drain {{shard}}` replaces it now.',
      ],
      example: {
        series: [['tsnsrv_sup_shard_memory_growth_bytes_per_hour{shard="1"}', '0 5000000x70 0x20']],
        firesAt: 68,
        endsAt: 75,
      },
    },
    {
      name: 'TsnsrvSwap',
      severity: 'warning',
      after: '10m',
      expr: `sum(tsnsrv_sup_shard_swap_bytes) > ${String(limits.swapMB)}e6`,
      summary: '{{ $value | humanize1024 }}B of the workers are in swap',
      means: 'Requests wait for the disk.',
      steps: ['`tsnsrv-sup status` shows the memory of each worker. Set `memoryLimit`, move other programs, or add memory.'],
      example: {
        series: [['tsnsrv_sup_shard_swap_bytes{shard="1"}', `0 ${String(limits.swapMB + 100)}000000x14 0x10`]],
        firesAt: 13,
        endsAt: 18,
      },
    },
    {
      name: 'TsnsrvTrafficSpike',
      severity: 'info',
      after: '10m',
      expr:
        'sum by (service) (rate(tsnsrv_response_bytes_total[10m]) + rate(tsnsrv_request_bytes_total[10m])) > ' +
        `${String(limits.trafficFactor)} * sum by (service) (rate(tsnsrv_response_bytes_total[1d] offset 10m) + rate(tsnsrv_request_bytes_total[1d] offset 10m)) > 100e3`,
      summary: `{{ $labels.service }} moves more than ${String(limits.trafficFactor)} times the bytes of its day`,
      means: 'A backup, a crawler, or a client that asks again and again.',
      steps: ['`accessLog: true` shows who asks. `rateLimit` and `maxRequests` bound each client.'],
      example: {
        series: [
          ['tsnsrv_response_bytes_total{service="photos"}', '0+1000000x600 600000000+600000000x30 18600000000+1000000x60'],
          ['tsnsrv_request_bytes_total{service="photos"}', '0+1000x700'],
        ],
        firesAt: 625,
        endsAt: 660,
      },
    },
    {
      name: 'TsnsrvSlowStart',
      severity: 'warning',
      after: '0m',
      expr:
        'sum by (kind) (increase(tsnsrv_sup_service_start_seconds_sum[15m])) / ' +
        `sum by (kind) (increase(tsnsrv_sup_service_start_seconds_count[15m])) > ${String(limits.startSeconds)}`,
      summary: 'Services take {{ $value | humanize }} s to start ({{ $labels.kind }})',
      means: 'The control server or the network is slow.',
      steps: [
        '`tsnsrv_sup_service_last_start_seconds` shows which services.',
        'Time a request to the control server from this machine.',
      ],
      example: {
        series: [
          ['tsnsrv_sup_service_start_seconds_sum{kind="cold"}', `0 ${String(limits.startSeconds * 4)}x40`],
          ['tsnsrv_sup_service_start_seconds_count{kind="cold"}', '0 2x40'],
        ],
        firesAt: 5,
        endsAt: 30,
      },
    },
    {
      name: 'TsnsrvReloadRefused',
      severity: 'warning',
      after: '5m',
      expr: 'tsnsrv_sup_config_reload_failed == 1',
      summary: 'The last reload was refused; an older configuration runs',
      means: 'What was changed in the file has no effect.',
      steps: ['`tsnsrv-sup validate FILE` shows what is wrong, with line and column.', '`tsnsrv-sup reload`.'],
      example: { series: [['tsnsrv_sup_config_reload_failed', '0 1x8 0x10']], firesAt: 8, endsAt: 12 },
    },
    {
      name: 'TsnsrvStateNotWritten',
      severity: 'critical',
      after: '1m',
      expr: 'tsnsrv_sup_journal_failed == 1',
      summary: 'The state file cannot be written',
      means: 'No service is moved, and no configuration is taken, until it can be.',
      steps: ['`df` and the permissions of the state directory: `tsnsrv-sup status` has the error.'],
      example: { series: [['tsnsrv_sup_journal_failed', '0 1x5 0x10']], firesAt: 4, endsAt: 8 },
    },
    {
      name: 'TsnsrvUpgradeHalted',
      severity: 'warning',
      after: '5m',
      expr: 'tsnsrv_sup_upgrade_halted == 1',
      summary: 'The upgrade of the workers has halted',
      means: 'A service did not come up in a worker of the new version. The others keep the old one.',
      steps: ['`tsnsrv-sup status` says why. Mend it, and `tsnsrv-sup upgrade-workers` again.'],
      example: { series: [['tsnsrv_sup_upgrade_halted', '0 1x8 0x10']], firesAt: 8, endsAt: 12 },
    },
    {
      name: 'TsnsrvConnectionsRefused',
      severity: 'warning',
      after: '10m',
      expr: 'sum by (service, limit) (rate(tsnsrv_limited_total{limit=~"open_files|connections"}[10m])) > 0',
      summary: '{{ $labels.service }} turns connections away: {{ $labels.limit }}',
      means: 'Clients are refused because a limit is reached.',
      steps: ['Raise `maxConnections` of the service, or `LimitNOFILE=` of the unit, if these clients are wanted.'],
      example: {
        series: [['tsnsrv_limited_total{service="photos",limit="connections"}', '0 0+10x25 250x30']],
        firesAt: 20,
        endsAt: 45,
      },
    },
  ]
}

/** Where the pages are, for `runbook_url`. */
export const RUNBOOK = 'https://github.com/arsfeld/tsnsrv-sup/blob/main/docs/alerts.md'

/** The rule file as Prometheus reads it. */
export function ruleFile(limits: Thresholds, runbook = RUNBOOK) {
  const rules = alerts(limits).map(({ name, severity, after, expr, summary }) => ({
    alert: name,
    expr,
    for: after,
    labels: { severity },
    annotations: { summary, runbook_url: `${runbook}#${name.toLowerCase()}` },
  }))
  return { groups: [{ name: 'tsnsrv-sup', rules }] }
}
