/** Waits for the moves of an order, and tells what becomes of each. */
import type { Command } from 'commander'
import type { Decision, Status } from '../../shared/api.ts'
import type { AdminClient } from '../effects/adminClient.ts'
import { count } from './format.ts'
import { type Streams, plain } from './terminal.ts'

/** Some moves have come to nothing: the services are where they were. */
export class MovesFailedError extends Error {
  override readonly name = 'MovesFailedError'
}

export interface FollowOptions {
  readonly json?: true
  /** False for --no-wait. */
  readonly wait: boolean
}

/** Adds --json and --no-wait to a command that orders moves. */
export function withFollowOptions(command: Command): Command {
  return command
    .option('--json', 'print the decision as JSON, with the services that failed to move')
    .option('--no-wait', 'return when it is decided; the moves continue')
}

/**
 * Tells what was decided, and resolves when all of it is done. Rejects with MovesFailedError when a part was not, or when the
 * supervisor ends before.
 */
export async function followMoves(
  client: AdminClient,
  decision: Decision,
  { json, wait }: FollowOptions,
  { stdout }: Streams,
): Promise<void> {
  const tell = (line: string) => {
    if (!json) stdout.write(`${line}\n`)
  }
  tell(describe(decision))
  const failed = wait && decision.moves.length > 0 ? await untilMoved(client, decision.moves, tell) : []
  if (json) stdout.write(`${JSON.stringify(wait ? { ...decision, failed } : decision, null, 2)}\n`)
  if (failed.length === 0) return
  const why = failed.map(({ problem }) => plain(problem)).filter((problem) => problem !== '')
  throw new MovesFailedError(`${failed.map(({ name }) => name).join(', ')} did not move. ${why.join('; ')}`)
}

function describe({ verdict, reason, moves }: Decision): string {
  if (moves.length === 0) return `Nothing moves: ${plain(reason)}.`
  if (verdict !== 'manual') return `${count(moves.length, 'service')} to move: ${plain(reason)}`
  return moves.map(({ name, from, to }) => `Moving ${name} from shard ${String(from)} to ${String(to)}.`).join('\n')
}

/** Resolves with those that are not where they were sent, and why, when none is on its way any more. */
async function untilMoved(
  client: AdminClient,
  moves: Decision['moves'],
  tell: (line: string) => void,
): Promise<{ name: string; problem: string }[]> {
  const open = new Map(moves.map(({ name, to }) => [name, to]))
  const failed: string[] = []
  const done = new AbortController()
  const look = ({ moves: journal, services }: Status) => {
    const travelling = new Set(journal.map(({ name }) => name))
    for (const [name, to] of open) {
      if (travelling.has(name)) continue
      open.delete(name)
      const shard = services.find((service) => service.name === name)?.shard
      if (shard === to) tell(`${name} is in shard ${String(to)}.`)
      else failed.push(name)
    }
    if (open.size === 0) done.abort()
  }
  await client.watch(look, done.signal)
  if (open.size > 0) throw new MovesFailedError('the supervisor has ended; the next one goes on with what is begun')
  if (failed.length === 0) return []
  const problems = (await client.status()).rebalancing.decisions.flatMap(({ problems: told }) => told)
  return failed.map((name) => ({ name, problem: problems.find((problem) => problem.startsWith(`${name} `)) ?? '' }))
}

/** Resolves when a status fulfils the condition. Rejects with MovesFailedError when the supervisor ends before. */
export async function untilStatus(client: AdminClient, condition: (status: Status) => boolean): Promise<void> {
  const done = new AbortController()
  await client.watch((status) => {
    if (condition(status)) done.abort()
  }, done.signal)
  if (!done.signal.aborted) throw new MovesFailedError('the supervisor has ended; the next one goes on')
}
