/** The rules and queries as Prometheus' own tool reads and runs them. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse, stringify } from 'yaml'
import { queries } from '../../scripts/metricsReference.ts'
import { alerts, ruleFile, THRESHOLDS } from '../../supervisor/operate/alerts.ts'
import { panels } from '../../supervisor/operate/dashboard.ts'
import { result } from '../cli/terminal.ts'

const hasTool = await execa({ reject: false })`promtool --version`.then(({ failed }) => !failed)
let directory: string

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'rules-'))
})
afterAll(() => rmSync(directory, { recursive: true }))

const write = (name: string, content: unknown) => {
  const file = join(directory, name)
  writeFileSync(file, stringify(content, { lineWidth: 0 }))
  return file
}

const root = join(import.meta.dirname, '..', '..')
const all = alerts(THRESHOLDS)

describe('the rules', () => {
  it('have a page each, and a name of their own', () => {
    const pages = readFileSync(join(root, 'docs', 'alerts.md'), 'utf8')
    expect(all.filter(({ name }) => !pages.includes(`\n## ${name}\n`))).toEqual([])
    expect(new Set(all.map(({ name }) => name)).size).toBe(all.length)
  })

  it('ask for metrics that there are', () => {
    const known = [...Object.keys(queries), 'up']
    const asked = [...all.map(({ expr }) => expr), ...panels.flatMap(({ targets }) => targets.map(({ expr }) => expr))]
    const names = asked.flatMap((expr) => expr.match(/\b(?:tsnsrv|process|nodejs)_\w+/g) ?? [])
    expect(names.filter((name) => !known.includes(name.replace(/_(?:bucket|sum|count)$/, '')) && !known.includes(name))).toEqual(
      [],
    )
  })

  it.runIf(hasTool)('are rules that Prometheus takes, as are the example queries and the panels', async () => {
    const record = (exprs: readonly string[]) => ({
      groups: [{ name: 'q', rules: exprs.map((expr, i) => ({ record: `q:${String(i)}`, expr })) }],
    })
    const panelQueries = panels.flatMap(({ targets }) =>
      targets.map(({ expr }) => expr.replaceAll('$service', '.*').replaceAll('$__rate_interval', '5m')),
    )
    const files = [
      write('rules.yaml', ruleFile(THRESHOLDS)),
      write('q.yaml', record(Object.values(queries))),
      write('p.yaml', record(panelQueries)),
    ]
    const { stdout } = await execa('promtool', ['check', 'rules', ...files])
    expect(stdout).toContain(`SUCCESS: ${String(all.length)} rules found`)
  })

  it.runIf(hasTool).each(all)('$name fires and resolves', async ({ name, expr, after, severity, example }) => {
    const rules = write(`${name}.yaml`, { groups: [{ name, rules: [{ alert: name, expr, for: after, labels: { severity } }] }] })
    const state = (at: number, isFiring: boolean) => ({
      eval_time: `${String(at)}m`,
      expr: `count(ALERTS{alertname="${name}",alertstate="firing"})`,
      exp_samples: isFiring ? [{ labels: '{}', value: 1 }] : [],
    })
    const test = write(`${name}.test.yaml`, {
      rule_files: [rules],
      evaluation_interval: '1m',
      tests: [
        {
          interval: '1m',
          input_series: example.series.map(([series, values]) => ({ series, values })),
          promql_expr_test: [state(0, false), state(example.firesAt, true), state(example.endsAt, false)],
        },
      ],
    })
    const { all: output, failed } = await execa('promtool', ['test', 'rules', test], { all: true, reject: false })
    expect({ failed, output: failed ? output : '' }).toEqual({ failed: false, output: '' })
  })
})

describe('alerts', () => {
  it('prints the rules with the thresholds that were given', async () => {
    const { stdout } = await result('alerts', '--set', 'swapMB=123', '--set', 'notReadyMinutes=2', '--runbook', 'https://wiki/x')
    expect(stdout).toContain('sum(tsnsrv_sup_shard_swap_bytes) > 123e6')
    const { groups } = parse(stdout) as ReturnType<typeof ruleFile>
    expect(groups[0]?.rules.find(({ alert }) => alert === 'TsnsrvServiceNotReady')).toMatchObject({
      for: '2m',
      annotations: { runbook_url: 'https://wiki/x#tsnsrvservicenotready' },
    })
  })

  it.each([
    ['swapmb=1', 'did you mean swapMB?'],
    ['swapMB=many', 'Want swapMB=NUMBER'],
    ['swapMB', 'Want swapMB=NUMBER'],
  ])('refuses %s', async (text, says) => {
    expect(await result('alerts', '--set', text)).toMatchObject({ exitCode: 2, stderr: expect.stringContaining(says) as string })
  })
})
