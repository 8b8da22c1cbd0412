import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { cpu, pss } from '../harness/metrics.ts'
import { renderConsole } from '../research/report/renderConsole.ts'
import { renderReport } from '../research/report/renderReport.ts'
import { TARGETS, type Target, judge } from '../research/report/targets.ts'
import { writeFiles, writeReport } from '../research/report/writeReport.ts'
import { Run, type Trial } from '../harness/results.ts'
import { madeUpRun } from './fixtures/madeUpRun.ts'

const run = madeUpRun()

/** The run with only some of its trials. */
const only = (wanted: (trial: Trial) => boolean): Run => ({ ...run, trials: run.trials.filter(wanted) })

describe('the report', () => {
  it('reads as it should', async () => {
    const { markdown, charts } = renderReport(run)
    await expect(markdown).toMatchFileSnapshot('fixtures/report.md')
    for (const { file } of charts) expect(markdown).toContain(`](${file})`)
  })

  it('draws every chart with numbers, and the same one each time', () => {
    const again = new Map(renderReport(run).charts.map(({ file, svg }) => [file, svg]))
    expect(again.size).toBeGreaterThan(3)
    for (const { file, svg } of renderReport(run).charts) {
      expect(svg, file).not.toMatch(/NaN|undefined|Infinity/)
      expect(svg, file).toBe(again.get(file))
    }
  })

  it('tells what was aborted, and why', () => {
    const aborted = run.trials.filter(({ aborted }) => aborted !== null)
    expect(aborted.length).toBeGreaterThan(0)
    for (const trial of aborted) expect(renderReport(run).markdown).toContain(trial.aborted)
  })

  it('takes the largest common size for its headline when 57 was not run, and says so', () => {
    const { markdown } = renderReport(only(({ services }) => services <= 20))
    expect(markdown).toContain('57 services were not among the sizes of this run')
    expect(markdown).toContain('## 20 services')
  })

  it.each([
    ['one subject', only(({ subject }) => subject === 'ours')],
    ['one trial', { ...run, trials: run.trials.slice(0, 1) }],
    ['no trial', { ...run, trials: [], complete: false }],
    ['peers only', only(({ subject }) => subject !== 'ours')],
  ])('makes sense of %s', (_, part) => {
    const { markdown, charts } = renderReport(part)
    expect(markdown).not.toMatch(/NaN|undefined|Infinity/)
    for (const { svg } of charts) expect(svg).not.toMatch(/NaN|undefined|Infinity/)
    expect(renderConsole(part)).not.toMatch(/NaN|undefined|Infinity/)
  })

  it('says that planned trials are missing', () => {
    expect(renderReport({ ...run, complete: false }).markdown).toContain('interrupted')
  })

  it('is short on the console', async () => {
    await expect(`${renderConsole(run)}\n`).toMatchFileSnapshot('fixtures/console.txt')
  })
})

describe('judge', () => {
  const idle = (of: Target['of'], atMost: number, beyond?: number): Target => ({
    id: 'x',
    metric: cpu('idle'),
    of,
    atMost,
    ...(beyond === undefined ? {} : { beyond }),
  })
  const figure = judge(run, [idle('value', 1)], { services: 57 })[0]!.figure!

  it.each([
    ['beyond', figure * 2, figure * 1.5],
    ['met', figure * 2, figure / 2],
    ['missed', figure / 2, figure / 3],
  ] as const)('says %s by the median', (result, atMost, beyond) => {
    expect(judge(run, [idle('value', atMost, beyond)], { services: 57 })[0]?.result).toBe(result)
  })

  it('concludes nothing from what was not measured', () => {
    const [verdict] = judge(run, [idle('share', 1)], { services: 57, reference: 'nobody' })
    expect(verdict).toMatchObject({ result: 'missing', figure: null, found: '-' })
  })

  it('tells when the worst repeat is over the limit though the median is not', () => {
    const values = run.trials
      .filter(({ subject, services }) => subject === 'ours' && services === 57)
      .map((trial) => pss('idle').of(trial)!)
      .toSorted((a, b) => a - b)
    expect(values.length).toBeGreaterThan(1)
    const target: Target = { id: 'x', metric: pss('idle'), of: 'value', atMost: (values.at(-1)! + values.at(-2)!) / 2 }
    expect(judge(run, [target], { services: 57 })[0]).toMatchObject({ result: 'met', everyRepeat: false })
  })

  it('tells when a repeat was disturbed, of either side and in that part alone', () => {
    const calm = madeUpRun()
    const idle = (key: string) =>
      calm.trials.find(({ subject, services, windows }) => subject === key && services === 57 && windows.idle)!.windows.idle!
    for (const { windows } of calm.trials) if (windows.idle) windows.idle.stolenShare = 0
    const target: Target = { id: 'x', metric: cpu('idle'), of: 'share', atMost: 1 }
    const isDisturbed = () => judge(calm, [target], { services: 57 })[0]?.disturbed
    expect(isDisturbed()).toBe(false)
    idle('tsnsrv').stolenShare = 0.2
    expect(isDisturbed()).toBe(true)
    target.of = 'value'
    expect(isDisturbed()).toBe(false)
    idle('ours').stolenShare = 0.2
    expect(isDisturbed()).toBe(true)
  })

  it('compares repeat by repeat', () => {
    const paired = madeUpRun()
    const target: Target = { id: 'x', metric: cpu('idle'), of: 'share', atMost: 1 }
    for (const { subject, services, repeat, windows } of paired.trials) {
      if (services !== 57 || !windows.idle) continue
      // An hour in which everything takes ten times as much.
      windows.idle.cpuSeconds = (subject === 'ours' ? 1 : 4) * (repeat === 2 ? 10 : 1)
    }
    expect(judge(paired, [target], { services: 57 })[0]).toMatchObject({ figure: 0.25, found: '4x less (4x less to 4x less)' })
  })

  it('has a verdict on every target', () => {
    expect(judge(run, TARGETS, { services: 57 }).map(({ target }) => target)).toEqual(TARGETS)
  })
})

describe('writeFiles', () => {
  let directory: string
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tsnsrv-report-'))
  })
  afterEach(() => rm(directory, { recursive: true }))

  it('makes the directory and leaves nothing but the report, which can be read again', async () => {
    const into = join(directory, 'a', 'b')
    await writeReport(run, into)
    const files = await readdir(into)
    expect(files).toEqual(expect.arrayContaining(['report.md', 'results.json']))
    expect(files.filter((file) => !/\.(md|json|svg)$/.test(file))).toEqual([])
    expect(Run.parse(JSON.parse(await readFile(join(into, 'results.json'), 'utf8')))).toEqual(run)
  })

  it('keeps what was there when it cannot write', async () => {
    await writeFile(join(directory, 'report.md'), 'old')
    await expect(writeFiles(directory, [[join('report.md', 'below'), 'new']])).rejects.toThrow(/ENOTDIR/)
    expect(await readdir(directory)).toEqual(['report.md'])
    expect(await readFile(join(directory, 'report.md'), 'utf8')).toBe('old')
  })
})
