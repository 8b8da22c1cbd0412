/**
 * `npm run bench:sim`: plays days of traffic in seconds and compares rebalancing with services that stay, services that are
 * dealt anew each hour, and an optimum that knows each hour beforehand.
 */
import { join, resolve } from 'node:path'
import { Command } from 'commander'
import type { RebalancePolicy } from '../../../supervisor/core/rebalance.ts'
import { compare, playVariant } from './compare.ts'
import { type Ablation, renderGoals, type Simulation, writeSimulation } from './report.ts'
import { wholeNumber } from '../commandLine.ts'

const SIZES = [20, 57, 200, 1000, 5000]
const ABLATED_SIZES = [57, 1000]

const VARIANTS: Readonly<Record<string, Partial<RebalancePolicy>>> = {
  defaults: {},
  'hot above 70 %': { hotPercent: 70 },
  'hot above 90 %': { hotPercent: 90 },
  'cold below 20 %': { coldPercent: 20 },
  'cold below 40 %': { coldPercent: 40 },
  'levelled only when hot, cold below 80 %': { coldPercent: 80 },
  'tolerance 0.1': { tolerance: 0.1 },
  'tolerance 0.3': { tolerance: 0.3 },
  'a service may move again at once': { serviceCooldownMs: 0 },
  'a service stays 30 min': { serviceCooldownMs: 1_800_000 },
  'a shard is not watched': { shardCooldownMs: 0 },
  'a shard is watched 3 min': { shardCooldownMs: 180_000 },
  'no budget': { movesPerWindow: 1_000_000 },
  '20 moves within 10 min': { movesPerWindow: 20 },
  '10 moves within 10 min': { movesPerWindow: 10 },
}

interface Options {
  readonly sizes: readonly number[]
  readonly seed: number
  readonly ablations: boolean
  readonly output: string
}

const options = new Command('npm run bench:sim --')
  .description('Simulates rebalancing. Starts nothing; needs nothing.')
  .option('--sizes <counts>', 'numbers of services', (text) => text.split(',').map(wholeNumber), SIZES)
  .option('--seed <number>', 'another makes other days', wholeNumber, 1)
  .option('--ablations', 'also play with one setting changed at a time', false)
  .option('--output <directory>', 'where the report goes', join('bench', 'reports', 'sim'))
  .parse()
  .opts<Options>()

const simulation: Simulation = { seed: options.seed, comparisons: options.sizes.map(compareAloud), ablations: [...ablate()] }
const directory = resolve(options.output)
await writeSimulation(simulation, directory)
console.log(`\n${renderGoals(simulation)}\n\nThe report: ${join(directory, 'report.md')}`)

function compareAloud(services: number) {
  const begun = performance.now()
  const comparison = compare(services, options.seed)
  console.error(`${services} services: ${Math.round((performance.now() - begun) / 1000)} s`)
  return comparison
}

function* ablate(): Iterable<Ablation> {
  if (!options.ablations) return
  for (const services of ABLATED_SIZES) {
    for (const [name, changes] of Object.entries(VARIANTS)) {
      console.error(`${services} services, ${name}`)
      yield { name, services, score: playVariant(services, options.seed, changes) }
    }
  }
}
