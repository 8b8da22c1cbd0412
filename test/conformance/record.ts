/** docs/conformance.md: what both systems do, case by case, as the tables expect and the tests measure it. */
import { markdownTable } from 'markdown-table'
import { type Case, type Observed, verdictOf } from './case.ts'
import { areas } from './cases/index.ts'

/** The page as Markdown. Deterministic: it is compared with the one that is checked in. */
export function conformanceRecord(): string {
  const all = Object.values(areas).flat()
  const agreeing = all.filter((each) => verdictOf(each) === 'agree').length
  return `# Conformance

<!-- Generated from test/conformance/cases by \`npm run generate\`. Edit those. -->

What tsnsrv-sup and arsfeld/tsnsrv (da684322) do with the same files and the same requests: ${all.length} cases, of which
${agreeing} agree and ${all.length - agreeing} differ on purpose. Both columns are measured, on one tailnet, with real upstreams and a real auth
server: \`TSNSRV_BINARY=<tsnsrv or tsnsrv.xz> npm test -- --only conformance\` fails when either system does something else.
Without the variable it holds ours alone to the record. \`npx vitest run --project conformance -t <case>\` runs one case.

An answer, a question to the auth server and a request at the upstream are looked at by the keys that
[case.ts](../test/conformance/case.ts) explains; \`-\` is nothing. \`/path: /other\` is a path of the client and the path that the
upstream saw, or the status of the client's answer when it saw nothing. Where both refuse a file, they agree despite their
words.

${Object.entries(areas)
  .map(([area, cases]) => `## ${area}\n\n${tableOf(cases)}`)
  .join('\n\n')}
`
}

function tableOf(cases: readonly Case[]): string {
  const rows = cases.map((each) => {
    const { id, statement, ours, theirs = ours, why } = each
    const verdict = why === undefined ? verdictOf(each) : `${verdictOf(each)}: ${why}`
    return [`\`${id}\``, statement, shown(theirs), theirs === ours ? 'the same' : shown(ours), verdict].map(escaped)
  })
  return markdownTable([['case', 'what it shows', 'tsnsrv', 'ours', 'verdict'], ...rows], { alignDelimiters: false })
}

function shown(observed: Observed): string {
  if (typeof observed === 'string') return code(observed)
  return Object.entries(observed)
    .map(([key, value]) => code(`${key}: ${value === null ? '-' : value === '' ? '(empty)' : value}`))
    .join('<br>')
}

/** A code span may not hold its own delimiter. */
const code = (text: string): string => (text.includes('`') ? `\`\` ${text} \`\`` : `\`${text}\``)

const escaped = (cell: string): string => cell.replaceAll('|', '\\|')
