/** What happens to a supervisor in its life, in the order in which a soak goes round. */
import { type Operated, USUAL_SHARD_SIZE } from '../../harness/operated.ts'

export interface EventKind {
  readonly name: string
  /** Makes it happen; says how many services changed their shard. */
  happen(operated: Operated): Promise<{ moved: number }>
}

/** Smaller than what USUAL_SHARD_SIZE fills: about a quarter of all services has to move into another shard. */
const TIGHT_SHARD_SIZE = 15
const SOME = 3

export const EVENTS: readonly EventKind[] = [
  {
    name: 'reload that changes every proxy',
    async happen(operated) {
      const { moved } = await operated.reload({ revision: operated.configuration.revision + 1 })
      return { moved: moved.length }
    },
  },
  {
    name: `shard size ${USUAL_SHARD_SIZE} to ${TIGHT_SHARD_SIZE}`,
    async happen(operated) {
      const { moved } = await operated.reload({ shardSize: TIGHT_SHARD_SIZE })
      return { moved: moved.length }
    },
  },
  {
    name: 'supervisor replaced',
    async happen(operated) {
      await operated.replaceSupervisor()
      return { moved: 0 }
    },
  },
  {
    name: `shard size ${TIGHT_SHARD_SIZE} to ${USUAL_SHARD_SIZE}, the last shard's services removed and added again`,
    async happen(operated) {
      const all = operated.configuration.services
      const { services } = await operated.status()
      const last = Math.max(...services.map(({ shard }) => shard ?? 0))
      const leaving = new Set(services.filter(({ shard }) => shard === last).map(({ name }) => name))
      await operated.reload({ services: all.filter((name) => !leaving.has(name)), shardSize: USUAL_SHARD_SIZE })
      await operated.reload({ services: all })
      return { moved: leaving.size }
    },
  },
  {
    name: `${SOME} services removed and added again`,
    async happen(operated) {
      const all = operated.configuration.services
      await operated.reload({ services: all.slice(SOME) })
      await operated.reload({ services: all })
      return { moved: 0 }
    },
  },
]
