/** What the loop knows at a moment, and the picture of it that is decided on. Pure. */
import { leaveSuspects } from './culprit.ts'
import { shareCPU } from './loads.ts'
import type { MovePolicy } from './moves.ts'
import { type LoadedShard, type RebalancePolicy, type Snapshot, defaultRebalancing } from './rebalance.ts'
import { isAnswering, primaryWorkers } from './reconcile.ts'
import { takenNumbers } from './shardNumbers.ts'
import type { Desired, Observed, ObservedWorker, Remembered } from './types.ts'
import { SAMPLE_FRESH_MS, MOVE_QUEUE_TIMEOUT_MS, MOVE_READY_TIMEOUT_MS } from './tuning.ts'

/** The state of the loop, for those who decide and change nothing of it. */
export interface Situation {
  readonly remembered: Remembered
  readonly desired: Desired
  readonly observed: Observed
  /** The services of the configuration. */
  readonly services: ReadonlyMap<string, { readonly group: string; readonly ephemeral: boolean }>
  readonly settings: SituationSettings
  /** Epoch ms at which something last came to, or left, each shard. */
  readonly touchedAt: ReadonlyMap<number, number>
}

/** What of the settings decides about shards and moves. */
interface SituationSettings
  extends Pick<RebalancePolicy, 'shardSize' | 'hotPercent' | 'coldPercent' | 'minShards' | 'maxShards'> {
  readonly drainTimeoutMs: number
  /** Whether anything moves without an order. */
  readonly rebalance: boolean
  /** The policy's serviceCooldownMs and shardCooldownMs, by the names that the operator knows. */
  readonly moveCooldownMs: number
  readonly settleTimeMs: number
  /** 0 for none. */
  readonly memoryLimitBytes: number
}

/** How the shards stand. */
export function snapshotOf({ remembered, desired, observed, services, touchedAt }: Situation, now: number): Snapshot {
  const { movedAt, cordoned, pinned } = remembered.rebalancing
  const primaries = primaryWorkers(observed.workers.values())
  const members = new Map<number, string[]>()
  for (const [name, { shard }] of desired.services) {
    const names = members.get(shard)
    if (names) names.push(name)
    else members.set(shard, [name])
  }
  const shards = [...members].map(([shard, names]): LoadedShard => {
    const worker = primaries.get(shard)
    const cpuPercent = measuredCPU(worker, names, now)
    const shares = shareCPU(cpuPercent ?? 0, names, observed.works)
    return {
      shard,
      cpuPercent,
      services: names.map((name) => ({
        name,
        cpuPercent: shares.get(name) ?? 0,
        group: pinned.has(name) ? '' : (services.get(name)?.group ?? ''),
        pinned: pinned.has(name),
        ephemeral: services.get(name)?.ephemeral ?? false,
        movedAt: movedAt.get(name) ?? 0,
      })),
      cordoned: cordoned.has(shard) || names.every((name) => pinned.has(name)),
      settledAt: Math.max(worker?.since ?? now, touchedAt.get(shard) ?? 0),
    }
  })
  const snapshot = {
    shards: shards.sort((a, b) => a.shard - b.shard),
    taken: takenNumbers(remembered, observed),
    recentMoves: [...movedAt.values()],
  }
  return leaveSuspects(snapshot, remembered.culprits, now)
}

/** What the worker uses; null when that is not known, or is too old to decide on. */
export function freshUsage({ usage }: ObservedWorker, now: number): ObservedWorker['usage'] {
  return usage && now - usage.at <= SAMPLE_FRESH_MS ? usage : null
}

/** The worker's CPU, if it says something about how its services stand now. */
function measuredCPU(worker: ObservedWorker | undefined, names: readonly string[], now: number): number | null {
  if (!isAnswering(worker) || worker.calls.size > 0) return null
  const restless = names.some((name) => {
    const phase = worker.services.get(name)?.phase
    return phase === undefined || phase === 'standby' || phase === 'starting' || phase === 'draining'
  })
  return restless ? null : (freshUsage(worker, now)?.cpuPercent ?? null)
}

export function movePolicyOf({ settings: { shardSize, drainTimeoutMs } }: Situation): MovePolicy {
  return { shardSize, queueTimeoutMs: MOVE_QUEUE_TIMEOUT_MS, moveTimeoutMs: drainTimeoutMs + MOVE_READY_TIMEOUT_MS }
}

/** By the settings, or by the operator's word where he has given one. */
export function rebalancePolicyOf({ remembered, settings }: Situation): RebalancePolicy {
  const { scaledTo } = remembered.rebalancing
  const { shardSize, hotPercent, coldPercent, minShards, maxShards, moveCooldownMs, settleTimeMs } = settings
  return {
    ...defaultRebalancing,
    serviceCooldownMs: moveCooldownMs,
    shardCooldownMs: settleTimeMs,
    shardSize,
    hotPercent,
    coldPercent,
    minShards,
    maxShards,
    ...(scaledTo === null ? {} : { minShards: scaledTo, maxShards: scaledTo + remembered.culprits.suspects.size }),
  }
}

/** Why the load is not looked at for now; empty when it is. */
export function whyIdle({ settings, remembered }: Situation): string {
  const { rebalancing, moves } = remembered
  if (!settings.rebalance) return 'switched off by the configuration'
  if (rebalancing.paused) return 'paused by the operator; "tsnsrv-sup resume" ends that'
  if (moves.size > 0) return 'services are on their way'
  return rebalancing.upgrade ? 'workers are being replaced' : ''
}
