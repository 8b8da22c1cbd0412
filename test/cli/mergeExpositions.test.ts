import { execFileSync, spawnSync } from 'node:child_process'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { mergeExpositions as merge, parseExposition, renderExposition } from '../../supervisor/core/exposition.ts'
import { createSupervisorMetrics } from '../../supervisor/api/supervisorMetrics.ts'
import { serviceView, shardView, statusOf } from './fakeOperator.ts'

const promtool = 'promtool'
const hasPromtool = spawnSync(promtool, ['--version']).status === 0

const mergeExpositions = (texts: readonly string[]) => renderExposition(merge(texts.map(parseExposition)))

/** What a worker of the shard says: a counter, a histogram, a family of its own. */
const workerText = (shard: number) => `# HELP tsnsrv_requests_total Requests answered.
# TYPE tsnsrv_requests_total counter
tsnsrv_requests_total{service="s${shard}",code="200"} ${shard}
# HELP tsnsrv_request_duration_seconds Time to the end of the answer.
# TYPE tsnsrv_request_duration_seconds histogram
tsnsrv_request_duration_seconds_bucket{service="s${shard}",le="0.1"} 1
tsnsrv_request_duration_seconds_bucket{service="s${shard}",le="+Inf"} 2
tsnsrv_request_duration_seconds_sum{service="s${shard}"} 0.3
tsnsrv_request_duration_seconds_count{service="s${shard}"} 2
`

describe('mergeExpositions', () => {
  it('puts a family of several texts under one HELP and TYPE', () => {
    expect(mergeExpositions([workerText(1), workerText(2)])).toBe(`# HELP tsnsrv_requests_total Requests answered.
# TYPE tsnsrv_requests_total counter
tsnsrv_requests_total{service="s1",code="200"} 1
tsnsrv_requests_total{service="s2",code="200"} 2
# HELP tsnsrv_request_duration_seconds Time to the end of the answer.
# TYPE tsnsrv_request_duration_seconds histogram
tsnsrv_request_duration_seconds_bucket{service="s1",le="0.1"} 1
tsnsrv_request_duration_seconds_bucket{service="s1",le="+Inf"} 2
tsnsrv_request_duration_seconds_sum{service="s1"} 0.3
tsnsrv_request_duration_seconds_count{service="s1"} 2
tsnsrv_request_duration_seconds_bucket{service="s2",le="0.1"} 1
tsnsrv_request_duration_seconds_bucket{service="s2",le="+Inf"} 2
tsnsrv_request_duration_seconds_sum{service="s2"} 0.3
tsnsrv_request_duration_seconds_count{service="s2"} 2
`)
  })

  it.each([
    ['no text', [], ''],
    ['empty texts', ['', '\n\n'], ''],
    ['garbage and comments', ['<html>\n# just a comment\n{} 1\n'], ''],
    ['a family without metadata', ['a 1\n', 'a{x="y"} 2'], 'a 1\na{x="y"} 2\n'],
    ['metadata that only the second text has', ['a 1', '# TYPE a gauge\na{b="c"} 2'], '# TYPE a gauge\na 1\na{b="c"} 2\n'],
    [
      'equal series of counters: their sum',
      ['# TYPE a counter\na{b="c"} 1', 'a{b="c"} 2\na{b="d"} 3'],
      '# TYPE a counter\na{b="c"} 3\na{b="d"} 3\n',
    ],
    ['the same series twice: the first stays', ['a{b="c"} 1', 'a{b="c"} 2'], 'a{b="c"} 1\n'],
    ['braces, quotes and escapes in a label', ['a{b="}\\"{,"} 1', 'a{b="}\\"{"} 2'], 'a{b="}\\"{,"} 1\na{b="}\\"{"} 2\n'],
    [
      'a counter whose name ends like a part of a histogram',
      ['# TYPE x_count counter\nx_count 1'],
      '# TYPE x_count counter\nx_count 1\n',
    ],
  ])('%s', (_what, texts, merged) => {
    expect(mergeExpositions(texts)).toBe(merged)
  })

  const families = fc.constantFrom('a', 'b_total', 'c_seconds')
  const sample = fc.tuple(families, fc.dictionary(fc.constantFrom('x', 'y'), fc.string({ maxLength: 4 })), fc.integer())
  const escape = (value: string) => value.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n')
  const text = fc.array(sample).map((samples) => {
    const lines = samples.map(([name, labels, value]) => {
      const inner = Object.entries(labels).map(([label, labelValue]) => `${label}="${escape(labelValue)}"`)
      return `${name}${inner.length === 0 ? '' : `{${inner.join(',')}}`} ${value}`
    })
    return ['# TYPE a gauge', ...lines, '# HELP b_total b'].join('\n')
  })
  const samplesOf = (merged: string) => merged.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  const seriesOf = (line: string) => line.slice(0, line.lastIndexOf(' '))

  it('keeps each series once, loses none, and keeps each family together', () => {
    fc.assert(
      fc.property(fc.array(text, { maxLength: 4 }), (texts) => {
        const merged = samplesOf(mergeExpositions(texts))
        const series = merged.map(seriesOf)
        expect(new Set(series).size).toBe(series.length)
        expect(new Set(series)).toEqual(new Set(texts.flatMap(samplesOf).map(seriesOf)))
        const names = merged.map((line) => /^\w+/.exec(line)?.[0])
        const starts = names.filter((name, index) => name !== names[index - 1])
        expect(new Set(starts).size).toBe(starts.length)
      }),
    )
  })

  it('is stable: what is merged is not changed by merging it again', () => {
    fc.assert(
      fc.property(fc.array(text, { maxLength: 3 }), (texts) => {
        const merged = mergeExpositions(texts)
        expect(mergeExpositions([merged])).toBe(merged)
        expect(mergeExpositions([merged, merged])).toBe(merged)
      }),
    )
  })
})

