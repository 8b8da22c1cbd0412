/** What the supervisor sees of a fleet: samples of CPU with noise, averaged as core/observe.ts averages them. */
import { SAMPLE_WEIGHT } from '../../../supervisor/core/tuning.ts'
import type { Fleet } from './fleet.ts'
import { Random } from './random.ts'

/** The supervisor's default. */
export const SAMPLE_MS = 5000
/** Standard deviation of a service's sample, as part of its load: requests come in clumps. */
const NOISE = 0.15

export class Observation {
  /** Averaged CPU by number of the service, per cent of one core. */
  readonly services: Float64Array
  /** The same by number of the shard. */
  shards = new Float64Array(0)
  /** Drawn once and used in turn; a prime count, so that no service always gets the same. */
  readonly #noise: Float64Array
  #next = 0

  constructor(services: number, seed: number) {
    const random = new Random(seed)
    this.services = new Float64Array(services)
    this.#noise = Float64Array.from({ length: 65_537 }, () => Math.max(0, 1 + NOISE * random.normal()))
  }

  /** Takes one sample of everything. */
  sample(fleet: Fleet): void {
    const seen = new Float64Array(fleet.loads.length)
    for (const service of fleet.deployed) {
      const load = (fleet.loads[service] ?? 0) * (this.#noise[this.#next++ % this.#noise.length] ?? 1)
      seen[service] = load
      this.services[service] = averaged(this.services[service], load)
    }
    const before = this.shards
    // A shard that is opened, or opened again, begins with its first sample.
    this.shards = fleet.shardLoads(seen).map((load, shard) => (before[shard] && load ? averaged(before[shard], load) : load))
  }
}

const averaged = (old = 0, sample = 0) => old + SAMPLE_WEIGHT * (sample - old)
