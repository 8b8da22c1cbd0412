/** The comparison in words, tables and pictures. */
import { defaultRebalancing } from '../../../supervisor/core/rebalance.ts'
import { growthChart, timeline } from '../report/charts.ts'
import { formatNumber, MISSING } from '../report/format.ts'
import { type Chart, image, renderSection, table } from '../report/section.ts'
import { writeFiles } from '../report/writeReport.ts'
import type { Comparison } from './compare.ts'
import type { Balance, Score } from './play.ts'
import { TICK_MS } from './players.ts'

export interface Ablation {
  /** What is changed. */
  readonly name: string
  readonly services: number
  readonly score: Score
}

export interface Simulation {
  readonly seed: number
  readonly comparisons: readonly Comparison[]
  readonly ablations: readonly Ablation[]
}

const PLAYERS = [
  { key: 'ours', name: 'rebalancing' },
  { key: 'optimum', name: 'optimum of each hour' },
  { key: 'roundRobin', name: 'dealt anew each hour' },
  { key: 'static', name: 'static' },
] as const

/** What the issue of rebalancing asks for. */
const GOAL = { overOptimum: 1.1, movesPerServiceHour: 1, decisionMs: 20 }

/** Writes report.md, results.json and the charts. */
export async function writeSimulation(simulation: Simulation, directory: string): Promise<void> {
  const { markdown, charts } = renderMarkdown(simulation)
  await writeFiles(directory, [
    [
      'results.json',
      `${JSON.stringify(simulation, (key, value: unknown) => (key === 'quarters' ? undefined : short(value)), 1)}\n`,
    ],
    ...charts.map(({ file, svg }) => [file, svg] as const),
    ['report.md', `${markdown}\n`],
  ])
}

/** What a terminal shows at the end. */
export function renderGoals({ comparisons }: Simulation): string {
  const rows = comparisons.map(({ services, ours, optimum, decision }) => {
    const busiest = ours.busiest / optimum.busiest
    const imbalance = optimum.imbalance > 0 ? ours.imbalance / optimum.imbalance : null
    const reached =
      Math.max(busiest, imbalance ?? 0) <= GOAL.overOptimum &&
      ours.movesPerServiceHour <= GOAL.movesPerServiceHour &&
      decision.p99 <= GOAL.decisionMs
    return [
      String(services),
      times(busiest),
      imbalance === null ? MISSING : times(imbalance),
      formatNumber(ours.movesPerServiceHour),
      formatNumber(decision.median),
      formatNumber(decision.p99),
      formatNumber(decision.max),
      reached ? 'yes' : 'no',
    ]
  })
  const head = ['services', 'busiest shard, of the optimum', 'imbalance, of the optimum', 'moves per service and hour']
  return table([...head, 'a decision: median ms', 'p99 ms', 'max ms', 'reached'], rows)
}

function renderMarkdown(simulation: Simulation): { markdown: string; charts: Chart[] } {
  const { comparisons, ablations, seed } = simulation
  const days = comparisons.filter(({ services }) => [57, 1000].includes(services)).map(dayChart)
  const growth = comparisons.length > 1 ? [growthOf('imbalance', comparisons), growthOf('hotMinutes', comparisons)] : []
  const sections = [
    {
      title: 'What was asked for',
      blocks: [
        `Within 10 % of the optimum's imbalance with at most ${GOAL.movesPerServiceHour} move per service and hour, and a decision within ${GOAL.decisionMs} ms (p99 counts; the first decisions, not compiled yet, make the maximum).`,
        renderGoals(simulation),
        'Below 1.00x is no error: the optimum knows the hour, but places for its means; rebalancing knows nothing ahead, but follows within a minute.',
      ],
      charts: [],
    },
    {
      title: 'Players',
      blocks: [
        ...comparisons.flatMap((comparison) => [`### ${comparison.services} services`, playerTable(comparison)]),
        ...growth.map(image),
      ],
      charts: growth,
    },
    { title: 'A day', blocks: days.map(image), charts: days },
    {
      title: 'What each setting is worth',
      blocks: ablations.length === 0 ? [] : [defaults(), ablationTable(ablations)],
      charts: [],
    },
    { title: 'How it is played', blocks: [method(simulation)], charts: [] },
  ]
  const command = `npm run bench:sim -- --sizes ${comparisons.map(({ services }) => services).join(',')} --seed ${seed}${ablations.length > 0 ? ' --ablations' : ''}`
  return {
    markdown: ['# Rebalancing, simulated', `\`${command}\``, ...sections.map(renderSection).filter(Boolean)].join('\n\n'),
    charts: sections.flatMap(({ charts }) => charts),
  }
}

