/** What a configuration would make of what is there now. Pure; rendering included. */
import type { Placement } from '../core/types.ts'
import { count, formatTable } from './format.ts'
import { type Colors, plain } from './terminal.ts'

/** A service as the configuration wants it. */
export interface PlannedService {
  readonly name: string
  readonly weight: number
  readonly group: string
  readonly upstream: string
  readonly spec: { readonly specHash: string }
}

/** What the plan is compared with. */
export interface Previous {
  readonly source: 'supervisor' | 'stateFile' | 'nothing'
  readonly placement: Placement
  /** Of the services that run; missing where that is not known. */
  readonly specHashes: ReadonlyMap<string, string>
}

/** What happens to a service; `node`, `listener` and `proxy` are what of it changes, in falling order of disturbance. */
type Change =
  | { readonly type: 'added' | 'removed' | 'unchanged' }
  | { readonly type: 'changed'; readonly part: 'node' | 'listener' | 'proxy' | 'unknown' }
  | { readonly type: 'moved'; readonly from: number }

export interface PlanRow {
  readonly name: string
  readonly shard: number
  readonly weight: number
  readonly group: string
  readonly upstream: string
  readonly change: Change
}

/** Rows sorted by shard and name; removed services stand where they are now. */
export function makePlan(services: readonly PlannedService[], placement: Placement, previous: Previous): PlanRow[] {
  const wanted = new Set(services.map((service) => service.name))
  const rows = services.map(({ name, weight, group, upstream, spec }): PlanRow => {
    const shard = placement.get(name)
    if (shard === undefined) throw new Error(`service ${name} was given no shard`)
    return { name, shard, weight, group, upstream, change: changeOf(name, shard, spec.specHash, previous) }
  })
  for (const [name, shard] of previous.placement) {
    if (!wanted.has(name)) rows.push({ name, shard, weight: 0, group: '', upstream: '', change: { type: 'removed' } })
  }
  return rows.sort((a, b) => a.shard - b.shard || (a.name < b.name ? -1 : 1))
}

function changeOf(name: string, shard: number, specHash: string, { placement, specHashes }: Previous): Change {
  const from = placement.get(name)
  if (from === undefined) return { type: 'added' }
  if (from !== shard) return { type: 'moved', from }
  const running = specHashes.get(name)
  if (running === undefined || running === specHash) return { type: 'unchanged' }
  return { type: 'changed', part: changedPart(running, specHash) }
}

/** A specHash is made of the hashes of node, listeners and proxy, so that two of them tell what a change disturbs. */
function changedPart(before: string, after: string): 'node' | 'listener' | 'proxy' | 'unknown' {
  const [old, next] = [before.split('-'), after.split('-')]
  if (old.length !== 3 || next.length !== 3) return 'unknown'
  if (old[0] !== next[0]) return 'node'
  return old[1] === next[1] ? 'proxy' : 'listener'
}

/** The plan by shards, and a sum below. Services that stay as they are are only named. */
export function renderPlan(rows: readonly PlanRow[], previous: Previous, shardSize: number, colors: Colors): string {
  const shards = new Map<number, PlanRow[]>()
  for (const row of rows) shards.set(row.shard, [...(shards.get(row.shard) ?? []), row])
  const lines = [...shards].flatMap(([shard, members]) => [...renderShard(shard, members, shardSize, colors), ''])
  return [...lines, ...renderSum(rows, previous, colors)].join('\n')
}

function renderShard(shard: number, rows: readonly PlanRow[], shardSize: number, colors: Colors): string[] {
  const staying = rows.filter(({ change }) => change.type !== 'removed')
  const weight = staying.reduce((sum, row) => sum + row.weight, 0)
  const title = colors.bold(`Shard ${shard}`)
  if (staying.length === 0) return [`${title}: ends`, ...renderChanges(rows, colors)]
  const unchanged = rows.filter(({ change }) => change.type === 'unchanged').map(({ name }) => name)
  return [
    `${title}: ${staying.length} of at most ${count(shardSize, 'service')}, weight ${Math.round(weight * 100) / 100}`,
    ...(unchanged.length === 0 ? [] : [colors.dim(`  = ${unchanged.join(' ')}`)]),
    ...renderChanges(rows, colors),
  ]
}

function renderChanges(rows: readonly PlanRow[], colors: Colors): string[] {
  const cells = rows.flatMap((row) => {
    const { change } = row
    switch (change.type) {
      case 'unchanged':
        return []
      case 'added':
        return [[{ text: '  +', paint: colors.green }, row.name, plain(row.upstream)]]
      case 'removed':
        return [[{ text: '  -', paint: colors.red }, row.name, 'stops']]
      case 'changed':
        return [[{ text: '  ~', paint: colors.yellow }, row.name, DISTURBANCE[change.part]]]
      case 'moved':
        return [[{ text: ' ->', paint: colors.cyan }, row.name, `from shard ${change.from}: its node restarts here`]]
    }
  })
  return formatTable(cells)
}

const DISTURBANCE = {
  node: 'its node restarts',
  listener: 'its listener is replaced, the node stays',
  proxy: 'in place, no connection is touched',
  unknown: 'changes',
}

function renderSum(rows: readonly PlanRow[], { source }: Previous, colors: Colors): string[] {
  const number = (type: Change['type']) => String(rows.filter(({ change }) => change.type === type).length)
  const sum = `${number('added')} to add, ${number('changed')} to change, ${number('moved')} to move, ${number('removed')} to remove, ${number('unchanged')} to leave alone.`
  return [colors.bold(sum), colors.dim(COMPARED_WITH[source])]
}

const COMPARED_WITH = {
  supervisor: 'Compared with what runs.',
  stateFile:
    'No supervisor runs: compared with the placement that the last one wrote, in which changes of settings cannot be seen.',
  nothing: 'No supervisor runs and none has run here: everything is new.',
}
