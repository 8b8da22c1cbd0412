/**
 * Rolling upgrade: the workers of an older version are replaced shard by shard. The services of a shard move, one after the
 * other, into a fresh one, whose worker is of the new version; then the old one ends. It halts where a service did not come
 * up, so that a bad version never has more than one shard. Pure.
 */
import type { Decision } from '../../shared/api.ts'
import type { Snapshot } from './rebalance.ts'
import { freshShard } from './shardNumbers.ts'
import type { Upgrade } from './types.ts'

export interface UpgradeStep {
  /** Null when all is done. */
  readonly upgrade: Upgrade | null
  /** What moves next; null when nothing does. */
  readonly decision: Decision | null
}

/** What comes next; to be asked when nothing moves, and of one that has halted when its shard is empty: that ends it. */
export function nextUpgradeStep(upgrade: Upgrade, { shards, taken }: Snapshot): UpgradeStep {
  if (upgrade.halted !== '') return { upgrade: null, decision: null }
  const left = shards.find(({ shard }) => shard === upgrade.current)
  if (left && left.services.length > 0) {
    const halted = `${left.services.map(({ name }) => name).join(', ')} did not come up with the new worker; the rest stays as it is`
    return { upgrade: { ...upgrade, halted }, decision: null }
  }
  const [next, ...waiting] = upgrade.waiting.filter((id) => shards.some(({ shard }) => shard === id))
  const source = shards.find(({ shard }) => shard === next)
  if (!source) return { upgrade: null, decision: null }
  const to = freshShard(taken)
  const moves = source.services.map(({ name }) => ({ name, from: source.shard, to }))
  const reason = `the worker of shard ${String(source.shard)} is replaced by one of the installed version`
  return {
    upgrade: { waiting, current: source.shard, halted: '' },
    decision: { verdict: 'manual', reason, moves, expected: [] },
  }
}
