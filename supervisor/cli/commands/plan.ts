import { join } from 'node:path'
import { Command } from 'commander'
import * as z from 'zod'
import type { Status } from '../../../shared/api.ts'
import { ServiceStatus } from '../../../shared/protocol.ts'
import { addSettingsOptions, type Settings } from '../../config/settings.ts'
import { place } from '../../core/placement.ts'
import { createAdminClient, NoSupervisorError } from '../../effects/adminClient.ts'
import { loadConfig } from '../../effects/configFile.ts'
import { createSocketClient } from '../../effects/socketClient.ts'
import { readStateFile } from '../../effects/stateFile.ts'
import { makePlan, type Previous, renderPlan } from '../plan.ts'
import { colorsFor, type Streams } from '../terminal.ts'

/** `tsnsrv-sup plan`: what `start` or `reload` would do with a configuration. Changes nothing. */
export function planCommand(streams: Streams): Command {
  return addSettingsOptions(
    new Command('plan').description('Show the shards that a configuration makes and what would change; touch nothing.'),
  )
    .requiredOption('-c, --config <file>', 'YAML file in the format of arsfeld/tsnsrv')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
Signs: + added, - removed, ~ changed, -> moved to another shard, = left alone.

Examples:
  $ tsnsrv-sup plan --config services.yaml
  $ tsnsrv-sup plan --config services.yaml --shard-size 10
  $ tsnsrv-sup plan --config services.yaml --json | jq '.services[] | select(.change.type == "moved")'`,
    )
    .action(async (options: { config: string; json?: true }, command: Command) => {
      const { config } = await loadConfig(options.config, { flags: command.opts() })
      const { shardSize } = config.settings
      const previous = await previousOf(config.settings)
      const rows = makePlan(config.services, place(config.services, previous.placement, { shardSize }), previous)
      const text = options.json
        ? JSON.stringify({ comparedWith: previous.source, shardSize, services: rows }, null, 2)
        : renderPlan(rows, previous, shardSize, colorsFor(streams.stdout))
      streams.stdout.write(`${text}\n`)
    })
}

/** What is there now: told by the running supervisor, or else by the last one's state file. */
async function previousOf({ runDir, stateDir }: Settings): Promise<Previous> {
  const client = createAdminClient(runDir)
  try {
    const status = await client.status()
    const placed = status.services.flatMap(({ name, shard }) => (shard === null ? [] : [[name, shard] as const]))
    return { source: 'supervisor', placement: new Map(placed), specHashes: await runningSpecHashes(status, runDir) }
  } catch (error) {
    if (!(error instanceof NoSupervisorError)) throw error
  } finally {
    client.close()
  }
  const remembered = await readStateFile(stateDir)
  const source = remembered ? 'stateFile' : 'nothing'
  return { source, placement: remembered?.placement ?? new Map(), specHashes: new Map() }
}

/** The part of WorkerState that a plan needs; a worker of another version may lack the rest. */
const RunningSpecs = z.object({ services: z.array(ServiceStatus.pick({ name: true, specHash: true })) })

/** Asked of the workers themselves, as they know what they run. One that does not answer leaves its services unknown. */
async function runningSpecHashes({ shards }: Status, runDir: string): Promise<Map<string, string>> {
  const states = await Promise.all(
    shards.map(async ({ workerId }) => {
      if (workerId === null) return []
      const client = createSocketClient(join(runDir, workerId, 'worker.sock'))
      try {
        const { body } = await client.request('GET', '/v1/state', { timeoutMs: 2000 })
        return RunningSpecs.safeParse(body).data?.services ?? []
      } catch {
        return []
      } finally {
        client.close()
      }
    }),
  )
  return new Map(states.flat().map(({ name, specHash }) => [name, specHash]))
}
