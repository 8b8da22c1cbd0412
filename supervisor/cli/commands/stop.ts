import { setTimeout as sleep } from 'node:timers/promises'
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Status } from '../../../shared/api.ts'
import { nameOrphan } from '../../core/orphans.ts'
import type { EndedOrphan } from '../../core/types.ts'
import { type AdminClient, NoSupervisorError } from '../../effects/adminClient.ts'
import { identify, look, withoutStart } from '../../effects/processIdentity.ts'
import { clientCommand, directoriesOf, withAdminClient } from '../clientCommand.ts'
import { endUnsupervised } from '../endUnsupervised.ts'
import { count } from '../format.ts'
import { readDuration } from '../readDuration.ts'
import { plain, type Streams } from '../terminal.ts'

interface StopOptions {
  leaveWorkers?: true
  workers?: true
  timeout: number
}

/** `tsnsrv-sup stop`: returns when the supervisor has ended, so that the next `start` finds the place free. */
export function stopCommand(streams: Streams): Command {
  return clientCommand('stop', 'Stop the running supervisor: drain all services, end all workers.')
    .option('--leave-workers', 'end only the supervisor; the workers keep serving and the next supervisor adopts them')
    .option('--workers', 'end only the workers that no supervisor follows: all of them where none runs')
    .addOption(new Option('--timeout <duration>', 'how long to wait for the end').argParser(readDuration).default(60_000, '60s'))
    .addHelpText(
      'after',
      `
Examples:
  $ tsnsrv-sup stop
  $ tsnsrv-sup stop --leave-workers && tsnsrv-sup start --config services.yaml   # an upgrade that no request notices
  $ tsnsrv-sup stop --workers   # after a supervisor that was killed and should not come back`,
    )
    .action(async (options: StopOptions, command: Command) => {
      if (options.workers) {
        if (options.leaveWorkers) throw new InvalidArgumentError('--workers and --leave-workers exclude each other')
        await stopWorkers(command, options.timeout, streams)
        return
      }
      await withAdminClient(command, async (client) => {
        const leaveWorkers = options.leaveWorkers === true
        const before = await client.status()
        await stop(client, before.pid, leaveWorkers, options.timeout)
        streams.stdout.write(`${describe(before, leaveWorkers)}\n`)
      })
    })
}

/** A running supervisor does it itself: only it knows which workers it follows. */
async function stopWorkers(command: Command, timeoutMs: number, { stdout }: Streams): Promise<void> {
  const directories = await directoriesOf(command)
  const ended = await withAdminClient(command, (client) => client.endOrphans({ timeoutMs })).catch((error: unknown) => {
    if (error instanceof NoSupervisorError) return endUnsupervised(directories)
    throw error
  })
  if (ended.length === 0) stdout.write('No worker runs without a supervisor.\n')
  for (const orphan of ended.filter(({ problem }) => problem === '')) stdout.write(`Ended ${describeOrphan(orphan)}.\n`)
  const left = ended.filter(({ problem }) => problem !== '')
  if (left.length > 0) throw new Error(left.map((orphan) => `${describeOrphan(orphan)} still runs: ${orphan.problem}`).join('\n'))
}

function describeOrphan(orphan: EndedOrphan): string {
  return plain(`${nameOrphan(orphan)}${orphan.services.length > 0 ? ` with ${orphan.services.join(', ')}` : ''}`)
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

function describe({ pid, services, shards, orphans }: Status, leaveWorkers: boolean): string {
  const workers = shards.filter((shard) => shard.workerPid !== null).length
  const left = orphans.map(({ message }) => `\n${plain(message)}`).join('')
  if (!leaveWorkers)
    return `Stopped the supervisor (pid ${pid}), ${count(workers, 'worker')} and ${count(services.length, 'service')}.${left}`
  return `Stopped the supervisor (pid ${pid}); ${count(workers, 'worker')} with ${count(services.length, 'service')} keep serving.${left}`
}
