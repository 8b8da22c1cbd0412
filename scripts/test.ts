/**
 * `npm test`: every layer of tests, cheapest first. Goes on after a failure, names what it skips and why, and closes with one
 * line of totals; exit 1 when anything failed. `--only static,unit` runs these layers, one after the other.
 */
import { Command, InvalidArgumentError } from 'commander'
import { buildMissing } from './build.ts'
import { fuzzLayer } from './fuzzLayer.ts'
import { goLayer } from './goLayer.ts'
import { closingLine, type Layer, type Outcome } from './outcome.ts'
import { staticChecks } from './staticChecks.ts'
import { vitestLayer } from './vitestLayer.ts'

/**
 * Stages follow each other, and the lanes of a stage run side by side. A layer that measures, or whose nodes need a core, has a
 * stage of its own. What waits for other programs most of the time stands beside what computes.
 */
const stages: Layer[][][] = [
  [
    [staticChecks, vitestLayer('unit', { usesBuild: true }), vitestLayer('nix', { usesBuild: false })],
    [
      vitestLayer('integration', { usesBuild: true }),
      vitestLayer('systemd', { usesBuild: true }),
      vitestLayer('apps', { usesBuild: true }),
      vitestLayer('conformance', { usesBuild: true }),
      fuzzLayer,
    ],
  ],
  [[vitestLayer('bench', { usesBuild: true })]],
  [[goLayer], [vitestLayer('npm', { usesBuild: true })]],
  [[vitestLayer('e2e', { usesBuild: true })]],
]
const layers = stages.flat(2)

const build: Layer = {
  name: 'build',
  usesBuild: false,
  run: async (show) => {
    const outcome: Outcome = await buildMissing({
      report: (line) => {
        console.log(`  ${line}`)
      },
    }).then(
      () => ({ name: 'build', status: 'passed', note: '' }),
      (error: unknown) => ({ name: 'build', status: 'failed', note: error instanceof Error ? error.message : String(error) }),
    )
    if (outcome.status === 'failed') show(outcome)
    return [outcome]
  },
}

const signs = { passed: '✓', failed: '✗', skipped: '-' }

function inLines({ name, status, note }: Outcome, durationMs?: number): string[] {
  const time = durationMs === undefined ? '' : ` (${seconds(durationMs)})`
  const reason = status === 'skipped' ? ` skipped: ${note}` : ''
  const line = `  ${signs[status]} ${name}${time}${reason}`
  return status === 'failed' ? [line, note.replaceAll(/^/gm, '      ')] : [line]
}

/** Prints a layer as a whole when it has ended, as others may run beside it. */
async function runLayer(layer: Layer): Promise<Outcome[]> {
  const start = performance.now()
  const lines: string[] = []
  const outcomes = await layer.run((outcome, durationMs) => lines.push(...inLines(outcome, durationMs)))
  lines.push(`  ${closingLine(outcomes)} in ${seconds(performance.now() - start)}`)
  console.log(['', layer.name, ...lines].join('\n'))
  return outcomes
}

async function runLane(lane: readonly Layer[]): Promise<Outcome[]> {
  const all: Outcome[] = []
  for (const layer of lane) all.push(...(await runLayer(layer)))
  return all
}

function seconds(durationMs: number): string {
  return `${(durationMs / 1000).toFixed(1)} s`
}

function parseLayers(text: string): Layer[] {
  return text.split(',').map((name) => {
    const layer = layers.find((candidate) => candidate.name === name)
    if (!layer) throw new InvalidArgumentError(`"${name}" is none of ${layers.map((known) => known.name).join(', ')}`)
    return layer
  })
}

const { only } = new Command('npm test --')
  .option('--only <layers>', `comma-separated: ${layers.map(({ name }) => name).join(', ')}`, parseLayers)
  .parse()
  .opts<{ only?: Layer[] }>()

const chosen = only ? only.map((layer) => [[layer]]) : stages
const all: Outcome[] = []
if (chosen.flat(2).some(({ usesBuild }) => usesBuild)) all.push(...(await runLayer(build)))
for (const lanes of chosen) all.push(...(await Promise.all(lanes.map(runLane))).flat())
process.exitCode = all.some(({ status }) => status === 'failed') ? 1 : 0
console.log(`\n${closingLine(all)}`)
