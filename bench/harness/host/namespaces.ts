/** Network namespaces of one run, and `ip` (iproute2) to work on them. Their names say which process made them. */
import { setTimeout as delay } from 'node:timers/promises'
import { ExecaError, execa } from 'execa'
import { identify, trySignal } from '../../../supervisor/effects/processIdentity.ts'

const NAME = /^tsnsrv-bench\.(\d+)\.(\d+)\./
const KILL_DEADLINE_MS = 5000

/** The name of this process's namespace `label`: with pid and start time, so that runs do not meet and dead ones are known. */
export function namespaceName(label: string): string {
  return `tsnsrv-bench.${process.pid}.${identify(process.pid)?.startTicks ?? 0}.${label}`
}

/**
 * Runs `ip` and resolves to what it printed. `batch`: lines for `ip -batch`, of which the first that fails ends it.
 * Rejects with a message that names the remedy where there is one.
 */
export async function ip(args: readonly string[], batch?: readonly string[]): Promise<string> {
  const command = batch ? [...args, '-batch', '-'] : [...args]
  try {
    return (await execa('ip', command, batch ? { input: batch.join('\n') } : { stdin: 'ignore' })).stdout
  } catch (error) {
    throw explain(error, command)
  }
}

/**
 * What to spawn so that `file` runs in a namespace, with the pid of what is spawned. nsenter and not `ip netns exec`, which
 * mounts a new /sys and so hides the cgroups from which Go reads how many CPUs it may use.
 */
export function enterNamespace(name: string, file: string, args: readonly string[]): [file: string, args: string[]] {
  return ['nsenter', [`--net=/run/netns/${name}`, '--', file, ...args]]
}

/** Kills what still runs in a namespace and removes it, with its interfaces. Nothing to do when it does not exist. */
export async function removeNamespace(name: string): Promise<void> {
  if (!(await listNamespaces()).includes(name)) return
  await endProcesses(name)
  await ip(['netns', 'delete', name]).catch(async (error: unknown) => {
    // Another run that cleans up as well may have been faster.
    if ((await listNamespaces()).includes(name)) throw error
  })
}

/** Removes the namespaces of runs whose process has gone, with what those have left running in them. */
export async function removeStaleNamespaces(): Promise<void> {
  for (const name of await listNamespaces()) {
    const [, pid, startTicks] = NAME.exec(name) ?? []
    if (pid !== undefined && identify(Number(pid))?.startTicks !== Number(startTicks)) await removeNamespace(name)
  }
}

/** Names of all network namespaces that have one. */
async function listNamespaces(): Promise<string[]> {
  // A line is "name" or "name (id: 3)".
  return (await ip(['netns', 'list'])).split('\n').flatMap((line) => line.split(' ', 1)[0] || [])
}

async function endProcesses(name: string): Promise<void> {
  const deadline = performance.now() + KILL_DEADLINE_MS
  // Again until none is left: what is killed may just have started another.
  for (let pids = await processesIn(name); pids.length > 0; pids = await processesIn(name)) {
    if (performance.now() > deadline) throw new Error(`processes ${pids.join(', ')} in namespace ${name} cannot be killed`)
    for (const pid of pids) trySignal(pid, 'SIGKILL')
    await delay(10)
  }
}

async function processesIn(name: string): Promise<number[]> {
  return (await ip(['netns', 'pids', name])).split('\n').filter(Boolean).map(Number)
}

function explain(error: unknown, args: readonly string[]): unknown {
  if (!(error instanceof ExecaError)) return error
  if (error.code === 'ENOENT') return new Error('there is no program "ip" in PATH: apt install iproute2', { cause: error })
  const said = String(error.stderr).trim() || error.shortMessage
  if (/not permitted|permission denied/i.test(said)) {
    return new Error(`network namespaces are not permitted here (a container needs --privileged): ${said}`, { cause: error })
  }
  return new Error(`ip ${args.join(' ')}: ${said}`, { cause: error })
}
