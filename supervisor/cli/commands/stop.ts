import { setTimeout as sleep } from 'node:timers/promises'
import { type Command, InvalidArgumentError } from 'commander'
import type { Status } from '../../../shared/api.ts'
import { parseDuration } from '../../../shared/duration.ts'
import type { AdminClient } from '../../effects/adminClient.ts'
import { identify, look, withoutStart } from '../../effects/processIdentity.ts'
import { clientCommand, withAdminClient } from '../clientCommand.ts'
import { count } from '../format.ts'
import type { Streams } from '../terminal.ts'

/** `tsnsrv-sup stop`: returns when the supervisor has ended, so that the next `start` finds the place free. */
export function stopCommand(streams: Streams): Command {
  return clientCommand('stop', 'Stop the running supervisor: drain all services, end all workers.')
    .option('--leave-workers', 'end only the supervisor; the workers serve on and the next supervisor adopts them')
    .option('--timeout <duration>', 'how long to wait for the end', duration, 60_000)
    .addHelpText(
      'after',
      `
Examples:
  $ tsnsrv-sup stop
  $ tsnsrv-sup stop --leave-workers && tsnsrv-sup start --config services.yaml   # an upgrade that no request notices`,
    )
    .action((options: { leaveWorkers?: true; timeout: number }, command: Command) =>
      withAdminClient(command, async (client) => {
        const leaveWorkers = options.leaveWorkers === true
        const before = await client.status()
        await stop(client, before.pid, leaveWorkers, options.timeout)
        streams.stdout.write(`${describe(before, leaveWorkers)}\n`)
      }),
    )
}

async function stop(client: AdminClient, pid: number, leaveWorkers: boolean, timeoutMs: number): Promise<void> {
  const timeout = AbortSignal.timeout(timeoutMs)
  // Watched from before the order: the stream ends when the admin server does, shortly before the process.
  const ended = client.watch(() => undefined, timeout).catch(() => undefined)
  const supervisor = identify(pid) ?? withoutStart(pid)
  await client.stop({ leaveWorkers })
  await ended
  while (['same', 'hidden'].includes(look(supervisor))) {
    if (timeout.aborted) {
      throw new Error(
        `the supervisor (pid ${pid}) was told to stop and has not ended within ${timeoutMs / 1000} s; ` +
          'open requests may still be draining: see tsnsrv-sup status, or wait longer with --timeout',
      )
    }
    await sleep(20)
  }
}

function describe({ pid, services, shards }: Status, leaveWorkers: boolean): string {
  const workers = shards.filter((shard) => shard.workerPid !== null).length
  if (!leaveWorkers)
    return `Stopped the supervisor (pid ${pid}), ${count(workers, 'worker')} and ${count(services.length, 'service')}.`
  return `Stopped the supervisor (pid ${pid}); ${count(workers, 'worker')} with ${count(services.length, 'service')} serve on.`
}

function duration(text: string): number {
  const parsed = parseDuration(text)
  if ('problem' in parsed) throw new InvalidArgumentError(parsed.problem)
  return parsed.ms
}
