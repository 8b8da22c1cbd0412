/** What a configuration would make of what is there now. Pure. */
import type { Plan, PlannedChange } from '../../shared/api.ts'
import type { ServiceSpec } from '../../shared/protocol.ts'
import { type SpecChange, changeOfSpec } from './disturbance.ts'
import { compare } from './placement.ts'
import type { Remembered } from './types.ts'

type Spec = Pick<ServiceSpec, 'exposure' | 'listeners' | 'proxy' | 'limits' | 'tcpAllow'>

/** A service as the configuration wants it. */
export interface PlannedService {
  readonly name: string
  readonly weight: number
  readonly group: string
  readonly upstream: string
  readonly spec: Spec
}

/** Where the services are, and which are kept off. */
type Whereabouts = Pick<Remembered, 'placement' | 'culprits'>

/** What the plan is compared with. */
export interface Previous extends Whereabouts {
  readonly source: Plan['comparedWith']
  /** Of the services as they are; missing where that is not known. */
  readonly specs: ReadonlyMap<string, Spec>
}

/** Rows sorted by shard and name, those without a place last; removed services stand where they are now. */
export function makePlan(
  services: readonly PlannedService[],
  next: Whereabouts,
  previous: Previous,
  { shardSize }: { readonly shardSize: number },
): Plan {
  const wanted = new Set(services.map((service) => service.name))
  const rows = services.map(({ name, weight, group, upstream, spec }): Plan['services'][number] => {
    const row = { name, weight, group, upstream }
    const kept = next.culprits.quarantine.get(name)
    if (kept) return { ...row, shard: null, change: { type: 'quarantined', reason: kept.reason } }
    const shard = next.placement.get(name)
    if (shard === undefined) throw new Error(`service ${name} was given no shard`)
    return { ...row, shard, change: changeOf(name, shard, spec, previous) }
  })
  for (const name of [...previous.placement.keys(), ...previous.culprits.quarantine.keys()]) {
    const shard = previous.placement.get(name) ?? null
    if (!wanted.has(name)) rows.push({ name, shard, weight: 0, group: '', upstream: '', change: { type: 'removed' } })
  }
  const place = ({ shard }: { shard: number | null }) => shard ?? Number.MAX_SAFE_INTEGER
  rows.sort((a, b) => place(a) - place(b) || compare(a.name, b.name))
  return { comparedWith: previous.source, shardSize, services: rows, notes: [] }
}

function changeOf(name: string, shard: number, spec: Spec, { placement, culprits, specs }: Previous): PlannedChange {
  const running = specs.get(name)
  const change: SpecChange | null = running ? changeOfSpec(running, spec) : null
  if (culprits.quarantine.has(name)) return { type: 'released', fields: change?.fields ?? [] }
  const from = placement.get(name)
  if (from === undefined) return { type: 'added' }
  if (from === shard) return change ? { type: 'changed', ...change } : { type: 'unchanged' }
  // Ending the node of an ephemeral service in one shard and starting it in another makes a new one as well.
  const isNew = change?.disturbs === 'identity' || running?.exposure.node.ephemeral === true
  return { type: 'moved', from, disturbs: isNew ? 'identity' : 'node', fields: change?.fields ?? [] }
}
