/** The report as a whole: pure, from a run to Markdown and charts. */
import type { Run } from '../../harness/results.ts'
import { growthSection } from './growthSection.ts'
import { headlineSection } from './headlineSection.ts'
import { httpsSection } from './httpsSection.ts'
import { loadSection } from './loadSection.ts'
import { methodSection } from './methodSection.ts'
import { type Chart, renderSection } from './section.ts'
import { startSection } from './startSection.ts'
import { ablationSection, sizingSection } from './variantSection.ts'

export interface Report {
  markdown: string
  charts: Chart[]
}

export function renderReport(run: Run): Report {
  const sections = [
    headlineSection,
    growthSection,
    startSection,
    loadSection,
    httpsSection,
    ablationSection,
    sizingSection,
    methodSection,
  ].map((section) => section(run))
  const parts = ['# What services on a tailnet cost', opening(run), ...sections.map(renderSection), repeating(run)]
  return {
    markdown: `${parts.filter((part) => part !== '').join('\n\n')}\n`,
    charts: sections.flatMap(({ charts }) => charts),
  }
}

function opening(run: Run): string {
  const text = `Measured ${run.startedAt.slice(0, 10)} in one run on one machine. Absolute figures move with the machine: compare within this report. "-" is a figure that was not measured; why is below its table.`
  return run.complete
    ? text
    : `${text}\n\n**This run was interrupted: planned trials, or further attempts at disturbed ones, are missing.**`
}

function repeating(run: Run): string {
  return `## How to repeat it

\`\`\`
${run.command}
\`\`\`

As root, for it makes network namespaces. All that was measured, each repeat by itself, is in [results.json](results.json);
this page is made of nothing else.`
}