function playerTable(comparison: Comparison): string {
  const rows = PLAYERS.map(({ key, name }) => {
    const { busiest, imbalance, hotMinutes, movesPerServiceHour, shards } = comparison[key]
    return [name, ...[busiest, imbalance, hotMinutes, movesPerServiceHour, shards].map(formatNumber)]
  })
  const { least } = comparison.ours
  rows.push(['least possible at each moment', formatNumber(least.busiest), formatNumber(least.imbalance), '', '', ''])
  return table(
    ['', 'busiest shard, %', 'imbalance, points', 'hot shard-minutes a day', 'moves per service and hour', 'shards'],
    rows,
  )
}

function ablationTable(ablations: readonly Ablation[]): string {
  const rows = ablations.map(({ name, services, score }) => {
    const { busiest, imbalance, hotMinutes, movesPerServiceHour, shards } = score
    return [`${services}: ${name}`, ...[busiest, imbalance, hotMinutes, movesPerServiceHour, shards].map(formatNumber)]
  })
  return table(
    ['', 'busiest shard, %', 'imbalance, points', 'hot shard-minutes a day', 'moves per service and hour', 'shards'],
    rows,
  )
}

function defaults(): string {
  const { hotPercent, coldPercent, tolerance, serviceCooldownMs, shardCooldownMs, windowMs } = defaultRebalancing
  return (
    `The defaults are: hot above ${hotPercent} %, cold below ${coldPercent} %, tolerance ${tolerance}, a service stays ${serviceCooldownMs / 60_000} min, ` +
    `a shard is watched for ${shardCooldownMs / 1000} s, and a twentieth of the services (a full shard at least) moves within ${windowMs / 60_000} min. One is changed at a time.`
  )
}

function method({ comparisons }: Simulation): string {
  const days = comparisons.map(({ services, days }) => `${services} services ${days} ${days === 1 ? 'day' : 'days'}`).join(', ')
  const gap = Math.max(...comparisons.map(({ optimumGap }) => optimumGap))
  return [
    `- **Traffic.** Services use between nothing and most of a core (lognormal). Most follow the day with an evening crest, a quarter of these any other hour; a third is used for some hours only. Three bursts of minutes per service and day, two to eight times its average. A twentieth is replaced during the day, in batches. Few services are played for several days (${days}), each with a seed of its own, and the means are shown; pictures show the first.`,
    `- **What is seen.** Samples every 5 s, each with noise of 15 % a service, averaged as the supervisor averages them. Rebalancing is asked every ${TICK_MS / 1000} s; a move takes effect before the next sample.`,
    '- **Busiest shard.** Its CPU in per cent of a core, the mean over the day: what the worst-off meet. With thousands of services it is the heaviest service, whoever decides.',
    '- **Imbalance.** So it is counted over all shards, too: points of a core above what is level, summed. Level is the mean if there were as few shards as possible, but at least the cold threshold, below which doing nothing is right. In points and not as a ratio to the mean, which at night would count two idle shards as much as two full ones.',
    `- **The optimum** knows the true loads of the hour that begins: longest processing time first with the cap on members, then exchanges, into as many shards as rebalancing had in that hour. Its busiest shard is within ${formatNumber((gap - 1) * 100)} % of the larger of mean and heaviest service, which no placement for these loads can beat. It may move everybody each hour.`,
    '- **Least possible at each moment.** The same bound for the loads of every half minute, and our number of shards: more than an optimum that must stay for an hour can reach.',
    '- **A decision** counts as the smaller of elapsed and CPU time.',
  ].join('\n')
}

function dayChart(comparison: Comparison): Chart {
  const { services } = comparison
  const lines = (of: keyof Balance) =>
    PLAYERS.map(({ key, name }) => ({
      name,
      points: comparison[key].quarters.map((quarter, i) => [i / 4, quarter[of]] as const),
    }))
  return {
    file: `day-${services}.svg`,
    alt: `Busiest shard, imbalance and number of shards over a day of ${services} services, one line a player`,
    svg: timeline(`A day of ${services} services`, 'hour', [
      { name: 'busiest shard', axis: '% of one core', lines: lines('busiest') },
      { name: 'imbalance', axis: 'points of a core', lines: lines('imbalance') },
      { name: 'shards', axis: 'shards', lines: lines('shards') },
    ]),
  }
}

function growthOf(figure: 'imbalance' | 'hotMinutes', comparisons: readonly Comparison[]): Chart {
  const [title, axis] =
    figure === 'imbalance' ? ['Imbalance', 'points of a core'] : ['Time that shards are hot', 'shard-minutes a day']
  const lines = PLAYERS.map(({ key, name }) => ({
    name,
    points: comparisons.map((comparison) => ({ services: comparison.services, median: comparison[key][figure], repeats: [] })),
  }))
  return {
    file: figure === 'imbalance' ? 'imbalance.svg' : 'hot.svg',
    alt: `${title} over the number of services, one line a player`,
    svg: growthChart(title, axis, lines),
  }
}

const times = (factor: number) => `${factor.toFixed(2)}x`

/** Four digits are all that a figure is worth. */
const short = (value: unknown) => (typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(4)) : value)
