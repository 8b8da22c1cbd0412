import type { Command } from 'commander'
import type { Status } from '../../../shared/api.ts'
import { clientCommand, withAdminClient } from '../clientCommand.ts'
import { type FollowOptions, MovesFailedError, untilStatus, withFollowOptions } from '../followMoves.ts'
import { count } from '../format.ts'
import { type Streams, plain } from '../terminal.ts'

/** `tsnsrv-sup upgrade-workers [--all]` */
export function upgradeWorkersCommand(streams: Streams): Command {
  return withFollowOptions(
    clientCommand('upgrade-workers', 'Replace workers of another version than the installed one, shard by shard.'),
  )
    .option('--all', 'also those of the installed version')
    .addHelpText(
      'after',
      `
The services of a shard move one after the other into a fresh shard with a worker of the installed version. It stops when one
does not come up there: it goes back, and the other shards stay as they are.`,
    )
    .action(({ all = false, json, wait }: FollowOptions & { all?: boolean }, command: Command) =>
      withAdminClient(command, async (client) => {
        const answer = await client.order('upgrade-workers', { all })
        const number = answer.shards.length
        const tell = (line: string) => {
          if (!json) streams.stdout.write(`${line}\n`)
        }
        tell(number === 0 ? 'Every worker is of the installed version.' : `${count(number, 'worker')} to replace.`)
        if (number > 0 && wait) await untilStatus(client, follower(number, tell))
        if (number > 0 && wait) tell('All are replaced.')
        if (json) streams.stdout.write(`${JSON.stringify(answer, null, 2)}\n`)
      }),
    )
}

/** Tells when the next worker's turn comes; true once the upgrade is over. Throws MovesFailedError when it has halted. */
function follower(number: number, tell: (line: string) => void): (status: Status) => boolean {
  let told: number | null = null
  return ({ moves, rebalancing: { upgrade } }) => {
    const current = upgrade?.current ?? null
    if (current !== null && current !== told) {
      told = current
      const turn = number - (upgrade?.waiting.length ?? 0)
      tell(`Shard ${String(current)}: its services move to a fresh worker (${String(turn)} of ${String(number)}).`)
    }
    if (upgrade && upgrade.halted !== '' && moves.length === 0) throw new MovesFailedError(plain(upgrade.halted))
    return moves.length === 0 && upgrade === null
  }
}
