/** Starting everything, and starting it again. */
import type { Run } from '../../harness/results.ts'
import { figureCell } from './cells.ts'
import { compared, sizeFor } from './figures.ts'
import { Footnotes } from './footnotes.ts'
import { growthPart } from './growthSection.ts'
import { answered, peakRSS, quiet, ready, startCPU } from '../../harness/metrics.ts'
import { type Section, table } from './section.ts'

export function startSection(run: Run): Section {
  const told = [
    startTable(run, 'start'),
    startTable(run, 'restart'),
    growthPart(run, ready('start'), 'start-ready.svg'),
    growthPart(run, answered('start'), 'start-answered.svg'),
  ]
  return {
    title: 'Start and restart',
    blocks: told.flatMap(({ blocks }) => blocks),
    charts: told.flatMap(({ charts }) => charts),
  }
}

function startTable(run: Run, phase: 'start' | 'restart'): Omit<Section, 'title'> {
  const services = sizeFor(run, answered(phase))
  if (services === null) return { blocks: [], charts: [] }
  const metrics = [ready(phase), answered(phase), quiet(phase), startCPU(phase), peakRSS(phase)]
  const notes = new Footnotes()
  const rows = compared(run).map((subject) => [
    subject.title,
    ...metrics.map((metric) => figureCell(run, { subject, services, metric }, notes)),
  ])
  const what =
    phase === 'start'
      ? `The first start of ${services} services, with an empty state directory. Ready is when the subject itself says of every service that it is up; answer, when every service has answered a request that came over the tailnet, which includes the time in which the control server tells the client of it; quiet, when the last change of network maps has arrived. Idle is measured after that. CPU time is all that was spent until quiet.`
      : `Stopped in good order and started again, ${services} services, with the state of before.`
  return { blocks: [what, table(['', ...metrics.map(({ title }) => title)], rows), notes.toString()], charts: [] }
}
