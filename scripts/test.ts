/**
 * `npm test`: every layer of tests, cheapest first. Goes on after a failure, names what it skips and why, and closes with one
 * line of totals; exit 1 when anything failed. `--only static,unit` runs these layers alone.
 */
import { Command, InvalidArgumentError } from 'commander'
import { buildMissing } from './build.ts'
import { fuzzLayer } from './fuzzLayer.ts'
import { goLayer } from './goLayer.ts'
import { closingLine, type Layer, type Outcome } from './outcome.ts'
import { staticChecks } from './staticChecks.ts'
import { vitestLayer } from './vitestLayer.ts'

const layers: Layer[] = [
  staticChecks,
  vitestLayer('unit', { usesBuild: true }),
  vitestLayer('nix', { usesBuild: false }),
  vitestLayer('bench', { usesBuild: true }),
  goLayer,
  fuzzLayer,
  vitestLayer('integration', { usesBuild: true }),
  vitestLayer('systemd', { usesBuild: true }),
  vitestLayer('apps', { usesBuild: true }),
  vitestLayer('conformance', { usesBuild: true }),
  vitestLayer('e2e', { usesBuild: true }),
]

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

function show({ name, status, note }: Outcome, durationMs?: number): void {
  const time = durationMs === undefined ? '' : ` (${seconds(durationMs)})`
  const reason = status === 'skipped' ? ` skipped: ${note}` : ''
  console.log(`  ${signs[status]} ${name}${time}${reason}`)
  if (status === 'failed') console.log(note.replaceAll(/^/gm, '      '))
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
  .option('--only <layers>', `comma-separated: ${layers.map(({ name }) => name).join(', ')}`, parseLayers, layers)
  .parse()
  .opts<{ only: Layer[] }>()

const all: Outcome[] = []
for (const layer of only.some(({ usesBuild }) => usesBuild) ? [build, ...only] : only) {
  console.log(`\n${layer.name}`)
  const start = performance.now()
  const outcomes = await layer.run(show)
  console.log(`  ${closingLine(outcomes)} in ${seconds(performance.now() - start)}`)
  all.push(...outcomes)
}
process.exitCode = all.some(({ status }) => status === 'failed') ? 1 : 0
console.log(`\n${closingLine(all)}`)
