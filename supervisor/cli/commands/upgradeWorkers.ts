import type { Command } from 'commander'
import { clientCommand, withAdminClient } from '../clientCommand.ts'
import { MovesFailedError } from '../followMoves.ts'
import { count } from '../format.ts'
import { type Streams, plain } from '../terminal.ts'

/** `tsnsrv-sup upgrade-workers [--all]` */
export function upgradeWorkersCommand(streams: Streams): Command {
  return clientCommand('upgrade-workers', 'Replace workers of another version than the installed one, shard by shard.')
    .option('--all', 'also those of the installed version')
    .addHelpText(
      'after',
      `
The services of a shard move one after the other into a fresh shard with a worker of the installed version. It halts when one
does not come up there: it goes back, and the other shards stay as they are.`,
    )
    .action(({ all = false }: { all?: boolean }, command: Command) =>
      withAdminClient(command, async (client) => {
        const { shards } = await client.order('upgrade-workers', { all })
        if (shards.length === 0) {
          streams.stdout.write('Every worker is of the installed version.\n')
          return
        }
        streams.stdout.write(`${count(shards.length, 'worker')} to replace\n`)
        const done = new AbortController()
        let halted = ''
        await client.watch(({ moves, rebalancing: { upgrade } }) => {
          halted = upgrade?.halted ?? ''
          if (moves.length === 0 && (upgrade === null || halted !== '')) done.abort()
        }, done.signal)
        if (halted !== '') throw new MovesFailedError(plain(halted))
        if (!done.signal.aborted) throw new MovesFailedError('the supervisor has ended; the next one goes on')
        streams.stdout.write('All are replaced.\n')
      }),
    )
}
