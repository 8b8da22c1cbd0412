import { Command } from 'commander'
import type { Plan, PlanRequest } from '../../../shared/api.ts'
import { addSettingsOptions } from '../../config/settings.ts'
import { placeApart } from '../../core/culprit.ts'
import { makePlan } from '../../core/plan.ts'
import { nothingObserved, nothingRemembered } from '../../core/types.ts'
import { createAdminClient, NoSupervisorError } from '../../effects/adminClient.ts'
import { loadConfig, readConfigText } from '../../effects/configFile.ts'
import { readStateFile } from '../../effects/stateFile.ts'
import { directoriesOf } from '../clientCommand.ts'
import { renderPlan } from '../plan.ts'
import { colorsFor, type Streams } from '../terminal.ts'

/** `tsnsrv-sup plan`: what `start` or `reload` would do with a configuration. Changes nothing. */
export function planCommand(streams: Streams): Command {
  const command = new Command('plan')
    .description('Show the shards that a configuration makes and what would change; touch nothing.')
    .requiredOption('-c, --config <file>', 'YAML file in the format of arsfeld/tsnsrv')
    .option('--json', 'print JSON')
  return addSettingsOptions(command)
    .addHelpText(
      'after',
      `
Signs: + added or released, - removed, ~ changed, -> moved to another shard, = left alone, ! kept off in quarantine.

Examples:
  $ tsnsrv-sup plan --config services.yaml
  $ tsnsrv-sup plan --config services.yaml --shard-size 10
  $ tsnsrv-sup plan --config services.yaml --json | jq '.services[] | select(.change.type == "moved")'`,
    )
    .action(async (options: { config: string; json?: true }, command: Command) => {
      const plan = (await planOfSupervisor(options.config, command)) ?? (await planOfStateFile(options.config, command))
      streams.stdout.write(`${options.json ? JSON.stringify(plan, null, 2) : renderPlan(plan, colorsFor(streams.stdout))}\n`)
    })
}

/**
 * What the running supervisor would do with the text: it knows what runs, and only it knows the flags, environment and working
 * directory that a reload reads the file with. Null when none runs.
 */
async function planOfSupervisor(file: string, command: Command): Promise<Plan | null> {
  const text = await readConfigText(file)
  const { runDir } = await directoriesOf(command)
  const client = createAdminClient(runDir)
  try {
    return await client.plan({ file, text, flags: settingsFlags(command) })
  } catch (error) {
    if (error instanceof NoSupervisorError) return null
    throw error
  } finally {
    client.close()
  }
}

/** Compared with where the last supervisor had its services. */
async function planOfStateFile(file: string, command: Command): Promise<Plan> {
  const { config } = await loadConfig(file, { flags: command.opts() })
  const remembered = await readStateFile(config.settings.stateDir)
  const { placement, culprits } = remembered ?? nothingRemembered
  const next = placeApart(config.services, remembered ?? nothingRemembered, nothingObserved, config.settings, Date.now())
  const source = remembered ? 'stateFile' : 'nothing'
  return makePlan(config.services, next, { source, placement, culprits, specs: new Map() }, config.settings)
}

/** What this command line says of how to run, without what concerns this command and what only finds the supervisor. */
function settingsFlags(command: Command): PlanRequest['flags'] {
  const others = new Set(['config', 'json', 'stateDir', 'runDir'])
  return Object.fromEntries(Object.entries(command.opts<PlanRequest['flags']>()).filter(([name]) => !others.has(name)))
}
