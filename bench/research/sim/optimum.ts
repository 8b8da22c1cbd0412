/**
 * As good as it gets when the loads are known: longest processing time first (Graham 1969) with a cap on the members, then
 * moves and exchanges between busy and cool shards until none lowers the sum of squares any more.
 */

interface Bin {
  load: number
  readonly members: number[]
}

/** So many of the coolest shards are tried for an exchange with a busy one. */
const PARTNERS = 12

/** Deals services with these loads to at most `size` a shard. The members of each shard, as indices of `loads`. */
export function bestPlacement(loads: readonly number[], shards: number, size: number): number[][] {
  const bins: Bin[] = Array.from({ length: shards }, () => ({ load: 0, members: [] }))
  const heaviestFirst = [...loads.keys()].sort((a, b) => (loads[b] ?? 0) - (loads[a] ?? 0))
  for (const index of heaviestFirst) {
    const open = bins.filter(({ members }) => members.length < size)
    put(
      open.reduce((best, bin) => (bin.load < best.load ? bin : best)),
      index,
      loads,
    )
  }
  while (improve(bins, loads, size)) continue
  return bins.map(({ members }) => members)
}

/** Nothing can make the busiest shard less busy than this: the heaviest service is in one, and the mean is the mean. */
export function leastPeak(loads: readonly number[], shards: number): number {
  const total = loads.reduce((sum, load) => sum + load, 0)
  return loads.reduce((most, load) => Math.max(most, load), total / shards)
}

/** One round from the busiest shard to the coolest; whether anything was worth it. */
function improve(bins: readonly Bin[], loads: readonly number[], size: number): boolean {
  let improved = false
  const coolestFirst = bins.toSorted((a, b) => a.load - b.load)
  for (const busy of coolestFirst.toReversed()) {
    for (const cool of coolestFirst.slice(0, PARTNERS)) {
      const gap = busy.load - cool.load
      if (gap <= 0) continue
      // Shifting d lowers the sum of squares by 2d(gap - d).
      let best = { gone: -1, come: -1, worth: 0.01 }
      for (const gone of busy.members) {
        for (const come of cool.members.length < size ? [-1, ...cool.members] : cool.members) {
          const d = (loads[gone] ?? 0) - (loads[come] ?? 0)
          const worth = 2 * d * (gap - d)
          if (worth > best.worth) best = { gone, come, worth }
        }
      }
      if (best.gone < 0) continue
      put(cool, take(busy, best.gone, loads), loads)
      if (best.come >= 0) put(busy, take(cool, best.come, loads), loads)
      improved = true
    }
  }
  return improved
}

function put(bin: Bin, index: number, loads: readonly number[]): void {
  bin.members.push(index)
  bin.load += loads[index] ?? 0
}

function take(bin: Bin, index: number, loads: readonly number[]): number {
  bin.members.splice(bin.members.indexOf(index), 1)
  bin.load -= loads[index] ?? 0
  return index
}
