/**
 * The shape of state.json, which is the supervisor's own: what it shows by its API may change without it. A file of an earlier
 * version is brought to this one step by step; shared/fixtures/state has one of each that still loads. Pure.
 *
 * A change that an earlier supervisor would not understand raises VERSION and adds a step. The earlier one sets such a file aside
 * and takes the truth from the workers.
 */
import * as z from 'zod'
import type { Remembered } from '../core/types.ts'

const VERSION = 2

/** From each version to the next. */
const STEPS: Readonly<Record<number, (file: Json) => Json>> = {
  // Version 1 grew without a number: its first files have a placement alone. Services that were moved by hand away from their group
  // were called "apart", and stay where they are like those that are pinned.
  1: ({ rebalancing, ...file }) => {
    const {
      apart = [],
      pinned = [],
      decisions = [],
      ...rest
    } = (rebalancing ?? NOT_REBALANCED) as Json & {
      apart?: string[]
      pinned?: string[]
      decisions?: Json[]
    }
    return {
      certificateOrders: {},
      moves: {},
      rates: {},
      culprits: { deaths: [], suspects: {}, quarantine: {} },
      ...file,
      rebalancing: {
        ...rest,
        pinned: [...pinned, ...apart],
        decisions: decisions.map((record) => ({ carriedOutAt: null, measuredAt: null, ...record })),
      },
    }
  },
}
type Json = Record<string, unknown>

const NOT_REBALANCED = { paused: false, cordoned: [], scaledTo: null, movedAt: {}, upgrade: null }

const Shard = z.number().int().min(1)
const EpochMs = z.number()
const Percent = z.number()

/** Maps with text keys are objects in the file, sets are lists. */
const mapOf = <T extends z.ZodType>(value: T) => z.record(z.string(), value).transform((found) => new Map(Object.entries(found)))
const setOf = <T extends z.ZodType>(value: T) => z.array(value).transform((found) => new Set(found))

const Move = z.object({
  from: Shard,
  to: Shard,
  why: z.string(),
  queuedAt: EpochMs,
  begunAt: EpochMs.nullable(),
  problem: z.string(),
})

const DecisionRecord = z.object({
  verdict: z.enum(['replace', 'relieve', 'scale', 'level', 'merge', 'join', 'manual', 'corner', 'none']),
  reason: z.string(),
  moves: z.array(z.object({ name: z.string(), from: Shard, to: Shard })),
  expected: z.array(z.object({ shard: Shard, beforePercent: Percent, afterPercent: Percent })),
  at: EpochMs,
  carriedOutAt: EpochMs.nullable(),
  measured: z.array(z.object({ shard: Shard, percent: Percent })).nullable(),
  measuredAt: EpochMs.nullable(),
  problems: z.array(z.string()),
})

const Rebalancing = z.object({
  paused: z.boolean(),
  cordoned: setOf(Shard),
  scaledTo: z.number().int().min(1).nullable(),
  pinned: setOf(z.string()),
  movedAt: mapOf(EpochMs),
  upgrade: z.object({ waiting: z.array(Shard), current: Shard.nullable(), halted: z.string() }).nullable(),
  decisions: z.array(DecisionRecord),
})

const Culprits = z.object({
  deaths: z.array(
    z.object({
      shard: Shard,
      at: EpochMs,
      services: z.array(z.string()),
      why: z.string(),
      search: EpochMs.nullable(),
      witnessed: z.boolean(),
    }),
  ),
  suspects: mapOf(EpochMs).transform((found) => new Map([...found].map(([shard, search]) => [Number(shard), search]))),
  quarantine: mapOf(z.object({ since: EpochMs, reason: z.string(), specHash: z.string() })),
})

const State = z.object({
  placement: mapOf(Shard),
  certificateOrders: mapOf(z.array(EpochMs)),
  moves: mapOf(Move),
  rebalancing: Rebalancing,
  rates: mapOf(z.number().min(0)),
  culprits: Culprits,
})

const Versioned = z.looseObject({ version: z.number().int().min(1).max(VERSION) })

/** What a state file says, of this version or an earlier one. Throws ZodError when it says nothing of the kind. */
export function parseState(json: unknown): Remembered {
  let { version, ...file }: { version: number } & Json = Versioned.parse(json)
  for (; version < VERSION; version++) file = STEPS[version]?.(file) ?? file
  return State.parse(file)
}

/** The text of a state file. */
export function serializeState(state: Remembered): string {
  return `${JSON.stringify({ version: VERSION, ...state }, plain, 1)}\n`
}

/** For JSON.stringify: maps as objects, and sets as lists. */
export function plain(_key: string, value: unknown): unknown {
  if (value instanceof Map) return Object.fromEntries(value as Map<string, unknown>)
  return value instanceof Set ? [...(value as Set<unknown>)] : value
}
