/**
 * What must survive the supervisor: placement, the journal of moves, orders of certificates, what rebalancing remembers, and culprits.
 * Written to a temporary name, fsynced and renamed; a damaged file is moved aside with a warning, and the truth is then what
 * the living workers say.
 */
import { constants } from 'node:fs'
import { access, mkdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod'
import { DecisionRecord, RebalancingView } from '../../shared/api.ts'
import { inWords } from '../../shared/systemErrors.ts'
import { noCulprits } from '../core/culpritRecord.ts'
import { unsafeDirectory } from '../core/privateDirectory.ts'
import { notRebalanced, type Remembered } from '../core/types.ts'
import { setAside, writeAtomically } from './atomicFile.ts'

const Shard = z.number().int().min(1)
const EpochMs = z.number()

/** A map with text keys is an object in the file. */
const mapOf = <T extends z.ZodType>(value: T) => z.record(z.string(), value).transform((found) => new Map(Object.entries(found)))

const Move = z.object({
  from: Shard,
  to: Shard,
  why: z.string(),
  queuedAt: EpochMs,
  begunAt: EpochMs.nullable(),
  problem: z.string(),
})

const Names = z.array(z.string()).prefault([])

const RebalancingRecord = z.object({
  paused: z.boolean(),
  cordoned: z.array(Shard).transform((shards) => new Set(shards)),
  scaledTo: z.number().int().min(1).nullable(),
  pinned: Names,
  /** Of earlier versions: services that were moved by hand away from their group. */
  apart: Names,
  movedAt: mapOf(EpochMs),
  upgrade: RebalancingView.shape.upgrade,
  decisions: z.array(DecisionRecord),
})
const Rebalancing = RebalancingRecord.transform(({ apart, pinned, ...rest }) => ({
  ...rest,
  pinned: new Set([...pinned, ...apart]),
}))

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
  version: z.literal(1),
  placement: mapOf(Shard),
  certificateOrders: mapOf(z.array(EpochMs)).prefault({}),
  moves: mapOf(Move).prefault({}),
  rebalancing: Rebalancing.optional(),
  rates: mapOf(z.number().min(0)).prefault({}),
  culprits: Culprits.optional(),
})

/** Where the supervisor keeps its own things: no service can be called that, a name has no dots. */
export const ownDirectory = (stateDir: string): string => join(stateDir, '.supervisor')
export const stateFilePath = (stateDir: string): string => join(ownDirectory(stateDir), 'state.json')
export const logDirectory = (stateDir: string): string => join(ownDirectory(stateDir), 'logs')

/** A state file that cannot be used, and why. */
export class StateFileError extends Error {
  override readonly name = 'StateFileError'
}

/** A directory of the supervisor that it cannot use: a matter of how it was called, and not of what it found. */
export class UnusableDirectoryError extends Error {
  override readonly name = 'UnusableDirectoryError'
}

/** What was last written; null when nothing was. Throws StateFileError when the file is there but cannot be read or is damaged. */
export async function readStateFile(stateDir: string): Promise<Remembered | null> {
  const path = stateFilePath(stateDir)
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw new StateFileError(`cannot read ${path}: ${inWords(error)}`)
  }
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw new StateFileError(`${path} is damaged: ${inWords(error)}`)
  }
  const state = State.safeParse(json)
  if (!state.success) throw new StateFileError(`${path} is damaged: ${z.prettifyError(state.error)}`)
  const { placement, certificateOrders, moves, rebalancing = notRebalanced, rates, culprits = noCulprits } = state.data
  return { placement, certificateOrders, moves, rebalancing, rates, culprits }
}

/** Moves a damaged state file aside, under a name that tells when. Returns the new path. */
export function setStateFileAside(stateDir: string, now: Date): Promise<string> {
  return setAside(stateFilePath(stateDir), now)
}

/** Writes it so that after a crash at any moment either the old or the new file is there, whole. */
export async function writeStateFile(stateDir: string, state: Remembered): Promise<void> {
  const path = stateFilePath(stateDir)
  await writeAtomically(path, `${JSON.stringify({ version: 1, ...state }, plain, 1)}\n`).catch((error: unknown) => {
    throw new StateFileError(`cannot write ${path}: ${inWords(error)}; what was written before is still there`)
  })
}

/** Maps as objects, and sets as lists. */
export function plain(_key: string, value: unknown): unknown {
  if (value instanceof Map) return Object.fromEntries(value as Map<string, unknown>)
  return value instanceof Set ? [...(value as Set<unknown>)] : value
}

/**
 * Makes the directories of the supervisor, 0700, and checks that it can write in them and that nobody else can. Throws
 * UnusableDirectoryError.
 */
export async function prepareDirectories(stateDir: string, runDir: string): Promise<void> {
  for (const directory of [stateDir, ownDirectory(stateDir), logDirectory(stateDir), runDir]) {
    const flag = directory === runDir ? '--run-dir' : '--state-dir'
    let problem: string
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 })
      await access(directory, constants.R_OK | constants.W_OK | constants.X_OK)
      problem = unsafeDirectory(directory, await stat(directory), { flag, user: process.geteuid?.() })
    } catch (error) {
      problem = `${directory}: ${inWords(error)}. Choose another ${flag}, or give this user access`
    }
    if (problem !== '') throw new UnusableDirectoryError(`cannot use ${problem}`)
  }
}
