/** What the commands that talk to a running supervisor have in common. */
import { Command } from 'commander'
import type { Unsupervised } from '../../shared/api.ts'
import { addRunDirOptions, type Overrides, resolveDirectories } from '../config/settings.ts'
import { type AdminClient, NoSupervisorError, adminSocketPath, createAdminClient } from '../effects/adminClient.ts'
import { ambient } from '../effects/ambient.ts'
import { readConfigText } from '../effects/configFile.ts'
import { type NodeDirectories, nodeDirectories } from '../effects/nodeLocks.ts'
import { surveyWorkers } from '../effects/survey.ts'
import { summarizeUnsupervised } from './unsupervisedView.ts'

/** A command with the options that say which supervisor is meant. */
export function clientCommand(name: string, description: string): Command {
  const command = new Command(name).description(description)
  return addRunDirOptions(command).option(
    '-c, --config <file>',
    'the configuration that it was started with, to find its directories',
  )
}

/**
 * Runs `work` with a client of the supervisor that the command's options name. When there is none, it looks for workers that serve
 * without one, hands them to `whenNone`, and rejects with a NoSupervisorError that sums them up.
 */
export async function withAdminClient<T>(
  command: Command,
  work: (client: AdminClient, socketPath: string) => Promise<T>,
  whenNone: (found: Unsupervised) => void = () => undefined,
): Promise<T> {
  const directories = await directoriesOf(command)
  const client = createAdminClient(directories.runDir)
  const socketPath = adminSocketPath(directories.runDir)
  try {
    return await work(client, socketPath)
  } catch (error) {
    if (!(error instanceof NoSupervisorError)) throw error
    const found = await surveyWorkers(directories.runDir, await nodesIn(directories))
    whenNone(found)
    throw new NoSupervisorError(socketPath, { cause: error, serving: summarizeUnsupervised(found) })
  } finally {
    client.close()
  }
}

export interface Directories {
  readonly stateDir: string
  readonly runDir: string
  /** Whether both belong to one supervisor: with --run-dir alone, the default state directory may be that of another one. */
  readonly belongTogether: boolean
}

/** Where a command's options, environment and configuration say that the supervisor is. The configuration need not be valid. */
export async function directoriesOf(command: Command): Promise<Directories> {
  const { config, stateDir: named } = command.opts<{ config?: string; stateDir?: string }>()
  const found = resolveDirectories(overridesOf(command), config === undefined ? '' : await readConfigText(config))
  const { TSNSRV_SUP_STATE_DIR, STATE_DIRECTORY } = process.env
  const isNamed = [config, named, TSNSRV_SUP_STATE_DIR, STATE_DIRECTORY].some((text) => text !== undefined && text !== '')
  return { ...found, belongTogether: isNamed || found.runDir.startsWith(`${found.stateDir}/`) }
}

/** The nodes whose locks show workers without a run directory; none if the nodes may be those of another supervisor. */
export async function nodesIn({ stateDir, belongTogether }: Directories): Promise<NodeDirectories> {
  return belongTogether ? nodeDirectories(stateDir) : new Map()
}

function overridesOf(command: Command): Overrides {
  return { ...ambient(), flags: command.opts() }
}

/** Runs `work` until it ends, or until Ctrl-C or SIGTERM aborts its signal: for what goes on until the user has seen enough. */
export async function untilInterrupted(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const interruption = new AbortController()
  const interrupt = () => interruption.abort()
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt)
  try {
    await work(interruption.signal)
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt)
  }
}
