/**
 * Placement: which service goes into which shard. Stable first, even second: whoever has a place keeps it unless a limit
 * forces it out; the rest goes, heaviest first, to the lightest shard with room (longest processing time first, Graham 1969).
 */
import { freshShard } from './shardNumbers.ts'
import type { Placement } from './types.ts'

export interface PlacedService {
  readonly name: string
  readonly weight: number
  /** Services of one group share a shard when they fit; empty for none. */
  readonly group: string
}

interface Shard {
  readonly id: number
  readonly members: PlacedService[]
  weight: number
}

interface PlacementLimits {
  readonly shardSize: number
  /** Shards that get nothing new. */
  readonly closed?: ReadonlySet<number>
  /** Numbers that no new shard may have, beside those that are in use here. */
  readonly taken?: ReadonlySet<number>
}

/**
 * Places every service; into `closed` shards nothing new. At least ceil(N / shardSize) shards exist afterwards, and no more
 * than that beyond those that kept a member: emptier shards are merged by rebalancing and never as a side effect of a reload.
 * A shard that has lost all its members is filled again before a new one is opened.
 */
export function place(
  services: readonly PlacedService[],
  previous: Placement,
  { shardSize, closed = new Set(), taken = new Set() }: PlacementLimits,
): Placement {
  const { shards, homeless } = keepInPlace(services, previous, shardSize)
  const isOpen = ({ id }: Shard) => !closed.has(id)
  const room = () => [...shards.values()].filter(isOpen).reduce((sum, { members }) => sum + shardSize - members.length, 0)
  const vacant = [...new Set(previous.values())].filter((id) => !shards.has(id) && !closed.has(id)).sort((a, b) => a - b)
  while (room() < homeless.length) {
    getOrOpen(shards, vacant.shift() ?? freshShard(new Set([...taken, ...closed, ...shards.keys()])))
  }
  const open = new Map([...shards].filter(([, shard]) => isOpen(shard)))
  for (const unit of unitsOf(homeless)) {
    const whole = bestShard(open, unit, shardSize)
    if (whole) add(whole, unit)
    // A group that fits nowhere whole is split, each member as near to the others as there is room.
    else for (const service of unit) add(bestShard(open, [service], shardSize), [service])
  }
  const placement = new Map<string, number>()
  for (const shard of shards.values()) for (const service of shard.members) placement.set(service.name, shard.id)
  return placement
}

/** Everyone stays whose shard has room for all who were there; of an overfull shard the ungrouped, lightest leave first. */
function keepInPlace(services: readonly PlacedService[], previous: Placement, shardSize: number) {
  const shards = new Map<number, Shard>()
  const homeless: PlacedService[] = []
  for (const service of services) {
    const id = previous.get(service.name)
    if (id === undefined) homeless.push(service)
    else add(getOrOpen(shards, id), [service])
  }
  for (const shard of shards.values()) {
    if (shard.members.length <= shardSize) continue
    const byClaim = [...shard.members].sort(
      (a, b) => Number(b.group !== '') - Number(a.group !== '') || b.weight - a.weight || compare(a.name, b.name),
    )
    shard.members.length = 0
    shard.weight = 0
    add(shard, byClaim.slice(0, shardSize))
    homeless.push(...byClaim.slice(shardSize))
  }
  return { shards, homeless }
}

/** What is placed together: the homeless members of a group, or one service. Heaviest first; names break ties. */
function unitsOf(services: readonly PlacedService[]): PlacedService[][] {
  const units = new Map<string, PlacedService[]>()
  for (const service of services) {
    const key = service.group === '' ? `service ${service.name}` : `group ${service.group}`
    const unit = units.get(key)
    if (unit) unit.push(service)
    else units.set(key, [service])
  }
  const byName = (a: PlacedService, b: PlacedService) => compare(a.name, b.name)
  return [...units.values()]
    .map((unit) => ({ weight: totalWeight(unit), members: unit.sort(byName) }))
    .sort((a, b) => b.weight - a.weight || compare(a.members[0]?.name ?? '', b.members[0]?.name ?? ''))
    .map((unit) => unit.members)
}

/** The shard with room for the whole unit that holds most of its group, else the lightest, else the first. */
function bestShard(shards: ReadonlyMap<number, Shard>, unit: readonly PlacedService[], shardSize: number): Shard | undefined {
  const group = unit[0]?.group ?? ''
  const relatives = (shard: Shard) => (group === '' ? 0 : shard.members.filter((member) => member.group === group).length)
  let best: { shard: Shard; relatives: number } | undefined
  for (const shard of shards.values()) {
    if (shard.members.length + unit.length > shardSize) continue
    const candidate = { shard, relatives: relatives(shard) }
    const order =
      best === undefined
        ? -1
        : best.relatives - candidate.relatives || shard.weight - best.shard.weight || shard.id - best.shard.id
    if (order < 0) best = candidate
  }
  return best?.shard
}

function add(shard: Shard | undefined, services: readonly PlacedService[]): void {
  if (!shard) throw new Error('no shard has room although there are enough shards: the count of shards is wrong')
  shard.members.push(...services)
  shard.weight += totalWeight(services)
}

function getOrOpen(shards: Map<number, Shard>, id: number): Shard {
  const shard = shards.get(id) ?? { id, members: [], weight: 0 }
  shards.set(id, shard)
  return shard
}

const totalWeight = (services: readonly PlacedService[]) => services.reduce((sum, service) => sum + service.weight, 0)

/** Code-unit order: the same on every machine, whatever its locale. */
export const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0)
