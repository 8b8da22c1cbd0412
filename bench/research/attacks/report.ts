/** A run of attacks in words: for the terminal within 100 columns, and as Markdown. Pure. */
import { columns } from '../report/columns.ts'
import { formatMachine, formatVersions } from '../report/environment.ts'
import { formatDuration, formatNumber } from '../report/format.ts'
import { table } from '../report/section.ts'
import type { Attacks, Shape, Trial } from './results.ts'

/** Of a terminal. */
const WIDTH = 100
const GAP = 2

interface Table {
  readonly title: string
  readonly rows: readonly (readonly string[])[]
}

/** Tables, and a line for each requirement that was not met. */
export function renderConsole(run: Attacks): string {
  const tables = tablesOf(run).map(({ title, rows }) => `${title}\n${fitted(columns(rows, GAP).split('\n'))}`)
  return [...tables, fitted(verdicts(run)), fitted(method(run))].join('\n\n')
}

/** The same tables for a document. */
export function renderMarkdown(run: Attacks): string {
  const tables = tablesOf(run).map(({ title, rows: [head = [], ...rows] }) => `${title}\n\n${table(head, rows)}`)
  const list = verdicts(run).map((line) => `- ${line}`)
  return [...tables, list.join('\n'), `${method(run).join('; ')}.`].join('\n\n')
}

function tablesOf(run: Attacks): Table[] {
  return [
    { title: 'The worker before / during (memory: at most) / after:', rows: workerRows(run) },
    { title: 'A neighbour of the same shard before / during / after, and what the attacker held:', rows: neighbourRows(run) },
    { title: `What was still held after ${formatDuration(run.attackSeconds)}, and what was answered:`, rows: shapeRows(run) },
  ].filter(({ rows }) => rows.length > 1)
}

function workerRows({ trials }: Attacks): string[][] {
  const rows = trials.map((trial) => {
    const moments = [trial.before, trial.during, trial.after]
    const megabytes = (values: readonly number[]) => values.map((value) => String(Math.round(value / 1e6))).join('/')
    const counts = (of: (moment: Trial['before']) => number) => moments.map((moment) => String(of(moment))).join('/')
    return [
      trial.attack,
      trial.via,
      megabytes([trial.before.worker.rssBytes, trial.peakRssBytes, trial.after.worker.rssBytes]),
      megabytes(moments.map(({ worker }) => worker.pssBytes)),
      counts(({ worker }) => worker.openFiles),
      counts(({ worker }) => worker.goroutines),
      (trial.logBytes / 1e6).toFixed(1),
    ]
  })
  return [['attack', 'via', 'RSS MB', 'PSS MB', 'files', 'goroutines', 'log MB'], ...rows]
}

function neighbourRows({ trials }: Attacks): string[][] {
  const rows = trials.map((trial) => {
    const moments = [trial.before, trial.during, trial.after].map(({ neighbour }) => neighbour)
    const times = (of: (moment: Trial['before']['neighbour']) => number) =>
      moments.map((moment) => formatNumber(Number(of(moment).toPrecision(2)))).join('/')
    const { kept, fresh } = trial.during.neighbour
    return [
      trial.attack,
      trial.via,
      times((neighbour) => neighbour.kept.p50Ms),
      times((neighbour) => neighbour.kept.p99Ms),
      times((neighbour) => neighbour.fresh.p99Ms),
      `${kept.failed + fresh.failed}/${kept.total + fresh.total}`,
      held(trial.shapes),
    ]
  })
  return [['attack', 'via', 'p50 ms', 'p99 ms', 'p99 ms, new', 'failed', 'held'], ...rows]
}

function held(shapes: readonly Shape[]): string {
  const sum = (of: (shape: Shape) => number) => shapes.reduce((total, shape) => total + of(shape), 0)
  return `${sum((shape) => shape.held)}/${sum((shape) => shape.tried)}`
}

function shapeRows({ trials }: Attacks): string[][] {
  const rows = trials.flatMap((trial) =>
    trial.shapes.map((shape) => {
      const answers = Object.entries(shape.answers).map(([answer, count]) => `${answer} x${count}`)
      const failures = Object.entries(shape.failures).map(([reason, count]) => `not opened x${count} (${reason})`)
      const told = [...answers, ...failures]
      return [trial.attack, trial.via, shape.shape, held([shape]), told.join(', ') || 'no answer']
    }),
  )
  return [['attack', 'via', 'over', 'held', 'answers'], ...rows]
}

/** What was not met, or that all was. */
function verdicts({ trials, aborted }: Attacks): string[] {
  const lines = trials.flatMap(({ attack, via, verdicts }) =>
    verdicts
      .filter(({ met }) => !met)
      .map(({ about, found, limit }) => `FAILED  ${attack} via ${via}: ${about} ${found}, limit ${limit}`),
  )
  const dead = aborted.map(({ attack, via, why }) => `FAILED  ${attack} via ${via}: ${why}`)
  const good = trials.filter((trial) => trial.verdicts.every(({ met }) => met)).length
  return [...lines, ...dead, `${good} of ${trials.length + aborted.length} attacks met all requirements`]
}

function method({ command, seconds, machine, versions }: Attacks): string[] {
  return [`${command} (${formatDuration(seconds)})`, formatMachine(machine), formatVersions(versions)]
}

/** As many of them as there are, none wider than a terminal. */
function fitted(texts: readonly string[]): string {
  return texts.map((text) => (text.length > WIDTH ? `${text.slice(0, WIDTH - 1)}…` : text)).join('\n')
}
