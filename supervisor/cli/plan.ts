/** A plan as people read it. Pure. */
import type { Disturbance, Plan } from '../../shared/api.ts'
import { count, formatTable } from './format.ts'
import { type Colors, plain } from './terminal.ts'

type PlanRow = Plan['services'][number]

/** The plan by shards, and a sum below. Services that stay as they are are only named. */
export function renderPlan({ services, shardSize, comparedWith, notes }: Plan, colors: Colors): string {
  const shards = new Map<number | null, PlanRow[]>()
  for (const row of services) shards.set(row.shard, [...(shards.get(row.shard) ?? []), row])
  const lines = [...shards].flatMap(([shard, members]) => [...renderShard(shard, members, shardSize, colors), ''])
  const remarks = notes.map((note) => colors.yellow(`note: ${plain(note)}`))
  return [...lines, renderSum(services, colors), ...remarks, colors.dim(COMPARED_WITH[comparedWith])].join('\n')
}

function renderShard(shard: number | null, rows: readonly PlanRow[], shardSize: number, colors: Colors): string[] {
  if (shard === null) return [colors.bold('In no shard'), ...renderChanges(rows, colors)]
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
      case 'released':
        return [
          [{ text: '  +', paint: colors.green }, row.name, `leaves quarantine, as it has changed${inFields(change.fields)}`],
        ]
      case 'quarantined':
        return [
          [
            { text: '  !', paint: colors.red },
            row.name,
            `stays in quarantine: ${plain(change.reason)}. A change of it or "tsnsrv-sup release ${row.name}" ends that.`,
          ],
        ]
      case 'removed':
        return [[{ text: '  -', paint: colors.red }, row.name, 'stops']]
      case 'changed':
        return [[{ text: '  ~', paint: colors.yellow }, row.name, `${DISTURBANCE[change.disturbs]}: ${list(change.fields)}`]]
      case 'moved': {
        const fields = change.fields.length === 0 ? '' : `, changed: ${list(change.fields)}`
        return [
          [{ text: ' ->', paint: colors.cyan }, row.name, `from shard ${change.from}: ${DISTURBANCE[change.disturbs]}${fields}`],
        ]
      }
    }
  })
  return formatTable(cells)
}

const inFields = (fields: readonly string[]) => (fields.length === 0 ? '' : `: ${list(fields)}`)
const list = (fields: readonly string[]) => plain(fields.join(', '))

const DISTURBANCE: Readonly<Record<Disturbance, string>> = {
  identity: 'a new node starts in place of this one, with other addresses, and has to log in',
  node: 'its node restarts',
  listener: 'its listeners are replaced, the node stays',
  proxy: 'in place, no connection is touched',
}

function renderSum(rows: readonly PlanRow[], colors: Colors): string {
  const number = (type: PlanRow['change']['type']) => String(rows.filter(({ change }) => change.type === type).length)
  // Rare enough to be told only when there are any.
  const rare = (type: PlanRow['change']['type'], what: string) => (number(type) === '0' ? '' : `${number(type)} ${what}, `)
  return colors.bold(
    `${number('added')} to add, ${rare('released', 'to release')}${number('changed')} to change, ${number('moved')} to move, ` +
      `${number('removed')} to remove, ${rare('quarantined', 'kept off')}${number('unchanged')} to leave alone.`,
  )
}

const COMPARED_WITH: Readonly<Record<Plan['comparedWith'], string>> = {
  supervisor: 'Compared with what runs, and read as the running supervisor would: with its flags, environment and directory.',
  stateFile:
    'No supervisor runs: compared with the placement that the last one wrote, in which changes of settings cannot be seen.',
  nothing: 'No supervisor runs and none has run here: everything is new.',
}
