/** The pairs in words: who took how much, and how many times what ours took beside it. */
import { formatMachine, formatVersions } from '../report/environment.ts'
import { formatNumber } from '../report/format.ts'
import { renderSection, table } from '../report/section.ts'
import { writeFiles } from '../report/writeReport.ts'
import type { Run, Subject as SubjectInfo } from '../../harness/results.ts'
import { type Measure, type Quartiles, type Turn, compare } from './compare.ts'

/** What was measured, and where: the shape of results.json. */
export interface Pairs extends Pick<Run, 'startedAt' | 'command' | 'machine' | 'versions' | 'host'> {
  readonly format: 1
  readonly turnSeconds: number
  readonly contenders: readonly (Pick<SubjectInfo, 'title' | 'version' | 'about'> & { readonly turns: readonly Turn[] })[]
}

const UNITS: Readonly<Record<Measure, string>> = {
  cpuPerThousand: 'ms of CPU per 1,000 requests',
  perSecond: 'requests/s',
  p99Ms: 'p99, ms',
}

/** Writes report.md and results.json. */
export async function writePairs(pairs: Pairs, directory: string): Promise<void> {
  await writeFiles(directory, [
    ['results.json', `${JSON.stringify(pairs, null, 1)}\n`],
    ['report.md', `${renderMarkdown(pairs)}\n`],
  ])
}

/** What a terminal shows at the end: a table for each measure. */
export function renderPairs({ contenders }: Pairs): string {
  const compared = compare(new Map(contenders.map(({ title, turns }) => [title, turns])))
  const tables = (['cpuPerThousand', 'perSecond', 'p99Ms'] as const).map((measure) =>
    table(
      ['', UNITS[measure], `times that of ${contenders[0]?.title ?? ''}`],
      compared.map((each) => [each.title, formatQuartiles(each[measure].found), formatQuartiles(each[measure].times)]),
    ),
  )
  return tables.join('\n\n')
}

function formatQuartiles({ lower, median, upper }: Quartiles): string {
  return `${formatNumber(median)} (${formatNumber(lower)}-${formatNumber(upper)})`
}

function renderMarkdown(pairs: Pairs): string {
  const { startedAt, command, machine, versions, host, turnSeconds, contenders } = pairs
  const turns = contenders[0]?.turns.length ?? 0
  return [
    '# What a request costs, side by side',
    `Twelve services of each contender are up at the same time, and are asked in turn over 32 connections, for ${turnSeconds} s, ${turns} times each. ` +
      'Medians, with the middle half in brackets; a ratio is of two turns in the same round.',
    renderPairs(pairs),
    renderSection({
      title: 'How it was measured',
      blocks: [
        `${formatMachine(machine)}; ${formatVersions(versions)}; from ${startedAt}. ${host}`,
        table(
          ['', 'version', ''],
          contenders.map(({ title, version, about }) => [title, version, about]),
        ),
        `Repeat with \`${command}\`.`,
      ],
      charts: [],
    }),
  ].join('\n\n')
}
