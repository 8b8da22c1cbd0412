/** What the commands that talk to a running supervisor have in common. */
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { Command } from 'commander'
import { addRunDirOptions, type Overrides, resolveDirectories } from '../config/settings.ts'
import { type AdminClient, adminSocketPath, createAdminClient } from '../effects/adminClient.ts'

/** A command with the options that say which supervisor is meant. */
export function clientCommand(name: string, description: string): Command {
  const command = new Command(name).description(description)
  return addRunDirOptions(command).option(
    '-c, --config <file>',
    'the configuration that it was started with, to find its directories',
  )
}

/** Runs `work` with a client of the supervisor that the command's options name. Rejects with NoSupervisorError when there is none. */
export async function withAdminClient<T>(
  command: Command,
  work: (client: AdminClient, socketPath: string) => Promise<T>,
): Promise<T> {
  const { runDir } = await directoriesOf(command)
  const client = createAdminClient(runDir)
  try {
    return await work(client, adminSocketPath(runDir))
  } finally {
    client.close()
  }
}

/** Where a command's options, environment and configuration say that the supervisor is. The configuration need not be valid. */
export async function directoriesOf(command: Command): Promise<{ stateDir: string; runDir: string }> {
  const { config } = command.opts<{ config?: string }>()
  return resolveDirectories(overridesOf(command), config === undefined ? '' : await readFile(config, 'utf8'))
}

function overridesOf(command: Command): Overrides {
  return { flags: command.opts(), env: process.env, cwd: process.cwd(), home: homedir(), isRoot: process.geteuid?.() === 0 }
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
