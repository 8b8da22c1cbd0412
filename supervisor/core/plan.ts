/** What a configuration would make of what is there now. Pure. */
import type { Plan, PlannedChange } from '../../shared/api.ts'
import { type SpecChange, changeOfSpec } from './disturbance.ts'
import type { ServiceSpec } from '../../shared/protocol.ts'
import type { Placement } from './types.ts'

type Spec = Pick<ServiceSpec, 'node' | 'listeners' | 'proxy'>

/** A service as the configuration wants it. */
export interface PlannedService {
  readonly name: string
  readonly weight: number
  readonly group: string
  readonly upstream: string
  readonly spec: Spec
}

/** What the plan is compared with. */
export interface Previous {
  readonly source: Plan['comparedWith']
  readonly placement: Placement
  /** Of the services that run; missing where that is not known. */
  readonly specs: ReadonlyMap<string, Spec>
}

/** Rows sorted by shard and name; removed services stand where they are now. */
export function makePlan(
  services: readonly PlannedService[],
  placement: Placement,
  previous: Previous,
  { shardSize }: { readonly shardSize: number },
): Plan {
  const wanted = new Set(services.map((service) => service.name))
  const rows = services.map(({ name, weight, group, upstream, spec }): Plan['services'][number] => {
    const shard = placement.get(name)
    if (shard === undefined) throw new Error(`service ${name} was given no shard`)
    return { name, shard, weight, group, upstream, change: changeOf(name, shard, spec, previous) }
  })
  for (const [name, shard] of previous.placement) {
    if (!wanted.has(name)) rows.push({ name, shard, weight: 0, group: '', upstream: '', change: { type: 'removed' } })
  }
  rows.sort((a, b) => a.shard - b.shard || (a.name < b.name ? -1 : 1))
  return { comparedWith: previous.source, shardSize, services: rows, notes: [] }
}

function changeOf(name: string, shard: number, spec: Spec, { placement, specs }: Previous): PlannedChange {
  const from = placement.get(name)
  if (from === undefined) return { type: 'added' }
  const running = specs.get(name)
  const change: SpecChange | null = running ? changeOfSpec(running, spec) : null
  if (from === shard) return change ? { type: 'changed', ...change } : { type: 'unchanged' }
  // Ending the node of an ephemeral service in one shard and starting it in another makes a new one as well.
  const isNew = change?.disturbs === 'identity' || running?.node.ephemeral === true
  return { type: 'moved', from, disturbs: isNew ? 'identity' : 'node', fields: change?.fields ?? [] }
}
