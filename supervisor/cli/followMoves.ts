/** Waits for the moves of an order, and tells what becomes of each. */
import type { Decision, Status } from '../../shared/api.ts'
import type { AdminClient } from '../effects/adminClient.ts'
import { count } from './format.ts'
import { type Streams, plain } from './terminal.ts'

/** Some moves have come to nothing: the services are where they were. */
export class MovesFailedError extends Error {
  override readonly name = 'MovesFailedError'
}

/** Tells what was decided, and resolves when all of it is done. Rejects with MovesFailedError when a part was not. */
export async function followMoves(client: AdminClient, { reason, moves }: Decision, { stdout }: Streams): Promise<void> {
  if (moves.length === 0) {
    stdout.write(`Nothing moves: ${plain(reason)}.\n`)
    return
  }
  const open = new Map(moves.map(({ name, to }) => [name, to]))
  const failed: string[] = []
  const done = new AbortController()
  const look = ({ moves: journal, services }: Status) => {
    const travelling = new Set(journal.map(({ name }) => name))
    for (const [name, to] of open) {
      if (travelling.has(name)) continue
      open.delete(name)
      const shard = services.find((service) => service.name === name)?.shard
      if (shard === to) stdout.write(`${name} is in shard ${String(to)}\n`)
      else failed.push(name)
    }
    if (open.size === 0) done.abort()
  }
  stdout.write(`${count(moves.length, 'service')} to move: ${plain(reason)}\n`)
  await client.watch(look, done.signal)
  if (open.size > 0) throw new MovesFailedError('the supervisor has ended; the next one goes on with what is begun')
  if (failed.length === 0) return
  const { rebalancing } = await client.status()
  const why = rebalancing.decisions
    .flatMap(({ problems }) => problems)
    .filter((problem) => failed.some((name) => problem.startsWith(`${name} `)))
  throw new MovesFailedError(`${failed.join(', ')} did not move. ${why.slice(0, failed.length).map(plain).join('; ')}`)
}
