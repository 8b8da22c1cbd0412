import type { Command } from 'commander'
import { clientCommand, withAdminClient } from '../clientCommand.ts'
import type { Decision } from '../../../shared/api.ts'
import { followMoves, type FollowOptions, withFollowOptions } from '../followMoves.ts'
import { type Streams, plain } from '../terminal.ts'

/** `tsnsrv-sup rebalance [--dry-run]` */
export function rebalanceCommand(streams: Streams): Command {
  return withFollowOptions(clientCommand('rebalance', 'Spread the load over the shards now, without regard to cooldowns.'))
    .option('--dry-run', 'only tell what would move, and why')
    .action(({ dryRun = false, ...options }: FollowOptions & { dryRun?: boolean }, command: Command) =>
      withAdminClient(command, async (client) => {
        const decision = await client.order('rebalance', { dryRun })
        if (dryRun) streams.stdout.write(`${options.json ? JSON.stringify(decision, null, 2) : describe(decision)}\n`)
        else await followMoves(client, decision, options, streams)
      }),
    )
}

function describe({ reason, moves, expected }: Decision): string {
  if (moves.length === 0) return `Nothing would move: ${plain(reason)}.`
  return [
    `It would move: ${plain(reason)}`,
    ...moves.map(({ name, from, to }) => `  ${name}: shard ${String(from)} -> ${String(to)}`),
    ...expected.map(
      ({ shard, beforePercent, afterPercent }) =>
        `  shard ${String(shard)}: ${beforePercent.toFixed(0)} % -> ${afterPercent.toFixed(0)} % of a core`,
    ),
  ].join('\n')
}
