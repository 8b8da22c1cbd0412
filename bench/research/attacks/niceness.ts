/** Which cores attacker and attacked have, and who goes first on them: there is other work on the machine as well. */
import { writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import type { Command } from '../../harness/world/tool.ts'

/**
 * Of what is measured. An attacker would have a machine of its own, and other work on this one is not to be taken for the attack.
 * Only root may go below 0: for others `nice` says so on stderr and runs the program all the same, and figures of a busy machine
 * are those of a busy machine.
 */
const MEASURED = '-10'

/** An attacker on another machine takes no time of the worker's cores. With one core alone, all share it. */
const LAST_CORE = cpus().length - 1

/** What goes before a command. */
const on = (cores: string) => (LAST_CORE === 0 ? [] : ['taskset', '--cpu-list', cores])

function launched(launcher: readonly string[], { file, args, ...rest }: Command): Command {
  const [first = file, ...others] = [...launcher, file, ...args]
  return { ...rest, file: first, args: others }
}

/** What is attacked. It may use every core, as on a host of its own. */
export function measured(command: Command): Command {
  return launched(['nice', '-n', MEASURED], command)
}

/** What measures it: the neighbour's clients, and its upstream. */
export function measuring(command: Command): Command {
  return launched([...on(`1-${LAST_CORE}`), 'nice', '-n', MEASURED], command)
}

/** What goes before a program that stands for the rest of the world: attackers, control, relays. */
export const ELSEWHERE = on('0')

/** Such a program. */
export function elsewhere(command: Command): Command {
  return launched(ELSEWHERE, command)
}

/** The same for a process that leads a session: where Linux shares the CPU between sessions, niceness counts within one only. */
export async function measureSession(leader: number): Promise<void> {
  // Without autogroups there is no such file, and without root no right to it.
  await writeFile(`/proc/${leader}/autogroup`, MEASURED).catch(() => undefined)
}