describe('supervisor metrics', () => {
  const status = statusOf(
    [
      serviceView('blog'),
      serviceView('wiki', { shard: 2, phase: 'failed', ready: false, restarts: 3, restartReasons: { move: 2, retry: 1 } }),
      serviceView('new', { shard: null, phase: 'pending', ready: false }),
    ],
    {
      shards: [shardView(1), shardView(2, { cpuPercent: null, memoryBytes: null, restarts: 4, silentSince: 5 })],
      workerExits: { killed: 5 },
      configError: 'line 3: no',
    },
  )

  it('tells services by phase, shards, and the configuration', async () => {
    const lines = (await createSupervisorMetrics().render(status)).split('\n')
    expect(lines).toEqual(
      expect.arrayContaining([
        'tsnsrv_sup_services{phase="ready"} 1',
        'tsnsrv_sup_services{phase="failed"} 1',
        'tsnsrv_sup_services{phase="draining"} 0',
        'tsnsrv_sup_service_ready{service="blog"} 1',
        'tsnsrv_sup_service_info{service="blog",shard="1"} 1',
        'tsnsrv_sup_service_ready{service="wiki"} 0',
        'tsnsrv_sup_service_restarts_total{service="wiki",reason="move"} 2',
        'tsnsrv_sup_service_restarts_total{service="wiki",reason="retry"} 1',
        'tsnsrv_sup_worker_up{shard="1"} 1',
        'tsnsrv_sup_worker_up{shard="2"} 0',
        'tsnsrv_sup_worker_exits_total{reason="killed"} 5',
        'tsnsrv_sup_worker_exits_total{reason="crashed"} 0',
        'tsnsrv_sup_shards 2',
        'tsnsrv_sup_shard_cpu_percent{shard="1"} 1.25',
        'tsnsrv_sup_shard_memory_bytes{shard="1"} 104000000',
        'tsnsrv_sup_shard_restarts_total{shard="2"} 4',
        'tsnsrv_sup_config_generation 1',
        'tsnsrv_sup_config_reload_failed 1',
        `tsnsrv_sup_build_info{version="0.1.0",nodejs="${process.version}"} 1`,
      ]),
    )
    expect(lines.filter((line) => line.startsWith('tsnsrv_sup_shard_cpu_percent{shard="2"'))).toEqual([])
  })

  it('forgets services that are gone, and counts no counter twice', async () => {
    const { render } = createSupervisorMetrics()
    await render(status)
    const again = await render({ ...status, services: status.services.slice(0, 2) })
    expect(again).toContain('tsnsrv_sup_service_restarts_total{service="wiki",reason="move"} 2\n')
    expect(again).not.toContain('service="new"')
  })

  it.skipIf(!hasPromtool)('pleases promtool, merged with the metrics of workers', async () => {
    const page = mergeExpositions([await createSupervisorMetrics().render(status), workerText(1), workerText(2)])
    // It exits with 3 and names what it does not like, style included.
    expect(execFileSync(promtool, ['check', 'metrics'], { input: page, encoding: 'utf8' })).toBe('')
  })
})
